// The state of the extension module barkeep._engine: its types and the strings it needs again and again.
#pragma once

#include "compat.h"

#include "proto/headers.h"

// Strings made and interned once: X(id, text).
#define BKPY_WORDS(X) \
    X(REQUEST_METHOD, "REQUEST_METHOD") X(SCRIPT_NAME, "SCRIPT_NAME") X(PATH_INFO, "PATH_INFO") \
    X(QUERY_STRING, "QUERY_STRING") X(RAW_URI, "RAW_URI") X(REQUEST_URI, "REQUEST_URI") \
    X(SERVER_PROTOCOL, "SERVER_PROTOCOL") X(SERVER_NAME, "SERVER_NAME") X(SERVER_PORT, "SERVER_PORT") \
    X(SERVER_SOFTWARE, "SERVER_SOFTWARE") X(GATEWAY_INTERFACE, "GATEWAY_INTERFACE") X(REMOTE_ADDR, "REMOTE_ADDR") \
    X(REMOTE_PORT, "REMOTE_PORT") X(WSGI_VERSION, "wsgi.version") X(WSGI_URL_SCHEME, "wsgi.url_scheme") \
    X(WSGI_INPUT, "wsgi.input") X(WSGI_ERRORS, "wsgi.errors") X(WSGI_MULTITHREAD, "wsgi.multithread") \
    X(WSGI_MULTIPROCESS, "wsgi.multiprocess") X(WSGI_RUN_ONCE, "wsgi.run_once") \
    X(WSGI_INPUT_TERMINATED, "wsgi.input_terminated") X(WSGI_FILE_WRAPPER, "wsgi.file_wrapper") \
    X(WSGI_EARLY_HINTS, "wsgi.early_hints") X(REQUEST_ID, "barkeep.request_id") \
    X(HTTP10, "HTTP/1.0") X(HTTP11, "HTTP/1.1") X(CGI11, "CGI/1.1") X(HTTP, "http") X(HTTPS, "https") X(PORT80, "80") \
    X(PORT443, "443") X(SECURE, "HTTPS") X(ON, "on") X(EMPTY, "") X(SLASH, "/") X(SOFTWARE, "barkeep/" BK_VERSION) X(LOCALHOST, "localhost") \
    X(CLOSE, "close") X(TELL, "tell") X(FILE, "file") X(RAW, "raw") \
    X(METHOD_OTHER, "?") X(METHOD_GET, "GET") X(METHOD_HEAD, "HEAD") X(METHOD_POST, "POST") X(METHOD_PUT, "PUT") \
    X(METHOD_DELETE, "DELETE") X(METHOD_OPTIONS, "OPTIONS") X(METHOD_PATCH, "PATCH") X(METHOD_CONNECT, "CONNECT") \
    X(METHOD_TRACE, "TRACE")

enum bkpy_word {
#define X(id, text) BKPY_WORD_##id,
    BKPY_WORDS(X)
#undef X
    BKPY_WORD_COUNT
};

struct bkpy_state {
    PyTypeObject *worker_type, *input_type, *start_response_type, *write_type, *early_hints_type, *errors_type,
        *file_wrapper_type;                     // ref
    PyTypeObject *asgi_type, *asgi_send_type, *asgi_receive_type, *asgi_done_callback_type, *asgi_wait_type,
        *asgi_done_type, *asgi_turner_type, *asgi_call_soon_type;  // ref
    PyObject *asgi_disconnected;                // ref: class Disconnected(OSError)
    PyObject *body_error;                       // ref: class BodyError(OSError)
    PyObject *request_timeout;                  // ref: class RequestTimeout(BaseException)
    PyTypeObject *io_file, *io_reader, *io_random;  // ref: io.FileIO, io.BufferedReader, io.BufferedRandom
    PyObject *words[BKPY_WORD_COUNT];           // ref
    PyObject *header_keys[BK_HEADER_COUNT];     // ref: "HTTP_ACCEPT", "CONTENT_TYPE", NULL for names apps must not see
};

// Never fails for an object of this module.
struct bkpy_state *bkpy_module_state(PyObject *module);

// One per .c file; each fills its type in *state. -1 with an exception.
int bkpy_worker_setup(PyObject *module, struct bkpy_state *state);
int bkpy_input_setup(PyObject *module, struct bkpy_state *state);
int bkpy_start_response_setup(PyObject *module, struct bkpy_state *state);
int bkpy_early_hints_setup(PyObject *module, struct bkpy_state *state);
int bkpy_errors_setup(PyObject *module, struct bkpy_state *state);
int bkpy_file_wrapper_setup(PyObject *module, struct bkpy_state *state);
int bkpy_asgi_setup(PyObject *module, struct bkpy_state *state);
int bkpy_log_setup(PyObject *module);

// Functions of the module (log.c, title.c, worker.c).
PyObject *bkpy_log_call(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *bkpy_title_set(PyObject *module, PyObject *text);
PyObject *bkpy_worker_forked(PyObject *module, PyObject *unused);
