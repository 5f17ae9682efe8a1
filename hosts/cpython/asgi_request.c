// A request on its way through an ASGI application: scope, `receive` and `send`, the task. Called
// by asgi.c for each exchange the engine hands out.
#include "asgi.h"

#include "title.h"

struct companion { // `receive`, and the callback of the task
    PyObject_HEAD vectorcallfunc call;
    struct bkpy_request *request; // ref
};

static PyObject *request_new(struct bkpy_host *host, const struct bk_call *call);
static PyObject *companion_new(struct bkpy_request *request, PyTypeObject *type,
                               vectorcallfunc call, PyObject **slot);
static PyObject *start(struct bkpy_request *request, PyObject *scope, PyObject **ret_task);
static int keep_running(struct bkpy_request *request, PyObject *task, PyObject *scope);
static PyObject *call_receive(PyObject *self, PyObject *const *args, size_t flags,
                              PyObject *keywords);
static void let_go(PyObject *companion);

void
bkpy_asgi_run(struct bkpy_host *host, struct bk_exchange *x)
{
    struct bkpy_asgi *asgi = host->asgi;
    struct bkpy_request *request = (struct bkpy_request *)request_new(host, bk_exchange_call(x));
    if (bk_unlikely(!request)) {
        bkpy_failure_answer(host, x);
        bk_exchange_commit(x);
        return;
    }
    PyObject *task = NULL, *done = NULL, *scope = bkpy_asgi_scope(host, x, bk_exchange_call(x));
    if (bk_likely(scope != NULL))
        done = start(request, scope, &task);
    if (bk_unlikely(!host->engine)) // the application forked, and this is the child
        bkpy_exception_raise(NULL);
    else if (bk_likely(done == Py_True) || !done)
        bkpy_asgi_end(request, done ? task : NULL, scope);
    else if (keep_running(request, task, scope) < 0)
        PyErr_WriteUnraisable(asgi->app);
    if (task && !done) // of a task that raised SystemExit the exception is to be fetched, or it
                       // says so in the log
        Py_XDECREF(PyObject_CallMethodNoArgs(task, asgi->words[BKPY_ASGI_EXCEPTION]));
    PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(task);
    Py_XDECREF(scope);
    let_go(asgi->receive);
    Py_DECREF(request);
}

// The `receive` that is kept for reuse holds its request no longer than the application does.
static void
let_go(PyObject *companion)
{
    if (bk_likely(companion && Py_REFCNT(companion) == 1))
        Py_CLEAR(((struct companion *)companion)->request);
}

// ---- the task -----------------------------------------------------------------------------------

// A future of the loop stands for the request as it is: the application (tornado_worker.py) has
// its own way of running.
static bool
is_future(const struct bkpy_asgi *asgi, PyObject *given)
{
    return PyObject_TypeCheck(given, ((PyTypeObject *)asgi->task_type)->tp_base);
}

// The application's awaitable as a coroutine; steals `given`.
static PyObject *
as_coroutine(struct bkpy_asgi *asgi, PyObject *given)
{
    if (bk_likely(PyCoro_CheckExact(given)))
        return given;
    PyObject *wrapped = PyObject_CallOneArg(asgi->wrap, given);
    Py_DECREF(given);
    return wrapped;
}

// Calls the application. True or False: is the task in *ret_task done? NULL with an exception.
static PyObject *
start(struct bkpy_request *request, PyObject *scope, PyObject **ret_task)
{
    struct bkpy_asgi *asgi = request->host->asgi;
    PyObject *receive = companion_new(request, request->host->state->asgi_receive_type,
                                      call_receive, &asgi->receive);
    if (!receive)
        return NULL;
    PyObject *arguments[4] = {NULL, scope, receive, (PyObject *)request};
    PyObject *given =
        PyObject_Vectorcall(asgi->app, arguments + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(receive);
    if (given && bk_unlikely(is_future(asgi, given))) {
        *ret_task = given;
        return PyObject_CallMethodNoArgs(given, asgi->words[BKPY_ASGI_DONE]);
    }
    PyObject *coroutine = given ? as_coroutine(asgi, given) : NULL;
    if (bk_unlikely(!coroutine))
        return NULL;
    int result = bkpy_asgi_task(asgi, coroutine, ret_task);
    Py_DECREF(coroutine);
    return result == 0 ? PyObject_CallMethodNoArgs(*ret_task, asgi->words[BKPY_ASGI_DONE]) : NULL;
}

// It is no longer one of those that run. The list's reference goes last.
static void
forget_task(struct bkpy_request *request)
{
    struct bkpy_asgi *asgi = request->host->asgi;
    Py_CLEAR(request->task);
    Py_CLEAR(request->scope);
    bk_list_remove(&request->node);
    if (asgi && --asgi->running_count == 0)
        bkpy_title_busy(false);
    Py_DECREF(request);
}

// Called with the task when it is done.
static PyObject *
call_done(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
{
    struct bkpy_request *request = ((struct companion *)self)->request;
    if (!request->task || PyVectorcall_NARGS(flags) != 1)
        Py_RETURN_NONE;
    struct bkpy_host *host = request->host;
    PyObject *task = request->task, *scope = request->scope;
    request->task = request->scope = NULL;
    bk_list_remove(&request->node);
    if (host->asgi) {
        if (--host->asgi->running_count == 0)
            bkpy_title_busy(false);
        if (host->engine)
            bkpy_asgi_end(request, task, scope);
    }
    Py_DECREF(task);
    Py_DECREF(scope);
    Py_DECREF(request); // of the list; `self` has its own
    Py_RETURN_NONE;
}

static int
keep_running(struct bkpy_request *request, PyObject *task, PyObject *scope)
{
    struct bkpy_asgi *asgi = request->host->asgi;
    PyObject *slot = NULL;
    PyObject *callback =
        companion_new(request, request->host->state->asgi_done_callback_type, call_done, &slot);
    Py_XDECREF(slot);
    if (!callback)
        return -1;
    request->task = Py_NewRef(task);
    request->scope = Py_NewRef(scope);
    Py_INCREF(request);
    bk_list_append(&asgi->running, &request->node);
    asgi->running_count++;
    if (request->leaving)
        bkpy_asgi_watch(request);
    PyObject *result =
        PyObject_CallMethodOneArg(task, asgi->words[BKPY_ASGI_ADD_DONE_CALLBACK], callback);
    Py_DECREF(callback);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

// ---- the exchange -------------------------------------------------------------------------------

struct bk_exchange *
bkpy_asgi_exchange(const struct bkpy_request *request)
{
    if (request->stage == BKPY_STAGE_DONE || !request->host->engine)
        return NULL;
    return bk_exchange_at(request->host->engine, request->exchange);
}

void
bkpy_asgi_commit(struct bkpy_request *request, struct bk_exchange *x)
{
    struct bkpy_asgi *asgi = request->host->asgi;
    request->stage = BKPY_STAGE_DONE;
    if (request->exchange.index < asgi->index_count
        && asgi->by_index[request->exchange.index] == request)
        asgi->by_index[request->exchange.index] = NULL;
    bk_exchange_commit(x);
    Py_CLEAR(request->leaving);
    if (bk_unlikely(request->waits != NULL))
        bkpy_asgi_wake(request, BK_WAIT_GONE);
}

PyObject *
bkpy_asgi_refuse(struct bkpy_request *request, PyObject *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyErr_FormatV(error, format, arguments);
    va_end(arguments);
    request->broke_rule = true;
    return NULL;
}

PyObject *
bkpy_asgi_gone(struct bkpy_request *request)
{
    PyErr_SetString(request->host->state->asgi_disconnected, "the client is gone");
    return NULL;
}

// ---- send, receive ------------------------------------------------------------------------------

static PyObject *
call_send(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
{
    struct bkpy_request *request = (struct bkpy_request *)self;
    if (PyVectorcall_NARGS(flags) + (keywords ? PyTuple_GET_SIZE(keywords) : 0) != 1)
        return bkpy_asgi_refuse(request, PyExc_TypeError, "send takes one argument: a message");
    if (bk_unlikely(request->host->turning))
        return bkpy_asgi_refuse(request, PyExc_RuntimeError,
                                "send was called from another thread than the loop's");
    PyObject *type = bkpy_asgi_value(request, args[0], BKPY_ASGI_TYPE);
    if (bk_unlikely(!type || !PyUnicode_Check(type)
                    || PyUnicode_KIND(type) != PyUnicode_1BYTE_KIND))
        return PyErr_Occurred()
                   ? NULL
                   : bkpy_asgi_refuse(request, PyExc_TypeError,
                                      "a message is a dict with a str 'type', not %R", args[0]);
    struct bk_exchange *x = bkpy_asgi_exchange(request);
    if (bk_unlikely(!x))
        return request->stage == BKPY_STAGE_DONE && !request->left && request->host->engine
                   ? bkpy_asgi_refuse(request, PyExc_RuntimeError,
                                      "message '%U' after the answer was complete", type)
                   : bkpy_asgi_gone(request);
    if (bk_unlikely(request->websocket))
        return bkpy_asgi_ws_send(request, x, args[0], type);
    return bkpy_asgi_send(request, x, args[0], type);
}

static PyObject *
call_receive(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
{
    if (PyVectorcall_NARGS(flags) || (keywords && PyTuple_GET_SIZE(keywords))) {
        PyErr_SetString(PyExc_TypeError, "receive takes no arguments");
        return NULL;
    }
    return bkpy_asgi_wait_new(((struct companion *)self)->request, false);
}

// ---- for tornado_bridge.py ----------------------------------------------------------------------

// send.on_leave(callback): cheaper than a task that waits in receive(). Before the application has
// to wait for something nobody can leave unnoticed.
static PyObject *
on_leave(PyObject *self, PyObject *callback)
{
    struct bkpy_request *request = (struct bkpy_request *)self;
    Py_XSETREF(request->leaving, callback == Py_None ? NULL : Py_NewRef(callback));
    if (request->task)
        bkpy_asgi_watch(request);
    Py_RETURN_NONE;
}

static struct bk_exchange *
exchange_of(struct bkpy_request *request)
{
    struct bk_exchange *x = request->websocket || request->host->turning
                                ? NULL
                                : bkpy_asgi_exchange(request);
    if (!x)
        bkpy_asgi_gone(request);
    return x;
}

// send.answer(status, fields, body, more)
static PyObject *
answer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct bkpy_request *request = (struct bkpy_request *)self;
    if (count != 4)
        return PyErr_Format(PyExc_TypeError, "answer takes a status, fields, a body and more");
    struct bk_exchange *x = exchange_of(request);
    if (!x || bkpy_asgi_answer(request, x, args[0], args[1]) < 0)
        return NULL;
    return bkpy_asgi_send_more(request, x, args[2], args[3] == Py_True);
}

// send.more(body, more)
static PyObject *
send_more(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct bkpy_request *request = (struct bkpy_request *)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "more takes a body and more");
    struct bk_exchange *x = exchange_of(request);
    return x ? bkpy_asgi_send_more(request, x, args[0], args[1] == Py_True) : NULL;
}

// send.abandon(): its client has left; nobody waits for the task any more, which may go on.
static PyObject *
abandon(PyObject *self, PyObject *unused)
{
    struct bkpy_request *request = (struct bkpy_request *)self;
    struct bk_exchange *x = bkpy_asgi_exchange(request);
    request->left = true;
    if (x)
        bkpy_asgi_commit(request, x);
    if (request->task)
        forget_task(request);
    Py_RETURN_NONE;
}

// ---- the objects --------------------------------------------------------------------------------

static int
note_index(struct bkpy_asgi *asgi, struct bkpy_request *request)
{
    unsigned index = request->exchange.index;
    if (bk_unlikely(index >= asgi->index_count)) {
        unsigned count = asgi->index_count ? asgi->index_count : 64;
        while (count <= index)
            count *= 2;
        struct bkpy_request **grown = PyMem_Realloc(asgi->by_index, count * sizeof(*grown));
        if (!grown) {
            PyErr_NoMemory();
            return -1;
        }
        memset(grown + asgi->index_count, 0, (count - asgi->index_count) * sizeof(*grown));
        asgi->by_index = grown;
        asgi->index_count = count;
    }
    asgi->by_index[index] = request;
    return 0;
}

static PyObject *
request_new(struct bkpy_host *host, const struct bk_call *call)
{
    struct bkpy_asgi *asgi = host->asgi;
    struct bkpy_request *request = (struct bkpy_request *)asgi->send;
    if (bk_likely(request && Py_REFCNT(request) == 1)) {
        Py_INCREF(request);
    } else {
        request = PyObject_New(struct bkpy_request, host->state->asgi_send_type);
        if (!request)
            return NULL;
        request->call = call_send;
        request->host = host;
        host->refs++;
        Py_XSETREF(asgi->send, Py_NewRef((PyObject *)request));
    }
    request->exchange = call->ref;
    bk_list_init(&request->node);
    request->task = request->scope = request->leaving = NULL;
    request->waits = NULL;
    request->stage = BKPY_STAGE_START;
    request->websocket = call->websocket;
    request->connected = request->head_only = request->body_over = request->left = false;
    request->broke_rule = request->has_length = request->trailers = false;
    request->body_error = 0;
    request->length = request->pushed = 0;
    if (note_index(asgi, request) < 0)
        Py_CLEAR(request);
    return (PyObject *)request;
}

static void
request_dealloc(PyObject *self)
{
    struct bkpy_request *request = (struct bkpy_request *)self;
    PyTypeObject *type = Py_TYPE(self);
    struct bkpy_host *host = request->host;
    if (host->asgi && request->exchange.index < host->asgi->index_count
        && host->asgi->by_index[request->exchange.index] == request)
        host->asgi->by_index[request->exchange.index] = NULL;
    Py_XDECREF(request->leaving);
    PyObject_Free(self);
    Py_DECREF(type);
    bkpy_host_unref(host);
}

static PyObject *
companion_new(struct bkpy_request *request, PyTypeObject *type, vectorcallfunc call,
              PyObject **slot)
{
    struct companion *companion = (struct companion *)*slot;
    Py_INCREF(request);
    if (bk_likely(companion && Py_REFCNT(companion) == 1)) {
        Py_XSETREF(companion->request, request);
        return Py_NewRef((PyObject *)companion);
    }
    companion = PyObject_New(struct companion, type);
    if (!companion) {
        Py_DECREF(request);
        return NULL;
    }
    companion->call = call;
    companion->request = request;
    Py_XSETREF(*slot, Py_NewRef((PyObject *)companion));
    return (PyObject *)companion;
}

static void
companion_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct bkpy_request *request = ((struct companion *)self)->request;
    PyObject_Free(self);
    Py_DECREF(type);
    Py_XDECREF(request);
}

static PyTypeObject *
make_type(PyObject *module, const char *name, size_t size, size_t offset, destructor dealloc,
          PyMethodDef *methods)
{
    PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, (Py_ssize_t)offset, READONLY, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_dealloc, dealloc},
        {Py_tp_call, PyVectorcall_Call},
        {Py_tp_members, members},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = name,
        .basicsize = (int)size,
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE
                 | Py_TPFLAGS_HAVE_VECTORCALL,
        .slots = slots,
    };
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}

int
bkpy_asgi_request_setup(PyObject *module, struct bkpy_state *state)
{
    static PyMethodDef none[] = {{NULL, NULL, 0, NULL}};
    static PyMethodDef of_send[] = {
        {"on_leave", on_leave, METH_O,
         "on_leave(callback): call it once when the client leaves before the answer is complete."},
        {"answer", (PyCFunction)(void (*)(void))answer, METH_FASTCALL,
         "answer(status, fields, body, more): start and first part of an answer; fields are pairs of "
         "str. None, or an awaitable."},
        {"more", (PyCFunction)(void (*)(void))send_more, METH_FASTCALL,
         "more(body, more): a further part. None, or an awaitable."},
        {"abandon", abandon, METH_NOARGS, "abandon(): give up the answer, and the task."},
        {NULL, NULL, 0, NULL},
    };
    state->asgi_send_type =
        make_type(module, "barkeep._engine.Send", sizeof(struct bkpy_request),
                  offsetof(struct bkpy_request, call), request_dealloc, of_send);
    state->asgi_receive_type =
        make_type(module, "barkeep._engine.Receive", sizeof(struct companion),
                  offsetof(struct companion, call), companion_dealloc, none);
    state->asgi_done_callback_type =
        make_type(module, "barkeep._engine.RequestDone", sizeof(struct companion),
                  offsetof(struct companion, call), companion_dealloc, none);
    return state->asgi_send_type && state->asgi_receive_type && state->asgi_done_callback_type ? 0
                                                                                               : -1;
}
