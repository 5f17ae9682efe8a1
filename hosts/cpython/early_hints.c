// environ["wsgi.early_hints"]: sends a 103 answer with the given fields before the real one (RFC
// 8297).
#include "bkpy_host.h"

#include <errno.h>

#define HINTS_MAX 64

// One (name, value) pair; -1 with an exception.
static int
read_pair(PyObject *pair, struct bk_str *ret_name, struct bk_str *ret_value)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2
        || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0))
        || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 1))) {
        PyErr_SetString(PyExc_TypeError, "wsgi.early_hints takes a list of (str, str) tuples");
        return -1;
    }
    Py_ssize_t name_len = 0, value_len = 0;
    bool fine = bkpy_latin1(PyTuple_GET_ITEM(pair, 0), &ret_name->at, &name_len)
                && bkpy_latin1(PyTuple_GET_ITEM(pair, 1), &ret_value->at, &value_len);
    ret_name->len = (size_t)name_len;
    ret_value->len = (size_t)value_len;
    if (!fine || !bk_token_valid(*ret_name) || !bk_value_valid(*ret_value)) {
        PyErr_Format(PyExc_ValueError, "not a valid header: %R", pair);
        return -1;
    }
    return 0;
}

static PyObject *
early_hints_call(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
{
    if (PyVectorcall_NARGS(flags) != 1 || keywords) {
        PyErr_SetString(PyExc_TypeError,
                        "wsgi.early_hints takes one argument: a list of (name, value) tuples");
        return NULL;
    }
    PyObject *pairs = PySequence_Tuple(args[0]);
    if (!pairs)
        return NULL;
    PyObject *result = NULL;
    struct bk_str names[HINTS_MAX], values[HINTS_MAX];
    Py_ssize_t count = PyTuple_GET_SIZE(pairs);
    if (count > HINTS_MAX) {
        PyErr_Format(PyExc_ValueError, "at most %d early hints at once", HINTS_MAX);
        goto out;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (read_pair(PyTuple_GET_ITEM(pairs, i), &names[i], &values[i]) < 0)
            goto out;
    struct bk_exchange *x = bkpy_handle_exchange(self, PyExc_RuntimeError);
    if (!x)
        goto out;
    if (bk_answer_sent(x)) {
        PyErr_SetString(PyExc_RuntimeError, "early hints after the answer has begun");
        goto out;
    }
    int sent = count ? bk_answer_interim(x, 103, names, values, (unsigned)count) : 0;
    if (sent == -ENOMEM)
        PyErr_NoMemory();
    else if (sent == -EINVAL)
        PyErr_SetString(PyExc_ValueError, "the early hints are too large");
    else
        result = Py_NewRef(Py_None);  // a client that is gone is noticed by the answer itself
out:
    Py_DECREF(pairs);
    return result;
}

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct bkpy_handle, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

int
bkpy_early_hints_setup(PyObject *module, struct bkpy_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_doc, "wsgi.early_hints(headers): send 103 Early Hints."},
        {Py_tp_dealloc, bkpy_handle_dealloc},
        {Py_tp_call, PyVectorcall_Call},
        {Py_tp_members, members},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.EarlyHints",
        .basicsize = sizeof(struct bkpy_handle),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE
                 | Py_TPFLAGS_HAVE_VECTORCALL,
        .slots = slots,
    };
    state->early_hints_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->early_hints_type ? 0 : -1;
}

PyObject *
bkpy_early_hints_take(struct bkpy_host *host, struct bk_exchange_ref exchange)
{
    return bkpy_handle_take(host, &host->early_hints, host->state->early_hints_type,
                            early_hints_call, exchange);
}
