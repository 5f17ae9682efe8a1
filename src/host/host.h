// The door between the engine and a host (CPython, PyPy, null). A host *pulls*: it turns the
// engine, takes exchanges that are ready, answers them and commits them. The engine never calls the
// application; the only calls from engine to host are in struct bk_host_ops and never need the GIL.
// No Python.h here.
//
//     while (!((flags = bk_engine_turn(e, -1)) & BK_TURN_STOP))       // GIL dropped around this
//         while ((x = bk_engine_next(e))) {
//             ... read x, bk_answer_*, bk_body_* ...
//             bk_exchange_commit(x);
//         }
//
// Between next and commit the exchange belongs to the host. It may outlive the client: then writes
// return -EPIPE. After commit the pointer must not be used; objects that live longer keep a
// bk_exchange_ref and ask for the pointer each time.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/str.h"
#include "proto/headers.h"
#include "proto/message.h"

#define BK_HOST_ABI 3

struct bk_engine;
struct bk_exchange;

enum {
    BK_HOST_STREAMS = 1,  // exchanges are handed out with their head; the body is read as it comes
    BK_HOST_LOOP = 2,     // a foreign loop turns the engine: see the section "foreign loops"
    BK_HOST_WEBSOCKET = 4,  // wants upgrade requests as such (struct bk_call.websocket)
};

struct bk_host_ops {
    uint32_t abi;      // BK_HOST_ABI
    uint32_t size;     // sizeof(struct bk_host_ops)
    const char *name;  // "cpython", "null"
    uint32_t flags;    // BK_HOST_...
    // The engine no longer needs a buffer lent with bk_answer_push(). Called on the engine's thread
    // with or without the GIL: put `token` on a list and drop the reference at the next GIL take.
    void (*release)(void *host, void *token);
    // Around a short sleep inside a call about an exchange, until the thread that is in the engine
    // has done the work: lets go of the GIL and takes it back. `thread` is the number of the one that
    // runs the exchange. May be NULL; so may what pause returns, for callers that hold no GIL or must
    // keep it.
    void *(*pause)(void *host, unsigned thread);
    void (*resume)(void *host, unsigned thread, void *paused);
};

// -ENOTSUP when the struct was built against another ABI. `host` is handed back in each call. Must
// precede the first turn.
int bk_engine_attach(struct bk_engine *engine, const struct bk_host_ops *ops,
                     void *host) BK_MUST_CHECK;

enum {
    BK_TURN_READY = 1,   // bk_engine_next has something
    BK_TURN_SIGNAL = 2,  // a signal interrupted the wait: run pending signal handlers
    BK_TURN_STOP = 4,    // drained or ordered to stop: leave the loop
    BK_TURN_EVENT = 8,   // bk_engine_event has something
    BK_TURN_GUEST = 16,  // bk_engine_guests has something
};
// Waits at most wait_ms (-1: as long as it takes, 0: not at all), does all I/O that is due and
// fills the run queue. Touches no host object. Not re-entrant; call without the GIL.
int bk_engine_turn(struct bk_engine *engine, int wait_ms);
// The next exchange whose request is ready for the application, or NULL.
struct bk_exchange *bk_engine_next(struct bk_engine *engine);

// Several threads run the application: each is given a number from 1 and pulls with the calls below
// in place of turn and next; an exchange's calls come from the thread that got it (or one that
// replaces it meanwhile). One thread at a time is inside the engine, which the calls see to. With
// them turn returns when there is something to do, and next may return NULL because another thread
// has taken over. Before the first turn; also for one thread, so that the worker's watcher
// (worker/worker.h) can go on with input and output while the application is busy.
int bk_engine_threads(struct bk_engine *engine, unsigned count) BK_MUST_CHECK;
int bk_engine_turn_as(struct bk_engine *engine, unsigned thread, int wait_ms);
struct bk_exchange *bk_engine_next_as(struct bk_engine *engine, unsigned thread);

// ---- reading the request ----

struct bk_exchange_ref {
    uint32_t index, generation;
};
// Room of the host's own in each exchange: zeroed by bk_engine_next, never looked at by the engine.
struct bk_note {
    void *object;
    int error;
    uint32_t flags;
};
struct bk_note *bk_exchange_note(struct bk_exchange *x);
// NULL once that exchange was committed.
struct bk_exchange *bk_exchange_at(struct bk_engine *engine, struct bk_exchange_ref ref);

struct bk_call {
    const struct bk_head *head;  // valid until commit
    struct bk_exchange_ref ref;
    uint64_t connection;   // unique number of the connection in this worker; memo key
    uint32_t nth;          // 1 for the first request of the connection
    uint16_t listener;     // index of bk_engine_listener
    bool https;            // by TLS or by a trusted proxy's word
    bool peer_trusted;     // the peer is in --forwarded-allow-ips
    bool body_buffered;    // the whole body is here: seekable, length known
    bool has_body;         // announced by length > 0 or chunked
    uint64_t body_length;  // when body_buffered or Content-Length was sent
    bool websocket;        // a valid WebSocket handshake: bk_ws_accept it, or answer (a denial)
};
const struct bk_call *bk_exchange_call(const struct bk_exchange *x);

// Peer address in text (see bk_addr_host); returns length. 0 for unix sockets.
size_t bk_exchange_peer(const struct bk_exchange *x, char out[46], unsigned *ret_port);
// The same of the client: behind trusted peers the last address of X-Forwarded-For that is not
// trusted itself (its port is 0 when unknown), else the peer.
size_t bk_exchange_client(const struct bk_exchange *x, char out[46], unsigned *ret_port);
// What TLS knows of the connection; {NULL, 0} for what is not known, and without TLS. Valid until
// commit.
enum bk_tls_fact {
    BK_TLS_PROTOCOL,            // "TLSv1.3"
    BK_TLS_CIPHER,              // "TLS_AES_256_GCM_SHA384"
    BK_TLS_SERVER_NAME,         // SNI, as the client sent it
    BK_TLS_SERVER_CERTIFICATE,  // ours, PEM
    BK_TLS_CLIENT_VERIFY,       // "NONE", "SUCCESS"; not known when no certificate is asked for
    BK_TLS_CLIENT_SUBJECT,      // names as in RFC 2253, UTF-8
    BK_TLS_CLIENT_ISSUER,
    BK_TLS_CLIENT_SERIAL,  // hexadecimal
    BK_TLS_CLIENT_FROM,    // "Nov 21 17:00:00 2026 GMT"
    BK_TLS_CLIENT_UNTIL,
    BK_TLS_CLIENT_CERTIFICATE,  // PEM
    BK_TLS_CLIENT_CHAIN,        // PEM: the client's and the others it sent
};
struct bk_str bk_exchange_tls(const struct bk_exchange *x, enum bk_tls_fact which);
// 0x0304 for TLS 1.3 and the cipher suite's number; false without TLS.
bool bk_exchange_tls_numbers(const struct bk_exchange *x, unsigned *ret_version,
                             unsigned *ret_suite);
// Request id: the trusted peer's X-Request-ID or 16 hex digits made at the first call. Valid until
// commit.
struct bk_str bk_exchange_id(struct bk_exchange *x);

struct bk_listener_info {
    struct bk_str server_name;  // address bound to, for SERVER_NAME
    struct bk_str server_port;  // decimal, "" for unix sockets
    bool https;
    struct bk_str address;      // in full: "http://127.0.0.1:8000", "unix:/run/web.sock"
};
unsigned bk_engine_listener_count(const struct bk_engine *engine);
const struct bk_listener_info *bk_engine_listener(const struct bk_engine *engine, unsigned index);

// Body. read: > 0 bytes, 0 at the end, -EAGAIN when bytes are still to come (then
// bk_exchange_wait(x, BK_WAIT_BODY)), -ECONNRESET the client left, -ETIMEDOUT it stalled, -EPROTO
// its framing broke, -EFBIG over the limit, -EIO spill unreadable.
ssize_t bk_body_read(struct bk_exchange *x, void *into, size_t room);
// Contiguous bytes at the position without taking them: same returns as read; *ret is valid until
// the next body call.
ssize_t bk_body_peek(struct bk_exchange *x, struct bk_str *ret);
void bk_body_skip(struct bk_exchange *x, size_t len);
// Buffered bodies only, else -ESPIPE.
int bk_body_seek(struct bk_exchange *x, uint64_t position) BK_MUST_CHECK;
uint64_t bk_body_tell(const struct bk_exchange *x);

enum bk_wait {
    BK_WAIT_BODY = 1,
    BK_WAIT_DRAIN = 2,
    BK_WAIT_GONE = 4,     // bk_exchange_watch only
    BK_WAIT_MESSAGE = 8,  // bk_ws_receive has something; true at once for what is no session
};
// Blocks the calling thread until body bytes (or its end or an error) are there, or the output has
// drained below half of the high-water mark. The engine goes on meanwhile. Call without the GIL. 0,
// or -EPIPE when the client is gone, -EINTR to let signal handlers run (call again).
int bk_exchange_wait(struct bk_exchange *x, enum bk_wait what);
// True once the client has closed or reset the connection.
bool bk_exchange_gone(const struct bk_exchange *x);

// ---- foreign loops: asyncio, tornado, gevent ----
// With BK_HOST_LOOP a loop of Python waits, and no call here does. Everything is called from that
// loop's thread. Either the loop polls bk_engine_fd and calls bk_engine_turn(engine, 0) when it is
// readable; or the engine is the loop's selector: its descriptors are guests of the engine, and
// bk_engine_turn(engine, wait_ms) is the one wait. After a turn: next, events, guests.

// The descriptor to poll for reading; the engine's deadlines make it readable too. Negative errno.
// Not needed by a selector.
int bk_engine_fd(struct bk_engine *engine) BK_MUST_CHECK;

// Asks to be told once when one of `what` (enum bk_wait) is so: body bytes, its end or an error;
// output drained below half of the high-water mark; the client gone, also when its request is
// complete and it has half-closed, which ends neither the exchange nor its answer. Replaces the
// wish before, 0 takes it back. Returns the bits that are so already: then no event comes. While a
// wish for BODY or DRAIN stands the client's clock runs.
unsigned bk_exchange_watch(struct bk_exchange *x, unsigned what);
struct bk_event {
    struct bk_exchange_ref ref;
    unsigned what;
};
// The next fulfilled wish; false when there is none. Ask after each turn until false.
bool bk_engine_event(struct bk_engine *engine, struct bk_event *ret);

struct bk_guest;  // loop/guests.h: int fd, uint32_t events as from epoll
// Watches a descriptor of the loop or its application; 0 for `events` ends it. Negative errno of
// epoll_ctl, -EEXIST when the number is the engine's.
int bk_engine_guest_set(struct bk_engine *engine, int fd, uint32_t events) BK_MUST_CHECK;
// Was the engine told to stop? 0 no, 1: it finishes what runs, 2: at once.
unsigned bk_engine_stopping(const struct bk_engine *engine);
// What the last turn found for guests: at most 256.
unsigned bk_engine_guests(struct bk_engine *engine, struct bk_guest *out, unsigned room);

// ---- answering ----

// Status 100..999 and reason. Starts the answer over (fields included) as long as nothing was sent,
// else -EALREADY. -EINVAL with *ret_why (a literal) for a reason with control bytes or a status out
// of range.
int bk_answer_begin(struct bk_exchange *x, int status, struct bk_str reason,
                    const char **ret_why) BK_MUST_CHECK;
// One field, copied. -EINVAL with *ret_why: name is no token, control byte in the value, second or
// non-numeric Content-Length. Connection, Keep-Alive, Transfer-Encoding, Upgrade and other
// hop-by-hop fields: -EPERM, nothing is kept.
int bk_answer_field(struct bk_exchange *x, struct bk_str name, struct bk_str value,
                    const char **ret_why) BK_MUST_CHECK;
bool bk_answer_begun(const struct bk_exchange *x);
// Has any byte of the head been handed to the stream?
bool bk_answer_sent(const struct bk_exchange *x);
// Appends body bytes. token == NULL: they are copied. Else they are lent until ops->release(token)
// (also on error). Bytes beyond the declared Content-Length are dropped and logged once. 0, or
// -EPIPE when the client is gone (token released at once), -ENOMEM.
int bk_answer_push(struct bk_exchange *x, const void *data, size_t len, void *token);
// Appends a file range; takes over file_fd (closes it always). len UINT64_MAX: to the end of the
// file.
int bk_answer_push_file(struct bk_exchange *x, int file_fd, uint64_t offset, uint64_t len);
// Sends what is queued now, head included. > 0: more than the high-water mark is still queued, wait
// for DRAIN before pushing more.
int bk_answer_flush(struct bk_exchange *x);
// Interim answer (103) with finished "Name: value" pairs pushed as one block of validated lines;
// dropped for HTTP/1.0.
int bk_answer_interim(struct bk_exchange *x, int status, const struct bk_str *names,
                      const struct bk_str *values, unsigned count);
// One trailer field, copied, to go behind the body. -EINVAL with *ret_why: not valid, or a field that has
// no meaning or is dangerous there; -EMSGSIZE: more than 8 KiB. Dropped when the answer turns out not to be
// chunked, and when the client did not say that it takes trailers.
int bk_answer_trailer(struct bk_exchange *x, struct bk_str name, struct bk_str value,
                      const char **ret_why) BK_MUST_CHECK;
// HTTP/1.1 with "TE: trailers".
bool bk_answer_takes_trailers(const struct bk_exchange *x);
// The application failed. Logs "KIND in the application ... [app-raised]" with the traceback;
// before the head was sent the answer becomes the 500 page, afterwards the connection is aborted so
// that the client sees the cut. Then commit.
void bk_exchange_fail(struct bk_exchange *x, const char *key, struct bk_str kind,
                      struct bk_str traceback);
// A warning about this request in the error log, once per call, with request and client appended.
void bk_exchange_warn(struct bk_exchange *x, const char *key, struct bk_str text);
// Ends the answer. What is queued goes out by itself; a Content-Length is added when the whole body
// was pushed before the first flush. The exchange is the engine's again.
void bk_exchange_commit(struct bk_exchange *x);

// Access-log atoms %({NAME}e)s: names the format wants, and the value for this exchange (copied),
// before commit.
unsigned bk_engine_log_environ_count(const struct bk_engine *engine);
struct bk_str bk_engine_log_environ_name(const struct bk_engine *engine, unsigned index);
void bk_exchange_log_environ(struct bk_exchange *x, unsigned index, struct bk_str value);

// ---- WebSocket (RFC 6455) ----
//
// Only for hosts with BK_HOST_WEBSOCKET; for others an upgrade request is plain HTTP. A handshake
// that is none was refused before the host saw it (400, 426). The host answers call.websocket
// requests in the usual way (a denial, any status; the connection ends behind it) or accepts.
// From accept to commit the exchange is a session: bk_answer_* calls fail, the calls below work.
// The engine does fragments, UTF-8, compression, pings, pongs and close frames by itself.
//
//     while ((n = bk_ws_receive(x, &message)) == 1) ...;   // -EAGAIN: come back on BK_WAIT_MESSAGE
//
// None of these calls kills the exchange.

enum bk_ws_kind { BK_WS_TEXT = 1, BK_WS_BINARY = 2 };  // the opcodes

struct bk_ws_message {
    uint8_t kind;        // of a message: enum bk_ws_kind; text is valid UTF-8
    bool by_peer;        // of an end: `code` is from the client's close frame (1005: it had none)
    uint16_t code;       // of an end: the client's, else why the engine closed (1001 stopping, 1002
                         // protocol, 1007 UTF-8 or deflate, 1009 too big, 1011 no pong), else 1006
    struct bk_str data;  // the message, or the reason of an end. Valid until the next receive or
                         // commit
};

// The subprotocols the client offers, over all its Sec-WebSocket-Protocol lines in order; borrow
// the head. Fills at most `room` and returns how many there are.
unsigned bk_ws_protocols(const struct bk_exchange *x, struct bk_str *into, unsigned room);
// Sends the 101. `subprotocol`: empty, or one of those offered. Further fields as for
// bk_answer_field; those of the connection and Content-Length are left out. -EINVAL with *ret_why:
// subprotocol not offered, field not valid, or a Sec-WebSocket-* field; nothing was sent, the host
// may still answer. -EALREADY, -EPIPE: the client is gone, -ENOMEM.
int bk_ws_accept(struct bk_exchange *x, struct bk_str subprotocol, const struct bk_str *names,
                 const struct bk_str *values, unsigned count, const char **ret_why) BK_MUST_CHECK;
// 1: a message. 0: the session is over, *ret says why (again at each further call). -EAGAIN:
// nothing yet. Messages that arrived before the end come first. Reading from the client stops while
// --ws-max-queue messages or 1 MiB wait here.
int bk_ws_receive(struct bk_exchange *x, struct bk_ws_message *ret) BK_MUST_CHECK;
// Queues one message (text: the host promises valid UTF-8) and sends what the client takes. Token
// as for bk_answer_push. > 0: more than the high-water mark is queued, wait for DRAIN before
// sending more. -EPIPE: the session is over or closing, -ENOMEM.
int bk_ws_send(struct bk_exchange *x, enum bk_ws_kind kind, const void *data, size_t len,
               void *token);
// Starts the closing handshake; what was sent before goes out first. 0 also when it runs already.
// The end is then received as usual; commit need not wait for it. Code 1000..4999 that may be sent
// (RFC 6455 §7.4), reason valid UTF-8 of at most 123 bytes (longer is cut): else -EINVAL. A commit
// without it closes with 1000, after bk_exchange_fail with 1011.
int bk_ws_close(struct bk_exchange *x, unsigned code, struct bk_str reason);
