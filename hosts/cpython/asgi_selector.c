// Turner: the part of the asyncio selector that runs in each turn of the loop (docs/decisions/004).
// The engine's wait is the loop's wait; what the application watches are guests in the engine's
// epoll set. python/barkeep/selector.py adds the rest of the selector interface.
#include "asgi.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "loop/guests.h"

#define GUESTS_MAX 256
#define MEMO_IDLE_MS 5000 // idle connections are forgotten even when nothing happens

struct turner {
    PyObject_HEAD struct bkpy_host *host; // ref; NULL: closed
    PyObject *keys;                       // ref: {fd: SelectorKey}, of the subclass
    PyObject *masks[4];                   // ref: 0 to 3 as int
    PyObject *events;                     // ref: "events"
};

static PyObject *
turner_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *worker, *keys;
    if (!PyArg_ParseTuple(args, "OO!:Turner", &worker, &PyDict_Type, &keys))
        return NULL;
    struct bkpy_host *host = bkpy_worker_host(worker);
    struct turner *self = host ? (struct turner *)type->tp_alloc(type, 0) : NULL;
    if (!self)
        return NULL;
    self->host = host;
    host->refs++;
    self->keys = Py_NewRef(keys);
    self->events = PyUnicode_InternFromString("events");
    for (unsigned i = 0; i < BK_COUNT(self->masks); i++)
        if (!(self->masks[i] = PyLong_FromUnsignedLong(i)))
            Py_CLEAR(self->events);
    if (!self->events)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
turner_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct turner *turner = (struct turner *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(turner->keys);
    return 0;
}

static int
turner_clear(PyObject *self)
{
    Py_CLEAR(((struct turner *)self)->keys);
    return 0;
}

static void
turner_dealloc(PyObject *self)
{
    struct turner *turner = (struct turner *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    turner_clear(self);
    Py_CLEAR(turner->events);
    for (unsigned i = 0; i < BK_COUNT(turner->masks); i++)
        Py_CLEAR(turner->masks[i]);
    if (turner->host)
        bkpy_host_unref(turner->host);
    type->tp_free(self);
    Py_DECREF(type);
}

// ---- select -------------------------------------------------------------------------------------

// [(key, mask)] of the guests that are still watched; what nobody asked for is left out.
static PyObject *
list_of(struct turner *self, const struct bk_guest *guests, unsigned count)
{
    PyObject *list = PyList_New(0);
    for (unsigned i = 0; list && i < count; i++) {
        PyObject *fd = PyLong_FromLong(guests[i].fd);
        PyObject *key =
            fd && self->keys ? PyDict_GetItemWithError(self->keys, fd) : NULL; // borrowed
        Py_XDECREF(fd);
        if (!key) {
            if (PyErr_Occurred())
                Py_CLEAR(list);
            continue;
        }
        PyObject *events = PyObject_GetAttr(key, self->events);
        long asked = events ? PyLong_AsLong(events) : -1;
        Py_XDECREF(events);
        unsigned mask = (guests[i].events & ~(unsigned)EPOLLOUT ? 1 : 0)
                        | (guests[i].events & ~(unsigned)EPOLLIN ? 2 : 0);
        mask &= (unsigned)asked & 3;
        PyObject *pair = asked < 0 ? NULL
                         : mask    ? PyTuple_Pack(2, key, self->masks[mask])
                                   : Py_NewRef(Py_None);
        if (!pair || (pair != Py_None && PyList_Append(list, pair) < 0))
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

// Seconds or None as milliseconds, rounded up: never before the deadline.
static int
milliseconds(PyObject *timeout, int *ret)
{
    *ret = -1;
    if (timeout == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    double ms = ceil(seconds * 1000.0);
    *ret = seconds <= 0 ? 0 : ms >= 2147483647.0 ? 2147483647 : (int)ms;
    return 0;
}

static PyObject *
turner_select(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct turner *self = (struct turner *)object;
    struct bk_guest guests[GUESTS_MAX];
    int wait_ms;
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "select takes a timeout");
        return NULL;
    }
    if (milliseconds(count ? args[0] : Py_None, &wait_ms) < 0)
        return NULL;
    struct bkpy_host *host = self->host;
    uint64_t deadline = wait_ms > 0 ? bk_clock_mono() + (uint64_t)wait_ms * 1000000 : 0;
    if (host && host->asgi && host->asgi->left_select)
        bkpy_asgi_watch_step(host->asgi, host->asgi->left_select, "a callback of the event loop");
    for (;;) {
        bool ran = false;
        if (!host || !host->engine) { // a child that the application forked: it serves nobody
            PyErr_SetNone(PyExc_SystemExit);
            return NULL;
        }
        int part =
            host->memo.filled && (wait_ms < 0 || wait_ms > MEMO_IDLE_MS) ? MEMO_IDLE_MS : wait_ms;
        int found = bkpy_asgi_turn(host, part, guests, GUESTS_MAX, &ran);
        if (found < 0)
            return NULL;
        uint64_t now = wait_ms > 0 ? bk_clock_mono() : 0;
        // Once Python ran it may have more to do: never wait again.
        if (ran || wait_ms == 0 || now > deadline) {
            if (host->asgi && host->asgi->blocked_ns)
                host->asgi->left_select = bk_clock_mono();
            return list_of(self, guests, (unsigned)found);
        }
        if (wait_ms > 0)
            wait_ms = (int)((deadline - now + 999999) / 1000000);
    }
}

static PyObject *
turner_watch(PyObject *object, PyObject *args)
{
    int fd, events;
    if (!PyArg_ParseTuple(args, "ii:watch", &fd, &events))
        return NULL;
    struct bkpy_host *host = ((struct turner *)object)->host;
    if (!host || !host->engine) // in a forked child the epoll set is the parent's
        Py_RETURN_NONE;
    unsigned asked = (events & 1 ? (unsigned)EPOLLIN : 0u) | (events & 2 ? (unsigned)EPOLLOUT : 0u);
    int result = bk_engine_guest_set(host->engine, fd, asked);
    if (result >= 0)
        Py_RETURN_NONE;
    errno = -result;
    return PyErr_SetFromErrno(PyExc_OSError);
}

int
bkpy_asgi_selector_setup(PyObject *module, struct bkpy_state *state)
{
    static PyMethodDef methods[] = {
        {"select", (PyCFunction)(void (*)(void))turner_select, METH_FASTCALL,
         "select(timeout=None)"},
        {"_watch", turner_watch, METH_VARARGS, "_watch(fd, events): 0 ends it."},
        {NULL, NULL, 0, NULL},
    };
    static PyType_Slot slots[] = {
        {Py_tp_doc, "Turner(worker, keys): select() over a worker's engine."},
        {Py_tp_new, turner_new},
        {Py_tp_dealloc, turner_dealloc},
        {Py_tp_traverse, turner_traverse},
        {Py_tp_clear, turner_clear},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.Turner",
        .basicsize = sizeof(struct turner),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    state->asgi_turner_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->asgi_turner_type
               ? PyModule_AddObjectRef(module, "Turner", (PyObject *)state->asgi_turner_type)
               : -1;
}
