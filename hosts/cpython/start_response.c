// start_response and the write() it returns (PEP 3333). Status and fields are checked and handed to
// the engine when the application gives them, so mistakes show in the application's own frame and
// later changes to its list do no harm.
#include "bkpy_host.h"

#include <errno.h>

#include "base/log.h"

static PyObject *call_start_response(PyObject *self, PyObject *const *args, size_t flags,
                                     PyObject *keywords);
static PyObject *call_write(PyObject *self, PyObject *const *args, size_t flags,
                            PyObject *keywords);

PyObject *
bkpy_start_response_take(struct bkpy_host *host, struct bk_exchange_ref exchange)
{
    return bkpy_handle_take(host, &host->start_response, host->state->start_response_type,
                            call_start_response, exchange);
}

// "200 OK" into number and reason. PEP 3333 wants three digits, a space and a reason; a missing
// reason is filled in.
static int
read_status(PyObject *status, int *ret_code, struct bk_str *ret_reason)
{
    const char *at;
    Py_ssize_t len;
    if (!PyUnicode_Check(status)) {
        PyErr_Format(PyExc_TypeError, "start_response: the status must be str, not %.100s",
                     Py_TYPE(status)->tp_name);
        return -1;
    }
    if (!bkpy_latin1(status, &at, &len) || len < 3 || at[0] < '1' || at[0] > '9' || at[1] < '0'
        || at[1] > '9' || at[2] < '0' || at[2] > '9' || (len > 3 && at[3] != ' ')) {
        PyErr_Format(PyExc_ValueError, "start_response: the status must look like '200 OK', not %R",
                     status);
        return -1;
    }
    *ret_code = (at[0] - '0') * 100 + (at[1] - '0') * 10 + (at[2] - '0');
    *ret_reason =
        len > 4 ? (struct bk_str){at + 4, (size_t)len - 4} : bk_str_of(bk_status_reason(*ret_code));
    return 0;
}

// An application that sets a hop-by-hop field is told so once a minute; the field itself is the
// server's business.
static void
warn_hop(struct bkpy_host *host, struct bk_exchange *x, struct bk_str name)
{
    unsigned held;
    if (bk_str_equal_nocase(name, BK_STR("Connection"))
        || bk_str_equal_nocase(name, BK_STR("Keep-Alive")))
        return;  // harmless habits
    if (!bk_log_limited(&host->hop_limit, host->memo.now, &held))
        return;
    static const char text[] =
        "the application's header '%.*s' was left out: connections are the server's business";
    char line[200];
    int len = snprintf(line, sizeof(line), text, (int)(name.len > 40 ? 40 : name.len), name.at);
    bk_exchange_warn(x, "app-response", (struct bk_str){line, (size_t)len});
}

// Raises `type` about a pair; it may only be borrowed from a list that its own repr() could change.
static int
complain(PyObject *type, const char *format, PyObject *pair, const char *why)
{
    Py_INCREF(pair);
    PyErr_Format(type, format, pair, why);
    Py_DECREF(pair);
    return -1;
}

// Name and value of a pair, readable in place; -1 with an exception.
static int
read_pair(PyObject *pair, struct bk_str *ret_name, struct bk_str *ret_value)
{
    PyObject *name, *value;
    if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2) {
        name = PyTuple_GET_ITEM(pair, 0);
        value = PyTuple_GET_ITEM(pair, 1);
    } else if (PyList_Check(pair)
               && PyList_GET_SIZE(pair) == 2) {  // against PEP 3333, but others take it
        name = PyList_GET_ITEM(pair, 0);
        value = PyList_GET_ITEM(pair, 1);
    } else {
        return complain(PyExc_TypeError,
                        "start_response: headers must be (name, value) tuples, not %R", pair, NULL);
    }
    if (!PyUnicode_Check(name) || !PyUnicode_Check(value))
        return complain(PyExc_TypeError,
                        "start_response: names and values of headers must be str, not %R", pair,
                        NULL);
    Py_ssize_t name_len, value_len;
    if (!bkpy_latin1(name, &ret_name->at, &name_len)
        || !bkpy_latin1(value, &ret_value->at, &value_len))
        return complain(PyExc_ValueError,
                        "start_response: header %R has characters outside latin-1", pair, NULL);
    ret_name->len = (size_t)name_len;
    ret_value->len = (size_t)value_len;
    return 0;
}

static int
put_field(struct bkpy_host *host, struct bk_exchange *x, PyObject *pair)
{
    struct bk_str name, value;
    if (read_pair(pair, &name, &value) < 0)
        return -1;
    const char *why = "not valid";
    int result = bk_answer_field(x, name, value, &why);
    if (bk_likely(result >= 0))
        return 0;
    if (result == -EPERM) {
        warn_hop(host, x, name);
        return 0;
    }
    if (result == -ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    return complain(PyExc_ValueError, "start_response: header %R: %s", pair,
                    result == -EMSGSIZE ? "the head of the answer is too large" : why);
}

static int
put_fields(struct bkpy_host *host, struct bk_exchange *x, PyObject *headers)
{
    // No Python code runs while the items are read: borrowed references are safe.
    PyObject **items = PySequence_Fast_ITEMS(headers);
    Py_ssize_t count = PySequence_Fast_GET_SIZE(headers);
    for (Py_ssize_t i = 0; i < count; i++)
        if (put_field(host, x, items[i]) < 0)
            return -1;
    return 0;
}

// PEP 3333: with exc_info the answer may be started over until something was sent; afterwards the
// exception is raised again so that the application stops.
static int
check_again(struct bk_exchange *x, PyObject *exc_info)
{
    if (exc_info && exc_info != Py_None) {
        if (!PyTuple_Check(exc_info) || PyTuple_GET_SIZE(exc_info) != 3) {
            PyErr_SetString(
                PyExc_TypeError,
                "start_response: exc_info must be a tuple as sys.exc_info() returns it");
            return -1;
        }
        if (!bk_answer_sent(x))
            return 0;
        PyObject *value = PyTuple_GET_ITEM(exc_info, 1), *traceback = PyTuple_GET_ITEM(exc_info, 2);
        if (!PyExceptionInstance_Check(value)) {
            PyErr_SetString(PyExc_TypeError, "start_response: exc_info holds no exception");
            return -1;
        }
        if (PyTraceBack_Check(traceback) && PyException_SetTraceback(value, traceback) < 0)
            return -1;
        bkpy_exception_raise(Py_NewRef(value));
        return -1;
    }
    if (bk_answer_begun(x) && !(bk_exchange_note(x)->flags & BKPY_SPOILED)) {
        PyErr_SetString(PyExc_AssertionError,
                        "start_response was called a second time without exc_info");
        return -1;
    }
    return 0;
}

// Positional arguments, or by the names PEP 3333 gives them.
static int
read_arguments(PyObject *const *args, size_t flags, PyObject *keywords, PyObject *ret[3])
{
    static const char *const names[3] = {"status", "response_headers", "exc_info"};
    Py_ssize_t count = PyVectorcall_NARGS(flags), more = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    if (count > 3)
        goto wrong;
    for (Py_ssize_t i = 0; i < count; i++)
        ret[i] = args[i];
    for (Py_ssize_t i = 0; i < more; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        unsigned at = 0;
        while (at < 3 && PyUnicode_CompareWithASCIIString(keyword, names[at]) != 0
               && !(at == 1 && PyUnicode_CompareWithASCIIString(keyword, "headers") == 0))
            at++;
        if (at == 3 || ret[at])
            goto wrong;
        ret[at] = args[count + i];
    }
    if (ret[0] && ret[1])
        return 0;
wrong:
    PyErr_SetString(PyExc_TypeError, "start_response takes (status, response_headers[, exc_info])");
    return -1;
}

static PyObject *
call_start_response(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
{
    PyObject *given[3] = {NULL, NULL, NULL};
    int code;
    struct bk_str reason;
    if (bk_likely(!keywords && PyVectorcall_NARGS(flags) == 2)) {
        given[0] = args[0];
        given[1] = args[1];
    } else if (read_arguments(args, flags, keywords, given) < 0) {
        return NULL;
    }
    PyObject *headers = PySequence_Fast(
        given[1], "start_response: the headers must be a list of (name, value) tuples");
    if (!headers)
        return NULL;
    PyObject *result = NULL;
    struct bkpy_host *host = ((struct bkpy_handle *)self)->host;
    struct bk_exchange *x = bkpy_handle_exchange(self, PyExc_RuntimeError);
    if (!x || check_again(x, given[2]) < 0 || read_status(given[0], &code, &reason) < 0)
        goto out;
    const char *why = "not valid";
    int begun = bk_answer_begin(x, code, reason, &why);
    if (begun < 0) {
        if (begun == -ENOMEM)
            PyErr_NoMemory();
        else
            PyErr_Format(PyExc_ValueError, "start_response: status %R: %s", given[0], why);
        goto out;
    }
    struct bk_note *note = bk_exchange_note(x);
    if (bk_unlikely(put_fields(host, x, headers) < 0)) {
        note->flags |= BKPY_SPOILED;
        goto out;
    }
    note->flags &= ~(uint32_t)BKPY_SPOILED;
    result = bkpy_handle_take(host, &host->write, host->state->write_type, call_write,
                              ((struct bkpy_handle *)self)->exchange);
out:
    Py_DECREF(headers);
    return result;
}

static PyObject *
call_write(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
{
    if (PyVectorcall_NARGS(flags) != 1 || keywords) {
        PyErr_SetString(PyExc_TypeError, "write takes one argument: bytes");
        return NULL;
    }
    if (!PyBytes_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "write takes bytes, not %.100s", Py_TYPE(args[0])->tp_name);
        return NULL;
    }
    struct bkpy_host *host = ((struct bkpy_handle *)self)->host;
    struct bk_exchange *x = bkpy_handle_exchange(self, PyExc_RuntimeError);
    if (!x)
        return NULL;
    int result = PyBytes_GET_SIZE(args[0]) ? bkpy_wsgi_push(host, x, args[0]) : 0;
    if (result == 0 && PyBytes_GET_SIZE(args[0]))
        result = bkpy_wsgi_flush(host, x);
    if (result < 0)
        return NULL;
    if (result > 0) {
        PyErr_SetString(PyExc_BrokenPipeError, "the client is gone");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct bkpy_handle, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

int
bkpy_start_response_setup(PyObject *module, struct bkpy_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, bkpy_handle_dealloc},
        {Py_tp_call, PyVectorcall_Call},
        {Py_tp_members, members},
        {0, NULL},
    };
    static PyType_Spec start_response = {
        .name = "barkeep._engine.StartResponse",
        .basicsize = sizeof(struct bkpy_handle),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE
                 | Py_TPFLAGS_HAVE_VECTORCALL,
        .slots = slots,
    };
    static PyType_Spec write = {
        .name = "barkeep._engine.Write",
        .basicsize = sizeof(struct bkpy_handle),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE
                 | Py_TPFLAGS_HAVE_VECTORCALL,
        .slots = slots,
    };
    state->start_response_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &start_response, NULL);
    if (!state->start_response_type)
        return -1;
    state->write_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &write, NULL);
    return state->write_type ? 0 : -1;
}
