// Exchanges: slabs, references by index and generation, what the host may read.
#include "serve/exchange.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"
#include "serve/engine.h"
#include "serve/to_ws.h"

static int grow(struct bk_engine *engine);
static void take_over_block(struct bk_exchange *x, struct bk_conn *conn);
static void give_back_block(struct bk_exchange *x);

struct bk_exchange *
bk__exchange_new(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    if (bk__exchange_reserve(engine) < 0)
        return NULL;
    if (bk_unlikely(!conn->in)) {
        conn->in = bk_pool_take(&engine->blocks);
        if (!conn->in)
            return NULL;
        conn->in_size = BK_BLOCK_SIZE;
    }
    struct bk_exchange *x = engine->free_exchange;
    engine->free_exchange = x->next;
    x->next = NULL;
    x->state = BK_EXCHANGE_RECEIVING;
    x->page = x->refused = x->continued = x->flowing = false;
    atomic_store_explicit(&x->gone, false, memory_order_relaxed);
    x->wishes = 0;
    memset(&x->answer, 0, sizeof x->answer);
    memset(&x->body, 0, sizeof x->body);
    x->received = engine->loop.now;
    x->started = x->committed = x->sent = 0;
    x->id = (struct bk_str){0};
    x->forwarded = 0;
    x->notes = NULL;
    x->key = x->why = NULL;
    x->conn = conn;
    conn->exchange = x;
    conn->nth++;
    memcpy(&x->peer, &conn->peer, sizeof conn->peer);
    x->call = (struct bk_call){.head = &x->head,
                               .ref = {x->index, x->generation},
                               .connection = conn->id,
                               .nth = conn->nth,
                               .listener = conn->listener,
                               .peer_trusted = conn->trusted};
    take_over_block(x, conn);
    return x;
}

// The bytes of the head must live as long as the exchange, also when the connection dies: the
// buffer changes owner. What lies behind the head (body, a pipelined request) stays readable for
// the connection meanwhile.
static void
take_over_block(struct bk_exchange *x, struct bk_conn *conn)
{
    BK_ASSERT(!conn->in_lent);
    x->block = conn->in;
    x->block_heap = conn->in_heap;
    conn->in_lent = true;
    char *free_at = conn->in + conn->in_len, *end = conn->in + conn->in_size;
    bk_arena_init(&x->arena, free_at, end);
    bk__out_init(&x->out);
}

int
bk__exchange_reserve(struct bk_engine *engine)
{
    return bk_likely(engine->free_exchange) ? 0 : grow(engine);
}

static int
grow(struct bk_engine *engine)
{
    if (engine->slab_count == BK_SLABS_MAX)
        return -ENOBUFS;
    struct bk_exchange *slab = calloc(BK_SLAB_SIZE, sizeof *slab);
    if (!slab)
        return -ENOMEM;
    for (unsigned i = BK_SLAB_SIZE; i-- > 0;) {
        slab[i].engine = engine;
        slab[i].index = engine->slab_count * BK_SLAB_SIZE + i;
        slab[i].generation = 1;
        bk_list_init(&slab[i].stirred);
        bk_list_init(&slab[i].running);
        slab[i].next = engine->free_exchange;
        engine->free_exchange = &slab[i];
    }
    engine->slabs[engine->slab_count] = slab;
    atomic_store_explicit(&engine->slab_count, engine->slab_count + 1, memory_order_release);
    return 0;
}

void
bk__exchange_free(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    if (bk_unlikely(x->out.first))
        bk__out_drop(x);
    bk__body_release(x);
    if (bk_unlikely(x->ws))
        bk__to_ws_free(x->ws);
    x->ws = NULL;
    if (bk_unlikely(x->tls))
        bk_tls_facts_unref(x->tls);
    x->tls = NULL;
    bk_arena_release(&x->arena);
    give_back_block(x);
    x->conn = NULL;
    atomic_store_explicit(&x->generation, x->generation + 1, memory_order_relaxed);
    x->state = BK_EXCHANGE_FREE;
    x->next = engine->free_exchange;
    engine->free_exchange = x;
}

static void
give_back_block(struct bk_exchange *x)
{
    struct bk_conn *conn = x->conn;
    char *block = x->block;
    x->block = NULL;
    if (conn && conn->in_lent) {
        uint32_t held = conn->in_len - conn->in_at;
        if (bk_unlikely(
                held)) {  // a pipelined request: the buffer goes back to the connection as it is
            conn->in_lent = false;
            conn->in_heap = x->block_heap;
            memmove(conn->in, conn->in + conn->in_at, held);
            conn->in_at = 0;
            conn->in_len = held;
            return;
        }
        conn->in = NULL;
        conn->in_at = conn->in_len = conn->in_size = 0;
        conn->in_lent = conn->in_heap = false;
    }
    if (x->block_heap)
        free(block);
    else
        bk_pool_give(&x->engine->blocks, block);
}

void
bk__exchange_abort(struct bk_exchange *x)
{
    atomic_store_explicit(&x->gone, true, memory_order_release);
    x->conn = NULL;
    switch ((enum bk_exchange_state)x->state) {
    case BK_EXCHANGE_RECEIVING:
        bk__exchange_free(x);
        return;
    case BK_EXCHANGE_READY:    // bk_engine_next drops it
        bk__body_fail(x, -ECONNRESET);
        bk__out_drop(x);
        return;
    case BK_EXCHANGE_RUNNING:  // commit frees it; until the head went out the output is the host's
        bk__body_fail(x, -ECONNRESET);
        if (x->flowing)
            bk__out_drop(x);
        bk__exchange_stir(x);
        return;
    case BK_EXCHANGE_SENDING:
        bk__wrapup(x);
        return;
    case BK_EXCHANGE_FREE:
        return;
    }
}

struct bk_exchange *
bk_exchange_at(struct bk_engine *engine, struct bk_exchange_ref ref)
{
    // Also while another thread is inside: only what is atomic is looked at.
    if (ref.index >=
        atomic_load_explicit(&engine->slab_count, memory_order_acquire) * BK_SLAB_SIZE)
        return NULL;
    struct bk_exchange *x = &engine->slabs[ref.index / BK_SLAB_SIZE][ref.index % BK_SLAB_SIZE];
    if (!atomic_load_explicit(&x->handed_out, memory_order_acquire))
        return NULL;
    return atomic_load_explicit(&x->generation, memory_order_relaxed) == ref.generation ? x : NULL;
}

const struct bk_call *
bk_exchange_call(const struct bk_exchange *x)
{
    return &x->call;
}

struct bk_note *
bk_exchange_note(struct bk_exchange *x)
{
    return &x->note;
}

bool
bk_exchange_gone(const struct bk_exchange *x)
{
    return atomic_load_explicit(&x->gone, memory_order_acquire);
}

size_t
bk_exchange_peer(const struct bk_exchange *x, char out[46], unsigned *ret_port)
{
    struct bk_peer peer;
    memcpy(&peer, &x->peer, sizeof peer);
    *ret_port = peer.port;
    return bk__peer_text(&peer, out);
}

// Eight digits at once: nibbles spread over the bytes of a word, then made letters above 9.
static void
hex_digits(char out[8], uint32_t value)
{
    uint64_t x = __builtin_bswap32(value);
    x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
    x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x >> 4 | x << 8) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    uint64_t above_nine = (x + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
    x = htole64(x + UINT64_C(0x3030303030303030) + above_nine * 39);
    memcpy(out, &x, 8);
}

static void
make_id(const struct bk_exchange *x, char out[16])
{
    // Made of what the exchange knows, so that threads share no generator; every step can be turned
    // round, so two requests never get the same. Not a secret.
    const uint64_t *secret = x->engine->id_secret;
    uint64_t sum = secret[0] + (x->call.connection << 24 ^ x->call.nth) * (secret[1] | 1);
    sum = (sum ^ sum >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    sum = (sum ^ sum >> 27) * UINT64_C(0x94d049bb133111eb);
    sum ^= sum >> 31;
    hex_digits(out, (uint32_t)(sum >> 32));
    hex_digits(out + 8, (uint32_t)sum);
}

struct bk_str
bk_exchange_id(struct bk_exchange *x)
{
    if (x->id.len)
        return x->id;
    char *text = bk_arena_text(&x->arena, 16);
    if (!text)
        return BK_STR("-");
    make_id(x, text);
    x->id = (struct bk_str){text, 16};
    return x->id;
}

// One that a proxy gave lies in the head and was there before the application was called; any other
// is made of what never changes.
void
bk__exchange_id_copy(const struct bk_exchange *x, char *out, size_t room)
{
    const char *at = x->id.at, *head = x->head.base;
    bool given = x->id.len && at >= head && at < head + x->head.len;
    size_t len = given ? x->id.len : 16;
    if (len >= room)
        len = room - 1;
    if (given)
        len = bk_str_escape(out, room - 1, (struct bk_str){at, len});
    else
        make_id(x, out);
    out[len] = 0;
}

const char *
bk__exchange_request_text(const struct bk_exchange *x, char *out, size_t room)
{
    const struct bk_head *head = &x->head;
    size_t at = 0;
    if (head->method_len == 0) {
        snprintf(out, room, "(no request line)");
        return out;
    }
    at += bk_str_escape(out, room - 1, bk_head_str(head, head->method, head->method_len));
    if (at + 2 < room) {
        out[at++] = ' ';
        at += bk_str_escape(out + at, room - 1 - at,
                            bk_head_str(head, head->target, head->target_len));
    }
    out[at] = 0;
    return out;
}

const char *
bk__exchange_context(struct bk_exchange *x, char *out, size_t room)
{
    char request[200], host[46];
    unsigned port;
    size_t len = bk_exchange_peer(x, host, &port);
    struct bk_str id = bk_exchange_id(x);
    bk__exchange_request_text(x, request, sizeof request);
    if (len)
        snprintf(out, room, "request %.*s %s, client %.*s", (int)id.len, id.at, request, (int)len,
                 host);
    else
        snprintf(out, room, "request %.*s %s, client on a unix socket", (int)id.len, id.at,
                 request);
    return out;
}

void
bk_exchange_log_environ(struct bk_exchange *x, unsigned index, struct bk_str value)
{
    unsigned count = x->engine->access.environ_count;
    if (index >= count)
        return;
    if (!x->notes) {
        x->notes = bk_arena_take(&x->arena, sizeof *x->notes * count);
        if (!x->notes)
            return;
        memset(x->notes, 0, sizeof *x->notes * count);
    }
    char *copy = bk_arena_text(&x->arena, value.len);
    if (!copy)
        return;
    memcpy(copy, value.at, value.len);
    x->notes[index] = (struct bk_str){copy, value.len};
}
