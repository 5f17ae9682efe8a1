// One connection's life: receive, let the codec find items, start exchanges, time out, linger, close.
#include "serve/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <arpa/inet.h>
#include <sys/socket.h>

#include "base/panic.h"
#include "serve/engine.h"

#define SMALL_HEAD 1024              // an unfinished head up to this size does not keep a whole block
#define LINGER (2 * BK_SEC)
#define LINGER_BYTES (64 * 1024)
#define READS_PER_TURN 8
#define DRAIN_SILENCE (BK_SEC / 2)  // while draining: how long a new connection may take to say anything

static void on_ready(struct bk_watch *watch, uint32_t events);
static void on_timer(struct bk_timer *timer);
static void read_head(struct bk_conn *conn);
static int parse(struct bk_conn *conn, struct bk_str in, size_t *ret_used);
static int start_exchange(struct bk_conn *conn, struct bk_exchange *x);
static void read_body(struct bk_conn *conn);
static void read_linger(struct bk_conn *conn);
static void skip_body(struct bk_conn *conn);
static void drop_in(struct bk_conn *conn);

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
    int error = bk_loop_add(&engine->loop, &conn->watch, EPOLLIN | EPOLLRDHUP | EPOLLET);
    if (error < 0) {
        free(conn);
        return error;
    }
    bk_list_append(&engine->conns, &conn->node);
    engine->conn_count++;
    atomic_store_explicit(&engine->slot->connections, engine->conn_count, memory_order_relaxed);
    // The first request has the head's time from the start: a connection that never speaks is not kept for minutes.
    bk__conn_set_step(conn, BK_STEP_HEAD);
    return 0;
}

static void
on_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_conn *conn = BK_OUTER(watch, struct bk_conn, watch);
    if (bk_unlikely(events & (EPOLLERR | EPOLLHUP))) {
        // HUP is both directions shut: nobody reads an answer any more. Unread bytes do not matter then.
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
        if (x && x->out.first) {
            if (x->state == BK_EXCHANGE_SENDING)
                bk__transmit_finish(x);
            else if (bk__transmit_some(x) < 0)
                bk__conn_close(conn);
            if (conn->dead)
                return;
        }
    }
    bk__conn_advance(conn);
}

void
bk__conn_advance(struct bk_conn *conn)
{
    if (conn->dead)
        return;
    if (conn->step == BK_STEP_LINGER)
        read_linger(conn);
    else if (conn->skipping)
        skip_body(conn);
    else if (!conn->exchange)
        read_head(conn);
    else if (!conn->request_done && !conn->closing)
        read_body(conn);
}

// Room to receive into: a block, or a larger buffer for a head that outgrew it.
static int
make_room(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    if (!conn->in) {
        conn->in = bk_pool_take(&engine->blocks);
        if (!conn->in)
            return -ENOMEM;
        conn->in_at = conn->in_len = 0;
        conn->in_size = BK_BLOCK_SIZE;
        conn->in_heap = conn->in_lent = false;
        return 0;
    }
    if (conn->in_len < conn->in_size)
        return 0;
    uint32_t held = conn->in_len - conn->in_at;
    uint32_t size = conn->in_size < BK_BLOCK_SIZE ? BK_BLOCK_SIZE : conn->in_size * 2;
    bool pool = size == BK_BLOCK_SIZE;
    char *grown = pool ? bk_pool_take(&engine->blocks) : malloc(size);
    if (!grown)
        return -ENOMEM;
    memcpy(grown, conn->in + conn->in_at, held);
    drop_in(conn);
    conn->in = grown;
    conn->in_at = 0;
    conn->in_len = held;
    conn->in_size = size;
    conn->in_heap = !pool;
    return 0;
}

// An unfinished head that is small moves out of its block, so that 10,000 dribbling clients cost 10 MB, not 160.
static void
shrink_in(struct bk_conn *conn)
{
    uint32_t held = conn->in_len - conn->in_at;
    if (held == 0) {
        drop_in(conn);
        return;
    }
    if (conn->in_heap || conn->in_lent || held > SMALL_HEAD / 2)
        return;
    char *small = malloc(SMALL_HEAD);
    if (!small)
        return;
    memcpy(small, conn->in + conn->in_at, held);
    drop_in(conn);
    conn->in = small;
    conn->in_at = 0;
    conn->in_len = held;
    conn->in_size = SMALL_HEAD;
    conn->in_heap = true;
}

static void
read_head(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    for (int reads = 0;; reads++) {
        if (conn->in_len > conn->in_at) {
            size_t used;
            int item = parse(conn, (struct bk_str){conn->in + conn->in_at, conn->in_len - conn->in_at}, &used);
            if (item != BK_ITEM_MORE)
                return;
            if (conn->step == BK_STEP_IDLE)
                bk__conn_set_step(conn, BK_STEP_HEAD);  // its time runs from the first byte and is not renewed by each
        }
        if (!conn->readable)
            break;
        if (reads == READS_PER_TURN) {
            bk__conn_later(conn);
            break;
        }
        if (make_room(conn) < 0) {
            bk__conn_close(conn);
            return;
        }
        size_t room = conn->in_size - conn->in_len;
        ssize_t n = conn->stream.ops->read(&conn->stream, conn->in + conn->in_len, room);
        if (n > 0) {
            conn->in_len += (uint32_t)n;
            conn->readable = (size_t)n == room || conn->eof;
            bk_count(&engine->counters->bytes_in, (uint64_t)n);
            continue;
        }
        conn->readable = false;
        if (n != -EAGAIN) {  // end of file or error between requests, or in the middle of a head: nobody to answer
            bk__conn_close(conn);
            return;
        }
    }
    shrink_in(conn);
}

// Offers bytes of a head to the codec. Anything but MORE: the connection went on (or is dead).
static int
parse(struct bk_conn *conn, struct bk_str in, size_t *ret_used)
{
    struct bk_engine *engine = conn->engine;
    struct bk_fault fault = {0};
    struct bk_str data;
    struct bk_exchange *x = engine->free_exchange;
    struct bk_head *head = NULL;
    struct bk_head probe;
    struct bk_field fields[BK_FIELDS_MAX];
    if (bk_likely(x)) {
        head = &x->head;  // parsed in place: the exchange is taken from the list only when the head is complete
        head->fields = x->fields;
    } else {
        head = &probe;
        probe.fields = fields;
    }
    int item = conn->codec.ops->next(&conn->codec, in, &engine->limits, head, ret_used, &data, &fault);
    if (item == BK_ITEM_MORE)
        return item;
    struct bk_head found = *head;
    x = bk__exchange_new(conn);
    if (!x) {
        bk__conn_close(conn);
        return -ENOMEM;
    }
    if (item < 0) {
        memset(&x->head, 0, sizeof x->head);
        x->head.base = x->block + conn->in_at;
        x->head.len = conn->in_len - conn->in_at;
        x->head.fields = x->fields;
        conn->in_at = conn->in_len;
        bk__conn_refuse(conn, &fault);
        return item;
    }
    if (bk_unlikely(head == &probe)) {
        x->head = found;
        x->head.fields = x->fields;
        memcpy(x->fields, fields, sizeof(struct bk_field) * found.field_count);
    }
    conn->in_at += (uint32_t)*ret_used;
    int error = start_exchange(conn, x);
    return error < 0 ? error : BK_ITEM_HEAD;
}

static int
start_exchange(struct bk_conn *conn, struct bk_exchange *x)
{
    struct bk_fault fault = {0};
    conn->request_done = false;
    if (bk__guard_check(x, &fault) < 0) {
        bk__conn_refuse(conn, &fault);
        return 0;
    }
    bool has_body = x->head.flags & BK_HEAD_CHUNKED ||
                    (x->head.flags & BK_HEAD_HAS_LENGTH && x->head.content_length > 0);
    bool expect = has_body && x->head.flags & BK_HEAD_EXPECT;
    bool buffered = conn->engine->config->request_buffering && !expect;
    x->call.has_body = has_body;
    x->continued = !expect;
    bk__body_begin(x, buffered);
    if (bk_likely(!has_body)) {
        size_t used;
        struct bk_str data, none = {conn->in ? conn->in + conn->in_at : NULL, 0};
        int item = conn->codec.ops->next(&conn->codec, none, &conn->engine->limits, &x->head, &used, &data, &fault);
        BK_ASSERT(item == BK_ITEM_END);
        conn->request_done = true;
        bk__body_end(x);
        bk__to_app_queue(x);
        return 0;
    }
    if (!buffered)
        bk__to_app_queue(x);
    bk__conn_set_step(conn, BK_STEP_BODY);
    bk__conn_advance(conn);
    return 0;
}

static bool feed_body(struct bk_conn *conn, struct bk_str in, size_t *ret_used);
static int keep_pipelined(struct bk_conn *conn, const char *bytes, size_t len);

// Receives body bytes: first those that came with the head, then through the engine's scratch buffer.
static void
read_body(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    struct bk_exchange *x = conn->exchange;
    size_t used;
    if (conn->in_len > conn->in_at) {
        bool go_on = feed_body(conn, (struct bk_str){conn->in + conn->in_at, conn->in_len - conn->in_at}, &used);
        if (conn->dead || conn->exchange != x || conn->closing)
            return;
        conn->in_at += (uint32_t)used;
        if (!go_on || conn->in_len > conn->in_at)
            return;
    }
    for (int reads = 0; conn->readable && bk__body_wants(x); reads++) {
        if (reads == READS_PER_TURN) {
            bk__conn_later(conn);
            return;
        }
        ssize_t n = conn->stream.ops->read(&conn->stream, engine->scratch, BK_SCRATCH_SIZE);
        if (n == -EAGAIN) {
            conn->readable = false;
            return;
        }
        if (n <= 0) {
            conn->readable = false;
            conn->eof = true;
            bk__body_fail(x, -ECONNRESET);
            if (x->state == BK_EXCHANGE_RECEIVING) {
                bk_count(&engine->counters->aborts, 1);
                bk__conn_close(conn);
            }
            return;
        }
        conn->readable = n == BK_SCRATCH_SIZE || conn->eof;
        bk_count(&engine->counters->bytes_in, (uint64_t)n);
        bk__conn_touch(conn);
        bool go_on = feed_body(conn, (struct bk_str){engine->scratch, (size_t)n}, &used);
        if (conn->dead || conn->exchange != x || conn->closing)
            return;
        if (used < (size_t)n && keep_pipelined(conn, engine->scratch + used, (size_t)n - used) < 0) {
            bk__conn_close(conn);
            return;
        }
        if (!go_on)
            return;
    }
}

// Bytes behind the body belong to the next request: they wait in a buffer of the connection's own.
static int
keep_pipelined(struct bk_conn *conn, const char *bytes, size_t len)
{
    drop_in(conn);
    conn->in = malloc(len > BK_BLOCK_SIZE ? len : BK_BLOCK_SIZE);
    if (!conn->in)
        return -ENOMEM;
    conn->in_heap = true;
    conn->in_size = (uint32_t)(len > BK_BLOCK_SIZE ? len : BK_BLOCK_SIZE);
    memcpy(conn->in, bytes, len);
    conn->in_len = (uint32_t)len;
    return 0;
}

// Lets the codec cut body bytes out of `in`. False: stop reading for now (complete, full, or refused).
static bool
feed_body(struct bk_conn *conn, struct bk_str in, size_t *ret_used)
{
    struct bk_exchange *x = conn->exchange;
    size_t total = 0;
    bool go_on = true;
    for (;;) {
        struct bk_fault fault = {0};
        struct bk_str data = {0};
        size_t used = 0;
        struct bk_str rest = {in.at + total, in.len - total};
        int item = conn->codec.ops->next(&conn->codec, rest, &conn->engine->limits, &x->head, &used, &data, &fault);
        total += used;
        if (item < 0) {
            *ret_used = 0;
            bk__conn_refuse(conn, &fault);
            return false;
        }
        if (data.len) {
            int taken = bk__body_take(x, data);
            if (taken < 0) {
                *ret_used = 0;
                fault = (struct bk_fault){taken == -ENOSPC ? 507 : 500, "no room for the request body"};
                bk__conn_refuse(conn, &fault);
                return false;
            }
            go_on = taken == 0;
        }
        if (item == BK_ITEM_END) {
            *ret_used = total;
            conn->request_done = true;
            if (bk__body_end(x) == 0 && x->state == BK_EXCHANGE_RECEIVING)
                bk__to_app_queue(x);
            return false;
        }
        if (item == BK_ITEM_MORE || (used == 0 && data.len == 0)) {
            *ret_used = total;
            return go_on;
        }
    }
}

void
bk__conn_refuse(struct bk_conn *conn, const struct bk_fault *fault)
{
    struct bk_exchange *x = conn->exchange;
    conn->closing = true;
    conn->in_at = conn->in_len;
    x->refused = true;
    x->why = fault->why;
    bk_count(&conn->engine->counters->refused, 1);
    if (x->state == BK_EXCHANGE_RUNNING || x->state == BK_EXCHANGE_READY) {  // streaming: the application learns it by its read
        bk__body_fail(x, fault->status == 413 ? -EFBIG : -EPROTO);
        return;
    }
    if (x->state == BK_EXCHANGE_SENDING)
        return;  // already answered: the connection ends behind the answer
    bk__to_page(x, fault->status, fault->why);
}

void
bk__conn_next(struct bk_conn *conn, enum bk_conn_end end)
{
    conn->exchange = NULL;
    if (conn->dead)
        return;
    if (end == BK_CONN_CLOSE || (end == BK_CONN_LINGER && conn->stream.ops->shut_write(&conn->stream) < 0)) {
        bk__conn_close(conn);
        return;
    }
    if (end == BK_CONN_LINGER) {
        drop_in(conn);
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
        drop_in(conn);
}

// The answer is out, the rest of its request body is not wanted: thrown away for a second, so that the connection lives.
static void
skip_body(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    struct bk_fault fault;
    for (int reads = 0; reads < READS_PER_TURN; reads++) {
        struct bk_str in = {conn->in ? conn->in + conn->in_at : NULL, conn->in_len - conn->in_at};
        while (in.len) {
            struct bk_head head = {0};
            struct bk_str data;
            size_t used = 0;
            int item = conn->codec.ops->next(&conn->codec, in, &engine->limits, &head, &used, &data, &fault);
            conn->in_at += (uint32_t)used;
            in.at += used;
            in.len -= used;
            if (item == BK_ITEM_END) {
                conn->skipping = false;
                bk__conn_next(conn, BK_CONN_KEEP);
                return;
            }
            if (item < 0 || used == 0) {
                bk__conn_next(conn, BK_CONN_LINGER);
                return;
            }
        }
        drop_in(conn);
        if (!conn->readable || make_room(conn) < 0)
            return;
        ssize_t n = conn->stream.ops->read(&conn->stream, conn->in, conn->in_size);
        conn->readable = n == (ssize_t)conn->in_size || (n > 0 && conn->eof);
        if (n <= 0) {
            if (n != -EAGAIN)
                bk__conn_close(conn);
            return;
        }
        conn->in_len = (uint32_t)n;
    }
    bk__conn_later(conn);
}

// After our FIN: read and throw away until the peer's FIN, so that no reset eats the answer on its way (RFC 9112 §9.6).
static void
read_linger(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    for (int reads = 0; reads < READS_PER_TURN; reads++) {
        ssize_t n = conn->stream.ops->read(&conn->stream, engine->scratch, BK_SCRATCH_SIZE);
        if (n == -EAGAIN)
            return;
        if (n <= 0)
            break;
        conn->in_at += (uint32_t)n;  // in_at counts here: bytes thrown away
        if (conn->in_at > 16 * LINGER_BYTES)
            break;
    }
    bk__conn_close(conn);
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
    drop_in(conn);
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

static void
drop_in(struct bk_conn *conn)
{
    if (conn->in && !conn->in_lent) {
        if (conn->in_heap)
            free(conn->in);
        else
            bk_pool_give(&conn->engine->blocks, conn->in);
    }
    conn->in = NULL;
    conn->in_at = conn->in_len = conn->in_size = 0;
    conn->in_lent = conn->in_heap = false;
}

void
bk__conn_later(struct bk_conn *conn)
{
    if (bk_list_empty(&conn->pending))
        bk_list_append(&conn->engine->pending, &conn->pending);
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
        return config->keep_alive;
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
    case BK_STEP_SEND:
        bk_count(&counters->timeouts_write, 1);
        break;
    case BK_STEP_QUEUED:
    case BK_STEP_APP:
        return;  // left over from an earlier step: these two wait for the application, not for the peer
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
        if (conn->readable || conn->in_len > conn->in_at)
            continue;
        if (conn->step == BK_STEP_IDLE)
            bk__conn_next(conn, BK_CONN_CLOSE);
        else if (conn->step == BK_STEP_HEAD && conn->timer.deadline > engine->loop.now + DRAIN_SILENCE)
            bk_timer_set(&engine->loop.wheel, &conn->timer, engine->loop.now + DRAIN_SILENCE);
    }
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
