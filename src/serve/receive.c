// What arrives on a connection: bytes into a buffer, the codec finds the items in them, a complete
// head begins an exchange, body bytes go to body.c. Called by conn.c when the kernel or the engine
// has something for a connection.
#include "serve/receive.h"

#include <errno.h>
#include <stdlib.h>

#include "base/panic.h"
#include "serve/engine.h"
#include "serve/to_ws.h"

#define SMALL_HEAD 1024  // an unfinished head up to half of this does not keep a whole block
#define LINGER_BYTES (1024 * 1024)
#define READS_PER_TURN 8

static void read_head(struct bk_conn *conn);
static int parse(struct bk_conn *conn, struct bk_str in, size_t *ret_used);
static int start_exchange(struct bk_conn *conn, struct bk_exchange *x);
static void read_body(struct bk_conn *conn);
static void skip_body(struct bk_conn *conn);
static void read_linger(struct bk_conn *conn);

void
bk__receive(struct bk_conn *conn)
{
    if (conn->dead)
        return;
    if (conn->step == BK_STEP_LINGER)
        read_linger(conn);
    else if (conn->step == BK_STEP_SOCKET)
        bk__to_ws_receive(conn);
    else if (bk_unlikely(conn->step == BK_STEP_HANDSHAKE))
        bk__handshake(conn);
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
    bk__receive_drop(conn);
    conn->in = grown;
    conn->in_at = 0;
    conn->in_len = held;
    conn->in_size = size;
    conn->in_heap = !pool;
    return 0;
}

// An unfinished head that is small moves out of its block, so that 10,000 dribbling clients cost 10
// MB, not 160.
static void
shrink_in(struct bk_conn *conn)
{
    uint32_t held = conn->in_len - conn->in_at;
    if (held == 0) {
        bk__receive_drop(conn);
        return;
    }
    if (conn->in_heap || conn->in_lent || held > SMALL_HEAD / 2)
        return;
    char *small = malloc(SMALL_HEAD);
    if (!small)
        return;
    memcpy(small, conn->in + conn->in_at, held);
    bk__receive_drop(conn);
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
            int item = parse(
                conn, (struct bk_str){conn->in + conn->in_at, conn->in_len - conn->in_at}, &used);
            if (item != BK_ITEM_MORE)
                return;
            if (conn->step == BK_STEP_IDLE)
                bk__conn_set_step(
                    conn,
                    BK_STEP_HEAD);  // its time runs from the first byte and is not renewed by each
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
            conn->readable = (size_t)n == room || conn->eof || conn->stream.ended;
            bk_count(&engine->counters->bytes_in, (uint64_t)n);
            continue;
        }
        conn->readable = false;
        if (n != -EAGAIN) {  // end of file or error between requests, or in the middle of a head:
                             // nobody to answer
            if (n == 0 && bk_unlikely(conn->secure))
                conn->stream.ops->goodbye(&conn->stream);
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
    if (bk__exchange_reserve(engine) < 0) {
        bk__conn_close(conn);
        return -ENOMEM;
    }
    // Parsed in place: the exchange is taken from the list only when its head is complete.
    struct bk_exchange *x = engine->free_exchange;
    struct bk_head *head = &x->head;
    head->fields = x->fields;
    head->method_len = head->target_len = head->path_len = head->query_len = 0;
    int item =
        conn->codec.ops->next(&conn->codec, in, &engine->limits, head, ret_used, &data, &fault);
    if (item == BK_ITEM_MORE)
        return item;
    if (!bk__exchange_new(conn)) {
        bk__conn_close(conn);
        return -ENOMEM;
    }
    if (bk_unlikely(item < 0)) {
        // Of a refused head only the request line is used, for the log, as far as it was
        // understood.
        head->base = x->block + conn->in_at;
        head->field_count = 0;
        head->flags = 0;
        conn->in_at = conn->in_len;
        bk__to_page_foreign(conn, in, &fault);
        bk__conn_refuse(conn, &fault);
        return item;
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
    if (bk_unlikely(conn->secure))
        x->tls = bk_tls_facts(&conn->stream);
    if (bk__guard_check(x, &fault) < 0 || bk__to_ws_check(x, &fault) < 0) {
        bk__conn_refuse(conn, &fault);
        return 0;
    }
    bool has_body = x->head.flags & BK_HEAD_CHUNKED ||
                    (x->head.flags & BK_HEAD_HAS_LENGTH && x->head.content_length > 0);
    bool expect = has_body && x->head.flags & BK_HEAD_EXPECT;
    bool streams = conn->engine->ops && conn->engine->ops->flags & BK_HOST_STREAMS;
    bool buffered = conn->engine->config->request_buffering && !expect && !streams;
    x->call.has_body = has_body;
    x->continued = !expect;
    bk__body_begin(x, buffered);
    if (bk_likely(!has_body)) {
        size_t used;
        struct bk_str data, none = {conn->in ? conn->in + conn->in_at : NULL, 0};
        int item = conn->codec.ops->next(&conn->codec, none, &conn->engine->limits, &x->head, &used,
                                         &data, &fault);
        BK_ASSERT(item == BK_ITEM_END);
        conn->request_done = true;
        bk__body_end(x);
        if (!bk__to_live(x))
            bk__to_app_queue(x);
        return 0;
    }
    if (!buffered) {
        bk__to_app_queue(x);
        if (conn->dead || conn->exchange != x || x->state != BK_EXCHANGE_READY)
            return 0;  // no room in the queue
    }
    bk__conn_set_step(conn, BK_STEP_BODY);
    bk__receive(conn);
    return 0;
}

static bool feed_body(struct bk_conn *conn, struct bk_str in, size_t *ret_used);

// Receives body bytes: first those that came with the head, then through the engine's scratch
// buffer.
static void
read_body(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    struct bk_exchange *x = conn->exchange;
    size_t used;
    if (conn->in_len > conn->in_at) {
        bool go_on = feed_body(
            conn, (struct bk_str){conn->in + conn->in_at, conn->in_len - conn->in_at}, &used);
        if (conn->dead || conn->exchange != x || conn->closing)
            return;
        conn->in_at += (uint32_t)used;
        if (!go_on || conn->in_len > conn->in_at)
            return;
    }
    for (int reads = 0; conn->readable && bk__body_wants(x); reads++) {
        ssize_t n = bk__receive_scratch(conn, reads);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            conn->eof = true;
            bk__body_fail(x, -ECONNRESET);
            if (x->state == BK_EXCHANGE_RECEIVING) {
                bk_count(&engine->counters->aborts, 1);
                bk__conn_close(conn);
            }
            return;
        }
        bk__conn_touch(conn);
        bool go_on = feed_body(conn, (struct bk_str){engine->scratch, (size_t)n}, &used);
        if (conn->dead || conn->exchange != x || conn->closing)
            return;
        if (used < (size_t)n &&
            bk__receive_keep(conn, engine->scratch + used, (size_t)n - used) < 0) {
            bk__conn_close(conn);
            return;
        }
        if (!go_on)
            return;
    }
}

ssize_t
bk__receive_scratch(struct bk_conn *conn, int reads)
{
    struct bk_engine *engine = conn->engine;
    if (reads == READS_PER_TURN) {
        bk__conn_later(conn);
        return -EAGAIN;
    }
    ssize_t n = conn->stream.ops->read(&conn->stream, engine->scratch, BK_SCRATCH_SIZE);
    conn->readable = n == BK_SCRATCH_SIZE || (n > 0 && (conn->eof || conn->stream.ended));
    if (n > 0)
        bk_count(&engine->counters->bytes_in, (uint64_t)n);
    return n;
}

int
bk__receive_keep(struct bk_conn *conn, const char *bytes, size_t len)
{
    bk__receive_drop(conn);
    conn->in = malloc(len > BK_BLOCK_SIZE ? len : BK_BLOCK_SIZE);
    if (!conn->in)
        return -ENOMEM;
    conn->in_heap = true;
    conn->in_size = (uint32_t)(len > BK_BLOCK_SIZE ? len : BK_BLOCK_SIZE);
    memcpy(conn->in, bytes, len);
    conn->in_len = (uint32_t)len;
    return 0;
}

// Lets the codec cut body bytes out of `in`. False: stop reading for now (complete, full, or
// refused).
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
        int item = conn->codec.ops->next(&conn->codec, rest, &conn->engine->limits, &x->head, &used,
                                         &data, &fault);
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
                fault =
                    (struct bk_fault){taken == -ENOSPC ? 507 : 500, "no room for the request body"};
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
    if (x->state == BK_EXCHANGE_RUNNING ||
        x->state == BK_EXCHANGE_READY) {  // streaming: the application learns it by its read
        bk__body_fail(x, fault->status == 413 ? -EFBIG : -EPROTO);
        return;
    }
    if (x->state == BK_EXCHANGE_SENDING)
        return;  // already answered: the connection ends behind the answer
    bk__to_page(x, fault->status, fault->why);
}

// The answer is out, the rest of its request body is not wanted: thrown away for a second, so that
// the connection lives.
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
            int item = conn->codec.ops->next(&conn->codec, in, &engine->limits, &head, &used, &data,
                                             &fault);
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
        bk__receive_drop(conn);
        if (!conn->readable || make_room(conn) < 0)
            return;
        ssize_t n = conn->stream.ops->read(&conn->stream, conn->in, conn->in_size);
        conn->readable =
            n == (ssize_t)conn->in_size || (n > 0 && (conn->eof || conn->stream.ended));
        if (n <= 0) {
            if (n != -EAGAIN)
                bk__conn_close(conn);
            return;
        }
        conn->in_len = (uint32_t)n;
    }
    bk__conn_later(conn);
}

// After our FIN: read and throw away until the peer's FIN, so that no reset eats the answer on its
// way (RFC 9112 §9.6).
static void
read_linger(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    if (bk_unlikely(conn->shut_due)) {
        if (bk__conn_shut(conn) < 0)
            bk__conn_close(conn);
        if (conn->shut_due || conn->dead)
            return;
    }
    for (int reads = 0; reads < READS_PER_TURN; reads++) {
        ssize_t n = conn->stream.ops->read(&conn->stream, engine->scratch, BK_SCRATCH_SIZE);
        if (n == -EAGAIN)
            return;
        if (n <= 0)
            break;
        conn->in_at += (uint32_t)n;  // in_at counts here: bytes thrown away
        if (conn->in_at > LINGER_BYTES)
            break;
    }
    bk__conn_close(conn);
}

void
bk__receive_drop(struct bk_conn *conn)
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
