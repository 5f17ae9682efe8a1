// The task of a request, its first step taken at once: by eager_start from Python 3.12 on. Before,
// a new task asks its loop to call its first step soon; CallSoon stands in front of call_soon() of
// our loop's class, keeps that one call back, and the step is taken here. Called by asgi_request.c.
#include "asgi.h"

struct call_soon {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *plain;           // ref: call_soon() of the loop's class
    PyObject *name;            // ref: "__self__"
    PyObject *task;            // borrows: the one that is being made, NULL: none is
    PyObject *step, *context;  // ref: what it asked for, until it is done
};

static bool may_begin(const struct bkpy_asgi *asgi);
static int begin(struct bkpy_asgi *asgi, PyObject *coroutine, PyObject **ret_task);
static int schedule(struct bkpy_asgi *asgi, PyObject *coroutine, PyObject **ret_task);
static int init_task(struct bkpy_asgi *asgi, PyObject *task, PyObject *arguments);
static int take_step(struct call_soon *soon);

int
bkpy_asgi_task(struct bkpy_asgi *asgi, PyObject *coroutine, PyObject **ret_task)
{
    PyObject *factory =
        PyObject_CallMethodNoArgs(asgi->loop, asgi->words[BKPY_ASGI_GET_TASK_FACTORY]);
    if (bk_unlikely(!factory))
        return -1;
    bool own = factory != Py_None;
    Py_DECREF(factory);
    return bk_likely(!own && may_begin(asgi)) ? begin(asgi, coroutine, ret_task)
                                              : schedule(asgi, coroutine, ret_task);
}

// Before 3.12 a task cannot begin inside a step of another one: that happens in a nested run of the
// loop (nest_asyncio).
static bool
may_begin(const struct bkpy_asgi *asgi)
{
    if (!asgi->current_tasks)
        return asgi->eager;
    if (bk_likely(!PyDict_GetItemWithError(asgi->current_tasks, asgi->loop)))
        return !PyErr_Occurred();
    return false;
}

// In two steps, so that the task is known also when its first step raises SystemExit.
static int
begin(struct bkpy_asgi *asgi, PyObject *coroutine, PyObject **ret_task)
{
    PyTypeObject *type = (PyTypeObject *)asgi->task_type;
    PyObject *arguments = PyTuple_Pack(1, coroutine);
    *ret_task = arguments ? type->tp_new(type, arguments, NULL) : NULL;
    int result = *ret_task ? init_task(asgi, *ret_task, arguments) : -1;
    Py_XDECREF(arguments);
    return result;
}

// Begins with a copy of the clean context: tasks of 3.10 take none, they copy the one they are made
// in.
static int
init_task(struct bkpy_asgi *asgi, PyObject *task, PyObject *arguments)
{
    struct call_soon *soon = (struct call_soon *)asgi->call_soon;
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *context = PyContext_Copy(asgi->context);
    if (!context
        || PyDict_SetItem(asgi->task_arguments, asgi->words[BKPY_ASGI_CONTEXT], context) < 0) {
        Py_XDECREF(context);
        return -1;
    }
    Py_DECREF(context);
#else
    if (PyContext_Enter(asgi->context) < 0)
        return -1;
#endif
    if (soon)
        soon->task = task;
    int result = Py_TYPE(task)->tp_init(task, arguments, asgi->task_arguments);
#if PY_VERSION_HEX < 0x030B0000
    PyObject *error = result < 0 ? bkpy_exception_take() : NULL;
    PyContext_Exit(asgi->context);
    bkpy_exception_raise(error);
#endif
    if (!soon)
        return result;
    soon->task = NULL;
    if (bk_likely(result == 0 && soon->step))
        return take_step(soon);
    Py_CLEAR(soon->step); // NULL when the task found another way: it is scheduled
    Py_CLEAR(soon->context);
    return result;
}

static int
take_step(struct call_soon *soon)
{
    PyObject *step = soon->step, *context = soon->context, *result = NULL;
    soon->step = soon->context = NULL;
    if (PyContext_Enter(context) == 0) {
        result = PyObject_CallNoArgs(step);
        PyObject *error = bk_likely(result != NULL) ? NULL : bkpy_exception_take();
        PyContext_Exit(context);
        if (error)
            bkpy_exception_raise(error);
    }
    Py_XDECREF(result);
    Py_DECREF(step);
    Py_DECREF(context);
    return result ? 0 : -1;
}

// In a later turn of the loop: under a task factory of the user's, inside another task, and on
// loops without CallSoon.
static int
schedule(struct bkpy_asgi *asgi, PyObject *coroutine, PyObject **ret_task)
{
    PyObject *context = PyContext_Copy(asgi->context);
    if (!context || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        return -1;
    }
    *ret_task =
        PyObject_CallMethodOneArg(asgi->loop, asgi->words[BKPY_ASGI_CREATE_TASK], coroutine);
    PyObject *error = bkpy_exception_take();
    PyContext_Exit(context);
    Py_DECREF(context);
    bkpy_exception_raise(error);
    return *ret_task ? 0 : -1;
}

// ---- CallSoon -----------------------------------------------------------------------------------

// call_soon(loop, step of the task, context=context)?
static bool
is_first_step(const struct call_soon *soon, PyObject *const *args, Py_ssize_t count,
              PyObject *keywords)
{
    if (count != 2 || !keywords || PyTuple_GET_SIZE(keywords) != 1
        || !PyContext_CheckExact(args[2]))
        return false;
    PyObject *owner = PyObject_GetAttr(args[1], soon->name);
    if (!owner)
        PyErr_Clear();
    Py_XDECREF(owner);
    return owner == soon->task;
}

static PyObject *
call_soon_call(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
{
    struct call_soon *soon = (struct call_soon *)self;
    if (bk_likely(!soon->task)
        || !is_first_step(soon, args, PyVectorcall_NARGS(flags), keywords))
        return PyObject_Vectorcall(soon->plain, args, flags, keywords);
    soon->task = NULL;
    soon->step = Py_NewRef(args[1]);
    soon->context = Py_NewRef(args[2]);
    Py_RETURN_NONE;
}

static PyObject *
call_soon_of(PyObject *self, PyObject *loop, PyObject *type)
{
    return loop && loop != Py_None ? PyMethod_New(self, loop) : Py_NewRef(self);
}

static PyObject *
call_soon_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *plain;
    if (!PyArg_ParseTuple(args, "O:CallSoon", &plain))
        return NULL;
    struct call_soon *self = (struct call_soon *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->call = call_soon_call;
    self->plain = Py_NewRef(plain);
    self->name = PyUnicode_InternFromString("__self__");
    if (!self->name)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
call_soon_dealloc(PyObject *self)
{
    struct call_soon *soon = (struct call_soon *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(soon->plain);
    Py_XDECREF(soon->name);
    Py_XDECREF(soon->step);
    Py_XDECREF(soon->context);
    type->tp_free(self);
    Py_DECREF(type);
}

// The loop's CallSoon and where asyncio keeps the task that runs. Without both tasks are scheduled.
int
bkpy_asgi_task_start(struct bkpy_host *host)
{
    struct bkpy_asgi *asgi = host->asgi;
    asgi->eager = PY_VERSION_HEX >= 0x030C0000;
    if (asgi->eager)
        return 0;
    PyObject *call_soon = PyObject_GetAttrString((PyObject *)Py_TYPE(asgi->loop), "call_soon");
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *current = tasks ? PyObject_GetAttrString(tasks, "_current_tasks") : NULL;
    Py_XDECREF(tasks);
    PyErr_Clear();
    if (call_soon && current && Py_TYPE(call_soon) == host->state->asgi_call_soon_type
        && PyDict_CheckExact(current)) {
        asgi->call_soon = call_soon;
        asgi->current_tasks = current;
        return 0;
    }
    Py_XDECREF(call_soon);
    Py_XDECREF(current);
    return 0;
}

int
bkpy_asgi_task_setup(PyObject *module, struct bkpy_state *state)
{
    static PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct call_soon, call), READONLY, NULL},
        {"__wrapped__", T_OBJECT, offsetof(struct call_soon, plain), READONLY, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    static PyType_Slot slots[] = {
        {Py_tp_doc, "CallSoon(plain): call_soon() of a loop that takes the first step of requests' "
                    "tasks at once."},
        {Py_tp_new, call_soon_new},
        {Py_tp_dealloc, call_soon_dealloc},
        {Py_tp_call, PyVectorcall_Call},
        {Py_tp_descr_get, call_soon_of},
        {Py_tp_members, members},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.CallSoon",
        .basicsize = sizeof(struct call_soon),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL
                 | Py_TPFLAGS_METHOD_DESCRIPTOR,
        .slots = slots,
    };
    state->asgi_call_soon_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->asgi_call_soon_type
               ? PyModule_AddObjectRef(module, "CallSoon", (PyObject *)state->asgi_call_soon_type)
               : -1;
}
