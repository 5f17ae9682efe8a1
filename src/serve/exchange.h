// One request and its answer. Lives in type-stable slabs; hosts name it by index and generation.
// While the host has it (between next and commit) app threads touch only the exchange, never conn,
// stream or loop.
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "host/host.h"
#include "loop/offload.h"
#include "proto/codec.h"
#include "serve/body.h"
#include "serve/mailbox.h"
#include "serve/out.h"

struct bk_conn;
struct bk_engine;
struct bk_tls_facts;
struct bk_ws;

enum bk_exchange_state {
    BK_EXCHANGE_FREE,
    BK_EXCHANGE_RECEIVING,  // the head is here, the body is still to come
    BK_EXCHANGE_READY,      // in the run queue
    BK_EXCHANGE_RUNNING,    // with the host
    BK_EXCHANGE_SENDING,    // committed; output is still queued
};

struct bk_answer {
    int status;
    struct bk_str reason;  // borrows the arena
    char *fields;          // borrows the arena: finished lines
    uint32_t fields_len, fields_size;
    char *trailers;        // borrows the arena: finished lines
    uint32_t trailers_len;
    uint64_t length;             // Content-Length of the app
    uint64_t pushed;             // body bytes pushed so far
    bool begun : 1, opened : 1;  // opened: framing decided, head in the output queue
    bool has_length : 1, has_date : 1, has_server : 1;
    bool add_length : 1;
    bool ended : 1, failed : 1;  // failed: cut the connection instead of a clean end
    bool bodiless : 1;           // HEAD, 1xx, 204, 304
    bool close : 1;
    bool over_said : 1;  // "more than Content-Length" was logged
    uint8_t framing;     // enum bk_framing
};

struct bk_exchange {
    struct bk_call call;       // the host's view; call.head = &head
    struct bk_head head;       // head.fields = fields
    struct bk_note note;       // the host's
    struct bk_engine *engine;  // borrows
    struct bk_conn *conn;      // ref, NULL once the client is gone
    struct bk_exchange *next;  // run queue or free list
    uint32_t index;
    _Atomic uint32_t generation;
    _Atomic bool handed_out;  // between next and commit: the host may ask for it by its reference
    _Atomic bool gone;        // the client left before the end
    _Atomic uint32_t slow_told, overdue;  // peek.c: generation of which that was said
    bool flowing;             // the head is in the output queue: the loop may send what is queued
    uint8_t route;            // bucket of the estimates (baton.c)
    uint8_t row;              // of the scoreboard, while the host has it; BK_STATS_ROWS: none was free
    uint16_t forwarded;       // index of a believed X-Forwarded-For field + 1, 0: there is none
    uint8_t state;            // enum bk_exchange_state
    uint8_t wishes;  // enum bk_wait: what a hosted loop wants to be told of
    struct bk_list running;  // in engine->running, oldest first, or alone
    struct bk_thread *runner;  // borrows: whose call runs it, or ran it last
    struct bk_errand errand;   // gives it back
    _Atomic uint32_t woken;    // futex: its thread sleeps in bk_exchange_wait while 0
    struct bk_list stirred;  // in engine->stirred while an event may be due, or alone
    bool page : 1;  // answered by the server itself
    bool refused : 1;
    bool continued : 1;   // 100 Continue was sent or is not wanted
    bool block_heap : 1;  // block is malloc'ed, not from the pool
    char *block;          // owns: the bytes the head was received into
    struct bk_arena arena;
    struct bk_body body;
    struct bk_answer answer;
    struct bk_out out;
    uint64_t received, started, committed;  // monotonic ns: head complete, app called, committed
    uint64_t queued;                        // monotonic ns: ready for the app
    uint64_t sent;                          // answer bytes taken by the stream, head included
    struct bk_str id;                       // request id, borrows the arena or the head
    struct bk_str *notes;                   // %({..}e)s values, borrows the arena
    struct bk_peer_copy {                   // survives the connection
        uint16_t family, port;
        unsigned char bytes[20];  // whole words, as the scoreboard has it
    } peer;
    struct bk_tls_facts *tls;  // ref: of a TLS connection, else NULL
    struct bk_ws *ws;  // owns: the WebSocket session, NULL before bk_ws_accept
    const char *key;  // [key] of a refusal or failure, a literal
    const char *why;  // reason for the log, a literal
    struct bk_field fields[BK_FIELDS_MAX];
};

// Makes sure engine->free_exchange is not NULL; -ENOMEM or -ENOBUFS.
int bk__exchange_reserve(struct bk_engine *engine) BK_MUST_CHECK;
// A fresh exchange for `conn` that takes over conn->in; NULL when out of memory or over the slab
// limit.
struct bk_exchange *bk__exchange_new(struct bk_conn *conn) BK_MUST_CHECK;
// Gives everything back; the pointer's generation is over.
void bk__exchange_free(struct bk_exchange *x);
// The client is gone: no more I/O. Frees it unless the host has it.
void bk__exchange_abort(struct bk_exchange *x);
// Request line for logs, escaped, NUL-terminated.
const char *bk__exchange_request_text(const struct bk_exchange *x, char *out, size_t room);
// The request id as bk_exchange_id gives it, for threads that may not write here. NUL-terminated.
void bk__exchange_id_copy(const struct bk_exchange *x, char *out, size_t room);
// "request 7c1f... POST /pay, client 1.2.3.4" for log lines.
const char *bk__exchange_context(struct bk_exchange *x, char *out, size_t room);

// hosted.c: what of `wishes` (enum bk_wait) is so now. Inside.
unsigned bk__exchange_fulfilled(const struct bk_exchange *x, unsigned wishes);
// wait.c: the thread that waits for `x` goes on. Inside.
void bk__exchange_wait_over(struct bk_exchange *x);
// hosted.c: something a waiting application may look for has changed: body, output, client.
void bk__hosted_stir(struct bk_exchange *x);
static inline void
bk__exchange_stir(struct bk_exchange *x)
{
    if (bk_unlikely(x->wishes))
        bk__hosted_stir(x);
}

// answer.c: a finished line behind the answer's fields, checked by the caller.
int bk__answer_line(struct bk_exchange *x, struct bk_str name, struct bk_str value) BK_MUST_CHECK;

// guard.c: policies on a complete head; 0, or -EPROTO with *fault.
int bk__guard_check(struct bk_exchange *x, struct bk_fault *fault) BK_MUST_CHECK;

// to_app.c: the request is ready for the application.
void bk__to_app_queue(struct bk_exchange *x);
// The engine's queue_timer: who waited too long gets 503.
void bk__to_app_overdue(struct bk_timer *timer);

// scoreboard.c: what others may know of the requests that run. Inside.
void bk__scoreboard_begin(struct bk_exchange *x);
void bk__scoreboard_end(struct bk_exchange *x);
// The share of the thread that runs it, or did.
struct bk_thread_row *bk__scoreboard_thread(const struct bk_exchange *x);
// The application waits for its client (`step` is an enum bk_row_step), or goes on.
void bk__scoreboard_step(struct bk_exchange *x, int step);
// A trusted proxy's X-Request-Start.
void bk__scoreboard_proxy(struct bk_exchange *x, struct bk_str value);

// to_live.c: answers --live-path. False: it is another path.
bool bk__to_live(struct bk_exchange *x);

// to_page.c: the server's own answer (refusals, 500). Sends it and closes or goes on.
void bk__to_page(struct bk_exchange *x, int status, const char *why);
// Fills the answer only (host still has the exchange).
void bk__to_page_fill(struct bk_exchange *x, int status, const char *why);

// Bytes of another protocol in place of a request: says so in the log, once a minute, and in
// fault->why.
void bk__to_page_foreign(const struct bk_conn *conn, struct bk_str bytes, struct bk_fault *fault);

// transmit.c: decides the framing and queues the head. `whole`: nothing follows what was pushed.
int bk__transmit_open(struct bk_exchange *x, bool whole) BK_MUST_CHECK;
// Sends what is queued: 0 all gone, 1 some left (the loop goes on with it), negative errno: the
// stream is dead.
int bk__transmit_some(struct bk_exchange *x) BK_MUST_CHECK;
// The answer is complete: queue its end, send, wrap up when all is gone.
void bk__transmit_finish(struct bk_exchange *x);

// wrapup.c: everything is sent (or lost): counters, log, keep-alive or close. The exchange is
// freed.
void bk__wrapup(struct bk_exchange *x);
