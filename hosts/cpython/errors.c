// wsgi.errors: a text stream whose lines go to the error log. Complete lines of one write() become
// one record, so that tracebacks stay together; an unfinished line waits for its end, for flush()
// or until it is too long.
#include "bkpy_host.h"

#include "base/log.h"

#define LINE_MAX_BYTES 16384  // longer lines are logged in pieces

struct errors {
    PyObject_HEAD
    char *line;  // owns: the unfinished line, escaped UTF-8
    size_t len, room;
};

// Logs text without its final newline: the first line, the rest as detail.
static void
emit(const char *text, size_t len)
{
    const char *end = memchr(text, '\n', len);
    size_t first = end ? (size_t)(end - text) : len;
    if (first > 3500)
        first = 3500;  // bk_log cuts at 4 KiB; what is cut here goes into the detail
    const char *rest = text + first + (first < len && text[first] == '\n');
    bk_log_detail(BK_LOG_ERROR, NULL, (struct bk_str){rest, (size_t)(text + len - rest)}, "%.*s",
                  (int)first, text);
}

static void
emit_line(struct errors *self)
{
    if (self->len)
        emit(self->line, self->len);
    self->len = 0;
}

// Appends, with control characters escaped. Newlines and tabs stay.
static int
append(struct errors *self, const char *text, size_t len)
{
    if (self->room - self->len < len * 4) {
        size_t room = self->len + len * 4;
        char *line = PyMem_Realloc(self->line, room);
        if (!line) {
            PyErr_NoMemory();
            return -1;
        }
        self->line = line;
        self->room = room;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            static const char digits[] = "0123456789abcdef";
            char *at = self->line + self->len;
            at[0] = '\\', at[1] = 'x', at[2] = digits[c >> 4], at[3] = digits[c & 15];
            self->len += 4;
        } else {
            self->line[self->len++] = (char)c;
        }
    }
    return 0;
}

// Logs all complete lines, keeps the rest.
static void
emit_complete(struct errors *self)
{
    char *end = self->len ? memrchr(self->line, '\n', self->len) : NULL;
    if (end) {
        size_t complete = (size_t)(end - self->line);
        if (complete)
            emit(self->line, complete);
        self->len -= complete + 1;
        memmove(self->line, end + 1, self->len);
    }
    if (self->len > LINE_MAX_BYTES)
        emit_line(self);
    if (self->room > 4 * LINE_MAX_BYTES
        && self->len < LINE_MAX_BYTES) {  // a huge write must not stay in memory
        char *line = PyMem_Realloc(self->line, LINE_MAX_BYTES);
        if (line) {
            self->line = line;
            self->room = LINE_MAX_BYTES;
        }
    }
}

static int
put(struct errors *self, PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "wsgi.errors takes str, not %.100s", Py_TYPE(text)->tp_name);
        return -1;
    }
    PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (!bytes)
        return -1;
    const char *at = PyBytes_AS_STRING(bytes);
    size_t left = (size_t)PyBytes_GET_SIZE(bytes);
    int result = 0;
    while (left && result == 0) {  // in pieces that fit a log record
        size_t piece = left;
        if (piece > LINE_MAX_BYTES) {
            const char *cut = memrchr(at, '\n', LINE_MAX_BYTES);
            piece = cut ? (size_t)(cut - at) + 1 : LINE_MAX_BYTES;
        }
        result = append(self, at, piece);
        if (result == 0)
            emit_complete(self);
        at += piece;
        left -= piece;
    }
    Py_DECREF(bytes);
    return result;
}

static PyObject *
errors_write(PyObject *self, PyObject *text)
{
    if (put((struct errors *)self, text) < 0)
        return NULL;
    return PyLong_FromSsize_t(PyUnicode_GetLength(text));
}

static PyObject *
errors_writelines(PyObject *self, PyObject *lines)
{
    PyObject *iterator = PyObject_GetIter(lines), *line;
    if (!iterator)
        return NULL;
    while ((line = PyIter_Next(iterator))) {
        int result = put((struct errors *)self, line);
        Py_DECREF(line);
        if (result < 0)
            break;
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
errors_flush(PyObject *self, PyObject *unused)
{
    emit_line((struct errors *)self);
    Py_RETURN_NONE;
}

static PyObject *
errors_false(PyObject *self, PyObject *unused)
{
    Py_RETURN_FALSE;
}

static PyObject *
errors_true(PyObject *self, PyObject *unused)
{
    Py_RETURN_TRUE;
}

static PyObject *
errors_encoding(PyObject *self, void *unused)
{
    return PyUnicode_FromString("utf-8");
}

static void
errors_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    emit_line((struct errors *)self);
    PyMem_Free(((struct errors *)self)->line);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"write", errors_write, METH_O, "Write text to the error log; complete lines appear at once."},
    {"writelines", errors_writelines, METH_O, "Write each item."},
    {"flush", errors_flush, METH_NOARGS, "Log an unfinished line now."},
    {"isatty", errors_false, METH_NOARGS, NULL},
    {"readable", errors_false, METH_NOARGS, NULL},
    {"seekable", errors_false, METH_NOARGS, NULL},
    {"writable", errors_true, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"encoding", errors_encoding, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

int
bkpy_errors_setup(PyObject *module, struct bkpy_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_doc, "wsgi.errors: text written here appears in the error log."},
        {Py_tp_dealloc, errors_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.Errors",
        .basicsize = sizeof(struct errors),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    state->errors_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->errors_type ? 0 : -1;
}

PyObject *
bkpy_errors_new(struct bkpy_state *state)
{
    struct errors *self = PyObject_New(struct errors, state->errors_type);
    if (!self)
        return NULL;
    self->line = NULL;
    self->len = self->room = 0;
    return (PyObject *)self;
}
