// Awaitables: of receive(), of a send() that has to wait, and of one that need not. They have the
// methods of a coroutine, so what takes coroutines only (asyncio.create_task, anyio's start_soon)
// takes them too.
#include "asgi.h"

static PyObject *resume(struct bkpy_wait *wait);
static void unlink_wait(struct bkpy_wait *wait);

PyObject *
bkpy_asgi_wait_new(struct bkpy_request *request, bool drain)
{
    PyObject **slot = &request->host->asgi->wait;
    struct bkpy_wait *wait = (struct bkpy_wait *)*slot;
    if (bk_likely(wait && Py_REFCNT(wait) == 1 && wait->over)) {
        Py_XSETREF(wait->request, (struct bkpy_request *)Py_NewRef((PyObject *)request));
        Py_INCREF(wait);
    } else {
        wait = PyObject_New(struct bkpy_wait, request->host->state->asgi_wait_type);
        if (!wait)
            return NULL;
        wait->request = (struct bkpy_request *)Py_NewRef((PyObject *)request);
        wait->future = wait->iterator = NULL;
        wait->next = NULL;
        Py_XSETREF(*slot, Py_NewRef((PyObject *)wait));
    }
    wait->drain = drain;
    wait->over = wait->woken = false;
    wait->what = 0;
    return (PyObject *)wait;
}

static void
wait_dealloc(PyObject *self)
{
    struct bkpy_wait *wait = (struct bkpy_wait *)self;
    PyTypeObject *type = Py_TYPE(self);
    unlink_wait(wait);
    Py_XDECREF(wait->iterator);
    Py_XDECREF(wait->future);
    Py_XDECREF(wait->request);
    PyObject_Free(self);
    Py_DECREF(type);
}

// ---- waiting ------------------------------------------------------------------------------------

static void
link_wait(struct bkpy_wait *wait)
{
    wait->next = wait->request->waits;
    wait->request->waits = wait;
}

static void
unlink_wait(struct bkpy_wait *wait)
{
    if (!wait->request)
        return;
    for (struct bkpy_wait **at = &wait->request->waits; *at; at = &(*at)->next)
        if (*at == wait) {
            *at = wait->next;
            break;
        }
    wait->next = NULL;
}

// Tells the engine what all of the request's awaitables wait for. What is so already wakes at once.
void
bkpy_asgi_watch(struct bkpy_request *request)
{
    struct bk_exchange *x = bkpy_asgi_exchange(request);
    unsigned what = request->waits || request->leaving ? BK_WAIT_GONE : 0;
    for (struct bkpy_wait *wait = request->waits; wait; wait = wait->next)
        if (!wait->woken)
            what |= wait->what & ~(unsigned)BKPY_WAIT_ACCEPT;
    unsigned already = x ? bk_exchange_watch(x, what) : what;
    if (already)
        bkpy_asgi_wake(request, already);
}

// In a turn of the loop of its own: handlers do not expect to be called from a turn of the engine.
static void
tell_leaving(struct bkpy_request *request)
{
    PyObject *callback = request->leaving;
    request->leaving = NULL;
    PyObject *handle = PyObject_CallMethod(request->host->asgi->loop, "call_soon", "O", callback);
    Py_XDECREF(handle);
    Py_DECREF(callback);
    PyErr_Clear(); // the loop is closed
}

void
bkpy_asgi_wake(struct bkpy_request *request, unsigned what)
{
    PyObject *error = bkpy_exception_take();
    bool rest = false;
    if (what & BK_WAIT_GONE)
        request->left = true;
    for (struct bkpy_wait *wait = request->waits, *next; wait; wait = next) {
        next = wait->next;
        if (wait->woken)
            continue;
        if (!(what & (wait->what | BK_WAIT_GONE))) {
            rest = true;
            continue;
        }
        wait->woken = true;
        PyObject *done =
            PyObject_CallMethodNoArgs(wait->future, request->host->asgi->words[BKPY_ASGI_DONE]);
        if (done == Py_False) {
            PyObject *set = PyObject_CallMethodOneArg(
                wait->future, request->host->asgi->words[BKPY_ASGI_SET_RESULT], Py_None);
            Py_XDECREF(set);
        }
        Py_XDECREF(done);
        PyErr_Clear(); // the loop is closed: nobody waits any more
    }
    if (rest || (request->leaving && !(what & BK_WAIT_GONE)))
        bkpy_asgi_watch(request);
    else if (request->leaving)
        tell_leaving(request);
    bkpy_exception_raise(error);
}

// Hangs the awaitable on a new future of the loop; -1 with an exception.
static int
hang(struct bkpy_wait *wait)
{
    struct bkpy_asgi *asgi = wait->request->host->asgi;
    if (!asgi) {
        PyErr_SetString(PyExc_RuntimeError, "this request is over and its loop is closed");
        return -1;
    }
    wait->future = PyObject_CallMethodNoArgs(asgi->loop, asgi->words[BKPY_ASGI_CREATE_FUTURE]);
    if (!wait->future)
        return -1;
    PyAsyncMethods *async = Py_TYPE(wait->future)->tp_as_async;
    wait->iterator =
        async && async->am_await ? async->am_await(wait->future) : PyObject_GetIter(wait->future);
    if (!wait->iterator) {
        Py_CLEAR(wait->future);
        return -1;
    }
    wait->woken = false;
    link_wait(wait);
    bkpy_asgi_watch(wait->request);
    return 0;
}

static void
unhang(struct bkpy_wait *wait)
{
    unlink_wait(wait);
    Py_CLEAR(wait->iterator);
    Py_CLEAR(wait->future);
}

// What the awaitable returns, in *ret: 1; 0: it has to wait for wait->what; -1 with an exception.
static int
look(struct bkpy_wait *wait, bool again, PyObject **ret)
{
    struct bkpy_request *request = wait->request;
    unsigned what = 0;
    if (!wait->drain) {
        int found = bkpy_asgi_message(request, ret, &what);
        wait->what = (uint8_t)what;
        return found;
    }
    wait->what = BK_WAIT_DRAIN;
    if (!again)
        return 0;
    struct bk_exchange *x = bkpy_asgi_exchange(request);
    if (x && bk_exchange_gone(x)) {
        bkpy_asgi_gone(request);
        return -1;
    }
    *ret = Py_NewRef(Py_None);
    return 1;
}

// One step: NULL with an exception, or a future to wait for, or (*ret_over) the result.
static PyObject *
step(struct bkpy_wait *wait, bool *ret_over)
{
    bool again = wait->iterator != NULL;
    *ret_over = false;
    if (bk_unlikely(wait->over)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited receive() or send()");
        return NULL;
    }
    for (;; again = true) {
        if (wait->iterator) {
            PyObject *future = Py_TYPE(wait->iterator)->tp_iternext(wait->iterator);
            if (future)
                return future;
            unhang(wait);
            if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_StopIteration)) {
                wait->over = true;
                return NULL;
            }
            PyErr_Clear();
        }
        PyObject *result = NULL;
        int found = look(wait, again, &result);
        if (bk_likely(found != 0)) {
            wait->over = *ret_over = true;
            Py_CLEAR(wait->request);
            return found > 0 ? result : NULL;
        }
        if (hang(wait) < 0) {
            wait->over = true;
            return NULL;
        }
    }
}

static PySendResult
wait_send(PyObject *self, PyObject *value, PyObject **ret)
{
    bool over;
    *ret = step((struct bkpy_wait *)self, &over);
    return !*ret ? PYGEN_ERROR : over ? PYGEN_RETURN : PYGEN_NEXT;
}

static PyObject *
resume(struct bkpy_wait *wait)
{
    bool over;
    PyObject *result = step(wait, &over);
    if (!result || !over)
        return result;
    if (result != Py_None) // dicts only: an exception or a tuple would need more care
        PyErr_SetObject(PyExc_StopIteration, result);
    Py_DECREF(result);
    return NULL;
}

static PyObject *
wait_next(PyObject *self)
{
    return resume((struct bkpy_wait *)self);
}

// ---- as a coroutine -----------------------------------------------------------------------------

static PyObject *
with_stop(PyObject *result)
{
    if (!result && !PyErr_Occurred())
        PyErr_SetNone(PyExc_StopIteration);
    return result;
}

static PyObject *
wait_send_method(PyObject *self, PyObject *value)
{
    return with_stop(resume((struct bkpy_wait *)self));
}

// The arguments of throw() as the pending exception.
static int
raise_given(PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        PyErr_SetString(PyExc_TypeError, "throw takes an exception");
        return -1;
    }
    PyObject *value = count > 1 && args[1] != Py_None ? args[1] : NULL;
    if (PyExceptionInstance_Check(args[0]))
        PyErr_SetObject((PyObject *)Py_TYPE(args[0]), args[0]);
    else if (PyExceptionClass_Check(args[0]))
        PyErr_SetObject(args[0], value);
    else
        PyErr_SetString(PyExc_TypeError, "throw takes an exception");
    return 0;
}

static PyObject *
wait_throw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct bkpy_wait *wait = (struct bkpy_wait *)self;
    if (wait->iterator) { // the future's own way of raising it, which keeps its traceback
        PyObject *method = PyObject_GetAttrString(wait->iterator, "throw");
        PyObject *result = method ? PyObject_Vectorcall(method, args, (size_t)count, NULL) : NULL;
        Py_XDECREF(method);
        if (result)
            return result;
        unhang(wait);
    } else if (raise_given(args, count) < 0) {
        return NULL;
    }
    wait->over = true;
    return NULL;
}

static PyObject *
wait_close(PyObject *self, PyObject *unused)
{
    struct bkpy_wait *wait = (struct bkpy_wait *)self;
    if (wait->iterator)
        unhang(wait);
    wait->over = true;
    Py_RETURN_NONE;
}

static PyObject *
itself(PyObject *self)
{
    return Py_NewRef(self);
}

// ---- the awaitable that is done
// -------------------------------------------------------------------

static PyObject *
done_next(PyObject *self)
{
    return NULL; // without an exception: returns None
}

static PySendResult
done_send(PyObject *self, PyObject *value, PyObject **ret)
{
    *ret = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *
done_send_method(PyObject *self, PyObject *value)
{
    return with_stop(NULL);
}

static PyObject *
done_throw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    raise_given(args, count);
    return NULL;
}

static PyObject *
done_close(PyObject *self, PyObject *unused)
{
    Py_RETURN_NONE;
}

PyObject *
bkpy_asgi_done_new(struct bkpy_state *state)
{
    return PyType_GenericAlloc(state->asgi_done_type, 0);
}

static void
done_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

int
bkpy_asgi_wait_setup(PyObject *module, struct bkpy_state *state)
{
    static PyMethodDef methods[] = {
        {"send", wait_send_method, METH_O, NULL},
        {"throw", (PyCFunction)(void (*)(void))wait_throw, METH_FASTCALL, NULL},
        {"close", wait_close, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, wait_dealloc},
        {Py_tp_iter, itself},
        {Py_tp_iternext, wait_next},
        {Py_am_await, itself},
        {Py_am_send, wait_send},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.Wait",
        .basicsize = sizeof(struct bkpy_wait),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    static PyMethodDef done_methods[] = {
        {"send", done_send_method, METH_O, NULL},
        {"throw", (PyCFunction)(void (*)(void))done_throw, METH_FASTCALL, NULL},
        {"close", done_close, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    static PyType_Slot done_slots[] = {
        {Py_tp_dealloc, done_dealloc},
        {Py_tp_iter, itself},
        {Py_tp_iternext, done_next},
        {Py_am_await, itself},
        {Py_am_send, done_send},
        {Py_tp_methods, done_methods},
        {0, NULL},
    };
    static PyType_Spec done_spec = {
        .name = "barkeep._engine.Done",
        .basicsize = sizeof(PyObject),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = done_slots,
    };
    state->asgi_wait_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (!state->asgi_wait_type)
        return -1;
    state->asgi_done_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &done_spec, NULL);
    return state->asgi_done_type ? 0 : -1;
}
