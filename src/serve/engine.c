// The engine's turn: the one place where a worker waits. Called by hosts (host/host.h) and by
// worker/.
#include "serve/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/panic.h"
#include "serve/receive.h"

#define TLS_KEEP_ALIVE (75 * BK_SEC)  // clients of https are people, not proxies, unless told
#define YIELD_IDLE (2 * BK_SEC)  // for the next request of a client that does not know yet

static void look_at_pending(struct bk_engine *engine);
static void obey(struct bk_engine *engine);
static int turn_flags(const struct bk_engine *engine, int turned);
static void woken(struct bk_loop *loop);
static void show_standing(struct bk_engine *engine, bool standing);
static int wait_for_events(struct bk_engine *engine, int wait_ms, bool nested);

int
bk_engine_turn(struct bk_engine *engine, int wait_ms)
{
    return bk_engine_turn_as(engine, 1, wait_ms);
}

// The thread follows until it gets the loop, then turns it until there is something to do outside.
int
bk_engine_turn_as(struct bk_engine *engine, unsigned number, int wait_ms)
{
    struct bk_baton *baton = engine->baton;
    if (!baton)
        return bk__engine_turn(engine, wait_ms, false);
    struct bk_thread *me = &baton->threads[number - 1];
    uint64_t until = wait_ms < 0 ? UINT64_MAX : bk_clock_mono() + (uint64_t)wait_ms * BK_MSEC;
    atomic_store_explicit(&me->phase, BK_PHASE_ENGINE, memory_order_relaxed);
    while (!engine->dead && !atomic_load(&baton->stop)) {
        if (!bk__baton_enter(engine, me)) {
            int error = bk__baton_follow(engine, me, wait_ms);
            if (error < 0)
                return error == -EINTR ? BK_TURN_SIGNAL : 0;
            continue;
        }
        int flags = bk__engine_turn(engine, wait_ms, false);
        if (flags & BK_TURN_READY)
            atomic_store_explicit(&me->phase, BK_PHASE_CLAIM, memory_order_relaxed);
        bk__baton_leave(engine, me->number, BK_BATON_AWAY);
        if (flags & BK_TURN_STOP)
            bk__baton_stop(engine);
        if (flags || (wait_ms >= 0 && bk_clock_mono() >= until))
            return flags;
    }
    return BK_TURN_STOP;
}

int
bk__engine_turn(struct bk_engine *engine, int wait_ms, bool nested)
{
    if (engine->dead)
        return BK_TURN_STOP;
    BK_ASSERT(!engine->turning);
    engine->turning = true;
    engine->handed_out = false;
    if (engine->baton)
        bk__mailbox_empty(&engine->baton->mail);
    obey(engine);
    if (bk_unlikely(engine->standing != (nested && engine->baton)))
        show_standing(engine, nested);
    int gate_ms = bk__accept_gate(engine);
    if (gate_ms >= 0 && bk_unlikely(engine->polled))
        bk_timer_set(&engine->loop.wheel, &engine->gate_timer,
                     engine->loop.now + (uint64_t)gate_ms * BK_MSEC);
    if (gate_ms >= 0 && (wait_ms < 0 || wait_ms > gate_ms))
        wait_ms = gate_ms;
    if ((engine->ready_first && !nested) || (engine->stopped && !engine->stop_told) ||
        !bk_list_empty(&engine->pending) || !bk_list_empty(&engine->stirred))
        wait_ms = 0;
    atomic_store_explicit(&engine->slot->waiting, wait_ms != 0, memory_order_relaxed);
    int turned = wait_for_events(engine, wait_ms, nested);
    bk_loop_dispatch(&engine->loop, turned);
    atomic_store_explicit(&engine->slot->waiting, 0, memory_order_relaxed);
    uint64_t second = bk_engine_wall(engine) / BK_SEC;
    if (bk_unlikely(second != engine->common_second))
        bk__engine_second(engine);
    look_at_pending(engine);
    if (engine->baton)
        bk__mailbox_empty(&engine->baton->mail);
    obey(engine);
    atomic_store_explicit(&engine->slot->turned, engine->loop.now, memory_order_relaxed);
    atomic_store_explicit(&engine->slot->queued, engine->ready_count, memory_order_relaxed);
    bk_count(&engine->counters->turns, 1);
    if (bk_unlikely(atomic_load_explicit(&engine->counters->requests, memory_order_relaxed) >=
                    engine->spent_at) &&
        engine->spent(engine->doors_self))
        engine->spent_at = UINT64_MAX;
    engine->turned_at = engine->loop.now;
    engine->stop_told = engine->stopped && engine->hosted;
    engine->turning = false;
    if (bk_unlikely(engine->polled))
        bk__hosted_turned(engine);
    return turn_flags(engine, turned);
}

// Other workers leave the next connections to us or not, by our slot's state.
static void
show_standing(struct bk_engine *engine, bool standing)
{
    uint32_t from = standing ? BK_SLOT_IDLE : BK_SLOT_BUSY;
    engine->standing = standing;
    atomic_compare_exchange_strong(&engine->slot->state, &from,
                                   standing ? BK_SLOT_BUSY : BK_SLOT_IDLE);
}

static int
wait_for_events(struct bk_engine *engine, int wait_ms, bool nested)
{
    if (wait_ms == 0 || !engine->baton)
        return bk_loop_wait(&engine->loop, wait_ms);
    wait_ms = bk__baton_before_wait(engine, wait_ms, nested);
    int turned = bk_loop_wait(&engine->loop, wait_ms);
    bk__baton_after_wait(engine);
    return turned;
}

static int
turn_flags(const struct bk_engine *engine, int turned)
{
    int flags = engine->ready_first ? BK_TURN_READY : 0;
    if (turned == -EINTR)
        flags |= BK_TURN_SIGNAL;
    if (engine->stopped)
        flags |= BK_TURN_STOP;
    if (!bk_list_empty(&engine->stirred))
        flags |= BK_TURN_EVENT;
    if (bk_unlikely(bk_guests_any(&engine->loop)))
        flags |= BK_TURN_GUEST;
    return flags;
}

// Connections with bytes in user space, which no event will announce. One round: what they put back
// waits for the next turn.
static void
look_at_pending(struct bk_engine *engine)
{
    struct bk_list round;
    bk_list_init(&round);
    while (!bk_list_empty(&engine->pending))
        bk_list_append(&round, bk_list_pop(&engine->pending));
    struct bk_list *node;
    while ((node = bk_list_pop(&round)))
        bk__receive(BK_OUTER(node, struct bk_conn, pending));
}

// Orders come from other threads; they act here, on the loop's thread.
static void
obey(struct bk_engine *engine)
{
    int order = atomic_load_explicit(&engine->order, memory_order_acquire);
    if (bk_likely(order == BK_ORDER_NONE) || engine->stopped)
        return;
    if (order == BK_ORDER_QUIT) {
        bk__accept_close(engine);
        bk__conn_close_all(engine);
        engine->stopped = true;
        return;
    }
    if (order == BK_ORDER_DRAIN)
        engine->idle_until = 0;
    if (!engine->draining) {
        engine->draining = true;
        if (order == BK_ORDER_YIELD)
            engine->idle_until = bk_clock_mono() + YIELD_IDLE;
        atomic_store(&engine->slot->state, BK_SLOT_DRAINING);
    }
    bool accepted_all = bk__accept_drain(engine);
    bk__conn_drain_all(engine);
    if (accepted_all && engine->conn_count == 0 && !engine->ready_first &&
        bk_list_empty(&engine->running))
        engine->stopped = true;
}

int
bk_engine_attach(struct bk_engine *engine, const struct bk_host_ops *ops, void *host)
{
    if (ops->abi != BK_HOST_ABI || ops->size != sizeof(struct bk_host_ops))
        return -ENOTSUP;
    engine->ops = ops;
    engine->host = host;
    engine->hosted = ops->flags & BK_HOST_LOOP;
    return 0;
}

int
bk_engine_threads(struct bk_engine *engine, unsigned count)
{
    if (engine->hosted || count < 1 || count > BK_THREADS_MAX)
        return -EINVAL;
    atomic_store(&engine->slot->threads, count);
    return engine->baton ? 0 : bk__baton_new(count, &engine->baton);
}

static int init_parts(struct bk_engine *engine, const struct bk_config *config,
                      struct bk_segment *segment);

int
bk_engine_new(const struct bk_config *config, struct bk_segment *segment, struct bk_slot *slot,
              struct bk_engine **ret)
{
    struct bk_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return -ENOMEM;
    engine->spent_at = UINT64_MAX;
    engine->config = config;
    engine->slot = slot;
    engine->counters = &slot->counters;
    bk_list_init(&engine->conns);
    bk_list_init(&engine->pending);
    bk_list_init(&engine->stirred);
    bk_list_init(&engine->running);
    engine->free_rows = UINT64_MAX;
    bk_timer_init(&engine->queue_timer, bk__to_app_overdue);
    bk_pool_init(&engine->blocks, 256);
    int error = bk_loop_init(&engine->loop);
    if (error < 0) {
        free(engine);
        return error;
    }
    engine->loop.woken = woken;
    error = init_parts(engine, config, segment);
    if (error < 0) {
        bk_engine_free(engine);
        return error;
    }
    *ret = engine;
    return 0;
}

static int
init_parts(struct bk_engine *engine, const struct bk_config *config, struct bk_segment *segment)
{
    const char *why = NULL;
    struct bk_str bad;
    engine->limits = (struct bk_codec_limits){
        .h1 = {.line = (uint32_t)config->limit_request_line,
               .field = (uint32_t)config->limit_request_field_size,
               .head = (uint32_t)config->limit_request_head,
               .fields = (uint16_t)config->limit_request_fields},
        .body = {.bytes = config->limit_request_body ? config->limit_request_body : UINT64_MAX,
                 .extensions = (uint32_t)config->limit_chunk_extensions,
                 .trailers = (uint32_t)config->limit_trailers,
                 .tiny = (uint32_t)config->limit_tiny_chunks},
    };
    for (unsigned i = 0; i < config->forwarded_allow_ips.count; i++) {
        // The whole list in one text: the items were split at commas, the parser takes them joined.
        size_t len = 0;
        for (unsigned k = 0; k < config->forwarded_allow_ips.count; k++)
            len += strlen(config->forwarded_allow_ips.items[k]) + 1;
        char *joined = calloc(1, len + 1);
        if (!joined)
            return -ENOMEM;
        for (unsigned k = 0; k < config->forwarded_allow_ips.count; k++) {
            strcat(joined, config->forwarded_allow_ips.items[k]);
            strcat(joined, ",");
        }
        joined[strlen(joined) - 1] = 0;
        int parsed = bk_nets_parse(bk_str_of(joined), &engine->trusted, &bad);
        free(joined);
        if (parsed < 0)
            return parsed;
        break;
    }
    bk__guard_init(&engine->guard, config);
    bool chosen = strcmp(bk_config_origin(config, "keep_alive"), "default") != 0;
    engine->tls_keep_alive = chosen ? config->keep_alive : TLS_KEEP_ALIVE;
    int error = bk_access_log_init(&engine->access, config, &why);
    if (error < 0)
        return error;
    if ((error = bk_offload_new(&engine->loop, 4, &engine->offload)) < 0)
        return error;
    if ((error = bk__accept_init(engine, segment)) < 0)
        return error;
    const char *directory = config->spill_dir ? config->spill_dir : getenv("TMPDIR");
    engine->spill_dir = strdup(directory && *directory ? directory : "/tmp");
    engine->scratch = malloc(BK_SCRATCH_SIZE);
    if (!engine->spill_dir || !engine->scratch)
        return -ENOMEM;
    if (getrandom(engine->id_secret, sizeof engine->id_secret, 0) != sizeof engine->id_secret)
        engine->id_secret[0] = bk_clock_mono() ^ (uint64_t)getpid() << 32;
    engine->loop.now = bk_clock_mono();
    bk__engine_second(engine);
    return 0;
}

void
bk_engine_free(struct bk_engine *engine)
{
    if (!engine)
        return;
    if (!engine->dead) {
        bk__conn_close_all(engine);
        bk_loop_turn(&engine->loop, 0);  // buries what just died
    }
    bk_offload_free(engine->offload);
    bk__accept_release(engine);
    bk_access_log_release(&engine->access);
    bk_tls_unref(engine->tls);
    bk_tls_unref(engine->tls_next);
    bk_nets_release(&engine->trusted);
    for (unsigned i = 0; i < engine->slab_count; i++)
        free(engine->slabs[i]);
    bk_pool_release(&engine->blocks);
    free(engine->spill_dir);
    free(engine->scratch);
    bk__baton_free(engine->baton);
    bk_loop_release(&engine->loop);
    free(engine);
}

int
bk_engine_open(struct bk_engine *engine)
{
    atomic_store(&engine->slot->state, BK_SLOT_IDLE);
    return bk__accept_open(engine);
}

void
bk_engine_order(struct bk_engine *engine, enum bk_order order)
{
    int old = atomic_load(&engine->order);
    while (old < (int)order && !atomic_compare_exchange_weak(&engine->order, &old, (int)order))
        ;
    bk_loop_wake(&engine->loop);
}

void
bk_engine_abandon(struct bk_engine *engine)
{
    engine->dead = true;
    for (unsigned i = 0; i < engine->accept.count; i++)
        close(engine->accept.listeners[i].listener.fd);
    for (struct bk_list *node = engine->conns.next; node != &engine->conns; node = node->next)
        close(BK_OUTER(node, struct bk_conn, node)->stream.fd);
    if (engine->accept.spare_fd >= 0)
        close(engine->accept.spare_fd);
    bk_loop_abandon(&engine->loop);
}

void
bk__engine_second(struct bk_engine *engine)
{
    uint64_t wall = bk_clock_wall();
    engine->wall_offset = wall - engine->loop.now;
    engine->common_second = wall / BK_SEC;
    char *out = engine->common;
    if (engine->config->server_header)
        out = stpcpy(out, "Server: barkeep\r\n");
    engine->common_server = (uint8_t)(out - engine->common);
    out = stpcpy(out, "Date: ");
    bk_clock_http_date(out, engine->common_second);
    out = stpcpy(out + BK_CLOCK_HTTP_LEN, "\r\n");
    engine->common_len = (uint8_t)(out - engine->common);
}

static void
woken(struct bk_loop *loop)
{
    struct bk_engine *engine = BK_OUTER(loop, struct bk_engine, loop);
    bk_offload_collect(engine->offload);
}

unsigned
bk_engine_listener_count(const struct bk_engine *engine)
{
    return engine->accept.count;
}

const struct bk_listener_info *
bk_engine_listener(const struct bk_engine *engine, unsigned index)
{
    return index < engine->accept.count ? &engine->accept.listeners[index].info : NULL;
}

unsigned
bk_engine_log_environ_count(const struct bk_engine *engine)
{
    return engine->access.environ_count;
}

struct bk_str
bk_engine_log_environ_name(const struct bk_engine *engine, unsigned index)
{
    return engine->access.environ_names[index];
}
