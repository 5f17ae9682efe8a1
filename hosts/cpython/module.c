// barkeep._engine: the engine inside a CPython worker. Multi-phase init; all state is in the
// module. Imported by python/barkeep/worker.py and barkeep.run.
#include "module.h"

#ifdef BKPY_FAKE
#include "fake_engine.h"
#endif

#ifndef BKPY_MODULE
#define BKPY_MODULE _engine
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

PyMODINIT_FUNC JOIN(PyInit_, BKPY_MODULE)(void);

static int execute(PyObject *module);
static int traverse(PyObject *module, visitproc visit, void *arg);
static int clear(PyObject *module);
static void release(void *module);

static PyMethodDef functions[] = {
    {"log", (PyCFunction)(void (*)(void))bkpy_log_call, METH_VARARGS | METH_KEYWORDS,
     "log(level, key, text, detail=''): one record in the error log; key is None or one of "
     "MESSAGES."},
    {"set_title", bkpy_title_set, METH_O,
     "set_title(text): the process title. A final ' idle' becomes ' busy' while a request runs."},
    {"_forked", bkpy_worker_forked, METH_NOARGS,
     "Called in a forked child: it keeps nothing of the server."},
#ifdef BKPY_FAKE
    {"script", bkpy_fake_script, METH_O, NULL},
    {"results", bkpy_fake_results, METH_NOARGS, NULL},
    {"said", bkpy_fake_said, METH_NOARGS, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "barkeep." TEXT(BKPY_MODULE),
    .m_doc = "The Barkeep engine inside a CPython worker.",
    .m_size = sizeof(struct bkpy_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC
JOIN(PyInit_, BKPY_MODULE)(void)
{
    return PyModuleDef_Init(&definition);
}

struct bkpy_state *
bkpy_module_state(PyObject *module)
{
    return PyModule_GetState(module);
}

static int
make_words(struct bkpy_state *state)
{
    static const char *const texts[BKPY_WORD_COUNT] = {
#define X(id, text) text,
        BKPY_WORDS(X)
#undef X
    };
    for (unsigned i = 0; i < BKPY_WORD_COUNT; i++)
        if (!(state->words[i] = PyUnicode_InternFromString(texts[i])))
            return -1;
    return 0;
}

// "HTTP_ACCEPT" for "Accept". Proxy never becomes HTTP_PROXY, which programs take for a proxy
// setting (httpoxy).
static int
make_header_keys(struct bkpy_state *state)
{
    for (unsigned id = BK_HEADER_OTHER + 1; id < BK_HEADER_COUNT; id++) {
        struct bk_str name = bk_header_name((enum bk_header)id);
        bool bare = id == BK_HEADER_CONTENT_TYPE || id == BK_HEADER_CONTENT_LENGTH;
        char text[64] = "HTTP_";
        size_t len = bare ? 0 : 5;
        if (id == BK_HEADER_PROXY || name.len + len >= sizeof(text))
            continue;
        for (size_t i = 0; i < name.len; i++) {
            char c = name.at[i];
            text[len++] = c == '-' ? '_' : (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
        }
        text[len] = 0;
        if (!(state->header_keys[id] = PyUnicode_InternFromString(text)))
            return -1;
    }
    return 0;
}

// The file types of io that file_wrapper.c knows well enough to read around them.
static int
find_io(struct bkpy_state *state)
{
    PyObject *io = PyImport_ImportModule("io");
    if (!io)
        return -1;
    state->io_file = (PyTypeObject *)PyObject_GetAttrString(io, "FileIO");
    state->io_reader = (PyTypeObject *)PyObject_GetAttrString(io, "BufferedReader");
    state->io_random = (PyTypeObject *)PyObject_GetAttrString(io, "BufferedRandom");
    Py_DECREF(io);
    return state->io_file && state->io_reader && state->io_random ? 0 : -1;
}

static int
add_body_error(PyObject *module, struct bkpy_state *state)
{
    state->body_error = PyErr_NewExceptionWithDoc(
        "barkeep._engine.BodyError", "The request body is broken, too large or unreadable.",
        PyExc_OSError, NULL);
    if (!state->body_error || PyModule_AddObjectRef(module, "BodyError", state->body_error) < 0)
        return -1;
    // Not an Exception: frameworks make pages of those, and a page is no end of waiting.
    state->request_timeout = PyErr_NewExceptionWithDoc(
        "barkeep.RequestTimeout", "A request has passed --timeout (--timeout-policy raise).",
        PyExc_BaseException, NULL);
    return state->request_timeout
               ? PyModule_AddObjectRef(module, "RequestTimeout", state->request_timeout)
               : -1;
}

// os.fork() and multiprocessing: pthread_atfork has closed the descriptors already (worker.c); this
// says so to Python.
static int
watch_forks(PyObject *module)
{
    PyObject *os = PyImport_ImportModule("os"), *forked = PyObject_GetAttrString(module, "_forked"),
             *result = NULL;
    PyObject *hook = os ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *none = PyTuple_New(0),
             *keywords = forked ? Py_BuildValue("{sO}", "after_in_child", forked) : NULL;
    if (hook && none && keywords)
        result = PyObject_Call(hook, none, keywords);
    Py_XDECREF(os);
    Py_XDECREF(forked);
    Py_XDECREF(hook);
    Py_XDECREF(none);
    Py_XDECREF(keywords);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int
execute(PyObject *module)
{
    struct bkpy_state *state = PyModule_GetState(module);
    if (make_words(state) < 0 || make_header_keys(state) < 0 || find_io(state) < 0
        || add_body_error(module, state) < 0)
        return -1;
    if (bkpy_worker_setup(module, state) < 0 || bkpy_input_setup(module, state) < 0
        || bkpy_start_response_setup(module, state) < 0 || bkpy_early_hints_setup(module, state) < 0
        || bkpy_errors_setup(module, state) < 0 || bkpy_file_wrapper_setup(module, state) < 0
        || bkpy_asgi_setup(module, state) < 0)
        return -1;
    if (PyModule_AddObjectRef(module, "Worker", (PyObject *)state->worker_type) < 0
        || PyModule_AddObjectRef(module, "FileWrapper", (PyObject *)state->file_wrapper_type) < 0
        || PyModule_AddStringConstant(module, "VERSION", BK_VERSION) < 0)
        return -1;
    return bkpy_log_setup(module) < 0 ? -1 : watch_forks(module);
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    struct bkpy_state *state = PyModule_GetState(module);
    Py_VISIT(state->worker_type);
    Py_VISIT(state->input_type);
    Py_VISIT(state->start_response_type);
    Py_VISIT(state->write_type);
    Py_VISIT(state->early_hints_type);
    Py_VISIT(state->errors_type);
    Py_VISIT(state->file_wrapper_type);
    Py_VISIT(state->body_error);
    Py_VISIT(state->request_timeout);
    Py_VISIT(state->asgi_type);
    Py_VISIT(state->asgi_send_type);
    Py_VISIT(state->asgi_receive_type);
    Py_VISIT(state->asgi_done_callback_type);
    Py_VISIT(state->asgi_wait_type);
    Py_VISIT(state->asgi_done_type);
    Py_VISIT(state->asgi_turner_type);
    Py_VISIT(state->asgi_call_soon_type);
    Py_VISIT(state->asgi_disconnected);
    return 0;
}

static int
clear(PyObject *module)
{
    struct bkpy_state *state = PyModule_GetState(module);
    Py_CLEAR(state->worker_type);
    Py_CLEAR(state->input_type);
    Py_CLEAR(state->start_response_type);
    Py_CLEAR(state->write_type);
    Py_CLEAR(state->early_hints_type);
    Py_CLEAR(state->errors_type);
    Py_CLEAR(state->file_wrapper_type);
    Py_CLEAR(state->body_error);
    Py_CLEAR(state->request_timeout);
    Py_CLEAR(state->asgi_type);
    Py_CLEAR(state->asgi_send_type);
    Py_CLEAR(state->asgi_receive_type);
    Py_CLEAR(state->asgi_done_callback_type);
    Py_CLEAR(state->asgi_wait_type);
    Py_CLEAR(state->asgi_done_type);
    Py_CLEAR(state->asgi_turner_type);
    Py_CLEAR(state->asgi_call_soon_type);
    Py_CLEAR(state->asgi_disconnected);
    Py_CLEAR(state->io_file);
    Py_CLEAR(state->io_reader);
    Py_CLEAR(state->io_random);
    for (unsigned i = 0; i < BKPY_WORD_COUNT; i++)
        Py_CLEAR(state->words[i]);
    for (unsigned i = 0; i < BK_HEADER_COUNT; i++)
        Py_CLEAR(state->header_keys[i]);
    return 0;
}

static void
release(void *module)
{
    clear(module);
}
