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

#define BK_HOST_ABI 1

struct bk_engine;
struct bk_exchange;

struct bk_host_ops {
    uint32_t abi;      // BK_HOST_ABI
    uint32_t size;     // sizeof(struct bk_host_ops)
    const char *name;  // "cpython", "null"
    // The engine no longer needs a buffer lent with bk_answer_push(). Called on the engine's thread
    // with or without the GIL: put `token` on a list and drop the reference at the next GIL take.
    void (*release)(void *host, void *token);
};

// -ENOTSUP when the struct was built against another ABI. `host` is handed back in each call. Must
// precede the first turn.
int bk_engine_attach(struct bk_engine *engine, const struct bk_host_ops *ops,
                     void *host) BK_MUST_CHECK;

enum {
    BK_TURN_READY = 1,   // bk_engine_next has something
    BK_TURN_SIGNAL = 2,  // a signal interrupted the wait: run pending signal handlers
    BK_TURN_STOP = 4,    // drained or ordered to stop: leave the loop
};
// Waits at most wait_ms (-1: as long as it takes, 0: not at all), does all I/O that is due and
// fills the run queue. Touches no host object. Not re-entrant; call without the GIL.
int bk_engine_turn(struct bk_engine *engine, int wait_ms);
// The next exchange whose request is ready for the application, or NULL.
struct bk_exchange *bk_engine_next(struct bk_engine *engine);

// ---- reading the request ----

struct bk_exchange_ref {
    uint32_t index, generation;
};
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
};
const struct bk_call *bk_exchange_call(const struct bk_exchange *x);

// Peer address in text (see bk_addr_host); returns length. 0 for unix sockets.
size_t bk_exchange_peer(const struct bk_exchange *x, char out[46], unsigned *ret_port);
// Request id: the trusted peer's X-Request-ID or 16 hex digits made at the first call. Valid until
// commit.
struct bk_str bk_exchange_id(struct bk_exchange *x);

struct bk_listener_info {
    struct bk_str server_name;  // address bound to, for SERVER_NAME
    struct bk_str server_port;  // decimal, "" for unix sockets
    bool https;
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

enum bk_wait { BK_WAIT_BODY = 1, BK_WAIT_DRAIN = 2 };
// Blocks the calling thread until body bytes (or its end or an error) are there, or the output has
// drained below half of the high-water mark. The engine goes on meanwhile. Call without the GIL. 0,
// or -EPIPE when the client is gone, -EINTR to let signal handlers run (call again).
int bk_exchange_wait(struct bk_exchange *x, enum bk_wait what);
// True once the client has closed or reset the connection.
bool bk_exchange_gone(const struct bk_exchange *x);

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
