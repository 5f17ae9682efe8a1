// One connection's life: begin, be told by the kernel, time out, linger, close. What arrives is
// read by receive.c.
#include "serve/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <arpa/inet.h>
#include <sys/socket.h>

#include "base/panic.h"
#include "serve/engine.h"
#include "serve/receive.h"
#include "serve/to_ws.h"

#define LINGER (2 * BK_SEC)
#define DRAIN_SILENCE                                                                              \
    (BK_SEC / 2)  // while draining: how long a new connection may take to say anything

static void on_ready(struct bk_watch *watch, uint32_t events);
static void on_timer(struct bk_timer *timer);
static void hurry(struct bk_conn *conn, uint64_t deadline);

int
bk__conn_new(struct bk_engine *engine, int fd, const struct bk_addr *peer, unsigned listener)
{
    struct bk_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return -ENOMEM;
    conn->engine = engine;
    conn->stream = (struct bk_stream){.ops = &bk_stream_plain, .fd = fd};
    conn->watch = (struct bk_watch){.ready = on_ready, .fd = fd};
    bk_timer_init(&conn->timer, on_timer);
    bk_list_init(&conn->pending);
    conn->id = ++engine->next_conn;
    conn->listener = (uint16_t)listener;
    conn->writable = true;
    conn->codec.ops = &bk_codec_h1;
    conn->codec.ops->reset(&conn->codec);
    if (peer->sa.sa_family == AF_INET) {
        conn->peer.family = AF_INET;
        conn->peer.port = ntohs(peer->in.sin_port);
        memcpy(conn->peer.bytes, &peer->in.sin_addr, 4);
    } else if (peer->sa.sa_family == AF_INET6) {
        conn->peer.family = AF_INET6;
        conn->peer.port = ntohs(peer->in6.sin6_port);
        memcpy(conn->peer.bytes, &peer->in6.sin6_addr, 16);
    } else {
        conn->peer.family = AF_UNIX;
    }
    conn->trusted = bk_nets_contain(&engine->trusted, peer);
    int error = 0;
    if (bk_unlikely(engine->accept.listeners[listener].info.https))
        error = bk__handshake_begin(conn);
    if (error == 0)
        error = bk_loop_add(&engine->loop, &conn->watch, EPOLLIN | EPOLLRDHUP | EPOLLET);
    if (error < 0) {
        conn->stream.fd = -1;  // the caller's
        conn->stream.ops->close(&conn->stream);
        free(conn);
        return error;
    }
    bk_list_append(&engine->conns, &conn->node);
    engine->conn_count++;
    atomic_store_explicit(&engine->slot->connections, engine->conn_count, memory_order_relaxed);
    // The first request has the head's time from the start: a connection that never speaks is not
    // kept for minutes.
    bk__conn_set_step(conn, conn->secure ? BK_STEP_HANDSHAKE : BK_STEP_HEAD);
    return 0;
}

static void
on_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_conn *conn = BK_OUTER(watch, struct bk_conn, watch);
    if (bk_unlikely(events & (EPOLLERR | EPOLLHUP))) {
        // HUP is both directions shut: nobody reads an answer any more. Unread bytes do not matter
        // then.
        if (conn->step != BK_STEP_LINGER && conn->exchange)
            bk_count(&conn->engine->counters->aborts, 1);
        bk__conn_close(conn);
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP))
        conn->readable = true;
    if (events & EPOLLRDHUP)
        conn->eof = true;  // a short read is then not the end: the FIN is still to be read
    if (events & EPOLLOUT) {
        conn->writable = true;
        struct bk_exchange *x = conn->exchange;
        if (x && x->flowing && x->out.first) {
            if (x->ws)
                bk__to_ws_writable(conn);
            else if (x->state == BK_EXCHANGE_SENDING)
                bk__transmit_finish(x);
            else if (bk__transmit_some(x) < 0)
                bk__conn_close(conn);
            if (conn->dead)
                return;
        }
    }
    bk__receive(conn);
    if (bk_unlikely(conn->eof) && conn->exchange)
        bk__exchange_stir(conn->exchange);
}

void
bk__conn_next(struct bk_conn *conn, enum bk_conn_end end)
{
    conn->exchange = NULL;
    if (conn->dead)
        return;
    if (end == BK_CONN_CLOSE && bk_unlikely(conn->secure))
        conn->stream.ops->goodbye(&conn->stream);
    if (end == BK_CONN_CLOSE || end == BK_CONN_CUT ||
        (end == BK_CONN_LINGER && bk__conn_shut(conn) < 0)) {
        bk__conn_close(conn);
        return;
    }
    if (end == BK_CONN_LINGER) {
        bk__receive_drop(conn);
        conn->in_at = 0;
        bk__conn_set_step(conn, BK_STEP_LINGER);
        bk__conn_later(conn);
        return;
    }
    if (end == BK_CONN_SKIP) {
        conn->skipping = true;
        conn->step = BK_STEP_BODY;
        bk_timer_set(&conn->engine->loop.wheel, &conn->timer, conn->engine->loop.now + BK_SEC);
        bk__conn_later(conn);
        return;
    }
    bk__conn_set_step(conn, BK_STEP_IDLE);
    if (conn->in_len > conn->in_at || conn->readable)
        bk__conn_later(conn);
    else if (conn->in)
        bk__receive_drop(conn);
}

int
bk__conn_shut(struct bk_conn *conn)
{
    int error = conn->stream.ops->shut_write(&conn->stream);
    conn->shut_due = error == -EAGAIN;
    if (!conn->shut_due)
        return error;
    bk__conn_watch_out(conn);
    return 0;
}

static void
bury(struct bk_doomed *doomed)
{
    free(BK_OUTER(doomed, struct bk_conn, doomed));
}

void
bk__conn_close(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    if (conn->dead)
        return;
    conn->dead = true;
    struct bk_exchange *x = conn->exchange;
    conn->exchange = NULL;
    bk__receive_drop(conn);
    if (x)
        bk__exchange_abort(x);
    bk_timer_cancel(&engine->loop.wheel, &conn->timer);
    bk_loop_remove(&engine->loop, &conn->watch);
    bk_list_remove(&conn->pending);
    bk_list_remove(&conn->node);
    engine->conn_count--;
    atomic_store_explicit(&engine->slot->connections, engine->conn_count, memory_order_relaxed);
    if (!conn->job)  // else the offload job's end does it
        bk__conn_finish_close(conn);
}

void
bk__conn_finish_close(struct bk_conn *conn)
{
    conn->stream.ops->close(&conn->stream);
    bk_loop_doom(&conn->engine->loop, &conn->doomed, bury);
    bk__accept_room(conn->engine);
}

void
bk__conn_later(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    if (bk_list_empty(&conn->pending))
        bk_list_append(&engine->pending, &conn->pending);
    if (bk_unlikely(engine->polled) && !engine->turning)
        bk_loop_wake(&engine->loop);
}

void
bk__conn_watch_out(struct bk_conn *conn)
{
    conn->writable = false;
    if (conn->watching_out)
        return;
    conn->watching_out = true;
    bk_loop_change(&conn->engine->loop, &conn->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static uint64_t
step_timeout(const struct bk_conn *conn)
{
    const struct bk_config *config = conn->engine->config;
    switch ((enum bk_step)conn->step) {
    case BK_STEP_IDLE:
        return bk_unlikely(conn->secure) ? conn->engine->tls_keep_alive : config->keep_alive;
    case BK_STEP_HANDSHAKE:
        return config->tls_handshake_timeout;
    case BK_STEP_HEAD:
        return config->header_timeout;
    case BK_STEP_BODY:
        return config->body_timeout;
    case BK_STEP_SEND:
        return config->write_timeout;
    case BK_STEP_LINGER:
        return LINGER;
    case BK_STEP_QUEUED:
    case BK_STEP_APP:
    case BK_STEP_SOCKET:
        break;
    }
    return 0;
}

void
bk__conn_set_step(struct bk_conn *conn, enum bk_step step)
{
    conn->step = (uint8_t)step;
    bk__conn_touch(conn);
}

void
bk__conn_touch(struct bk_conn *conn)
{
    uint64_t timeout = step_timeout(conn);
    if (timeout)
        bk_timer_set(&conn->engine->loop.wheel, &conn->timer, conn->engine->loop.now + timeout);
    else
        bk_timer_cancel(&conn->engine->loop.wheel, &conn->timer);
}

static void
on_timer(struct bk_timer *timer)
{
    struct bk_conn *conn = BK_OUTER(timer, struct bk_conn, timer);
    struct bk_counters *counters = conn->engine->counters;
    struct bk_exchange *x = conn->exchange;
    switch ((enum bk_step)conn->step) {
    case BK_STEP_IDLE:
        bk_count(&counters->timeouts_idle, 1);
        bk__conn_next(conn, BK_CONN_LINGER);
        return;
    case BK_STEP_HEAD:
        bk_count(&counters->timeouts_head, 1);
        if (conn->in_len > conn->in_at && (x = bk__exchange_new(conn))) {
            memset(&x->head, 0, sizeof x->head);
            x->head.base = x->block;
            x->head.fields = x->fields;
            bk__conn_refuse(conn, &(struct bk_fault){408, "the request head took too long"});
            return;
        }
        break;
    case BK_STEP_BODY:
        bk_count(&counters->timeouts_body, 1);
        if (x && (x->state == BK_EXCHANGE_RUNNING || x->state == BK_EXCHANGE_READY)) {
            conn->closing = true;
            bk__body_fail(x, -ETIMEDOUT);
            return;
        }
        if (x && x->state == BK_EXCHANGE_RECEIVING) {
            bk__conn_refuse(conn, &(struct bk_fault){408, "the request body stalled"});
            return;
        }
        break;
    case BK_STEP_HANDSHAKE:
        bk_count(&counters->timeouts_handshake, 1);
        break;
    case BK_STEP_SEND:
        bk_count(&counters->timeouts_write, 1);
        break;
    case BK_STEP_QUEUED:
    case BK_STEP_APP:
        return;  // left over from an earlier step: these two wait for the application, not for the
                 // peer
    case BK_STEP_SOCKET:
        bk__to_ws_timer(conn);
        return;
    case BK_STEP_LINGER:
        break;
    }
    bk__conn_close(conn);
}

void
bk__conn_close_all(struct bk_engine *engine)
{
    while (!bk_list_empty(&engine->conns))
        bk__conn_close(BK_OUTER(engine->conns.next, struct bk_conn, node));
}

void
bk__conn_drain_all(struct bk_engine *engine)
{
    struct bk_list *next;
    for (struct bk_list *node = engine->conns.next; node != &engine->conns; node = next) {
        next = node->next;
        struct bk_conn *conn = BK_OUTER(node, struct bk_conn, node);
        if (conn->step == BK_STEP_SOCKET) {
            bk__to_ws_stop(conn);
            continue;
        }
        if (conn->readable || conn->in_len > conn->in_at)
            continue;
        if (conn->step == BK_STEP_IDLE && engine->idle_until > engine->loop.now)
            hurry(conn, engine->idle_until);
        else if (conn->step == BK_STEP_IDLE)
            bk__conn_next(conn, BK_CONN_CLOSE);
        else if (conn->step == BK_STEP_HEAD || conn->step == BK_STEP_HANDSHAKE)
            hurry(conn, engine->loop.now + DRAIN_SILENCE);
    }
}

static void
hurry(struct bk_conn *conn, uint64_t deadline)
{
    if (conn->timer.deadline > deadline)
        bk_timer_set(&conn->engine->loop.wheel, &conn->timer, deadline);
}

const char *
bk_step_phrase(enum bk_step step)
{
    static const char *const phrases[] = {
#define X(name, phrase, timeout, counter) [BK_STEP_##name] = phrase,
#include "serve/steps.def"
#undef X
    };
    return phrases[step];
}

size_t
bk__peer_text(const struct bk_peer *peer, char out[46])
{
    if (peer->family == AF_UNIX)
        return 0;
    int family = peer->family;
    const unsigned char *bytes = peer->bytes;
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (family == AF_INET6 && memcmp(bytes, mapped, 12) == 0) {
        family = AF_INET;
        bytes += 12;
    }
    if (family == AF_INET)
        return bk_addr_v4_text(out, bytes);
    return inet_ntop(family, bytes, out, INET6_ADDRSTRLEN) ? strlen(out) : 0;
}

const char *
bk__conn_client(const struct bk_conn *conn, char out[64])
{
    char host[46];
    size_t len = bk__peer_text(&conn->peer, host);
    if (len)
        snprintf(out, 64, "client %.*s", (int)len, host);
    else
        snprintf(out, 64, "client on a unix socket");
    return out;
}
