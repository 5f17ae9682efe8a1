// WebSocket sessions: after the 101 a connection leaves HTTP, and its exchange is the session until
// the host commits it. Frames in and out, back-pressure both ways, pings, the closing handshake and
// all its timeouts. The host's calls are in host/host.h, "WebSocket".
#pragma once

#include "proto/ws_message.h"
#include "serve/conn.h"
#include "serve/exchange.h"

struct bk_ws_received {
    struct bk_ws_received *next;  // owns: the queue
    uint8_t kind;
    struct bk_buf data;  // owns
};

struct bk_ws {
    struct bk_ws_reader reader;
    struct bk_ws_deflater *deflater;      // owns, NULL without the extension
    struct bk_ws_received *first, *last;  // owns: whole messages the host has not taken yet
    struct bk_ws_received *lent;          // owns: the one whose bytes the host reads
    unsigned count;                       // messages in the queue
    size_t bytes;                         // and their bytes
    uint64_t ping_at, pong_by, write_by, close_by;  // deadlines, 0: none
    uint64_t armed;                                 // what the connection's timer is set to
    uint32_t ping;                                  // payload of the ping that awaits its pong
    uint16_t code;                                  // how the session ended, 0: not yet
    bool by_peer;                                   // the code is from the client
    bool sent_close, got_close;
    bool failed;  // no close frame is awaited from the client
    uint8_t reason_len;
    char reason[BK_WS_REASON_MAX];
};

// A complete request head: sets call.websocket when the host wants sessions and this asks for one.
// 0, or -EPROTO with *fault for a handshake that is none.
int bk__to_ws_check(struct bk_exchange *x, struct bk_fault *fault) BK_MUST_CHECK;
// Bytes may be there. The connection may be dead afterwards.
void bk__to_ws_receive(struct bk_conn *conn);
// Output may go. The connection may be dead afterwards.
void bk__to_ws_writable(struct bk_conn *conn);
// The connection's timer has fired. It may be dead afterwards.
void bk__to_ws_timer(struct bk_conn *conn);
// The worker drains: says goodbye. The connection may be dead afterwards.
void bk__to_ws_stop(struct bk_conn *conn);
// The host has committed: the engine ends the session by itself. The exchange may be freed
// afterwards.
void bk__to_ws_commit(struct bk_exchange *x);
// Is there something for bk_ws_receive?
bool bk__to_ws_ready(const struct bk_exchange *x);
// Accepts NULL.
void bk__to_ws_free(struct bk_ws *ws);

// to_ws.c and to_ws_host.c: sends what the client takes, sets the timer, ends the session when its
// goodbye is out. 0 all gone, 1 some left, -EPIPE: the connection is dead; the exchange may be
// freed then if it was committed.
int bk__to_ws_flush(struct bk_exchange *x);
// Queues a control frame. -ENOMEM.
int bk__to_ws_control(struct bk_exchange *x, enum bk_ws_opcode opcode, const void *payload,
                      size_t len);
// Queues our close frame and starts the wait for the other; then flush. A second one is not sent.
void bk__to_ws_goodbye(struct bk_exchange *x, unsigned code, struct bk_str reason);
// Notes how the session ended, the first time, and wakes the host.
void bk__to_ws_end(struct bk_exchange *x, unsigned code, bool by_peer, struct bk_str reason);
// Is reading stopped until the host has taken messages or the client has taken output?
bool bk__to_ws_paused(const struct bk_exchange *x);
// Restarts the ping clock and arms the timer of a fresh session.
void bk__to_ws_begin(struct bk_exchange *x);
