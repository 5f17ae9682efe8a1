// The pull loop that feeds the application: on the main thread, or with --threads above 1 on as
// many threads of Python, while the main one waits for signals and the end. Each thread has a
// bkpy_host of its own, so that nothing a request uses is shared but what the GIL guards. Called by
// worker.c.
#include "bkpy_host.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include "green.h"
#include "title.h"

#define MEMO_MIN 16

static sem_t ended;    // one for each thread that has left its loop; there is one Worker
static unsigned busy;  // threads that run the application, under the GIL

static int serve_loop(struct bkpy_host *host);
static int serve_threads(PyObject *worker, struct bkpy_host *host, PyObject *app, unsigned count);
static void finish(struct bkpy_host *host);

int
bkpy_serving_begin(struct bkpy_host *host, unsigned count)
{
    int error = bk_worker_threads(host->worker, count);
    host->threads = count;
    if (error == 0)
        return 0;
    errno = -error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int
bkpy_serving_run(PyObject *worker, struct bkpy_host *host, PyObject *app, PyObject *green)
{
    if (!green && !host->threads && bkpy_serving_begin(host, 1) < 0)
        return -1;
    unsigned count = host->threads;
    int result = bkpy_serving_prepare(host, app, count);
    if (green && result == 0)
        result = bkpy_green_serve(host, worker, green);
    else if (result == 0)
        result = count > 1 ? serve_threads(worker, host, app, count) : serve_loop(host);
    for (struct bkpy_host *each = host; each && result == 0; each = each->next)
        if (each->leaving) {
            bkpy_exception_raise(each->leaving);
            each->leaving = NULL;
            result = -1;
        }
    if (result == 0 && !host->engine) {  // the application forked, and its child came back to us
        PyErr_SetNone(PyExc_SystemExit);
        result = -1;
    }
    finish(host);
    return result;
}

static void
finish(struct bkpy_host *host)
{
    PyObject *error = bkpy_exception_take();  // dropping the application may run its code
    bkpy_title_busy(false);
    for (struct bkpy_host *each = host; each; each = each->next) {
        each->thread = 0;
        bkpy_host_clear(each);
    }
    bkpy_exception_raise(error);
}

int
bkpy_serving_prepare(struct bkpy_host *host, PyObject *app, unsigned threads)
{
    bkpy_host_clear(host);
    host->app = Py_NewRef(app);
    host->after = PyObject_GetAttrString(app, "_barkeep_after");  // of hook_requests.py
    PyErr_Clear();
    host->threads = threads;
    host->memo.slot_count = BKPY_MEMO_SLOTS;
    while (host->memo.slot_count > MEMO_MIN && host->memo.slot_count * threads > BKPY_MEMO_SLOTS)
        host->memo.slot_count /= 2;
    host->thread = PyThread_get_thread_ident();
    unsigned count = bk_engine_log_environ_count(host->engine);
    host->log_keys = PyMem_Calloc(count ? count : 1, sizeof(*host->log_keys));
    if (!host->log_keys) {
        PyErr_NoMemory();
        return -1;
    }
    for (host->log_count = 0; host->log_count < count; host->log_count++) {
        struct bk_str name = bk_engine_log_environ_name(host->engine, host->log_count);
        host->log_keys[host->log_count] =
            PyUnicode_DecodeLatin1(name.at, (Py_ssize_t)name.len, NULL);
        if (!host->log_keys[host->log_count])
            return -1;
    }
    return bkpy_environ_start(host);
}

static void
show_busy(bool on)
{
    busy += on ? 1u : -1u;
    if (busy == on)
        bkpy_title_busy(on);
}

// 0 when the engine is drained (or this is a forked child), -1 with an exception of a signal
// handler.
static int
serve_loop(struct bkpy_host *host)
{
    struct bk_engine *engine = host->engine;
    struct bk_exchange *x;
    for (;;) {
        int flags, wait_ms = host->memo.filled
                                 ? 5000
                                 : -1;  // idle connections are forgotten even when nothing happens
        host->turning = true;
        Py_BEGIN_ALLOW_THREADS flags = bk_engine_turn_as(engine, host->number, wait_ms);
        Py_END_ALLOW_THREADS host->turning = false;
        bkpy_release_drain(&host->first->release);
        bkpy_memo_turn(&host->memo);
        bool any = false;
        while (host->engine && (x = bk_engine_next_as(engine, host->number))) {
            if (!any)
                show_busy(any = true);
            bkpy_wsgi_run(host, x);
        }
        if (any)
            show_busy(false);
        // Always, not only on BK_TURN_SIGNAL: a signal may have come outside the wait. Does nothing
        // on other threads than the main one.
        if (PyErr_CheckSignals() < 0 && !bkpy_failure_signal(host))
            return -1;
        if (!host->engine || (flags & BK_TURN_STOP))
            return 0;
    }
}

// ---- several threads ----------------------------------------------------------------------------

static int
add_hosts(struct bkpy_host *first, unsigned count)
{
    struct bkpy_host *last = first;
    for (unsigned number = 2; number <= count; number++) {
        struct bkpy_host *host = last->next;
        if (!host && !(host = bkpy_host_new(first->module, first->worker)))
            return -1;
        host->number = number;
        host->first = first;
        host->alone = first->alone;
        host->memo.on = first->memo.on;
        last->next = host;
        last = host;
    }
    return 0;
}

// threading.Thread(target=worker._run, args=(number, app), name="barkeep-1"), started; new
// reference. Threads that Python made have names, trace functions and an end Python waits for.
static PyObject *
start_thread(PyObject *module, PyObject *worker, PyObject *app, unsigned number)
{
    PyObject *result = NULL, *made = NULL;
    PyObject *class = PyObject_GetAttrString(module, "Thread"),
             *target = PyObject_GetAttrString(worker, "_run"), *none = PyTuple_New(0);
    PyObject *keywords =
        class && target && none
            ? Py_BuildValue("{s:O,s:(IO),s:N}", "target", target, "args", number, app, "name",
                            PyUnicode_FromFormat("barkeep-%u", number))
            : NULL;
    PyObject *thread = keywords ? PyObject_Call(class, none, keywords) : NULL;
    if (thread && (made = PyObject_CallMethod(thread, "start", NULL)))
        result = Py_NewRef(thread);
    Py_XDECREF(class);
    Py_XDECREF(target);
    Py_XDECREF(none);
    Py_XDECREF(keywords);
    Py_XDECREF(thread);
    Py_XDECREF(made);
    return result;
}

// Until `count` threads have left. An exception of a signal handler (Ctrl-C without a master) makes
// them leave; it is pending on return, and a second one does not wait for them any more.
static int
wait_for_threads(struct bkpy_host *host, unsigned count)
{
    PyObject *error = bkpy_exception_take();
    bool hurried = error != NULL;
    while (count && host->engine) {
        int result;
        Py_BEGIN_ALLOW_THREADS result = sem_wait(&ended);
        Py_END_ALLOW_THREADS if (result == 0) count--;
        bkpy_release_drain(&host->release);
        if (PyErr_CheckSignals() == 0 || bkpy_failure_signal(host))
            continue;
        if (hurried)
            return -1;
        hurried = true;
        error = bkpy_exception_take();
        bk_worker_stop(host->worker, true);
    }
    bkpy_exception_raise(error);
    return error ? -1 : 0;
}

static int
serve_threads(PyObject *worker, struct bkpy_host *host, PyObject *app, unsigned count)
{
    PyObject *module = PyImport_ImportModule("threading"), *threads = PyList_New(0);
    unsigned started = 0;
    sem_init(&ended, 0, 0);
    int result = module && threads ? add_hosts(host, count) : -1;
    while (result == 0 && started < count) {
        PyObject *thread = start_thread(module, worker, app, started + 1);
        if (!thread)
            result = -1;
        else
            started++;
        if (thread && PyList_Append(threads, thread) < 0)
            result = -1;
        Py_XDECREF(thread);
    }
    if (result < 0)
        bk_worker_stop(host->worker, true);
    if (wait_for_threads(host, started) < 0)
        result = -1;
    PyObject *error = bkpy_exception_take();
    for (Py_ssize_t i = 0; host->engine && threads && !error && i < PyList_GET_SIZE(threads); i++) {
        PyObject *none = PyObject_CallMethod(PyList_GET_ITEM(threads, i), "join", NULL);
        Py_XDECREF(none);
        PyErr_Clear();
    }
    bkpy_exception_raise(error);
    Py_XDECREF(module);
    Py_XDECREF(threads);
    return result;
}

// The end of a forked child by its exception. Not by Py_Exit: 3.13 crashes when the interpreter is
// finalized by a thread that is no longer the one it began with.
static void
leave_child(void)
{
    PyObject *error = bkpy_exception_take();
    PyObject *code = PyObject_GetAttrString(error, "code");
    int status = !code || code == Py_None ? 0 : PyLong_Check(code) ? (int)PyLong_AsLong(code) : 1;
    PyObject *module = PyImport_ImportModule("atexit");
    if (module)
        Py_XDECREF(PyObject_CallMethod(module, "_run_exitfuncs", NULL));
    PyErr_Clear();
    PyObject *streams[] = {PySys_GetObject("stdout"), PySys_GetObject("stderr")};
    for (unsigned i = 0; i < BK_COUNT(streams); i++) {
        if (streams[i] && streams[i] != Py_None)
            Py_XDECREF(PyObject_CallMethod(streams[i], "flush", NULL));
        PyErr_Clear();
    }
    _exit(status);
}

// One thread's life. In a child that its application forked this thread is all there is: then it
// ends as a program does.
PyObject *
bkpy_serving_thread(struct bkpy_host *first, PyObject *args)
{
    unsigned number;
    PyObject *app;
    if (!PyArg_ParseTuple(args, "IO:_run", &number, &app))
        return NULL;
    struct bkpy_host *host = first;
    while (host && host->number != number)
        host = host->next;
    if (!host || first->threads < 2 || !first->engine)
        return PyErr_Format(PyExc_RuntimeError, "no thread %u is wanted", number);
    int result = host == first ? 0 : bkpy_serving_prepare(host, app, first->threads);
    host->thread = PyThread_get_thread_ident();
    if (result == 0)
        result = serve_loop(host);
    else
        bk_worker_stop(host->worker, false);
    if (!host->engine) {
        if (host->leaving)
            bkpy_exception_raise(host->leaving);
        else
            PyErr_SetNone(PyExc_SystemExit);
        host->leaving = NULL;
        leave_child();
    }
    host->thread = 0;
    sem_post(&ended);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

// ---- without the GIL for a moment ---------------------------------------------------------------

static struct bkpy_host *
host_at(struct bkpy_host *host, unsigned number)
{
    while (host && host->number != number)
        host = host->next;
    return host;
}

// A thread that uses another's request keeps the GIL: it is what keeps that request from ending.
void *
bkpy_serving_pause(void *first, unsigned number)
{
    struct bkpy_host *host = host_at(first, number);
    if (!host || host->thread != PyThread_get_thread_ident() || !PyGILState_Check())
        return NULL;
    host->turning = true;
    return PyEval_SaveThread();
}

void
bkpy_serving_resume(void *first, unsigned number, void *paused)
{
    PyEval_RestoreThread(paused);
    host_at(first, number)->turning = false;
}
