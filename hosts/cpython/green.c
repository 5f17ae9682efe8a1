// Requests as greenlets under gevent's hub. The hub watches the engine's descriptor; its callback
// turns the engine and starts a greenlet for each exchange on the spot. One that has to wait
// switches to the hub, which goes on in the middle of that callback; when the engine tells of the
// event the next callback switches back. Called by python/barkeep/gevent_worker.py.
//
// A greenlet's part of the C stack is moved away while it is suspended: no pointer into it may be
// kept by others.
#include "green.h"

#include <errno.h>
#include <limits.h>

#include "allocator.h"
#include "base/clock.h"
#include "bkpy_host.h"
#include "greenlets.h"
#include "title.h"

// How far the end has come; as bk_engine_stopping counts.
enum stage { STAGE_SERVING, STAGE_DRAINING, STAGE_QUITTING, STAGE_OVER };

struct bkpy_green {
    struct bkpy_greenlets greenlets;
    PyObject *hub;        // ref: the greenlet that runs gevent's loop
    PyObject *run;        // ref: what a request's greenlet runs
    PyObject *make;       // ref: class gevent.Greenlet; NULL: plain greenlets
    PyObject *again;      // ref: called without arguments, it has the hub call turn soon
    PyObject *tell;       // ref: called with each stage of the end
    PyObject *context;    // ref: context variables each request starts with
    PyObject *suspended;  // ref: set of requests' greenlets that wait for something
    PyObject *orphans;    // ref: list of greenlets that waited for a client whose request is over
    struct running {      // owns the array: by exchange index, who runs it
        PyObject *greenlet;  // borrows
        uint32_t generation;
    } *by_index;
    unsigned index_count;
    PyObject *fresh;      // borrows: the greenlet that `start` has switched to
    struct bk_exchange *next;  // the exchange for it
    unsigned running, most;
    uint64_t blocked_ns;  // longest stretch without a wait allowed before the log says so, 0: never
    struct bk_log_limit blocked_limit;
    unsigned stage;  // enum stage, as far as it was told
    bool cutting;    // those that are left are being killed, the server stops
    bool held;       // there may be more in the run queue, as soon as one is over
};

static PyObject *turn(struct bkpy_host *host);
static PyObject *run(struct bkpy_host *host);
static int start(struct bkpy_host *host, struct bk_exchange *x);
static int resume(struct bkpy_host *host, struct bk_exchange *x);
static int resume_orphans(struct bkpy_green *green);
static int tell(struct bkpy_host *host, unsigned stage);
static int call(PyObject *function);

// ---- begin and end ------------------------------------------------------------------------------

static PyObject *
call_turn(PyObject *worker, PyObject *unused)
{
    struct bkpy_host *host = bkpy_worker_host(worker);
    return host ? turn(host) : NULL;
}

static PyObject *
call_run(PyObject *worker, PyObject *unused)
{
    struct bkpy_host *host = bkpy_worker_host(worker);
    return host ? run(host) : NULL;
}

// left(cut=False): the greenlets of requests that are not over. `cut`: they are about to be killed,
// that is no fault of theirs.
static PyObject *
call_left(PyObject *worker, PyObject *args)
{
    int cut = 0;
    struct bkpy_host *host =
        PyArg_ParseTuple(args, "|p:left", &cut) ? bkpy_worker_host(worker) : NULL;
    if (!host)
        return NULL;
    if (!host->green || !host->green->suspended)
        return PyList_New(0);
    host->green->cutting |= cut;
    return PySequence_List(host->green->suspended);
}

static PyMethodDef call_turn_def = {"turn", call_turn, METH_NOARGS, NULL};
static PyMethodDef call_run_def = {"run", call_run, METH_NOARGS, NULL};
static PyMethodDef call_left_def = {"left", call_left, METH_VARARGS, NULL};

static int
begin(struct bkpy_host *host, PyObject *worker, PyObject *options, PyObject **ret_wait)
{
    static const struct bk_host_ops ops = {.abi = BK_HOST_ABI,
                                           .size = sizeof(ops),
                                           .name = "cpython",
                                           .flags = BK_HOST_LOOP,
                                           .release = bkpy_release_back};
    PyObject *hub, *make, *again, *tell;
    unsigned most;
    double blocked;
    bkpy_green_release(host);
    struct bkpy_green *green = PyMem_Calloc(1, sizeof(*green));
    if (!green) {
        PyErr_NoMemory();
        return -1;
    }
    host->green = green;
    if (!PyArg_ParseTuple(options, "OOIOOOd", &hub, &make, &most, &again, &tell, ret_wait,
                          &blocked)
        || bkpy_greenlets_find(&green->greenlets) < 0)
        return -1;
    green->hub = Py_NewRef(hub);
    green->make = make == Py_None ? NULL : Py_NewRef(make);
    green->again = Py_NewRef(again);
    green->tell = Py_NewRef(tell);
    green->most = most;
    green->blocked_ns = (uint64_t)(blocked * 1e9);
    bkpy_allocator_keep(most);
    green->run = PyCFunction_New(&call_run_def, worker);
    green->context = PyContext_CopyCurrent();
    green->suspended = PySet_New(NULL);
    green->orphans = PyList_New(0);
    if (!green->run || !green->context || !green->suspended || !green->orphans)
        return -1;
    return bk_engine_attach(host->engine, &ops, host);
}

int
bkpy_green_serve(struct bkpy_host *host, PyObject *worker, PyObject *options)
{
    PyObject *wait, *done = NULL;
    if (begin(host, worker, options, &wait) < 0)
        return -1;
    int fd = bk_engine_fd(host->engine);
    if (fd < 0) {
        errno = -fd;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    PyObject *turn_object = PyCFunction_New(&call_turn_def, worker);
    PyObject *left_object = PyCFunction_New(&call_left_def, worker);
    if (turn_object && left_object)
        done = PyObject_CallFunction(wait, "iOO", fd, turn_object, left_object);
    Py_XDECREF(turn_object);
    Py_XDECREF(left_object);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

void
bkpy_green_clear(struct bkpy_host *host)
{
    struct bkpy_green *green = host->green;
    if (!green)
        return;
    Py_CLEAR(green->run);
    Py_CLEAR(green->make);
    Py_CLEAR(green->again);
    Py_CLEAR(green->tell);
    Py_CLEAR(green->suspended);
    Py_CLEAR(green->orphans);
}

void
bkpy_green_release(struct bkpy_host *host)
{
    bkpy_green_clear(host);
    if (host->green) {
        Py_CLEAR(host->green->hub);
        Py_CLEAR(host->green->context);
    }
    if (host->green)
        PyMem_Free(host->green->by_index);
    PyMem_Free(host->green);
    host->green = NULL;
}

// ---- the hub's side -----------------------------------------------------------------------------

static PyObject *
turn(struct bkpy_host *host)
{
    struct bkpy_green *green = host->green;
    struct bk_engine *engine = host->engine;
    struct bk_exchange *x;
    struct bk_event event;
    int result = 0, flags = BK_TURN_STOP;
    if (bk_unlikely(!green || !green->tell || green->stage == STAGE_OVER))
        Py_RETURN_NONE;
    if (engine) {
        flags = bk_engine_turn(engine, 0);
        bkpy_release_drain(&host->release);
        bkpy_memo_turn(&host->memo);
    }
    while (result == 0 && host->engine && bk_engine_event(engine, &event))
        if ((x = bk_exchange_at(engine, event.ref)))
            result = resume(host, x);
    while (result == 0 && host->engine && green->running < green->most
           && (x = bk_engine_next(engine)))
        result = start(host, x);
    green->held = green->running >= green->most;
    if (bk_unlikely(result == 0 && PyList_GET_SIZE(green->orphans)))
        result = resume_orphans(green);
    if (bk_unlikely(result < 0)) {
        // Thrown into the hub, which is gevent's affair; but the rest of the work is not lost.
        PyObject *error = bkpy_exception_take();
        if (call(green->again) < 0)
            PyErr_Clear();
        bkpy_exception_raise(error);
        return NULL;
    }
    bool over = (flags & BK_TURN_STOP) || !host->engine;
    unsigned stage = over ? STAGE_OVER : bk_engine_stopping(engine);
    if (bk_unlikely(stage > green->stage) && tell(host, stage) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
tell(struct bkpy_host *host, unsigned stage)
{
    host->green->stage = stage;
    PyObject *nothing = PyObject_CallFunction(host->green->tell, "I", stage);
    Py_XDECREF(nothing);
    return nothing ? 0 : -1;
}

static int
call(PyObject *function)
{
    PyObject *nothing = PyObject_CallNoArgs(function);
    Py_XDECREF(nothing);
    return nothing ? 0 : -1;
}

static int
switch_to(struct bkpy_green *green, PyObject *greenlet)
{
    PyObject *given = bkpy_greenlets_switch(&green->greenlets, greenlet);
    Py_XDECREF(given);
    return given ? 0 : -1;
}

// From the hub to a request's greenlet and back. Nothing else runs meanwhile, so a long stretch is
// worth a line. Stretches behind a wait of gevent's own are not seen here.
static int
visit(struct bkpy_green *green, PyObject *greenlet)
{
    uint64_t began = green->blocked_ns ? bk_clock_mono() : 0, now;
    int result = switch_to(green, greenlet);
    unsigned held;
    if (bk_likely(!began || (now = bk_clock_mono()) - began < green->blocked_ns)
        || !bk_log_limited(&green->blocked_limit, now, &held))
        return result;
    PyObject *error = bkpy_exception_take();
    bk_log(BK_LOG_WARNING, "loop-blocked",
           "a greenlet held up gevent's hub for %.1f s: nothing else was served meanwhile",
           (double)(now - began) / 1e9);
    bkpy_exception_raise(error);
    return result;
}

static int
start(struct bkpy_host *host, struct bk_exchange *x)
{
    struct bkpy_green *green = host->green;
    PyObject *fresh = green->make ? PyObject_CallOneArg(green->make, green->run)
                                  : bkpy_greenlets_new(&green->greenlets, green->run, green->hub);
    int result = 0;
    green->next = x;
    if (fresh) {
        green->fresh = fresh;
        result = visit(green, fresh);
        green->fresh = NULL;
        if (bkpy_greenlets_active(&green->greenlets, fresh)
            && PySet_Add(green->suspended, fresh) < 0)
            PyErr_Clear();  // it only goes without being told of the end
        Py_DECREF(fresh);
    }
    if (bk_likely(!green->next))
        return result;
    green->next = NULL;  // it never ran: no memory
    if (!PyErr_Occurred())
        PyErr_NoMemory();
    bkpy_failure_answer(host, x);
    if (host->engine)
        bk_exchange_commit(x);
    return 0;
}

static int
resume(struct bkpy_host *host, struct bk_exchange *x)
{
    struct bk_note *note = bk_exchange_note(x);
    PyObject *waiting = note->object;
    if (!waiting)
        return 0;
    note->object = NULL;
    int result = visit(host->green, waiting);
    Py_DECREF(waiting);
    return result;
}

static int
resume_orphans(struct bkpy_green *green)
{
    PyObject *orphans = green->orphans;
    int result = 0;
    green->orphans = PyList_New(0);
    if (!green->orphans) {
        green->orphans = orphans;
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(orphans) && result == 0; i++)
        result = switch_to(green, PyList_GET_ITEM(orphans, i));
    Py_DECREF(orphans);
    return result;
}

// ---- the greenlet's side ------------------------------------------------------------------------

// Without memory a request goes without: it only cannot be shown or ended by name.
static unsigned
note_runner(struct bkpy_green *green, struct bk_exchange_ref ref, PyObject *greenlet)
{
    if (bk_unlikely(ref.index >= green->index_count)) {
        unsigned count = green->index_count ? green->index_count : 64;
        while (count <= ref.index)
            count *= 2;
        struct running *grown = PyMem_Realloc(green->by_index, count * sizeof(*grown));
        if (!grown)
            return UINT_MAX;
        memset(grown + green->index_count, 0,
               (count - green->index_count) * sizeof(*grown));
        green->by_index = grown;
        green->index_count = count;
    }
    green->by_index[ref.index] = (struct running){greenlet, ref.generation};
    return ref.index;
}

PyObject *
bkpy_green_at(struct bkpy_host *host, struct bk_exchange_ref ref)
{
    const struct bkpy_green *green = host->green;
    if (ref.index >= green->index_count || green->by_index[ref.index].generation != ref.generation)
        return NULL;
    return green->by_index[ref.index].greenlet;
}

static PyObject *
run(struct bkpy_host *host)
{
    struct bkpy_green *green = host->green;
    struct bk_exchange *x = green ? green->next : NULL;
    if (!x) {
        PyErr_SetString(PyExc_RuntimeError, "only the server starts requests");
        return NULL;
    }
    green->next = NULL;
    if (green->running++ == 0)
        bkpy_title_busy(true);
    PyObject *context = PyContext_Copy(green->context);
    if (!context || PyContext_Enter(context) < 0)
        PyErr_Clear();
    PyObject *self = bkpy_greenlets_current(&green->greenlets);
    unsigned index = note_runner(green, bk_exchange_call(x)->ref, self);
    bkpy_wsgi_run(host, x);
    if (index < green->index_count && green->by_index[index].greenlet == self)
        green->by_index[index].greenlet = NULL;
    if (context && PyContext_Exit(context) < 0)
        PyErr_Clear();
    Py_XDECREF(context);
    if (--green->running == 0)
        bkpy_title_busy(false);
    if (self != green->fresh && green->suspended && PySet_Discard(green->suspended, self) < 0)
        PyErr_Clear();
    Py_DECREF(self);
    if (bk_unlikely(green->held || !host->engine) && green->again && call(green->again) < 0)
        PyErr_Clear();
    green->held = false;
    Py_RETURN_NONE;
}

int
bkpy_green_wait(struct bkpy_host *host, struct bk_exchange *x, enum bk_wait what)
{
    struct bkpy_green *green = host->green;
    struct bk_exchange_ref ref = bk_exchange_call(x)->ref;
    struct bk_note *note = bk_exchange_note(x);
    PyObject *self = bkpy_greenlets_current(&green->greenlets);
    int result = 0;
    if (self == green->hub || note->object) {
        PyErr_SetString(PyExc_RuntimeError,
                        note->object ? "another greenlet waits for the client of this request"
                                     : "the hub cannot wait for a client: use a greenlet");
        Py_DECREF(self);
        return -ECANCELED;
    }
    while (result == 0 && !bk_exchange_watch(x, what)) {
        note->object = Py_NewRef(self);
        result = switch_to(green, green->hub);
        bool over = host->engine && bk_exchange_at(host->engine, ref) != x;
        if (host->engine && !over) {
            Py_CLEAR(*(PyObject **)&note->object);
            if (result < 0)
                bk_exchange_watch(x, 0);
        }
        if (result < 0) {
            result = -ECANCELED;
        } else if (over) {
            PyErr_SetString(PyExc_RuntimeError, "the request this object belongs to is over");
            result = -ECANCELED;
        } else if (!host->engine) {  // this is a forked child
            result = -EPIPE;
        }
    }
    Py_DECREF(self);
    if (result == 0 && bk_exchange_gone(x) && !(what & BK_WAIT_BODY))
        return -EPIPE;
    return result;
}

bool
bkpy_green_cut(struct bkpy_host *host, PyObject *exception)
{
    struct bkpy_green *green = host->green;
    return green && green->cutting
           && PyErr_GivenExceptionMatches(exception, bkpy_greenlets_exit(&green->greenlets));
}

void
bkpy_green_forsake(struct bkpy_host *host, struct bk_exchange *x)
{
    struct bk_note *note = bk_exchange_note(x);
    if (PyList_Append(host->green->orphans, note->object) < 0 || call(host->green->again) < 0)
        PyErr_Clear();
    Py_CLEAR(*(PyObject **)&note->object);
}
