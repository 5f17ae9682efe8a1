// The ASGI 3 host: what one worker's loop, its requests and their awaitables share. Everything here runs on the loop's
// thread with the GIL held. A request is one Python object, the application's `send`; `receive` and the callback of its
// task hold a reference to it.
#pragma once

#include "bkpy_host.h"

#include "base/list.h"

// Strings made once per worker: X(id, text).
#define BKPY_ASGI_WORDS(X) \
    X(TYPE, "type") X(ASGI, "asgi") X(HTTP_VERSION, "http_version") X(SERVER, "server") X(CLIENT, "client") \
    X(SCHEME, "scheme") X(METHOD, "method") X(ROOT_PATH, "root_path") X(PATH, "path") X(RAW_PATH, "raw_path") \
    X(QUERY_STRING, "query_string") X(HEADERS, "headers") X(STATE, "state") X(EXTENSIONS, "extensions") \
    X(SUBPROTOCOLS, "subprotocols") X(SUBPROTOCOL, "subprotocol") X(STATUS, "status") X(BODY, "body") \
    X(MORE_BODY, "more_body") X(LINKS, "links") X(FILE, "file") X(OFFSET, "offset") X(COUNT, "count") X(TEXT, "text") \
    X(BYTES, "bytes") X(CODE, "code") X(REASON, "reason") X(HTTP, "http") X(HTTPS, "https") X(WEBSOCKET, "websocket") \
    X(WS, "ws") X(WSS, "wss") X(HTTP_1_0, "1.0") X(HTTP_1_1, "1.1") X(HTTP_REQUEST, "http.request") \
    X(HTTP_DISCONNECT, "http.disconnect") X(WEBSOCKET_CONNECT, "websocket.connect") \
    X(WEBSOCKET_RECEIVE, "websocket.receive") X(WEBSOCKET_DISCONNECT, "websocket.disconnect") X(DONE, "done") \
    X(EXCEPTION, "exception") X(CANCEL, "cancel") X(SET_RESULT, "set_result") X(CONTEXT, "context") X(EMPTY, "") \
    X(ADD_DONE_CALLBACK, "add_done_callback") X(GET_TASK_FACTORY, "get_task_factory") X(CREATE_TASK, "create_task") \
    X(CREATE_FUTURE, "create_future") X(FILENO, "fileno") X(TRAILERS, "trailers") X(MORE_TRAILERS, "more_trailers") X(DISCONNECTED, "Disconnected")

enum bkpy_asgi_word {
#define X(id, text) BKPY_ASGI_##id,
    BKPY_ASGI_WORDS(X)
#undef X
    BKPY_ASGI_WORD_COUNT
};

#define BKPY_WAIT_ACCEPT 0x80 // beside enum bk_wait: a receive() before websocket.accept

struct bkpy_request;

struct bkpy_asgi {
    PyObject *words[BKPY_ASGI_WORD_COUNT];    // ref
    PyObject *names[BK_HEADER_COUNT];         // ref: b"accept"
    PyObject *app, *loop, *stop;              // ref; app NULL: not serving yet
    PyObject *state;                          // ref: lifespan state, NULL when lifespan is not supported
    PyObject *context;                        // ref: contextvars.Context every request begins with a copy of
    PyObject *task_type, *task_arguments;     // ref: asyncio.Task; the keywords for it, reused
    PyObject *wrap;                           // ref: async def wrap(awaitable)
    PyObject *cancelled;                      // ref: asyncio.CancelledError
    PyObject *done;                           // ref: the awaitable of a send() that need not wait
    PyObject *send, *receive, *wait;          // ref: objects of the last request, for reuse
    PyObject *version, *ws_extensions;       // ref: copied into scopes
    PyObject *extensions[3];                  // ref: of HTTP/1.0, 1.1, and 1.1 with TE: trailers
    PyObject *no_body, *disconnect;           // ref: messages, copied
    PyObject **templates;                     // owns, refs: scopes, two per listener (http, https)
    unsigned template_count;
    PyObject *root_path;                      // ref: str, "" at the root
    PyObject *root_bytes;                     // ref: the same percent-encoded, put in front of raw_path
    PyObject *last_exit;                      // ref: the last SystemExit or KeyboardInterrupt a request ended with
    PyObject *set_running;                    // ref: asyncio's _set_running_loop, for WSGI only
    bool wsgi;                                // the application is one of WSGI, called in the loop's thread
    bool eager;                               // tasks begin at once by themselves (3.12+)
    PyObject *call_soon, *current_tasks;      // ref: before 3.12, see asgi_task.c; NULL: tasks are scheduled
    bool stopping, stopped;                   // `stop` was told that the engine drains, is drained
    bool cancelling;                          // requests are being cancelled because the worker ends
    unsigned long long blocked_ns;            // longest step allowed before the log says so, 0: never
    uint64_t left_select;                     // monotonic ns when select() gave the loop control, 0: it did not
    struct bk_log_limit blocked_limit;
    struct bkpy_request **by_index;           // owns the array, borrows: uncommitted requests by exchange index
    unsigned index_count;
    struct bk_list running;                   // requests whose task is not done; a reference each
    unsigned running_count;
    struct bk_worker *worker;                 // borrows
};

enum bkpy_stage {
    BKPY_STAGE_START,   // no answer yet (WebSocket: not accepted)
    BKPY_STAGE_HELD,    // http.response.start came; nothing was sent
    BKPY_STAGE_BODY,    // the head is out
    BKPY_STAGE_TRAILERS,  // the body is complete, http.response.trailers are to come
    BKPY_STAGE_OPEN,    // WebSocket accepted
    BKPY_STAGE_DENIAL,  // WebSocket refused by websocket.http.response
    BKPY_STAGE_CLOSED,  // WebSocket: closing frame sent
    BKPY_STAGE_DONE,    // committed
};

// The Python object given to the application as `send`.
struct bkpy_request {
    PyObject_HEAD
    vectorcallfunc call;
    struct bkpy_host *host;           // ref
    struct bk_exchange_ref exchange;
    struct bk_list node;              // in asgi->running while `task` is set
    PyObject *task, *scope;           // ref while the task is not done
    PyObject *leaving;                // ref: called when the client leaves before the answer is complete
    struct bkpy_wait *waits;          // borrows: awaitables that wait for an event
    uint8_t stage;                    // enum bkpy_stage
    bool websocket;
    bool connected;                   // websocket.connect was received
    bool head_only;                   // HEAD, 204, 304: no body goes out
    bool body_over;                   // the last http.request was received
    bool left;                        // http.disconnect is all that is to come
    bool broke_rule;                  // the pending exception is about a wrong message
    bool has_length;
    bool trailers;                    // the answer ends with http.response.trailers
    int body_error;                   // negative errno of a broken body, 0: none
    uint64_t length, pushed;          // Content-Length of the answer, bytes so far
};

// An awaitable of receive(), or of a send() that has to wait. It may be awaited once. While it waits it hangs on a real
// Future of the loop, so tasks, timeouts and debuggers see what they know; the message is taken when the task runs
// again, so a cancelled receive() loses nothing.
struct bkpy_wait {
    PyObject_HEAD
    struct bkpy_request *request;     // ref
    struct bkpy_wait *next;           // in request->waits while `future` is set
    PyObject *future, *iterator;      // ref
    uint8_t what;                     // enum bk_wait bits it waits for besides BK_WAIT_GONE
    bool drain;                       // of send()
    bool over;                        // has returned or raised
    bool woken;
};

static inline PyObject *
bkpy_asgi_word(const struct bkpy_asgi *asgi, enum bkpy_asgi_word word)
{
    return asgi->words[word];
}

// asgi.c
int bkpy_asgi_setup(PyObject *module, struct bkpy_state *state);
// One turn of the engine on behalf of the loop: waits at most wait_ms without the GIL, then wakes who waits and starts
// what is ready. Descriptors of the loop that are ready go into `guests`. Returns how many, or -1 with an exception.
// *ret_ran: Python code ran.
int bkpy_asgi_turn(struct bkpy_host *host, int wait_ms, struct bk_guest *guests, unsigned room, bool *ret_ran);
// Logs a step of the application that took too long.
void bkpy_asgi_watch_step(struct bkpy_asgi *asgi, uint64_t began, const char *what);
void bkpy_asgi_free(struct bkpy_asgi *asgi);

// asgi_request.c: takes an exchange through the application.
int bkpy_asgi_request_setup(PyObject *module, struct bkpy_state *state);
void bkpy_asgi_run(struct bkpy_host *host, struct bk_exchange *x);
// The exchange of a request, or NULL once it was committed.
struct bk_exchange *bkpy_asgi_exchange(const struct bkpy_request *request);
// The answer is complete: gives the exchange back and wakes who waits.
void bkpy_asgi_commit(struct bkpy_request *request, struct bk_exchange *x);
// Raises `error` about a message of the application; NULL.
PyObject *bkpy_asgi_refuse(struct bkpy_request *request, PyObject *error, const char *format, ...);
// Raises Disconnected; NULL.
PyObject *bkpy_asgi_gone(struct bkpy_request *request);

// asgi_task.c: a task for the coroutine, in a copy of the clean context, that has taken its first step where the Python
// and the loop allow it. -1 with an exception; *ret_task may be set also then: its first step raised SystemExit.
int bkpy_asgi_task(struct bkpy_asgi *asgi, PyObject *coroutine, PyObject **ret_task);
int bkpy_asgi_task_start(struct bkpy_host *host);
int bkpy_asgi_task_setup(PyObject *module, struct bkpy_state *state);

// asgi_end.c: the application is through with the request. `task` may be NULL when an exception is pending instead.
void bkpy_asgi_end(struct bkpy_request *request, PyObject *task, PyObject *scope);

// asgi_scope.c: a new scope, or NULL: with an exception, or without one when there is nothing at this path.
PyObject *bkpy_asgi_scope(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call);
int bkpy_asgi_scope_start(struct bkpy_host *host);

// asgi_send.c: send(message) of an http request, and of the answer that denies a WebSocket.
PyObject *bkpy_asgi_send(struct bkpy_request *request, struct bk_exchange *x, PyObject *message, PyObject *type);
int bkpy_asgi_start_answer(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
PyObject *bkpy_asgi_send_body(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
// The same for who speaks to `send` without messages: a status; pairs of str, which may be changed to latin-1 text; a
// part of the body, or None. bkpy_asgi_send_more returns None when there is nothing to wait for.
int bkpy_asgi_answer(struct bkpy_request *request, struct bk_exchange *x, PyObject *status, PyObject *fields);
PyObject *bkpy_asgi_send_more(struct bkpy_request *request, struct bk_exchange *x, PyObject *body, bool more);
// A value of a message: borrowed, NULL when absent, or with an exception.
PyObject *bkpy_asgi_value(struct bkpy_request *request, PyObject *message, enum bkpy_asgi_word key);
// One (name, value) pair of bytes, readable in place; -1 with an exception.
int bkpy_asgi_pair(PyObject *pair, struct bk_str *ret_name, struct bk_str *ret_value);
static inline bool
bkpy_asgi_is(PyObject *type, const char *text, size_t len)
{
    return (size_t)PyUnicode_GET_LENGTH(type) == len && memcmp(PyUnicode_1BYTE_DATA(type), text, len) == 0;
}
#define BKPY_ASGI_IS(type, text) bkpy_asgi_is(type, text, sizeof(text) - 1)

// asgi_receive.c: the next message: 1 with a new reference, 0: none yet, wait for *ret_what; -1 with an exception.
int bkpy_asgi_message(struct bkpy_request *request, PyObject **ret, unsigned *ret_what);

// asgi_wait.c
int bkpy_asgi_wait_setup(PyObject *module, struct bkpy_state *state);
PyObject *bkpy_asgi_wait_new(struct bkpy_request *request, bool drain);
// Tells the engine what the request's awaitables wait for.
void bkpy_asgi_watch(struct bkpy_request *request);
// Wakes the awaitables that wait for one of `what`.
void bkpy_asgi_wake(struct bkpy_request *request, unsigned what);
PyObject *bkpy_asgi_done_new(struct bkpy_state *state);

// asgi_websocket.c
PyObject *bkpy_asgi_ws_send(struct bkpy_request *request, struct bk_exchange *x, PyObject *message, PyObject *type);
int bkpy_asgi_ws_message(struct bkpy_request *request, struct bk_exchange *x, PyObject **ret, unsigned *ret_what);
// The application is through with a WebSocket: closes it as far as it did not. True: an answer was made.
void bkpy_asgi_ws_end(struct bkpy_request *request, struct bk_exchange *x, bool failed);

// asgi_selector.c
int bkpy_asgi_selector_setup(PyObject *module, struct bkpy_state *state);
