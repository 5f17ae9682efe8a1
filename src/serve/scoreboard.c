// What the scoreboard shows of requests in the application: which they are, how long they waited
// and took. Called by to_app.c at both ends of the call.
#include "base/clock.h"
#include "serve/engine.h"

static void show(struct bk_exchange *x);
static void show_forwarded(struct bk_exchange *x, struct bk_str text);
static void show_oldest(struct bk_engine *engine);

void
bk__scoreboard_begin(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    struct bk_slot *slot = engine->slot;
    bk_histogram_add(&slot->queue_wait, x->started - x->queued);
    atomic_store_explicit(&slot->queued, engine->ready_count, memory_order_relaxed);
    atomic_store_explicit(&slot->running, ++engine->running_count, memory_order_relaxed);
    if (engine->running_count == 1)
        atomic_store_explicit(&slot->in_app_since, x->started, memory_order_relaxed);
    x->row = BK_STATS_ROWS;
    if (bk_likely(engine->free_rows))
        show(x);
}

static void
show(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    const struct bk_head *head = &x->head;
    unsigned row = (unsigned)__builtin_ctzll(engine->free_rows);
    engine->free_rows &= engine->free_rows - 1;
    x->row = (uint8_t)row;
    // Method, space and path lie one behind the other, and at least a version comes behind them.
    uint32_t end = head->path_len ? head->path + head->path_len : head->target;
    struct bk_str text = {head->base + head->method, end - head->method};
    if (bk_unlikely(x->forwarded))
        show_forwarded(x, text);
    else
        bk_row_begin(&engine->slot->rows[row], x->started, x->runner ? x->runner->number : 1,
                     (const struct bk_row_peer *)&x->peer, text);
}

// Behind a trusted proxy, who the client is.
static void
show_forwarded(struct bk_exchange *x, struct bk_str text)
{
    const struct bk_field *field = &x->head.fields[x->forwarded - 1];
    struct bk_str list = bk_head_str(&x->head, field->value, field->value_len);
    const char *comma = list.len ? memrchr(list.at, ',', list.len) : NULL;
    struct bk_row_peer peer = {.family = BK_ROW_FORWARDED};
    if (comma)
        list = (struct bk_str){comma + 1, (size_t)(list.at + list.len - comma - 1)};
    list = bk_str_trim(list);
    peer.port = (uint16_t)(list.len < sizeof peer.bytes ? list.len : sizeof peer.bytes);
    if (peer.port)
        memcpy(peer.bytes, list.at, peer.port);
    bk_row_begin(&x->engine->slot->rows[x->row], x->started, x->runner ? x->runner->number : 1,
                 &peer, text);
}

void
bk__scoreboard_end(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    struct bk_slot *slot = engine->slot;
    struct bk_thread_row *thread = bk__scoreboard_thread(x);
    if (bk_likely(x->row < BK_STATS_ROWS)) {
        engine->free_rows |= UINT64_C(1) << x->row;
        bk_row_end(&slot->rows[x->row]);
    }
    atomic_store_explicit(&slot->running, --engine->running_count, memory_order_relaxed);
    if (bk_likely(engine->running_count == 0))
        atomic_store_explicit(&slot->in_app_since, 0, memory_order_relaxed);
    else
        show_oldest(engine);
    bk_count(&thread->requests, 1);
    bk_count(&thread->busy, x->committed - x->started);
    if (bk_likely(!x->ws)) // a session's length is nobody's waiting time
        bk_histogram_add(&slot->latency, x->committed - x->queued);
}

static void
show_oldest(struct bk_engine *engine)
{
    const struct bk_exchange *x = BK_OUTER(engine->running.next, struct bk_exchange, running);
    atomic_store_explicit(&engine->slot->in_app_since, x->started, memory_order_relaxed);
}

struct bk_thread_row *
bk__scoreboard_thread(const struct bk_exchange *x)
{
    unsigned index = x->runner ? x->runner->number - 1 : 0;
    return &x->engine->slot->thread_rows[index < BK_STATS_THREADS ? index : BK_STATS_THREADS - 1];
}

void
bk__scoreboard_step(struct bk_exchange *x, int step)
{
    if (x->state == BK_EXCHANGE_RUNNING && x->row < BK_STATS_ROWS)
        atomic_store_explicit(&x->engine->slot->rows[x->row].step, (uint8_t)step,
                              memory_order_relaxed);
}

// "t=1699999999.123" as nginx, Heroku and others write it: seconds, or milli- or microseconds
// without a point. What is older than an hour or of the future says more about clocks than about
// waiting.
void
bk__scoreboard_proxy(struct bk_exchange *x, struct bk_str value)
{
    uint64_t now = bk_clock_wall(), start = 0, scale = BK_SEC;
    size_t digits = 0, at = 0;
    if (bk_str_starts(value, BK_STR("t=")))
        at = 2;
    for (; at < value.len && value.at[at] >= '0' && value.at[at] <= '9' && digits < 19;
         at++, digits++)
        start = start * 10 + (uint64_t)(value.at[at] - '0');
    if (digits < 9)
        return;
    for (; digits > 11 && scale > 1; digits -= 3)
        scale /= 1000;
    if (__builtin_mul_overflow(start, scale, &start))
        return;
    if (at < value.len && value.at[at] == '.')
        for (at++; at < value.len && value.at[at] >= '0' && value.at[at] <= '9' && scale >= 10;
             at++) {
            scale /= 10;
            start += (uint64_t)(value.at[at] - '0') * scale;
        }
    if (at == value.len && start <= now && now - start < 3600 * BK_SEC)
        bk_histogram_add(&x->engine->slot->proxy_wait, now - start);
}
