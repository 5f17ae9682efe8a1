// wsgi.file_wrapper: an iterable over a file that, returned as the answer, is sent by sendfile()
// when it is a real file.
#include "bkpy_host.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct wrapper {
    PyObject_HEAD
    PyObject *file;   // ref
    PyObject *read;   // ref: its read(), or read1() of a plain BufferedReader: pipes do not wait
    PyObject *block;  // ref: int, bytes per read()
};

// The plain io object under `file`, or NULL (without exception). Only those are trusted to have a
// fileno() whose bytes are the bytes read() gives: a GzipFile has a fileno() too. Wrappers of
// tempfile and Django keep the real one in `.file`.
static PyObject *
find_plain(struct bkpy_state *state, PyObject *file)
{
    PyObject *at = Py_NewRef(file);
    for (int depth = 0; depth < 4; depth++) {
        PyTypeObject *type = Py_TYPE(at);
        if (type == state->io_file)
            return at;
        if (type == state->io_reader || type == state->io_random) {
            PyObject *raw;
            if (bkpy_attribute(at, state->words[BKPY_WORD_RAW], &raw) > 0) {
                bool plain = Py_TYPE(raw) == state->io_file;
                Py_DECREF(raw);
                if (plain)
                    return at;
            }
            break;
        }
        PyObject *inner;
        int found = bkpy_attribute(at, state->words[BKPY_WORD_FILE], &inner);
        if (found <= 0)
            break;
        Py_SETREF(at, inner);
    }
    PyErr_Clear();
    Py_DECREF(at);
    return NULL;
}

// A duplicate of the descriptor and the logical position; false when this file has to be iterated.
static bool
open_plain(struct bkpy_state *state, PyObject *plain, int *ret_fd, uint64_t *ret_offset,
           uint64_t *ret_len)
{
    struct stat info;
    PyObject *position = PyObject_CallMethodNoArgs(plain, state->words[BKPY_WORD_TELL]);
    long long offset = position ? PyLong_AsLongLong(position) : -1;
    Py_XDECREF(position);
    int fd = PyErr_Occurred() ? -1 : PyObject_AsFileDescriptor(plain);
    PyErr_Clear();
    if (fd < 0 || offset < 0 || fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
        return false;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return false;
    *ret_fd = fd;
    *ret_offset = (uint64_t)offset;
    *ret_len = info.st_size > offset ? (uint64_t)(info.st_size - offset) : 0;
    return true;
}

int
bkpy_file_wrapper_send(struct bkpy_host *host, struct bk_exchange *x, PyObject *self)
{
    struct wrapper *wrapper = (struct wrapper *)self;
    if (!bk_answer_begun(x))
        return 0;
    PyObject *plain = find_plain(host->state, wrapper->file);
    if (!plain)
        return 0;
    int fd;
    uint64_t offset, len;
    bool sendable = open_plain(host->state, plain, &fd, &offset, &len);
    Py_DECREF(plain);
    if (!sendable)
        return 0;
    if (!host->engine) {  // tell() forked, and this is the child
        close(fd);
        return 1;
    }
    if (!len) {
        close(fd);
        return 1;
    }
    int result = bk_answer_push_file(x, fd, offset, len);
    if (result == -ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    return 1;  // -EPIPE: the client is gone, nothing to do
}

// ---- the type -----------------------------------------------------------------------------------

static PyObject *
wrapper_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"filelike", "blksize", NULL};
    PyObject *file, *block = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O!:file_wrapper", names, &file, &PyLong_Type,
                                     &block))
        return NULL;
    struct bkpy_state *state = PyType_GetModuleState(type);
    if (!state)
        return NULL;
    PyObject *read =
        PyObject_GetAttrString(file, Py_TYPE(file) == state->io_reader ? "read1" : "read");
    struct wrapper *self = read ? PyObject_GC_New(struct wrapper, type) : NULL;
    if (!self) {
        Py_XDECREF(read);
        return NULL;
    }
    self->file = Py_NewRef(file);
    self->read = read;
    self->block = block ? Py_NewRef(block) : PyLong_FromLong(65536);
    PyObject_GC_Track((PyObject *)self);
    if (!self->block)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
wrapper_next(PyObject *self)
{
    struct wrapper *wrapper = (struct wrapper *)self;
    if (!wrapper->read)
        return NULL;
    PyObject *bytes = PyObject_CallOneArg(wrapper->read, wrapper->block);
    if (!bytes)
        return NULL;
    int more = PyObject_IsTrue(bytes);
    if (more <= 0)
        Py_CLEAR(bytes);  // empty: NULL without an exception ends the iteration
    return bytes;
}

static PyObject *
wrapper_close(PyObject *self, PyObject *unused)
{
    struct wrapper *wrapper = (struct wrapper *)self;
    if (!wrapper->file)
        Py_RETURN_NONE;
    PyObject *name = PyUnicode_InternFromString("close"), *method = NULL;
    int found = name ? bkpy_attribute(wrapper->file, name, &method) : -1;
    Py_XDECREF(name);
    if (found < 0)
        return NULL;
    if (!found)
        Py_RETURN_NONE;
    PyObject *result = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return result;
}

static int
wrapper_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct wrapper *)self)->file);
    Py_VISIT(((struct wrapper *)self)->read);
    return 0;
}

static int
wrapper_clear(PyObject *self)
{
    Py_CLEAR(((struct wrapper *)self)->file);
    Py_CLEAR(((struct wrapper *)self)->read);
    return 0;
}

static void
wrapper_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    wrapper_clear(self);
    Py_CLEAR(((struct wrapper *)self)->block);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"close", wrapper_close, METH_NOARGS, "Close the file if it can be closed."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"filelike", T_OBJECT, offsetof(struct wrapper, file), READONLY, "The wrapped file."},
    {"blksize", T_OBJECT, offsetof(struct wrapper, block), READONLY, "Bytes per read."},
    {NULL, 0, 0, 0, NULL},
};

int
bkpy_file_wrapper_setup(PyObject *module, struct bkpy_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_doc, "wsgi.file_wrapper(filelike, blksize=65536): a file as an answer."},
        {Py_tp_new, wrapper_new},
        {Py_tp_dealloc, wrapper_dealloc},
        {Py_tp_traverse, wrapper_traverse},
        {Py_tp_clear, wrapper_clear},
        {Py_tp_methods, methods},
        {Py_tp_members, members},
        {Py_tp_iter, PyObject_SelfIter},
        {Py_tp_iternext, wrapper_next},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "barkeep._engine.FileWrapper",
        .basicsize = sizeof(struct wrapper),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    state->file_wrapper_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->file_wrapper_type ? 0 : -1;
}
