// Asgi: an ASGI application on the loop of this worker. python/barkeep/asgi.py makes it, runs
// lifespan and the loop; the turns come from asgi_selector.c or, under a loop of another make, from
// a reader of the engine's descriptor.
#include "asgi.h"

#include <errno.h>

#include "base/clock.h"
#include "loop/guests.h"
#include "title.h"

struct asgi_object {
    PyObject_HEAD struct bkpy_host *host; // ref
};

static int tell_stop(struct bkpy_asgi *asgi, int flags, bool *ret_ran);
static void wake_waiting(struct bkpy_host *host);
static void start_ready(struct bkpy_host *host, bool *ret_ran);

// ---- the turn -----------------------------------------------------------------------------------

int
bkpy_asgi_turn(struct bkpy_host *host, int wait_ms, struct bk_guest *guests, unsigned room,
               bool *ret_ran)
{
    struct bkpy_asgi *asgi = host->asgi;
    struct bk_engine *engine = host->engine;
    int flags;
    host->turning = true;
    Py_BEGIN_ALLOW_THREADS flags = bk_engine_turn(engine, wait_ms);
    Py_END_ALLOW_THREADS host->turning = false;
    bkpy_release_drain(&host->release);
    bkpy_memo_turn(&host->memo);
    unsigned count = flags & BK_TURN_GUEST ? bk_engine_guests(engine, guests, room) : 0;
    *ret_ran = count > 0;
    if (flags & BK_TURN_EVENT)
        *ret_ran = true;
    if (bk_likely(asgi != NULL)) {
        if (flags & BK_TURN_EVENT)
            wake_waiting(host);
        if (flags & BK_TURN_READY)
            start_ready(host, ret_ran);
    }
    if (flags & BK_TURN_SIGNAL) {
        *ret_ran = true;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
    if (bk_unlikely(asgi && asgi->stop && host->engine && bk_engine_stopping(engine))
        && tell_stop(asgi, flags, ret_ran) < 0)
        return -1;
    return (int)count;
}

// stop(False) when the engine begins to drain, stop(True) when it is empty; once each.
static int
tell_stop(struct bkpy_asgi *asgi, int flags, bool *ret_ran)
{
    bool *told[2] = {&asgi->stopping, &asgi->stopped};
    for (unsigned i = 0; i < 1u + (flags & BK_TURN_STOP ? 1u : 0u); i++) {
        if (*told[i])
            continue;
        *told[i] = *ret_ran = true;
        PyObject *result = PyObject_CallOneArg(asgi->stop, i ? Py_True : Py_False);
        if (!result)
            return -1;
        Py_DECREF(result);
    }
    return 0;
}

static void
wake_waiting(struct bkpy_host *host)
{
    struct bk_event event;
    while (host->engine && bk_engine_event(host->engine, &event)) {
        struct bkpy_asgi *asgi = host->asgi;
        struct bkpy_request *request =
            event.ref.index < asgi->index_count ? asgi->by_index[event.ref.index] : NULL;
        if (!request || request->exchange.generation != event.ref.generation)
            continue;
        Py_INCREF(request);
        bkpy_asgi_wake(request, event.what);
        Py_DECREF(request);
    }
}

// No loop runs as far as the application can tell: Django refuses its database where one does.
static void
run_wsgi(struct bkpy_host *host, struct bk_exchange *x)
{
    struct bkpy_asgi *asgi = host->asgi;
    PyObject *loop = Py_NewRef(asgi->loop), *set_running = Py_NewRef(asgi->set_running);
    Py_XDECREF(PyObject_CallOneArg(set_running, Py_None));
    bkpy_wsgi_run(host, x);
    Py_XDECREF(PyObject_CallOneArg(set_running, loop));
    Py_DECREF(set_running);
    Py_DECREF(loop);
}

static void
start_ready(struct bkpy_host *host, bool *ret_ran)
{
    struct bkpy_asgi *asgi = host->asgi;
    struct bk_exchange *x;
    bool busy = asgi->running_count > 0;
    while (asgi->app && host->engine && (x = bk_engine_next(host->engine))) {
        uint64_t began = asgi->blocked_ns ? bk_clock_mono() : 0;
        if (!busy)
            bkpy_title_busy(busy = true);
        *ret_ran = true;
        if (bk_unlikely(asgi->wsgi))
            run_wsgi(host, x);
        else
            bkpy_asgi_run(host, x);
        if (began)
            bkpy_asgi_watch_step(asgi, began, "the first step of a request");
    }
    if (busy && !asgi->running_count)
        bkpy_title_busy(false);
}

// Everything else waits while a step runs, so a long one is worth a line; asyncio's own warning
// needs debug mode and does not see what runs inside select().
void
bkpy_asgi_watch_step(struct bkpy_asgi *asgi, uint64_t began, const char *what)
{
    uint64_t now = bk_clock_mono(), took = now - began;
    unsigned held;
    if (bk_likely(took < asgi->blocked_ns) || !asgi->app
        || !bk_log_limited(&asgi->blocked_limit, now, &held))
        return;
    bk_log(BK_LOG_WARNING, "loop-blocked",
           "%s held up the event loop for %.1f s: nothing else was served meanwhile", what,
           (double)took / 1e9);
}

// ---- life ---------------------------------------------------------------------------------------

void
bkpy_asgi_free(struct bkpy_asgi *asgi)
{
    struct bk_list *node;
    if (!asgi)
        return;
    while ((node = bk_list_pop(&asgi->running))) {
        struct bkpy_request *request = BK_OUTER(node, struct bkpy_request, node);
        Py_CLEAR(request->task);
        Py_CLEAR(request->scope);
        Py_DECREF(request);
    }
    PyObject **objects[] = {
        &asgi->set_running,   &asgi->app,       &asgi->loop,
        &asgi->call_soon,     &asgi->current_tasks,
        &asgi->stop,          &asgi->state,
        &asgi->context,       &asgi->task_type, &asgi->task_arguments, &asgi->last_exit,
        &asgi->wrap,
        &asgi->cancelled,     &asgi->done,      &asgi->send,           &asgi->receive,
        &asgi->wait,          &asgi->version,   &asgi->extensions[0],  &asgi->extensions[1],
        &asgi->extensions[2],
        &asgi->ws_extensions, &asgi->no_body,   &asgi->disconnect,     &asgi->root_path,
        &asgi->root_bytes,
    };
    for (unsigned i = 0; i < BK_COUNT(objects); i++)
        Py_CLEAR(*objects[i]);
    for (unsigned i = 0; i < BKPY_ASGI_WORD_COUNT; i++)
        Py_CLEAR(asgi->words[i]);
    for (unsigned i = 0; i < BK_HEADER_COUNT; i++)
        Py_CLEAR(asgi->names[i]);
    for (unsigned i = 0; asgi->templates && i < asgi->template_count; i++)
        Py_CLEAR(asgi->templates[i]);
    PyMem_Free(asgi->templates);
    PyMem_Free(asgi->by_index);
    PyMem_Free(asgi);
}

static int
make_words(struct bkpy_asgi *asgi)
{
    static const char *const texts[BKPY_ASGI_WORD_COUNT] = {
#define X(id, text) text,
        BKPY_ASGI_WORDS(X)
#undef X
    };
    for (unsigned i = 0; i < BKPY_ASGI_WORD_COUNT; i++)
        if (!(asgi->words[i] = PyUnicode_InternFromString(texts[i])))
            return -1;
    return 0;
}

static int
make_objects(struct bkpy_host *host)
{
    struct bkpy_asgi *asgi = host->asgi;
    asgi->done = bkpy_asgi_done_new(host->state);
    asgi->context = PyContext_CopyCurrent();
    asgi->no_body =
        Py_BuildValue("{OOOyOO}", asgi->words[BKPY_ASGI_TYPE], asgi->words[BKPY_ASGI_HTTP_REQUEST],
                      asgi->words[BKPY_ASGI_BODY], "", asgi->words[BKPY_ASGI_MORE_BODY], Py_False);
    asgi->disconnect =
        Py_BuildValue("{OO}", asgi->words[BKPY_ASGI_TYPE], asgi->words[BKPY_ASGI_HTTP_DISCONNECT]);
    bkpy_asgi_task_start(host);
    asgi->task_arguments = asgi->eager
                               ? Py_BuildValue("{sOsO}", "loop", asgi->loop, "eager_start", Py_True)
                               : Py_BuildValue("{sO}", "loop", asgi->loop);
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio) {
        asgi->task_type = PyObject_GetAttrString(asyncio, "Task");
        asgi->cancelled = PyObject_GetAttrString(asyncio, "CancelledError");
        Py_DECREF(asyncio);
    }
    return asgi->done && asgi->context && asgi->no_body && asgi->disconnect && asgi->task_arguments
                   && asgi->task_type && asgi->cancelled
               ? 0
               : -1;
}

static const struct bk_host_ops ops = {
    .abi = BK_HOST_ABI,
    .size = sizeof(ops),
    .name = "cpython asgi",
    .flags = BK_HOST_STREAMS | BK_HOST_LOOP | BK_HOST_WEBSOCKET,
    .release = bkpy_release_back,
};

static int
begin(struct bkpy_host *host, PyObject *loop, PyObject *wrap, PyObject *root_path,
      PyObject *root_bytes, double blocked)
{
    struct bkpy_asgi *asgi = host->asgi = PyMem_Calloc(1, sizeof(*asgi));
    if (!asgi) {
        PyErr_NoMemory();
        return -1;
    }
    bk_list_init(&asgi->running);
    asgi->loop = Py_NewRef(loop);
    asgi->wrap = Py_NewRef(wrap);
    asgi->root_path = Py_NewRef(root_path);
    asgi->root_bytes = Py_NewRef(root_bytes);
    asgi->blocked_ns = (unsigned long long)(blocked * 1e9);
    host->thread = PyThread_get_thread_ident();
    if (bk_engine_attach(host->engine, &ops, host) < 0) {
        PyErr_SetString(PyExc_SystemError, "the engine does not take this host");
        return -1;
    }
    if (make_words(asgi) < 0 || make_objects(host) < 0 || bkpy_environ_start(host) < 0)
        return -1;
    return bkpy_asgi_scope_start(host);
}

// Asgi(worker, loop, wrap, root_path, root_bytes, blocked)
static PyObject *
asgi_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *worker, *loop, *wrap, *root_path, *root_bytes;
    double blocked;
    if (!PyArg_ParseTuple(args, "OOOUSd:Asgi", &worker, &loop, &wrap, &root_path, &root_bytes,
                          &blocked))
        return NULL;
    struct bkpy_host *host = bkpy_worker_host(worker);
    if (!host || !host->engine)
        return PyErr_Occurred()
                   ? NULL
                   : PyErr_Format(PyExc_RuntimeError, "this worker belongs to the parent process");
    if (host->asgi || host->thread)
        return PyErr_Format(PyExc_RuntimeError, "this worker serves already");
    struct asgi_object *self = (struct asgi_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->host = host;
    host->refs++;
    if (begin(host, loop, wrap, root_path, root_bytes, blocked) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
close_host(struct bkpy_host *host)
{
    struct bkpy_asgi *asgi = host->asgi;
    if (!asgi)
        return;
    host->asgi = NULL;
    host->thread = 0;
    bkpy_asgi_free(asgi);
    bkpy_title_busy(false);
}

static void
asgi_dealloc(PyObject *self)
{
    struct bkpy_host *host = ((struct asgi_object *)self)->host;
    PyTypeObject *type = Py_TYPE(self);
    if (host) {
        close_host(host);
        bkpy_host_unref(host);
    }
    PyObject_Free(self);
    Py_DECREF(type);
}

// ---- methods ------------------------------------------------------------------------------------

static struct bkpy_asgi *
live(PyObject *self)
{
    struct bkpy_host *host = ((struct asgi_object *)self)->host;
    if (host->asgi && host->engine)
        return host->asgi;
    PyErr_SetString(PyExc_RuntimeError,
                    host->asgi ? "this worker belongs to the parent process" : "Asgi was closed");
    return NULL;
}

static PyObject *
asgi_serve(PyObject *self, PyObject *args)
{
    static const struct bk_host_ops wsgi_ops = {.abi = BK_HOST_ABI,
                                                .size = sizeof(wsgi_ops),
                                                .name = "cpython-wsgi",
                                                .release = bkpy_release_back};
    PyObject *app, *state, *stop;
    int wsgi = 0;
    struct bkpy_asgi *asgi = live(self);
    if (!asgi || !PyArg_ParseTuple(args, "OOO|p:serve", &app, &state, &stop, &wsgi))
        return NULL;
    struct bkpy_host *host = ((struct asgi_object *)self)->host;
    asgi->wsgi = wsgi;
    if (wsgi && !asgi->set_running) {
        PyObject *events = PyImport_ImportModule("asyncio.events");
        asgi->set_running = events ? PyObject_GetAttrString(events, "_set_running_loop") : NULL;
        Py_XDECREF(events);
        if (!asgi->set_running)
            return NULL;
    }
    if (wsgi
        && (bkpy_serving_prepare(host, app, 1) < 0
            || bk_engine_attach(host->engine, &wsgi_ops, host) < 0))
        return NULL;
    Py_XSETREF(asgi->app, Py_NewRef(app));
    Py_XSETREF(asgi->state, state == Py_None ? NULL : Py_NewRef(state));
    Py_XSETREF(asgi->stop, Py_NewRef(stop));
    Py_RETURN_NONE;
}

static PyObject *
asgi_pump(PyObject *self, PyObject *unused)
{
    bool ran;
    if (!live(self) || bkpy_asgi_turn(((struct asgi_object *)self)->host, 0, NULL, 0, &ran) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
asgi_fileno(PyObject *self, PyObject *unused)
{
    if (!live(self))
        return NULL;
    int fd = bk_engine_fd(((struct asgi_object *)self)->host->engine);
    if (fd >= 0)
        return PyLong_FromLong(fd);
    errno = -fd;
    return PyErr_SetFromErrno(PyExc_OSError);
}

// Asks every task that still runs to stop.
static PyObject *
asgi_cancel(PyObject *self, PyObject *unused)
{
    struct bkpy_asgi *asgi = live(self);
    if (!asgi)
        return NULL;
    asgi->cancelling = true;
    PyObject *tasks = PyList_New(0);
    for (struct bk_list *node = asgi->running.next; tasks && node != &asgi->running;
         node = node->next)
        if (PyList_Append(tasks, BK_OUTER(node, struct bkpy_request, node)->task) < 0)
            Py_CLEAR(tasks);
    for (Py_ssize_t i = 0; tasks && i < PyList_GET_SIZE(tasks); i++) {
        PyObject *asked =
            PyObject_CallMethodNoArgs(PyList_GET_ITEM(tasks, i), asgi->words[BKPY_ASGI_CANCEL]);
        if (!asked)
            Py_CLEAR(tasks);
        Py_XDECREF(asked);
    }
    Py_XDECREF(tasks);
    return tasks ? Py_NewRef(Py_None) : NULL;
}

// Did a request's task end with this very exception?
static PyObject *
asgi_owns(PyObject *self, PyObject *given)
{
    struct bkpy_asgi *asgi = live(self);
    if (!asgi)
        return NULL;
    bool owns = given == asgi->last_exit;
    for (struct bk_list *node = asgi->running.next; !owns && node != &asgi->running;
         node = node->next) {
        PyObject *task = BK_OUTER(node, struct bkpy_request, node)->task, *exception = NULL;
        PyObject *done = PyObject_CallMethodNoArgs(task, asgi->words[BKPY_ASGI_DONE]);
        if (done == Py_True)
            exception = PyObject_CallMethodNoArgs(task, asgi->words[BKPY_ASGI_EXCEPTION]);
        owns = exception == given;
        Py_XDECREF(done);
        Py_XDECREF(exception);
        PyErr_Clear();
    }
    return PyBool_FromLong(owns);
}

static PyObject *
asgi_close(PyObject *self, PyObject *unused)
{
    close_host(((struct asgi_object *)self)->host);
    Py_RETURN_NONE;
}

static PyObject *
asgi_running(PyObject *self, void *unused)
{
    struct bkpy_asgi *asgi = ((struct asgi_object *)self)->host->asgi;
    return PyLong_FromUnsignedLong(asgi ? asgi->running_count : 0);
}

static PyObject *
asgi_forked(PyObject *self, void *unused)
{
    return PyBool_FromLong(!((struct asgi_object *)self)->host->engine);
}

static PyObject *
asgi_leaving(PyObject *self, void *unused)
{
    PyObject *leaving = ((struct asgi_object *)self)->host->leaving;
    return Py_NewRef(leaving ? leaving : Py_None);
}

int
bkpy_asgi_setup(PyObject *module, struct bkpy_state *state)
{
    static PyMethodDef methods[] = {
        {"serve", asgi_serve, METH_VARARGS,
         "serve(app, state, stop, wsgi=False): take requests; stop() is called when drained. wsgi: "
         "call a WSGI application, in the loop's thread."},
        {"pump", asgi_pump, METH_NOARGS, "pump(): one turn, for loops that poll fileno()."},
        {"fileno", asgi_fileno, METH_NOARGS, "fileno(): readable when there is something to do."},
        {"cancel", asgi_cancel, METH_NOARGS, "cancel(): cancel the tasks of all requests."},
        {"owns", asgi_owns, METH_O, "owns(exception): did the task of a request end with it?"},
        {"close", asgi_close, METH_NOARGS, "close(): forget the application and the loop."},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef attributes[] = {
        {"running", asgi_running, NULL, "Requests whose application still runs.", NULL},
        {"forked", asgi_forked, NULL, "Is this a child that the application forked?", NULL},
        {"leaving", asgi_leaving, NULL,
         "SystemExit or KeyboardInterrupt of a request without a master, or None.", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static PyType_Slot slots[] = {
        {Py_tp_doc, "An ASGI application on a loop."},
        {Py_tp_new, asgi_new},
        {Py_tp_dealloc, asgi_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.Asgi",
        .basicsize = sizeof(struct asgi_object),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    state->asgi_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    state->asgi_disconnected = PyErr_NewExceptionWithDoc(
        "barkeep._engine.Disconnected", "send() after the client has gone.", PyExc_OSError, NULL);
    if (!state->asgi_type || !state->asgi_disconnected
        || PyModule_AddObjectRef(module, "Asgi", (PyObject *)state->asgi_type) < 0
        || PyModule_AddObjectRef(module, "Disconnected", state->asgi_disconnected) < 0)
        return -1;
    if (bkpy_asgi_request_setup(module, state) < 0 || bkpy_asgi_wait_setup(module, state) < 0
        || bkpy_asgi_task_setup(module, state) < 0)
        return -1;
    return bkpy_asgi_selector_setup(module, state);
}
