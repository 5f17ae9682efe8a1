// The engine's side of a WebSocket session: what the client, the clock and the worker's end do to
// it. The host's calls are in to_ws_host.c.
#include "serve/to_ws.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/ws.h"
#include "serve/engine.h"
#include "serve/receive.h"

#define QUEUE_BYTES (1024 * 1024)  // received bytes that wait for the host before reading stops
#define CLOSE_TIME (5 * BK_SEC)    // for the client's part of the closing handshake

static int feed(struct bk_exchange *x, char *in, size_t len, size_t *ret_used);
static void act(struct bk_exchange *x, int item, const struct bk_ws_event *event);
static void take_message(struct bk_exchange *x, uint8_t kind);
static void peer_closes(struct bk_exchange *x, const struct bk_ws_event *event);
static void fail(struct bk_exchange *x, unsigned code, const char *why);
static void finish(struct bk_exchange *x);
static void lost(struct bk_exchange *x);
static void arm(struct bk_exchange *x);

int
bk__to_ws_check(struct bk_exchange *x, struct bk_fault *fault)
{
    const struct bk_host_ops *ops = x->engine->ops;
    struct bk_ws_deflate deflate;
    if (bk_likely(!(x->head.flags & BK_HEAD_UPGRADE)) || !ops ||
        !(ops->flags & BK_HOST_WEBSOCKET) || !bk_ws_asked(&x->head))
        return 0;
    int error = bk_ws_check(&x->head, &deflate, fault);
    x->call.websocket = error == 0;
    return error;
}

// ---- what the client does ----

void
bk__to_ws_receive(struct bk_conn *conn)
{
    struct bk_exchange *x = conn->exchange;
    struct bk_engine *engine = conn->engine;
    size_t used;
    for (int reads = 0;; reads++) {
        if (conn->in_len > conn->in_at) {  // came with the head, or was left when reading stopped
            if (bk__to_ws_paused(x))
                return;
            if (feed(x, conn->in + conn->in_at, conn->in_len - conn->in_at, &used) < 0)
                return;
            conn->in_at += (uint32_t)used;
            if (conn->in_len > conn->in_at)
                return;
            bk__receive_drop(conn);
        }
        if (!conn->readable || bk__to_ws_paused(x))
            return;
        ssize_t n = bk__receive_scratch(conn, reads);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            lost(x);
            return;
        }
        if (feed(x, engine->scratch, (size_t)n, &used) < 0)
            return;
        if (used < (size_t)n && !x->ws->got_close && !x->ws->failed &&
            bk__receive_keep(conn, engine->scratch + used, (size_t)n - used) < 0) {
            lost(x);
            return;
        }
    }
}

// Negative: the session is over, neither exchange nor connection may be touched.
static int
feed(struct bk_exchange *x, char *in, size_t len, size_t *ret_used)
{
    struct bk_ws *ws = x->ws;
    struct bk_conn *conn = x->conn;
    *ret_used = 0;
    while (*ret_used < len && !bk__to_ws_paused(x)) {
        struct bk_ws_event event;
        struct bk_ws_fault fault;
        size_t used;
        int item =
            bk_ws_reader_next(&ws->reader, in + *ret_used, len - *ret_used, &used, &event, &fault);
        *ret_used += used;
        if (item == BK_WS_MORE)
            break;
        if (item == -EPROTO)
            fail(x, fault.code, fault.why);
        else if (item < 0)
            fail(x, BK_WS_INTERNAL, "out of memory");
        else
            act(x, item, &event);
    }
    if (bk__to_ws_flush(x) < 0)
        return -EPIPE;
    return conn->exchange == x ? 0 : -EPIPE;
}

static void
act(struct bk_exchange *x, int item, const struct bk_ws_event *event)
{
    struct bk_ws *ws = x->ws;
    switch ((enum bk_ws_item)item) {
    case BK_WS_DATA:
        take_message(x, event->kind);
        return;
    case BK_WS_PING:
        if (!ws->sent_close &&
            bk__to_ws_control(x, BK_WS_OP_PONG, event->data.at, event->data.len) < 0)
            fail(x, BK_WS_INTERNAL, "out of memory");
        return;
    case BK_WS_PONG:  // one that nobody asked for is fine too (RFC 6455 §5.5.3)
        if (event->data.len == sizeof ws->ping &&
            memcmp(event->data.at, &ws->ping, sizeof ws->ping) == 0)
            ws->pong_by = 0;
        return;
    case BK_WS_CLOSE:
        peer_closes(x, event);
        return;
    case BK_WS_MORE:
        return;
    }
}

static void
take_message(struct bk_exchange *x, uint8_t kind)
{
    struct bk_ws *ws = x->ws;
    struct bk_buf *message = &ws->reader.message;
    bk_count(&x->engine->counters->ws_messages_in, 1);
    if (ws->sent_close || x->state != BK_EXCHANGE_RUNNING) {  // nobody listens any more
        message->len = 0;
        return;
    }
    struct bk_ws_received *received = malloc(sizeof *received);
    if (!received) {
        fail(x, BK_WS_INTERNAL, "out of memory");
        return;
    }
    *received = (struct bk_ws_received){.kind = kind, .data = *message};
    *message = (struct bk_buf){0};
    if (ws->last)
        ws->last->next = received;
    else
        ws->first = received;
    ws->last = received;
    ws->count++;
    ws->bytes += received->data.len;
    bk__exchange_stir(x);
}

static void
peer_closes(struct bk_exchange *x, const struct bk_ws_event *event)
{
    struct bk_ws *ws = x->ws;
    ws->got_close = true;
    bk__to_ws_end(x, event->code, true, event->data);
    // The answer repeats the code (RFC 6455 §5.5.1).
    bk__to_ws_goodbye(x, event->code == BK_WS_NO_CODE ? 0 : event->code, (struct bk_str){NULL, 0});
}

bool
bk__to_ws_paused(const struct bk_exchange *x)
{
    const struct bk_ws *ws = x->ws;
    const struct bk_config *config = x->engine->config;
    if (ws->sent_close)  // nothing is queued any more, only the client's close frame is awaited
        return ws->got_close || ws->failed;
    return x->out.queued > config->write_buffer || ws->count >= (unsigned)config->ws_max_queue ||
           ws->bytes >= QUEUE_BYTES;
}

// ---- output ----

void
bk__to_ws_writable(struct bk_conn *conn)
{
    struct bk_exchange *x = conn->exchange;
    // What was read while the output was full may wait for this.
    if (bk__to_ws_flush(x) == 0 && conn->exchange == x && conn->in_len > conn->in_at)
        bk__conn_later(conn);
}

int
bk__to_ws_control(struct bk_exchange *x, enum bk_ws_opcode opcode, const void *payload, size_t len)
{
    char frame[BK_WS_HEAD_MAX + BK_WS_CONTROL_MAX];
    size_t head = bk_ws_frame_head(frame, opcode, false, len);
    if (len)
        memcpy(frame + head, payload, len);
    return bk__out_copy(x, frame, head + len);
}

int
bk__to_ws_flush(struct bk_exchange *x)
{
    struct bk_ws *ws = x->ws;
    const struct bk_engine *engine = x->engine;
    uint64_t before = x->sent;
    int rest = bk__transmit_some(x);
    if (rest < 0) {
        lost(x);
        return -EPIPE;
    }
    if (rest == 0) {
        ws->write_by = 0;
    } else if (x->sent != before || !ws->write_by) {
        ws->write_by =
            engine->config->write_timeout ? engine->loop.now + engine->config->write_timeout : 0;
        if (ws->close_by)  // the client has not got our close frame yet
            ws->close_by = engine->loop.now + CLOSE_TIME;
    }
    if (rest == 0 && ws->sent_close && (ws->got_close || ws->failed)) {
        finish(x);
        return 0;
    }
    arm(x);
    return rest;
}

void
bk__to_ws_goodbye(struct bk_exchange *x, unsigned code, struct bk_str reason)
{
    struct bk_ws *ws = x->ws;
    char payload[BK_WS_CONTROL_MAX];
    if (ws->sent_close)
        return;
    bool paused = bk__to_ws_paused(x);
    ws->sent_close = true;
    if (paused && (x->conn->readable || x->conn->in_len > x->conn->in_at))
        bk__conn_later(x->conn);
    ws->close_by = x->engine->loop.now + CLOSE_TIME;
    if (bk__to_ws_control(x, BK_WS_OP_CLOSE, payload,
                          code ? bk_ws_close_write(payload, code, reason) : 0) < 0)
        ws->failed = true;
}

// ---- the end ----

void
bk__to_ws_end(struct bk_exchange *x, unsigned code, bool by_peer, struct bk_str reason)
{
    struct bk_ws *ws = x->ws;
    if (ws->code)
        return;
    ws->code = (uint16_t)code;
    ws->by_peer = by_peer;
    ws->reason_len = (uint8_t)(reason.len < sizeof ws->reason ? reason.len : sizeof ws->reason);
    if (ws->reason_len)
        memcpy(ws->reason, reason.at, ws->reason_len);
    bk__exchange_stir(x);
}

// The session cannot go on: a close frame says why, nothing more is read (RFC 6455 §7.1.7).
static void
fail(struct bk_exchange *x, unsigned code, const char *why)
{
    bk_count(&x->engine->counters->ws_failed, 1);
    x->why = why;
    x->ws->failed = true;
    bk__to_ws_end(x, code, false, bk_str_of(why));
    bk__to_ws_goodbye(x, code, bk_str_of(why));
}

// Everything is said and sent. The server closes first (RFC 6455 §7.1.1). While the host still has
// the exchange the two part here: the connection lingers, the exchange waits for its commit.
static void
finish(struct bk_exchange *x)
{
    struct bk_conn *conn = x->conn;
    conn->closing = true;
    conn->in_at = conn->in_len;
    x->answer.close = true;
    if (x->state == BK_EXCHANGE_SENDING) {
        bk__wrapup(x);
        return;
    }
    x->conn = NULL;
    x->gone = true;
    bk__out_drop(x);
    bk__conn_next(conn, BK_CONN_LINGER);
    bk__exchange_stir(x);
}

// The connection is of no use any more.
static void
lost(struct bk_exchange *x)
{
    struct bk_conn *conn = x->conn;
    bk_count(&x->engine->counters->aborts, !x->ws->got_close);
    bk__to_ws_end(x, BK_WS_LOST, false, (struct bk_str){NULL, 0});
    bk__conn_close(conn);
}

bool
bk__to_ws_ready(const struct bk_exchange *x)
{
    return x->ws->first || x->ws->code || x->gone;
}

void
bk__to_ws_commit(struct bk_exchange *x)
{
    struct bk_ws *ws = x->ws;
    unsigned code = x->answer.failed ? BK_WS_INTERNAL : BK_WS_NORMAL;
    x->answer.failed = false;  // a close frame says it, no cut
    while (ws->first) {
        struct bk_ws_received *received = ws->first;
        ws->first = received->next;
        bk_buf_release(&received->data);
        free(received);
    }
    ws->last = NULL;
    ws->count = 0;
    ws->bytes = 0;
    bk__to_ws_goodbye(x, code, (struct bk_str){NULL, 0});
    bk__to_ws_flush(x);
}

void
bk__to_ws_stop(struct bk_conn *conn)
{
    struct bk_exchange *x = conn->exchange;
    if (x->ws->sent_close)
        return;
    // Others take over: the client may come back at once.
    bool yields = atomic_load_explicit(&x->engine->order, memory_order_relaxed) == BK_ORDER_YIELD;
    unsigned code = yields ? BK_WS_RESTART : BK_WS_GOING_AWAY;
    bk__to_ws_end(x, code, false, (struct bk_str){NULL, 0});
    bk__to_ws_goodbye(x, code, (struct bk_str){NULL, 0});
    bk__to_ws_flush(x);
}

void
bk__to_ws_free(struct bk_ws *ws)
{
    if (!ws)
        return;
    while (ws->first) {
        struct bk_ws_received *received = ws->first;
        ws->first = received->next;
        bk_buf_release(&received->data);
        free(received);
    }
    if (ws->lent)
        bk_buf_release(&ws->lent->data);
    free(ws->lent);
    bk_ws_reader_release(&ws->reader);
    bk_ws_deflater_free(ws->deflater);
    free(ws);
}

// ---- time ----

void
bk__to_ws_begin(struct bk_exchange *x)
{
    uint64_t interval = x->engine->config->ws_ping_interval;
    x->ws->ping_at = interval ? x->engine->loop.now + interval : 0;
    x->conn->step = BK_STEP_SOCKET;
    bk_timer_cancel(&x->engine->loop.wheel, &x->conn->timer);
    arm(x);
}

// Sets the timer when a deadline is nearer than what it is set to; one that moved away is found out
// when it fires.
static void
arm(struct bk_exchange *x)
{
    struct bk_ws *ws = x->ws;
    const uint64_t deadlines[] = {ws->ping_at, ws->pong_by, ws->write_by, ws->close_by};
    uint64_t next = 0;
    for (unsigned i = 0; i < BK_COUNT(deadlines); i++)
        if (deadlines[i] && (!next || deadlines[i] < next))
            next = deadlines[i];
    if (!next || (ws->armed && ws->armed <= next))
        return;
    ws->armed = next;
    bk_timer_set(&x->engine->loop.wheel, &x->conn->timer, next);
}

static void
ping(struct bk_exchange *x)
{
    struct bk_ws *ws = x->ws;
    const struct bk_config *config = x->engine->config;
    uint64_t now = x->engine->loop.now;
    ws->ping_at = now + config->ws_ping_interval;
    // Behind output that is stuck a ping says nothing; that has its own timeout.
    if (ws->sent_close || ws->pong_by || x->out.queued)
        return;
    ws->ping = (uint32_t)(now * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    if (bk__to_ws_control(x, BK_WS_OP_PING, &ws->ping, sizeof ws->ping) < 0)
        fail(x, BK_WS_INTERNAL, "out of memory");
    else if (config->ws_ping_timeout)
        ws->pong_by = now + config->ws_ping_timeout;
}

void
bk__to_ws_timer(struct bk_conn *conn)
{
    struct bk_exchange *x = conn->exchange;
    struct bk_ws *ws = x->ws;
    struct bk_counters *counters = x->engine->counters;
    uint64_t now = x->engine->loop.now;
    ws->armed = 0;
    if (ws->write_by && now >= ws->write_by) {
        bk_count(&counters->timeouts_write, 1);
        x->why = "the client did not read";
        lost(x);
        return;
    }
    if (ws->close_by && now >= ws->close_by) {
        x->why = "the client did not close";
        lost(x);
        return;
    }
    if (ws->pong_by && now >= ws->pong_by && !ws->sent_close) {
        ws->pong_by = 0;
        // While reading is stopped the pong may wait unread: the next one will tell.
        if (!bk__to_ws_paused(x)) {
            bk_count(&counters->timeouts_pong, 1);
            fail(x, BK_WS_INTERNAL, "no pong in time");
        }
    } else if (ws->ping_at && now >= ws->ping_at) {
        ping(x);
    }
    bk__to_ws_flush(x);
}
