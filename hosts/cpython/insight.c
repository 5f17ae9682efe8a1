// Python as seen from a thread that must never wait for it. A question is put by a thread made for
// it, which waits for the GIL; who asked waits half a second for that one. When it gets none, some
// thread is inside a call into C that keeps the GIL, so no frame moves, and faulthandler's walk
// over them, which needs no lock, is safe: a signal sent to the asking thread itself runs it here.
#include "insight.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "asgi.h"
#include "base/clock.h"
#include "green.h"

#define PATIENCE (BK_SEC / 2)  // for the GIL
#define SIGN_AGAIN (BK_SEC / 2)
#define TEXT_MAX 40960
#define NUMBER (SIGRTMAX - 7)  // ours alone; the last ones are the most popular

enum question { SIGN, STACKS, INTERRUPT };

// There is one Worker in a process.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    // Under `lock`.
    bool asking;             // a thread waits for the GIL, or has it
    bool wanted;             // and somebody waits for its answer
    enum question question;
    struct bk_running of;
    bool has_of, all;
    uint64_t since, last;    // monotonic ns: the question was put, the last one was answered
    bool did;                // the answer
    size_t len;
    char *text;              // owns: TEXT_MAX
    // Under the GIL.
    struct bkpy_host *host;  // borrows; NULL: over
    PyObject *report, *interrupt;  // ref
    int fd;                  // owns: memfd that faulthandler writes to
    unsigned long main;      // the main thread, as Python numbers threads
    char own[256], threading[256];  // our package's directory, the file of `threading`: not shown
} insight = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static size_t stacks(void *self, const struct bk_running *of, bool all, char *out, size_t room);
static uint64_t wedged(void *self);
static bool interrupt(void *self, const struct bk_running *of);
static bool ask(enum question question, const struct bk_running *of, bool all, uint64_t patience);
static void *ask_python(void *unused);
static size_t report(const struct bk_running *of, bool all, char *out, size_t room);
static bool interrupt_request(const struct bk_running *of);
static struct bkpy_host *host_of(unsigned number);
static size_t dump(const struct bk_running *of, bool all, char *out, size_t room);
static size_t tidy(const char *text, unsigned long only, char *out, size_t room);

PyObject *
bkpy_insight_begin(struct bkpy_host *host, PyObject *args)
{
    static const struct bk_insight calls = {stacks, wedged, interrupt};
    PyObject *report_call, *interrupt_call;
    const char *own, *threading;
    pthread_condattr_t clock;
    if (!PyArg_ParseTuple(args, "OOss:watch_over", &report_call, &interrupt_call, &own, &threading))
        return NULL;
    snprintf(insight.own, sizeof(insight.own), "\"%s", own);
    snprintf(insight.threading, sizeof(insight.threading), "\"%s\"", threading);
    insight.main = PyThread_get_thread_ident();
    if (!insight.text) {
        pthread_condattr_init(&clock);
        pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
        pthread_cond_init(&insight.answered, &clock);
        pthread_condattr_destroy(&clock);
        insight.text = malloc(TEXT_MAX);
        insight.fd = memfd_create("barkeep-stacks", MFD_CLOEXEC);
        if (!insight.text || insight.fd < 0)
            return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_XSETREF(insight.report, Py_NewRef(report_call));
    Py_XSETREF(insight.interrupt, Py_NewRef(interrupt_call));
    insight.host = host;
    bk_worker_insight(host->worker, &calls, NULL);
    return Py_BuildValue("(ii)", insight.fd, NUMBER);
}

void
bkpy_insight_end(void)
{
    insight.host = NULL;
    Py_CLEAR(insight.report);
    Py_CLEAR(insight.interrupt);
}

void
bkpy_insight_forked(void)
{
    if (insight.fd >= 0)
        close(insight.fd);
    insight.fd = -1;
}

void
bkpy_insight_settle(struct bkpy_host *host)
{
    PyThreadState_SetAsyncExc(host->thread, NULL);
    host->raised = false;
}

// ---- the time keeper's side, without the GIL ----------------------------------------------------

static size_t
stacks(void *self, const struct bk_running *of, bool all, char *out, size_t room)
{
    if (ask(STACKS, of, all, PATIENCE)) {
        pthread_mutex_lock(&insight.lock);
        size_t len = insight.len < room ? insight.len : room;
        memcpy(out, insight.text, len);
        pthread_mutex_unlock(&insight.lock);
        return len;
    }
    return dump(of, all, out, room);
}

static uint64_t
wedged(void *self)
{
    uint64_t now = bk_clock_mono();
    pthread_mutex_lock(&insight.lock);
    uint64_t owed = insight.asking && now > insight.since ? now - insight.since : 0;
    bool due = !insight.asking && now - insight.last > SIGN_AGAIN;
    pthread_mutex_unlock(&insight.lock);
    if (due)
        ask(SIGN, NULL, false, 0);
    return owed;
}

static bool
interrupt(void *self, const struct bk_running *of)
{
    if (!ask(INTERRUPT, of, false, PATIENCE))
        return false;
    pthread_mutex_lock(&insight.lock);
    bool did = insight.did;
    pthread_mutex_unlock(&insight.lock);
    return did;
}

// True: answered in time.
static bool
ask(enum question question, const struct bk_running *of, bool all, uint64_t patience)
{
    uint64_t until = bk_clock_mono() + patience;
    struct timespec at = {.tv_sec = (time_t)(until / BK_SEC), .tv_nsec = (long)(until % BK_SEC)};
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_mutex_lock(&insight.lock);
    bool mine = !insight.asking;
    if (mine) {
        insight.asking = insight.wanted = true;
        insight.question = question;
        insight.has_of = of != NULL;
        if (of)
            insight.of = *of;
        insight.all = all;
        insight.since = bk_clock_mono();
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, 1024 * 1024);
        if (pthread_create(&thread, &attributes, ask_python, NULL) != 0)
            mine = insight.asking = false;
        pthread_attr_destroy(&attributes);
    }
    while (mine && insight.asking
           && pthread_cond_timedwait(&insight.answered, &insight.lock, &at) != ETIMEDOUT)
        ;
    bool answered = mine && !insight.asking;
    if (mine)
        insight.wanted = insight.question == SIGN;
    pthread_mutex_unlock(&insight.lock);
    return answered;
}

// Without the GIL. The handler is faulthandler's; should somebody have taken it away, nothing is
// sent, or the process would end.
static size_t
dump(const struct bk_running *of, bool all, char *out, size_t room)
{
    static const char head[] = "(a call into C keeps Python's lock; innermost calls first)\n";
    static char text[TEXT_MAX];  // there is one time keeper
    struct sigaction action;
    sigset_t ours, before;
    const struct bkpy_host *host = of && of->thread ? host_of(of->thread) : NULL;
    if (insight.fd < 0 || room <= sizeof head || sigaction(NUMBER, NULL, &action) < 0
        || action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN
        || ftruncate(insight.fd, 0) < 0 || lseek(insight.fd, 0, SEEK_SET) < 0)
        return 0;
    sigemptyset(&ours);
    sigaddset(&ours, NUMBER);
    pthread_sigmask(SIG_UNBLOCK, &ours, &before);
    pthread_kill(pthread_self(), NUMBER);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ssize_t n = pread(insight.fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    memcpy(out, head, sizeof head - 1);
    size_t len = sizeof head - 1;
    len += tidy(text, all ? 0 : host ? host->thread : insight.main, out + len, room - len);
    return len;
}

static void
name_thread(unsigned long ident, char out[40])
{
    const struct bkpy_host *host = insight.host;
    while (host && host->thread != ident)
        host = host->next;
    if (host && insight.host->next)
        snprintf(out, 40, "thread %u:", host->number);
    else if (ident == insight.main)
        snprintf(out, 40, "main thread:");
    else
        snprintf(out, 40, "thread %#lx:", ident);
}

// A line of the text without what only tells of the server: NULL when it is one of its own, else
// with paths below the current directory made relative.
static const char *
tidy_line(char *line, const char *cwd)
{
    char *file = strchr(line, '"');
    size_t len = strlen(cwd);
    if (!file || strncmp(file, insight.own, strlen(insight.own)) == 0
        || strncmp(file, insight.threading, strlen(insight.threading)) == 0)
        return NULL;
    if (len && strncmp(file + 1, cwd, len) == 0 && file[1 + len] == '/')
        memmove(file + 1, file + 2 + len, strlen(file + 2 + len) + 1);
    return line + strspn(line, " ");
}

// faulthandler's text without the frames of the server, and without threads that have no others:
// "Thread 0x7f.. (most recent call first):" and lines '  File "/x.py", line 3 in f'. With `only`
// just the frames of that thread.
static size_t
tidy(const char *text, unsigned long only, char *out, size_t room)
{
    char cwd[512], name[40] = "", line[1024];
    unsigned long ident = 0;
    size_t at = 0;
    if (!getcwd(cwd, sizeof(cwd)))
        cwd[0] = 0;
    for (const char *from = text; *from && at + sizeof(line) + sizeof(name) < room;) {
        size_t len = strcspn(from, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)len, from);
        from += len + (from[len] == '\n');
        if (sscanf(line, "Thread %lx", &ident) == 1) {
            name_thread(ident, name);
            continue;
        }
        const char *shown = only && ident != only ? NULL : tidy_line(line, cwd);
        if (!shown)
            continue;
        if (name[0] && !only)
            at += (size_t)snprintf(out + at, room - at, "%s\n", name);
        name[0] = 0;
        at += (size_t)snprintf(out + at, room - at, "%s%s\n", only ? "" : "    ", shown);
    }
    return at ? at - 1 : 0;
}

// ---- Python's side ------------------------------------------------------------------------------

static void *
ask_python(void *unused)
{
    PyGILState_STATE state = PyGILState_Ensure();
    static char text[TEXT_MAX];  // there is one such thread
    size_t len = 0;
    bool did = false;
    pthread_mutex_lock(&insight.lock);
    bool wanted = insight.wanted, all = insight.all;
    enum question question = insight.question;
    struct bk_running of = insight.of, *which = insight.has_of ? &of : NULL;
    pthread_mutex_unlock(&insight.lock);
    if (wanted && insight.host && insight.host->engine) {
        if (question == STACKS)
            len = report(which, all, text, sizeof(text));
        else if (question == INTERRUPT)
            did = interrupt_request(which);
    }
    PyErr_Clear();
    PyGILState_Release(state);
    pthread_mutex_lock(&insight.lock);
    memcpy(insight.text, text, len);
    insight.len = len;
    insight.did = did;
    insight.asking = false;
    insight.last = bk_clock_mono();
    pthread_cond_broadcast(&insight.answered);
    pthread_mutex_unlock(&insight.lock);
    return NULL;
}

static struct bkpy_host *
host_of(unsigned number)
{
    struct bkpy_host *host = insight.host;
    while (host && host->number != number)
        host = host->next;
    return host;
}

// What runs the request: a task, a greenlet, a thread's number as Python counts, None: the main
// thread. New reference.
static PyObject *
runner_of(const struct bk_running *of)
{
    struct bkpy_host *host = insight.host;
    PyObject *runner = NULL;
    if (!of)
        Py_RETURN_NONE;
    if (host->asgi) {
        struct bkpy_request *request =
            of->ref.index < host->asgi->index_count ? host->asgi->by_index[of->ref.index] : NULL;
        if (request && request->exchange.generation == of->ref.generation)
            runner = request->task;
    } else if (host->green) {
        runner = bkpy_green_at(host, of->ref);
    } else if ((host = host_of(of->thread ? of->thread : 1)) && host->thread) {
        return PyLong_FromUnsignedLong(host->thread);
    }
    return Py_NewRef(runner ? runner : Py_None);
}

// report(runner, {ident: number}, all) of insight.py.
static size_t
report(const struct bk_running *of, bool all, char *out, size_t room)
{
    PyObject *names = PyDict_New(), *runner = runner_of(of), *text = NULL;
    Py_ssize_t len = 0;
    for (struct bkpy_host *host = insight.host; names && host; host = host->next) {
        PyObject *key = host->thread ? PyLong_FromUnsignedLong(host->thread) : NULL;
        PyObject *number = PyLong_FromUnsignedLong(insight.host->next ? host->number : 0);
        if (key && number && PyDict_SetItem(names, key, number) < 0)
            PyErr_Clear();
        Py_XDECREF(key);
        Py_XDECREF(number);
    }
    if (names && runner && insight.report)
        text = PyObject_CallFunction(insight.report, "OOO", runner, names,
                                     all ? Py_True : Py_False);
    const char *at = text ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;
    if (!at)
        len = 0;
    if ((size_t)len > room)
        len = (Py_ssize_t)room;
    if (len)
        memcpy(out, at, (size_t)len);
    Py_XDECREF(text);
    Py_XDECREF(names);
    Py_XDECREF(runner);
    return (size_t)len;
}

// With the GIL no request begins or ends, so this is still the one that was meant. A thread feels
// the exception at its next step of Python code; what of it is left when the request ends is taken
// back (bkpy_insight_settle).
static bool
interrupt_request(const struct bk_running *of)
{
    struct bkpy_host *host = insight.host;
    struct bk_exchange *x = bk_exchange_at(host->engine, of->ref);
    if (!x)
        return false;
    bk_exchange_note(x)->flags |= BKPY_OVERDUE;
    if (!host->asgi && !host->green) {
        host = host_of(of->thread ? of->thread : 1);
        host->raised = PyThreadState_SetAsyncExc(host->thread, host->state->request_timeout) == 1;
        return host->raised;
    }
    PyObject *runner = runner_of(of);
    PyObject *done = runner && runner != Py_None
                         ? PyObject_CallFunctionObjArgs(insight.interrupt, runner,
                                                        host->state->request_timeout, NULL)
                         : NULL;
    Py_XDECREF(runner);
    Py_XDECREF(done);
    return done != NULL;
}
