// Looking at running requests from outside. See peek.h. Called by worker/deadlines.c.
#include "serve/peek.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/engine.h"

static bool begun(const struct bk_exchange *x);
static void begin(struct bk_engine *engine);
static void end(struct bk_engine *engine);
static struct bk_exchange *slab_at(struct bk_engine *engine, unsigned index);
static bool still(const struct bk_exchange *x, struct bk_exchange_ref ref);
static unsigned insert(struct bk_running *into, unsigned count, unsigned room,
                       const struct bk_running *one);
static void describe(const struct bk_exchange *x, uint64_t now, struct bk_running *ret);

void
bk_peek_prepare(void)
{
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

unsigned
bk_peek(struct bk_engine *engine, uint64_t age, struct bk_running *into, unsigned room,
        unsigned *ret_running, unsigned *ret_overdue)
{
    unsigned found = 0;
    *ret_running = *ret_overdue = 0;
    begin(engine);
    uint64_t now = bk_clock_mono();
    unsigned count = atomic_load_explicit(&engine->slab_count, memory_order_acquire) * BK_SLAB_SIZE;
    for (unsigned i = 0; i < count; i++) {
        struct bk_exchange *x = slab_at(engine, i);
        if (!atomic_load_explicit(&x->handed_out, memory_order_acquire))
            continue;
        ++*ret_running;
        bool marked = atomic_load_explicit(&x->overdue, memory_order_relaxed) == x->generation;
        *ret_overdue += marked;
        if (marked || begun(x) || x->started > now || now - x->started < age)
            continue;
        struct bk_running one;
        describe(x, now, &one);
        found = insert(into, found, room, &one);
    }
    end(engine);
    return found;
}

// The first byte of its answer is out, or it is a session: other clocks run then.
static bool
begun(const struct bk_exchange *x)
{
    return x->call.websocket || __atomic_load_n(&x->flowing, __ATOMIC_RELAXED);
}

// From here to end() no exchange that is handed out changes hands or memory.
static void
begin(struct bk_engine *engine)
{
    atomic_store(&engine->peeking, true);
    // Without that call (old kernels, some sandboxes) time does it: no store waits a millisecond.
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
        usleep(1000);
}

static void
end(struct bk_engine *engine)
{
    atomic_store_explicit(&engine->peeking, false, memory_order_release);
}

void
bk__peek_over(const struct bk_engine *engine)
{
    while (atomic_load_explicit(&engine->peeking, memory_order_acquire))
        sched_yield();
}

static struct bk_exchange *
slab_at(struct bk_engine *engine, unsigned index)
{
    return &engine->slabs[index / BK_SLAB_SIZE][index % BK_SLAB_SIZE];
}

static bool
still(const struct bk_exchange *x, struct bk_exchange_ref ref)
{
    return atomic_load_explicit(&x->handed_out, memory_order_acquire) &&
           atomic_load_explicit(&x->generation, memory_order_relaxed) == ref.generation;
}

// Sorted, oldest first; the youngest falls out when there is no room.
static unsigned
insert(struct bk_running *into, unsigned count, unsigned room, const struct bk_running *one)
{
    unsigned at = count;
    while (at > 0 && into[at - 1].age < one->age)
        at--;
    if (at == room)
        return count;
    unsigned kept = count < room ? count : room - 1;
    memmove(&into[at + 1], &into[at], (kept - at) * sizeof *into);
    into[at] = *one;
    return kept + 1;
}

// The application's thread goes on meanwhile: what it may write now is read once and only if it is
// one word. Head, peer and call do not change while the host has the exchange.
static void
describe(const struct bk_exchange *x, uint64_t now, struct bk_running *ret)
{
    const struct bk_head *head = &x->head;
    unsigned port;
    char host[46];
    *ret = (struct bk_running){
        .ref = x->call.ref,
        .age = now - x->started,
        .bytes_in = head->len + __atomic_load_n(&x->body.len, __ATOMIC_RELAXED),
        .bytes_out = __atomic_load_n(&x->sent, __ATOMIC_RELAXED),
        .slow_told = atomic_load_explicit(&x->slow_told, memory_order_relaxed) == x->generation,
    };
    if (x->body.kind == BK_BODY_STREAM)
        ret->bytes_in += __atomic_load_n(&x->body.position, __ATOMIC_RELAXED);
    const struct bk_thread *runner = __atomic_load_n(&x->runner, __ATOMIC_RELAXED);
    ret->thread = x->engine->baton && runner ? runner->number : 0;
    bk__exchange_id_copy(x, ret->id, sizeof ret->id);
    bk__exchange_request_text(x, ret->request, sizeof ret->request);
    size_t len = bk_exchange_peer(x, host, &port);
    snprintf(ret->client, sizeof ret->client, len ? "client %.*s" : "client on a unix socket",
             (int)len, host);
}

void
bk_peek_told(struct bk_engine *engine, const struct bk_running *seen)
{
    atomic_store_explicit(&slab_at(engine, seen->ref.index)->slow_told, seen->ref.generation,
                          memory_order_relaxed);
}

// A generation that is over matches no request to come.
void
bk_peek_overdue(struct bk_engine *engine, const struct bk_running *seen)
{
    atomic_store_explicit(&slab_at(engine, seen->ref.index)->overdue, seen->ref.generation,
                          memory_order_relaxed);
}

bool
bk_peek_runs(struct bk_engine *engine, const struct bk_running *seen)
{
    const struct bk_exchange *x = slab_at(engine, seen->ref.index);
    return still(x, seen->ref) && !begun(x);
}
