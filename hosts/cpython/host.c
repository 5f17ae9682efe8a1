// The shared state of one worker's Python objects, and the handles by which those name an exchange.
// Used by every file here.
#include "bkpy_host.h"

#include <errno.h>

#include "green.h"

struct bkpy_host *
bkpy_host_new(PyObject *module, struct bk_worker *worker)
{
    struct bkpy_host *host = PyMem_Calloc(1, sizeof(*host));
    if (!host) {
        PyErr_NoMemory();
        return NULL;
    }
    host->refs = 1;
    host->module = Py_NewRef(module);
    host->state = bkpy_module_state(module);
    host->worker = worker;
    host->engine = bk_worker_engine(worker);
    host->first = host;
    host->number = host->threads = 1;
    host->memo.slot_count = BKPY_MEMO_SLOTS;
    return host;
}

void
bkpy_host_clear(struct bkpy_host *host)
{
    Py_CLEAR(host->app);
    Py_CLEAR(host->leaving);
    Py_CLEAR(host->after);
    Py_CLEAR(host->start_response);
    Py_CLEAR(host->write);
    Py_CLEAR(host->input);
    Py_CLEAR(host->early_hints);
    for (unsigned i = 0; i < host->log_count; i++)
        Py_CLEAR(host->log_keys[i]);
    PyMem_Free(host->log_keys);
    host->log_keys = NULL;
    host->log_count = 0;
    bkpy_environ_release(&host->environ);
    bkpy_memo_release(&host->memo);
    bkpy_green_clear(host);
}

void
bkpy_host_unref(struct bkpy_host *host)
{
    if (--host->refs)
        return;
    bkpy_host_clear(host);
    bkpy_release_release(&host->release);
    bkpy_green_release(host);
    Py_DECREF(host->module);
    PyMem_Free(host);
}

int
bkpy_host_wait(struct bkpy_host *host, struct bk_exchange *x, enum bk_wait what)
{
    if (PyThread_get_thread_ident() != host->thread) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "only the thread that was called with this request may wait for its client");
        return -ECANCELED;
    }
    if (host->green)
        return bkpy_green_wait(host, x, what);
    for (;;) {
        int result;
        host->turning = true;
        Py_BEGIN_ALLOW_THREADS result = bk_exchange_wait(x, what);
        Py_END_ALLOW_THREADS host->turning = false;
        bkpy_release_drain(&host->first->release);
        if (result != -EINTR)
            return result;
        if (PyErr_CheckSignals() < 0)
            return -ECANCELED;
        if (!host->engine)  // a signal handler forked, and this is the child
            return -EPIPE;
    }
}

// ---- handles ------------------------------------------------------------------------------------

PyObject *
bkpy_handle_new(struct bkpy_host *host, PyObject **slot, PyTypeObject *type, vectorcallfunc call,
                struct bk_exchange_ref exchange)
{
    struct bkpy_handle *handle = PyObject_New(struct bkpy_handle, type);
    if (!handle)
        return NULL;
    handle->call = call;
    handle->host = host;
    host->refs++;
    handle->exchange = exchange;
    Py_XSETREF(*slot, Py_NewRef((PyObject *)handle));
    return (PyObject *)handle;
}

void
bkpy_handle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct bkpy_host *host = ((struct bkpy_handle *)self)->host;
    PyObject_Free(self);
    Py_DECREF(type);
    bkpy_host_unref(host);
}

struct bk_exchange *
bkpy_handle_exchange(PyObject *self, PyObject *error)
{
    struct bkpy_handle *handle = (struct bkpy_handle *)self;
    struct bkpy_host *host = handle->host;
    if (bk_unlikely(host->turning)) {
        PyErr_SetString(PyExc_RuntimeError, "another thread uses this request while the thread "
                                            "that serves it waits for the client");
        return NULL;
    }
    struct bk_exchange *x = host->engine ? bk_exchange_at(host->engine, handle->exchange) : NULL;
    if (bk_unlikely(!x))
        PyErr_SetString(error, "the request this object belongs to is over");
    return x;
}
