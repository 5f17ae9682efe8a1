// One connection: a stream, a codec, one exchange at a time, one timer. Edge-triggered: `readable`
// and `writable` remember what the kernel said until a read or write finds out otherwise.
#pragma once

#include "base/list.h"
#include "loop/loop.h"
#include "base/err.h"
#include "net/addr.h"
#include "net/stream.h"
#include "proto/codec.h"

enum bk_step {
#define X(name, phrase, timeout, counter) BK_STEP_##name,
#include "serve/steps.def"
#undef X
};

struct bk_exchange;
struct bk_engine;

struct bk_peer {  // a sockaddr without the room for unix paths
    uint16_t family, port;
    unsigned char bytes[16];
};

struct bk_conn {
    struct bk_watch watch;
    struct bk_stream stream;
    struct bk_timer timer;
    struct bk_list node;           // in engine->conns
    struct bk_list pending;        // in engine->pending, or alone
    struct bk_engine *engine;      // borrows
    struct bk_exchange *exchange;  // ref: the exchange on this connection, NULL between requests
    char *in;                      // received bytes: owns, unless in_lent
    uint32_t in_at, in_len, in_size;
    uint32_t nth;  // requests begun
    uint64_t id;
    struct bk_codec codec;
    struct bk_peer peer;
    uint16_t listener;
    uint8_t step;      // enum bk_step
    bool in_lent : 1;  // `in` belongs to the exchange
    bool in_heap : 1;  // `in` is malloc'ed, not a pool block
    bool readable : 1, writable : 1, watching_out : 1;
    bool eof : 1;           // the peer sent its FIN
    bool trusted : 1;       // peer inside --forwarded-allow-ips
    bool closing : 1;       // nothing more is parsed from it
    bool skipping : 1;      // the rest of a body nobody wants is being thrown away
    bool request_done : 1;  // the codec said END for the current exchange
    bool job : 1;           // an offload job uses the fd: do not close
    bool dead : 1;          // closed, waits for the end of the turn
    bool secure : 1;        // TLS
    bool shut_due : 1;      // lingering, and our end could not be sent yet
    struct bk_doomed doomed;
};

// Takes over `fd`.
int bk__conn_new(struct bk_engine *engine, int fd, const struct bk_addr *peer,
                 unsigned listener) BK_MUST_CHECK;
// The exchange is over. The connection may be dead afterwards.
enum bk_conn_end {
    BK_CONN_KEEP,    // wait for the next request
    BK_CONN_SKIP,    // throw away the rest of the request body first
    BK_CONN_LINGER,  // send our FIN, read until the peer's
    BK_CONN_CLOSE,   // nothing of the peer is unread: close at once
    BK_CONN_CUT,     // close, and let the peer see that something is missing
};
void bk__conn_next(struct bk_conn *conn, enum bk_conn_end end);
// Sends our end, at once or when there is room for it; negative errno: the stream is dead.
int bk__conn_shut(struct bk_conn *conn) BK_MUST_CHECK;
// The peer's fault: answers with the status (a streaming application learns it by its read instead)
// and closes. Needs conn->exchange. The connection may be dead afterwards.
void bk__conn_refuse(struct bk_conn *conn, const struct bk_fault *fault);
// Closes now (its exchange, if any, learns that the client is gone). Memory goes at the end of the
// turn.
void bk__conn_close(struct bk_conn *conn);
// Second half of closing, put off while an offload job uses the fd.
void bk__conn_finish_close(struct bk_conn *conn);
// Looks at it again in the next turn without waiting for an event.
void bk__conn_later(struct bk_conn *conn);
void bk__conn_set_step(struct bk_conn *conn, enum bk_step step);
// Restarts the timer of the step.
void bk__conn_touch(struct bk_conn *conn);
// Adds EPOLLOUT to what is watched.
void bk__conn_watch_out(struct bk_conn *conn);
// handshake.c: makes a new connection of an https listener a TLS one; negative errno.
int bk__handshake_begin(struct bk_conn *conn) BK_MUST_CHECK;
// Goes on with it. The connection may be dead afterwards.
void bk__handshake(struct bk_conn *conn);
// End of the engine: closes everything.
void bk__conn_close_all(struct bk_engine *engine);
// Drain: closes connections between requests; the others close after their answer.
void bk__conn_drain_all(struct bk_engine *engine);

const char *bk_step_phrase(enum bk_step step);
// "client 127.0.0.1:4242" into out; returns out.
const char *bk__conn_client(const struct bk_conn *conn, char out[64]);
size_t bk__peer_text(const struct bk_peer *peer, char out[46]);
