// wsgi.input: the request body as a binary file. Reads never pass the end of the body. Bytes that
// have not come yet are waited for with the GIL dropped; a body that breaks off raises an OSError
// instead of looking complete.
#include "bkpy_host.h"

#include <errno.h>

#define FIRST_ROOM 65536  // bytes set aside at first for a read whose size the client alone decides

static PyObject *
raise_broken(struct bkpy_host *host, struct bk_exchange *x, ssize_t error)
{
    bk_exchange_note(x)->error = (int)-error;
    switch ((int)-error) {
    case ECONNRESET:
    case EPIPE:
        PyErr_SetString(PyExc_ConnectionResetError,
                        "the client left before its request body was complete");
        return NULL;
    case ETIMEDOUT:
        PyErr_SetString(PyExc_TimeoutError, "the request body stopped arriving");
        return NULL;
    default:
        break;
    }
    const char *text = error == -EPROTO  ? "the framing of the request body is broken"
                       : error == -EFBIG ? "the request body is larger than --limit-request-body"
                                         : "the request body cannot be read";
    PyObject *arguments = Py_BuildValue("(is)", (int)-error, text);
    if (arguments)
        PyErr_SetObject(host->state->body_error, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

// After -EAGAIN: 0 when there is something new to see, -1 with an exception.
static int
wait_body(struct bkpy_host *host, struct bk_exchange *x)
{
    int result = bkpy_host_wait(host, x, BK_WAIT_BODY);
    if (result == 0)
        return 0;
    if (result != -ECANCELED)
        raise_broken(host, x, result);
    return -1;
}

// bk_body_read and bk_body_peek that wait: > 0, 0 at the end, -1 with an exception.
static ssize_t
read_bytes(struct bkpy_host *host, struct bk_exchange *x, void *into, size_t room)
{
    ssize_t got;
    while ((got = bk_body_read(x, into, room)) == -EAGAIN)
        if (wait_body(host, x) < 0)
            return -1;
    if (got < 0) {
        raise_broken(host, x, got);
        return -1;
    }
    return got;
}

static ssize_t
peek_bytes(struct bkpy_host *host, struct bk_exchange *x, struct bk_str *ret)
{
    ssize_t got;
    while ((got = bk_body_peek(x, ret)) == -EAGAIN)
        if (wait_body(host, x) < 0)
            return -1;
    if (got < 0) {
        raise_broken(host, x, got);
        return -1;
    }
    return got;
}

// At most `size` bytes (negative: all), fewer only at the end of the body.
static PyObject *
read_all(struct bkpy_host *host, struct bk_exchange *x, Py_ssize_t size)
{
    const struct bk_call *call = bk_exchange_call(x);
    size_t want = size < 0 ? PY_SSIZE_T_MAX : (size_t)size;
    if (call->body_buffered) {
        uint64_t left = call->body_length - bk_body_tell(x);
        want = left < want ? (size_t)left : want;
    }
    if (!want || !call->has_body)
        return PyBytes_FromStringAndSize(NULL, 0);
    size_t room = call->body_buffered || want < FIRST_ROOM ? want : FIRST_ROOM, len = 0;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    while (bytes && len < want) {
        if (len == room) {
            room = room > want / 2 ? want : room * 2;
            if (_PyBytes_Resize(&bytes, (Py_ssize_t)room) < 0)
                return NULL;
        }
        ssize_t got = read_bytes(host, x, PyBytes_AS_STRING(bytes) + len, room - len);
        if (got < 0) {
            Py_DECREF(bytes);
            return NULL;
        }
        if (got == 0)
            break;
        len += (size_t)got;
    }
    if (bytes && len < room)
        _PyBytes_Resize(&bytes, (Py_ssize_t)len);
    return bytes;
}

// One line with its newline, at most `limit` bytes (negative: no limit); empty at the end of the
// body.
static PyObject *
read_line(struct bkpy_host *host, struct bk_exchange *x, Py_ssize_t limit)
{
    PyObject *line = NULL;
    size_t most = limit < 0 ? PY_SSIZE_T_MAX : (size_t)limit, len = 0;
    bool ended = !bk_exchange_call(x)->has_body;
    while (!ended && len < most) {
        struct bk_str bytes = {0};
        ssize_t got = peek_bytes(host, x, &bytes);
        if (got < 0)
            goto broken;
        if (got == 0)
            break;
        size_t take = bytes.len < most - len ? bytes.len : most - len;
        const char *newline = memchr(bytes.at, '\n', take);
        if (newline)
            take = (size_t)(newline - bytes.at) + 1;
        ended = newline != NULL;
        // A bytes object made of one given character would be a shared one, that must not grow.
        if (!line)
            line = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)take);
        else
            _PyBytes_Resize(&line, (Py_ssize_t)(len + take));
        if (!line)
            return NULL;
        memcpy(PyBytes_AS_STRING(line) + len, bytes.at, take);
        len += take;
        bk_body_skip(x, take);
    }
    return line ? line : PyBytes_FromStringAndSize(NULL, 0);
broken:
    Py_XDECREF(line);
    return NULL;
}

// ---- methods ------------------------------------------------------------------------------------

static struct bk_exchange *
exchange_of(PyObject *self, struct bkpy_host **ret_host)
{
    *ret_host = ((struct bkpy_handle *)self)->host;
    return bkpy_handle_exchange(self, PyExc_ValueError);
}

// The optional size argument of read and its kin: None and negative mean all.
static int
read_size(PyObject *const *args, Py_ssize_t count, Py_ssize_t *ret)
{
    *ret = -1;
    if (count > 1) {
        PyErr_Format(PyExc_TypeError, "expected at most 1 argument, got %zd", count);
        return -1;
    }
    if (count == 0 || args[0] == Py_None)
        return 0;
    *ret = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    return *ret == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *
input_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct bkpy_host *host;
    Py_ssize_t size;
    if (read_size(args, count, &size) < 0)
        return NULL;
    struct bk_exchange *x = exchange_of(self, &host);
    return x ? read_all(host, x, size) : NULL;
}

static PyObject *
input_read1(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct bkpy_host *host;
    Py_ssize_t size;
    if (read_size(args, count, &size) < 0)
        return NULL;
    struct bk_exchange *x = exchange_of(self, &host);
    if (!x)
        return NULL;
    struct bk_str bytes = {0};
    if (size && bk_exchange_call(x)->has_body && peek_bytes(host, x, &bytes) < 0)
        return NULL;
    if (size >= 0 && bytes.len > (size_t)size)
        bytes.len = (size_t)size;
    PyObject *result = PyBytes_FromStringAndSize(bytes.at, (Py_ssize_t)bytes.len);
    if (result && bytes.len)
        bk_body_skip(x, bytes.len);
    return result;
}

static PyObject *
input_readinto(PyObject *self, PyObject *target)
{
    struct bkpy_host *host;
    struct bk_exchange *x = exchange_of(self, &host);
    Py_buffer view;
    if (!x || PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    size_t len = 0, room = (size_t)view.len;
    ssize_t got = 1;
    while (len < room && got > 0 && bk_exchange_call(x)->has_body) {
        got = read_bytes(host, x, (char *)view.buf + len, room - len);
        if (got > 0)
            len += (size_t)got;
    }
    PyBuffer_Release(&view);
    return got < 0 ? NULL : PyLong_FromSize_t(len);
}

static PyObject *
input_readline(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct bkpy_host *host;
    Py_ssize_t size;
    if (read_size(args, count, &size) < 0)
        return NULL;
    struct bk_exchange *x = exchange_of(self, &host);
    return x ? read_line(host, x, size) : NULL;
}

static PyObject *
input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct bkpy_host *host;
    Py_ssize_t hint, total = 0;
    if (read_size(args, count, &hint) < 0)
        return NULL;
    struct bk_exchange *x = exchange_of(self, &host);
    PyObject *lines = x ? PyList_New(0) : NULL;
    while (lines) {
        PyObject *line = read_line(host, x, -1);
        Py_ssize_t len = line ? PyBytes_GET_SIZE(line) : 0;
        if (!line || (len && PyList_Append(lines, line) < 0))
            Py_CLEAR(lines);
        Py_XDECREF(line);
        total += len;
        if (len == 0 || (hint > 0 && total >= hint))
            break;
    }
    return lines;
}

static PyObject *
input_next(PyObject *self)
{
    struct bkpy_host *host;
    struct bk_exchange *x = exchange_of(self, &host);
    PyObject *line = x ? read_line(host, x, -1) : NULL;
    if (line && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);  // NULL without an exception ends the iteration
    return line;
}

static PyObject *
input_tell(PyObject *self, PyObject *unused)
{
    struct bkpy_host *host;
    struct bk_exchange *x = exchange_of(self, &host);
    return x ? PyLong_FromUnsignedLongLong(bk_body_tell(x)) : NULL;
}

static PyObject *
input_seek(PyObject *self, PyObject *args)
{
    struct bkpy_host *host;
    long long offset;
    int whence = 0;
    struct bk_exchange *x = exchange_of(self, &host);
    if (!x || !PyArg_ParseTuple(args, "L|i:seek", &offset, &whence))
        return NULL;
    const struct bk_call *call = bk_exchange_call(x);
    if (!call->body_buffered) {
        errno = ESPIPE;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    long long length = (long long)call->body_length, base = 0;
    if (whence == 1)
        base = (long long)bk_body_tell(x);
    else if (whence == 2)
        base = length;
    if (whence < 0 || whence > 2 || (offset < 0 && base < -offset)) {
        PyErr_Format(PyExc_ValueError, "seek to %lld with whence %d", offset, whence);
        return NULL;
    }
    long long position = offset > length - base ? length : base + offset;
    int result = bk_body_seek(x, (uint64_t)position);
    if (result < 0)
        return raise_broken(host, x, result);
    return PyLong_FromLongLong(position);
}

static PyObject *
input_seekable(PyObject *self, PyObject *unused)
{
    struct bkpy_host *host;
    struct bk_exchange *x = exchange_of(self, &host);
    return x ? PyBool_FromLong(bk_exchange_call(x)->body_buffered) : NULL;
}

static PyObject *
input_true(PyObject *self, PyObject *unused)
{
    Py_RETURN_TRUE;
}

static PyObject *
input_false(PyObject *self, PyObject *unused)
{
    Py_RETURN_FALSE;
}

// Wrappers of io call it when they die; the body belongs to the request, so nothing is closed.
static PyObject *
input_close(PyObject *self, PyObject *unused)
{
    Py_RETURN_NONE;
}

static PyObject *
input_closed(PyObject *self, void *unused)
{
    Py_RETURN_FALSE;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef methods[] = {
    {"read", FAST(input_read),
     "read(size=-1): that many bytes of the body, all of them when negative."},
    {"read1", FAST(input_read1),
     "read1(size=-1): what is there now, at least one byte unless at the end."},
    {"readinto", input_readinto, METH_O,
     "readinto(buffer): fill a buffer, return the number of bytes."},
    {"readline", FAST(input_readline), "readline(size=-1): one line."},
    {"readlines", FAST(input_readlines), "readlines(hint=-1): a list of lines."},
    {"tell", input_tell, METH_NOARGS, "Position in the body."},
    {"seek", input_seek, METH_VARARGS, "seek(offset, whence=0): only for buffered bodies."},
    {"seekable", input_seekable, METH_NOARGS, "True when the whole body is here."},
    {"readable", input_true, METH_NOARGS, NULL},
    {"writable", input_false, METH_NOARGS, NULL},
    {"isatty", input_false, METH_NOARGS, NULL},
    {"close", input_close, METH_NOARGS, "Does nothing."},
    {"flush", input_close, METH_NOARGS, "Does nothing."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"closed", input_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

int
bkpy_input_setup(PyObject *module, struct bkpy_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_doc, "wsgi.input: the request body."},
        {Py_tp_dealloc, bkpy_handle_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {Py_tp_iter, PyObject_SelfIter},
        {Py_tp_iternext, input_next},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.Input",
        .basicsize = sizeof(struct bkpy_handle),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    state->input_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->input_type ? 0 : -1;
}
