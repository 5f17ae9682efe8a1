// Worker: one worker's life as Python sees it, and the pull loop that feeds the application.
// python/barkeep/worker.py boots with it under the master, barkeep.run without one.
#include "bkpy_host.h"

#include <errno.h>
#include <pthread.h>

#include "allocator.h"
#include "insight.h"

#define WHY_ROOM 4096
#define PAIRS_MAX 4096

struct worker {
    PyObject_HEAD
    struct bkpy_host *host;    // ref
    struct bk_worker *worker;  // owns
};

// The one live worker of this process, for fork handlers, which get no argument.
static _Atomic(struct bkpy_host *) alive;

// ---- life ---------------------------------------------------------------------------------------

static void
forget_engine(struct bkpy_host *first)
{
    for (struct bkpy_host *host = first; host; host = host->next)
        host->engine = NULL;
}

// Async-signal-safe. The child keeps no descriptor of ours, and every object of this module finds
// its request over.
static void
in_child(void)
{
    struct bkpy_host *host = atomic_load(&alive);
    if (!host || !host->engine)
        return;
    struct bk_worker *worker = host->worker;
    forget_engine(host);
    bk_worker_abandon(worker);
    bkpy_insight_forked();
}

// Around fork() no thread may be in the middle of the engine's lists.
static _Thread_local uint64_t hold;

static void
before_fork(void)
{
    struct bkpy_host *host = atomic_load(&alive);
    if (host && host->engine)
        bk_worker_hold(host->worker, &hold);
}

static void
after_fork(void)
{
    struct bkpy_host *host = atomic_load(&alive);
    if (host && host->engine)
        bk_worker_release(host->worker, hold);
}

static void
watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

PyObject *
bkpy_worker_forked(PyObject *module, PyObject *unused)
{
    in_child();
    Py_RETURN_NONE;
}

static bool
is_on(struct bk_worker *worker, const char *key)
{
    struct bk_str value = bk_worker_setting(worker, key);
    return !bk_str_equal(value, BK_STR("off")) && !bk_str_equal(value, BK_STR("false"));
}

static bool
check_alone(void)
{
    if (!atomic_load(&alive))
        return true;
    PyErr_SetString(PyExc_RuntimeError, "there is a Worker in this process already");
    return false;
}

// Wraps a new worker; takes it over in any case.
static PyObject *
adopt(PyTypeObject *type, struct bk_worker *worker, bool is_alone)
{
    static const struct bk_host_ops ops = {
        .abi = BK_HOST_ABI, .size = sizeof(ops), .name = "cpython", .release = bkpy_release_back,
        .pause = bkpy_serving_pause, .resume = bkpy_serving_resume};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct bkpy_host *host = NULL;
    struct worker *self = NULL;
    PyObject *module = PyType_GetModule(type);
    if (!module || !(host = bkpy_host_new(module, worker)))
        goto failed;
    if (bk_engine_attach(host->engine, &ops, host) < 0) {
        PyErr_SetString(PyExc_ImportError, "the engine and the host are of different versions");
        goto failed;
    }
    self = PyObject_New(struct worker, type);
    if (!self)
        goto failed;
    self->host = host;
    self->worker = worker;
    host->alone = is_alone;
    host->memo.on = is_on(worker, "header_memo");
    if (is_on(worker, "arena_cache"))
        bkpy_allocator_install();
    pthread_once(&once, watch_forks);
    atomic_store(&alive, host);
    return (PyObject *)self;
failed:
    bk_worker_free(worker);
    if (host)
        bkpy_host_unref(host);
    return NULL;
}

// OSError(errno, text), or the subclass that belongs to the number. The text is decoded leniently:
// it may hold paths.
static void
raise_os_error(int error, const char *why)
{
    PyObject *text = PyUnicode_DecodeUTF8(why[0] ? why : strerror(-error),
                                          (Py_ssize_t)strlen(why[0] ? why : strerror(-error)),
                                          "backslashreplace");
    PyObject *arguments = text ? Py_BuildValue("(iN)", -error, text) : NULL;
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
}

static PyObject *
worker_inherit(PyObject *type, PyObject *argument)
{
    struct bk_worker *worker = NULL;
    char why[WHY_ROOM] = "";
    int fd = PyObject_AsFileDescriptor(argument);
    if (fd < 0 || !check_alone())
        return NULL;
    int result = bk_worker_inherit(fd, &worker, why, sizeof(why));
    if (result >= 0)
        return adopt((PyTypeObject *)type, worker, false);
    raise_os_error(result, why);
    return NULL;
}

static PyObject *
worker_alone(PyObject *type, PyObject *settings)
{
    struct bk_worker *worker = NULL;
    PyObject *result = NULL, *owners = PyList_New(0);
    const char **pairs = PyMem_Malloc(sizeof(*pairs) * 2 * PAIRS_MAX);
    unsigned count = 0;
    char why[WHY_ROOM] = "";
    if (!owners || !pairs || !check_alone())
        goto out;
    if (!PyDict_Check(settings)) {
        PyErr_SetString(PyExc_TypeError, "Worker.alone takes a dict of settings");
        goto out;
    }
    if (bkpy_settings_read(settings, owners, pairs, PAIRS_MAX, &count) < 0)
        goto out;
    int error = bk_worker_alone(pairs, count, &worker, why, sizeof(why));
    if (error >= 0)
        result = adopt((PyTypeObject *)type, worker, true);
    else if (error == -EINVAL)
        PyErr_SetString(PyExc_ValueError, why[0] ? why : strerror(-error));
    else
        raise_os_error(error, why);
out:
    PyMem_Free(pairs);
    Py_XDECREF(owners);
    return result;
}

static void
worker_dealloc(PyObject *self)
{
    struct worker *worker = (struct worker *)self;
    PyTypeObject *type = Py_TYPE(self);
    struct bkpy_host *host = worker->host;
    bool abandoned = !host->engine;
    if (atomic_load(&alive) == host)
        atomic_store(&alive, NULL);
    forget_engine(host);
    bkpy_insight_end();
    if (!abandoned)
        bk_worker_free(worker->worker);  // in a forked child the memory is left as it is
    for (struct bkpy_host *next; host; host = next) {
        next = host->next;
        host->worker = NULL;
        bkpy_host_clear(host);
        bkpy_host_unref(host);
    }
    PyObject_Free(self);
    Py_DECREF(type);
}

// 0 no, 1: it finishes what runs, 2: at once.
static PyObject *
worker_stopping(PyObject *self, void *unused)
{
    struct bkpy_host *host = ((struct worker *)self)->host;
    return PyLong_FromUnsignedLong(host->engine ? bk_engine_stopping(host->engine) : 0);
}

// ---- what the boot code asks and tells ----------------------------------------------------------

// The C worker, or NULL with an exception in a forked child.
static struct bk_worker *
live(PyObject *self)
{
    struct worker *worker = (struct worker *)self;
    if (worker->host->engine)
        return worker->worker;
    PyErr_SetString(PyExc_RuntimeError, "this worker belongs to the parent process");
    return NULL;
}

struct bkpy_host *
bkpy_worker_host(PyObject *worker)
{
    if (Py_TYPE(worker)->tp_dealloc == worker_dealloc)
        return ((struct worker *)worker)->host;
    PyErr_Format(PyExc_TypeError, "a Worker is needed, not %.100s", Py_TYPE(worker)->tp_name);
    return NULL;
}

static PyObject *
text_of(struct bk_str text)
{
    return PyUnicode_DecodeFSDefaultAndSize(text.at ? text.at : "", (Py_ssize_t)text.len);
}

static PyObject *
worker_setting(PyObject *self, PyObject *key)
{
    const char *text = PyUnicode_AsUTF8(key);
    struct bk_worker *worker = text ? live(self) : NULL;
    return worker ? text_of(bk_worker_setting(worker, text)) : NULL;
}

static PyObject *
list_of(struct bk_worker *worker,
        bool (*get)(struct bk_worker *worker, unsigned n, struct bk_str *ret))
{
    PyObject *list = worker ? PyList_New(0) : NULL;
    struct bk_str text;
    for (unsigned n = 0; list && get(worker, n, &text); n++) {
        PyObject *item = text_of(text);
        if (!item || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *
worker_arguments(PyObject *self, PyObject *unused)
{
    return list_of(live(self), bk_worker_argument);
}

static PyObject *
worker_path(PyObject *self, PyObject *unused)
{
    return list_of(live(self), bk_worker_path);
}

static PyObject *
worker_number(PyObject *self, void *unused)
{
    return PyLong_FromUnsignedLong(bk_worker_number(((struct worker *)self)->worker));
}

static PyObject *
worker_address(PyObject *self, void *unused)
{
    return text_of(bk_worker_address(((struct worker *)self)->worker));
}

// (requests, errors) so far; also after the last one.
static PyObject *
worker_counts(PyObject *self, void *unused)
{
    uint64_t requests, errors;
    bk_worker_counts(((struct worker *)self)->worker, &requests, &errors);
    return Py_BuildValue("(KK)", (unsigned long long)requests, (unsigned long long)errors);
}

static PyObject *
worker_failed(PyObject *self, PyObject *args)
{
    int code, whole = 0;
    const char *key, *text, *brief = "";
    Py_ssize_t len;
    if (!PyArg_ParseTuple(args, "iss#|sp:failed", &code, &key, &text, &len, &brief, &whole))
        return NULL;
    struct bk_worker *worker = live(self);
    if (!worker)
        return NULL;
    bk_worker_failed(worker, code, key, bk_str_of(brief), whole,
                     (struct bk_str){text, (size_t)len});
    Py_RETURN_NONE;
}

static PyObject *
worker_files(PyObject *self, PyObject *names)
{
    char *at;
    Py_ssize_t len;
    int result = 0;
    struct bk_worker *worker = live(self);
    if (!worker || PyBytes_AsStringAndSize(names, &at, &len) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS result = bk_worker_files(worker, (struct bk_str){at, (size_t)len});
    Py_END_ALLOW_THREADS return PyBool_FromLong(result == 0);
}

static PyObject *
worker_debugging(PyObject *self, PyObject *on)
{
    struct bk_worker *worker = live(self);
    int truth = worker ? PyObject_IsTrue(on) : -1;
    if (truth < 0)
        return NULL;
    bk_worker_debugging(worker, truth);
    Py_RETURN_NONE;
}

static PyObject *
worker_watch_over(PyObject *self, PyObject *args)
{
    return live(self) ? bkpy_insight_begin(((struct worker *)self)->host, args) : NULL;
}

// {"app": "x:y", ...} as "key=value" lines.
static PyObject *
join_facts(PyObject *facts)
{
    PyObject *key, *value, *text = PyUnicode_FromString("");
    for (Py_ssize_t at = 0; text && PyDict_Next(facts, &at, &key, &value);) {
        PyObject *line = PyUnicode_FromFormat("%S=%S", key, value), *joined = NULL;
        PyObject *flat = line ? PyObject_CallMethod(line, "replace", "ss", "\n", " ") : NULL;
        if (flat)
            joined = PyUnicode_FromFormat("%U%U\n", text, flat);
        Py_XDECREF(line);
        Py_XDECREF(flat);
        Py_SETREF(text, joined);
    }
    PyObject *bytes = text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
    Py_XDECREF(text);
    return bytes;
}

static PyObject *
worker_ready(PyObject *self, PyObject *facts)
{
    struct bk_worker *worker = live(self);
    if (!worker)
        return NULL;
    if (!PyDict_Check(facts)) {
        PyErr_SetString(PyExc_TypeError, "ready takes a dict of facts");
        return NULL;
    }
    PyObject *text = join_facts(facts);
    if (!text)
        return NULL;
    int result = bk_worker_ready(
        worker, (struct bk_str){PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)});
    Py_DECREF(text);
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *
worker_stop(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"quick", NULL};
    int quick = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:stop", names, &quick))
        return NULL;
    if (((struct worker *)self)->host->engine)
        bk_worker_stop(((struct worker *)self)->worker, quick);
    Py_RETURN_NONE;
}

static PyObject *
worker_abandon(PyObject *self, PyObject *unused)
{
    struct bkpy_host *host = ((struct worker *)self)->host;
    if (host->engine) {
        forget_engine(host);
        bk_worker_abandon(((struct worker *)self)->worker);
    }
    Py_RETURN_NONE;
}

// (hits, misses) of the header memo, for tests and --print-stats.
static PyObject *
worker_memo(PyObject *self, void *unused)
{
    unsigned long long hits = 0, misses = 0;
    for (struct bkpy_host *host = ((struct worker *)self)->host; host; host = host->next) {
        hits += host->memo.hits;
        misses += host->memo.misses;
    }
    return Py_BuildValue("(KK)", hits, misses);
}

// ---- serving ------------------------------------------------------------------------------------

// With `green` under gevent, see bkpy_green_serve.
static PyObject *
serve(PyObject *self, PyObject *app, PyObject *green)
{
    struct bkpy_host *host = ((struct worker *)self)->host;
    if (!live(self))
        return NULL;
    if (!PyCallable_Check(app))
        return PyErr_Format(PyExc_TypeError, "serve takes an application, not %.100s",
                            Py_TYPE(app)->tp_name);
    if (host->thread) {
        PyErr_SetString(PyExc_RuntimeError, "this worker serves already");
        return NULL;
    }
    Py_INCREF(self);
    int result = bkpy_serving_run(self, host, app, green);
    Py_DECREF(self);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
worker_serve(PyObject *self, PyObject *app)
{
    return serve(self, app, NULL);
}

static PyObject *
worker_serve_green(PyObject *self, PyObject *args)
{
    PyObject *app, *green;
    return PyArg_ParseTuple(args, "OO!:serve_green", &app, &PyTuple_Type, &green)
               ? serve(self, app, green)
               : NULL;
}

static PyObject *
worker_threads(PyObject *self, PyObject *number)
{
    struct bkpy_host *host = ((struct worker *)self)->host;
    unsigned long count = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred() || !live(self))
        return NULL;
    if (count < 1 || count > 1000)
        return PyErr_Format(PyExc_ValueError, "1 to 1000 threads");
    if (bkpy_serving_begin(host, (unsigned)count) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
worker_run(PyObject *self, PyObject *args)
{
    return bkpy_serving_thread(((struct worker *)self)->host, args);
}

// ---- the type -----------------------------------------------------------------------------------

static PyMethodDef methods[] = {
    {"inherit", worker_inherit, METH_O | METH_CLASS,
     "inherit(fd): the worker the master describes in this descriptor. OSError EPROTONOSUPPORT: "
     "versions do not fit."},
    {"alone", worker_alone, METH_O | METH_CLASS,
     "alone(settings): a worker without a master. ValueError: a setting is wrong."},
    {"setting", worker_setting, METH_O,
     "setting(key): a setting as text, '' when unset; list items one per line."},
    {"arguments", worker_arguments, METH_NOARGS,
     "arguments(): sys.argv of the application, its name first."},
    {"path", worker_path, METH_NOARGS,
     "path(): sys.path as a bootstrap (PEX, Bazel) had made it, [] when none had."},
    {"failed", worker_failed, METH_VARARGS,
     "failed(code, key, text, brief='', whole=False): the boot failed; then exit with that code. "
     "brief: the same in one line; whole: and there is no more to say."},
    {"files", worker_files, METH_O,
     "files(names): names of imported files, bytes, one a line. False: the master did not take "
     "them."},
    {"debugging", worker_debugging, METH_O,
     "debugging(on): a person is at a breakpoint of this process, or has left it."},
    {"watch_over", worker_watch_over, METH_VARARGS,
     "watch_over(report, interrupt, own, threading): answer the time keeper; (fd, signal) for faulthandler. See "
     "insight.py."},
    {"ready", worker_ready, METH_O, "ready(facts): open the doors and tell the master."},
    {"serve", worker_serve, METH_O, "serve(app): run a WSGI application until told to stop."},
    {"serve_green", worker_serve_green, METH_VARARGS,
     "serve_green(app, (hub, make, most, again, tell, wait)): the same with a greenlet per request; "
     "see gevent_worker.py."},
    {"threads", worker_threads, METH_O,
     "threads(count): serve() will run the application on so many threads. Before ready()."},
    {"_run", worker_run, METH_VARARGS, "_run(number, app): what serve() runs on its threads."},
    {"stop", (PyCFunction)(void (*)(void))worker_stop, METH_VARARGS | METH_KEYWORDS,
     "stop(quick=False): finish what runs and leave serve(); quick: leave at once."},
    {"abandon", worker_abandon, METH_NOARGS,
     "abandon(): in a forked child, keep nothing of the server."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"number", worker_number, NULL, "Worker number, from 1.", NULL},
    {"address", worker_address, NULL, "Address of the first listener.", NULL},
    {"stopping", worker_stopping, NULL,
     "Was it told to stop? 0 no, 1 gracefully, 2 at once.", NULL},
    {"counts", worker_counts, NULL, "(requests, errors) so far.", NULL},
    {"memo", worker_memo, NULL, "(hits, misses) of the header memo.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

int
bkpy_worker_setup(PyObject *module, struct bkpy_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_doc,
         "One worker: Worker.inherit(fd) under a master, Worker.alone(settings) without."},
        {Py_tp_dealloc, worker_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.Worker",
        .basicsize = sizeof(struct worker),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    state->worker_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->worker_type ? 0 : -1;
}
