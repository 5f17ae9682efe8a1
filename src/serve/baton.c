// The baton. See baton.h and docs/decisions/003; the experiment it was taken from is in
// tools/experiments/baton. Called by to_app.c, wait.c, body.c, answer.c and worker/watcher.c.
#include "serve/baton.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/panic.h"
#include "serve/engine.h"

#define TICK (2 * BK_MSEC)         // the watcher looks that often while there is progress
#define SECOND_LOOK (BK_MSEC / 2)  // and again that soon after it found the owner outside
#define SLOW (300 * 1000)          // ns: routes slower than this get a follower before the call
#define SPINS 100                  // looks at an errand before its owner sleeps
#define ROUTE_BYTES 24             // of a path, that tell one route from another

static void settle(struct bk_engine *engine, unsigned number, uint64_t word, bool disturbed);
static void sleep_on(struct bk_engine *engine, unsigned number, struct bk_errand *errand);
static struct bk_thread *pop_idle(struct bk_baton *baton);
static void wake(struct bk_thread *thread);
static void watch(struct bk_baton *baton);
static void set_timer(struct bk_baton *baton, uint64_t ns);

static uint64_t
word_of(unsigned owner, enum bk_baton_state state, uint64_t sequence)
{
    return sequence << 24 | (uint64_t)state << 16 | owner;
}

unsigned
bk__baton_owner(uint64_t word)
{
    return word & 0xffff;
}

static enum bk_baton_state
state_of(uint64_t word)
{
    return (enum bk_baton_state)(word >> 16 & 255);
}

// TURNING, WAITING and STANDING are undisputed.
static bool
is_inside(uint64_t word)
{
    enum bk_baton_state state = state_of(word);
    return state == BK_BATON_TURNING || state == BK_BATON_WAITING || state == BK_BATON_STANDING;
}

static bool
may_enter(uint64_t word, unsigned number)
{
    return bk__baton_owner(word) == 0 || (bk__baton_owner(word) == number && !is_inside(word));
}

// The sequence grows at every entry, so that a word seen twice was not touched meanwhile.
static bool
replace(struct bk_baton *baton, uint64_t expected, unsigned owner, enum bk_baton_state state)
{
    return atomic_compare_exchange_strong(&baton->word, &expected,
                                          word_of(owner, state, (expected >> 24) + 1));
}

bool
bk__baton_enter(struct bk_engine *engine, struct bk_thread *me)
{
    struct bk_baton *baton = engine->baton;
    uint64_t word = atomic_load_explicit(&baton->word, memory_order_relaxed);
    while (may_enter(word, me->number)) {
        if (replace(baton, word, me->number, BK_BATON_TURNING))
            return true;
        word = atomic_load_explicit(&baton->word, memory_order_relaxed);
    }
    return false;
}

void
bk__baton_leave(struct bk_engine *engine, unsigned owner, enum bk_baton_state state)
{
    uint64_t word = atomic_load_explicit(&engine->baton->word, memory_order_relaxed);
    settle(engine, bk__baton_owner(word), word_of(owner, state, 0), false);
}

bool
bk__baton_borrow(struct bk_engine *engine, unsigned number, uint64_t *ret_before)
{
    struct bk_baton *baton = engine->baton;
    uint64_t word;
    do {
        word = atomic_load(&baton->word);
        if (is_inside(word))
            return false;
    } while (!replace(baton, word, number, BK_BATON_TURNING));
    *ret_before = word;
    return true;
}

void
bk__baton_give_back(struct bk_engine *engine, unsigned number, uint64_t before)
{
    settle(engine, number, before, true);
}

// Leaves with owner and state of `word`. Posted errands first: a poster that saw us inside relies
// on it; it posted before it looked at the word, we look at the mail after we stored it.
// `disturbed`: the owner or a woken thread may have come meanwhile, found us and gone to sleep.
static void
settle(struct bk_engine *engine, unsigned number, uint64_t word, bool disturbed)
{
    struct bk_baton *baton = engine->baton;
    uint64_t sequence = atomic_load_explicit(&baton->word, memory_order_relaxed) >> 24;
    for (;;) {
        word = word_of(bk__baton_owner(word), state_of(word), sequence);
        atomic_store(&baton->word, word);
        if (bk_likely(!bk__mailbox_has(&baton->mail)))
            break;
        if (!bk__baton_borrow(engine, number, &word))
            return;
        bk__mailbox_empty(&baton->mail);
        sequence = atomic_load_explicit(&baton->word, memory_order_relaxed) >> 24;
        disturbed = true;
    }
    watch(baton);
    unsigned owner = bk__baton_owner(word);
    bool asleep = false;
    if (owner == 0)
        asleep = (disturbed || state_of(word) == BK_BATON_SPARE) && atomic_load(&baton->idle_count);
    else if (bk_unlikely(disturbed) && owner != number)
        asleep = atomic_load(&baton->threads[owner - 1].idle);
    struct bk_thread *thread = bk_unlikely(asleep) ? pop_idle(baton) : NULL;
    if (thread) {
        if (owner)
            replace(baton, word, 0, BK_BATON_FREE);
        wake(thread);
    }
}

bool
bk__baton_hand_over(struct bk_engine *engine)
{
    struct bk_thread *thread = pop_idle(engine->baton);
    if (!thread)
        return false;
    bk__baton_leave(engine, 0, BK_BATON_FREE);
    wake(thread);
    return true;
}

// ---- idle threads ----

static struct bk_thread *
pop_idle(struct bk_baton *baton)
{
    if (!atomic_load(&baton->idle_count))
        return NULL;
    pthread_mutex_lock(&baton->idle_lock);
    struct bk_thread *thread = baton->idle_first;
    if (thread) {
        baton->idle_first = thread->next_idle;
        atomic_fetch_sub(&baton->idle_count, 1);
    }
    pthread_mutex_unlock(&baton->idle_lock);
    return thread;
}

// False: somebody has taken it out and wakes it.
static bool
take_out(struct bk_baton *baton, const struct bk_thread *me)
{
    bool found = false;
    pthread_mutex_lock(&baton->idle_lock);
    for (struct bk_thread **at = &baton->idle_first; *at; at = &(*at)->next_idle)
        if (*at == me) {
            *at = me->next_idle;
            atomic_fetch_sub(&baton->idle_count, 1);
            found = true;
            break;
        }
    pthread_mutex_unlock(&baton->idle_lock);
    return found;
}

static void
wake(struct bk_thread *thread)
{
    atomic_store_explicit(&thread->wake, 1, memory_order_release);
    bk__futex_wake(&thread->wake);
}

int
bk__baton_follow(struct bk_engine *engine, struct bk_thread *me, int wait_ms)
{
    struct bk_baton *baton = engine->baton;
    int result = 0;
    atomic_store_explicit(&me->wake, 0, memory_order_relaxed);
    atomic_store_explicit(&me->phase, BK_PHASE_IDLE, memory_order_relaxed);
    atomic_store(&me->idle, true);
    pthread_mutex_lock(&baton->idle_lock);
    me->next_idle = baton->idle_first;
    baton->idle_first = me;
    atomic_fetch_add(&baton->idle_count, 1);
    pthread_mutex_unlock(&baton->idle_lock);
    uint64_t word = atomic_load(&baton->word);
    if (state_of(word) == BK_BATON_STANDING)
        bk_loop_wake(&engine->loop);  // it gives the loop to whom can run the application
    bool mine = may_enter(word, me->number) || atomic_load(&baton->stop);
    while (!atomic_load_explicit(&me->wake, memory_order_acquire)) {
        if (!mine)
            result = bk__futex_wait(&me->wake, 0, wait_ms);
        if ((mine || result < 0) && take_out(baton, me))
            break;
        mine = false;
        wait_ms = -1;  // else: the wake-up is on its way
    }
    atomic_store(&me->idle, false);
    atomic_store_explicit(&me->phase, BK_PHASE_ENGINE, memory_order_relaxed);
    return result;
}

bool
bk__baton_claimed(const struct bk_baton *baton)
{
    for (unsigned i = 0; i < baton->count; i++)
        if (atomic_load_explicit(&baton->threads[i].phase, memory_order_relaxed) == BK_PHASE_CLAIM)
            return true;
    return false;
}

void
bk__baton_stop(struct bk_engine *engine)
{
    struct bk_thread *thread;
    atomic_store(&engine->baton->stop, true);
    while ((thread = pop_idle(engine->baton)))
        wake(thread);
}

// ---- waiting for events ----

int
bk__baton_before_wait(struct bk_engine *engine, int wait_ms, bool standing)
{
    struct bk_baton *baton = engine->baton;
    uint64_t word = atomic_load_explicit(&baton->word, memory_order_relaxed);
    enum bk_baton_state state = standing ? BK_BATON_STANDING : BK_BATON_WAITING;
    atomic_store(&baton->word, word_of(bk__baton_owner(word), state, word >> 24));
    if (bk__mailbox_has(&baton->mail))
        return 0;
    if (standing && atomic_load(&baton->idle_count) && !bk__baton_claimed(baton))
        return 0;
    return wait_ms;
}

void
bk__baton_after_wait(struct bk_engine *engine)
{
    struct bk_baton *baton = engine->baton;
    uint64_t word = atomic_load_explicit(&baton->word, memory_order_relaxed);
    for (;;) {
        atomic_store(&baton->word, word_of(bk__baton_owner(word), BK_BATON_TURNING, word >> 24));
        if (bk_likely(!atomic_load(&baton->forking)))
            return;
        atomic_store(&baton->word, word);
        while (atomic_load(&baton->forking))
            sched_yield();
    }
}

void
bk__baton_hold(struct bk_engine *engine, uint64_t *ret_before)
{
    struct bk_baton *baton = engine->baton;
    *ret_before = 0;
    atomic_fetch_add(&baton->forking, 1);
    for (;;) {
        uint64_t word = atomic_load(&baton->word);
        if (state_of(word) == BK_BATON_WAITING || state_of(word) == BK_BATON_STANDING)
            return;
        if (state_of(word) != BK_BATON_TURNING && bk__baton_borrow(engine, BK_WATCHER, ret_before))
            return;
        sched_yield();
    }
}

void
bk__baton_release(struct bk_engine *engine, uint64_t before)
{
    atomic_fetch_sub(&engine->baton->forking, 1);
    if (before)
        bk__baton_give_back(engine, BK_WATCHER, before);
}

// ---- out to the application and back ----

// The first bytes of the path up to a digit: /users/17 and /users/18 are one route.
static unsigned
route_of(const struct bk_exchange *x)
{
    struct bk_str path = bk_head_str(&x->head, x->head.path, x->head.path_len);
    size_t len = path.len < ROUTE_BYTES ? path.len : ROUTE_BYTES;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len && !(path.at[i] >= '0' && path.at[i] <= '9'); i++)
        hash = (hash ^ (unsigned char)path.at[i]) * 16777619u;
    return (hash ^ hash >> 16) % BK_ROUTES;
}

void
bk__baton_lend(struct bk_engine *engine, struct bk_exchange *x)
{
    struct bk_baton *baton = engine->baton;
    struct bk_thread *me = x->runner, *follower = NULL;
    bool slow = false;
    atomic_store_explicit(&me->phase, BK_PHASE_APP, memory_order_relaxed);
    if (baton->count > 1) {
        x->route = (uint8_t)route_of(x);
        slow = atomic_load_explicit(&baton->usual[x->route], memory_order_relaxed) > SLOW;
    }
    if (bk_unlikely(slow)) {
        atomic_fetch_add_explicit(&baton->hands, 1, memory_order_relaxed);
        follower = pop_idle(baton);
        bk__baton_leave(engine, 0, follower ? BK_BATON_FREE : BK_BATON_SPARE);
        if (follower)
            wake(follower);
        else
            set_timer(baton, SECOND_LOOK);
    } else {
        bk__baton_leave(engine, me->number, BK_BATON_LENT);
    }
}

// What a call took, wall time: up quickly, down slowly. A race loses a sample, no more.
static void
learn(struct bk_baton *baton, const struct bk_exchange *x)
{
    _Atomic uint32_t *usual = &baton->usual[x->route];
    uint64_t took = x->committed - x->started;
    int64_t before = atomic_load_explicit(usual, memory_order_relaxed);
    int64_t now = took > BK_SEC ? (int64_t)BK_SEC : (int64_t)took;
    int64_t step = (now - before) / (now > before ? 4 : 8);
    if (step)
        atomic_store_explicit(usual, (uint32_t)(before + step), memory_order_relaxed);
}

void
bk__baton_return(struct bk_engine *engine, struct bk_exchange *x)
{
    struct bk_thread *me = x->runner;
    uint64_t before;
    if (engine->baton->count > 1)
        learn(engine->baton, x);
    atomic_store_explicit(&me->phase, BK_PHASE_ENGINE, memory_order_relaxed);
    if (bk_likely(bk__baton_enter(engine, me))) {
        x->errand.run(&x->errand);
        bk__baton_leave(engine, me->number, BK_BATON_AWAY);
        return;
    }
    bk__mailbox_post(&engine->baton->mail, &x->errand);
    // Who is inside looks at the mail before it is gone; who waits must be woken.
    while (!bk__baton_borrow(engine, me->number, &before)) {
        uint64_t word = atomic_load(&engine->baton->word);
        if (!is_inside(word))
            continue;
        if (state_of(word) != BK_BATON_TURNING)
            bk_loop_wake(&engine->loop);
        return;
    }
    bk__mailbox_empty(&engine->baton->mail);
    bk__baton_give_back(engine, me->number, before);
}

void
bk__baton_run(struct bk_exchange *x, struct bk_errand *errand)
{
    struct bk_engine *engine = x->engine;
    struct bk_baton *baton = engine->baton;
    uint64_t before;
    if (!baton) {
        errand->run(errand);
        return;
    }
    unsigned number = x->runner->number;
    if (bk_likely(bk__baton_borrow(engine, number, &before))) {
        errand->run(errand);
        bk__baton_give_back(engine, number, before);
        return;
    }
    errand->waited_for = true;
    atomic_store_explicit(&errand->done, 0, memory_order_relaxed);
    bk__mailbox_post(&baton->mail, errand);
    for (;;) {
        if (bk__baton_borrow(engine, number, &before)) {
            bk__mailbox_empty(&baton->mail);
            bk__baton_give_back(engine, number, before);
            break;
        }
        uint64_t word = atomic_load(&baton->word);
        if (!is_inside(word))
            continue;
        if (state_of(word) != BK_BATON_TURNING)
            bk_loop_wake(&engine->loop);
        break;
    }
    sleep_on(engine, number, errand);
}

// Most errands are done within microseconds; who sleeps does not keep other threads from Python.
static void
sleep_on(struct bk_engine *engine, unsigned number, struct bk_errand *errand)
{
    const struct bk_host_ops *ops = engine->ops;
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&errand->done, memory_order_acquire))
            return;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
    void *paused = ops->pause ? ops->pause(engine->host, number) : NULL;
    bk__errand_wait(errand);
    if (paused)
        ops->resume(engine->host, number, paused);
}

// ---- the watcher ----

// From now on the watcher ticks, if it does not already. It disarms when it finds the loop waiting,
// and looks once more after that.
static void
watch(struct bk_baton *baton)
{
    if (bk_unlikely(!atomic_load(&baton->armed)) && baton->timer_fd >= 0 &&
        !atomic_exchange(&baton->armed, true))
        set_timer(baton, TICK);
}

static void
set_timer(struct bk_baton *baton, uint64_t ns)
{
    struct itimerspec at = {.it_value.tv_nsec = (long)ns};
    if (baton->timer_fd >= 0)
        timerfd_settime(baton->timer_fd, 0, &at, NULL);
}

// All threads are busy or wait for the GIL: I/O goes on here until one of them is free.
static void
stand_in(struct bk_engine *engine)
{
    struct bk_baton *baton = engine->baton;
    bk__mailbox_empty(&baton->mail);
    while (!engine->stopped) {
        if (atomic_load(&baton->idle_count) && !bk__baton_claimed(baton) &&
            bk__baton_hand_over(engine))
            return;
        bk__engine_turn(engine, -1, true);
    }
    bk__baton_leave(engine, 0, BK_BATON_SPARE);
    bk__baton_stop(engine);
}

void
bk__baton_look(struct bk_engine *engine, struct bk_look *look)
{
    struct bk_baton *baton = engine->baton;
    uint64_t word = atomic_load(&baton->word);
    enum bk_baton_state state = state_of(word);
    if (state == BK_BATON_WAITING || state == BK_BATON_STANDING) {
        look->last = 0;
        atomic_store(&baton->armed, false);
        word = atomic_load(&baton->word);
        if (state_of(word) != BK_BATON_WAITING && state_of(word) != BK_BATON_STANDING)
            watch(baton);
        return;
    }
    bool outside = state != BK_BATON_TURNING;
    if (state == BK_BATON_SPARE || (outside && word == look->last)) {
        struct bk_thread *thread =
            state == BK_BATON_LENT && !bk__baton_claimed(baton) ? pop_idle(baton) : NULL;
        if (thread) {
            replace(baton, word, 0, BK_BATON_FREE);
            wake(thread);  // also when the owner was quicker: it was taken out, it must look
        } else if (replace(baton, word, BK_WATCHER, BK_BATON_TURNING)) {
            stand_in(engine);
        }
        word = 0;
    }
    look->last = outside ? word : 0;
    if (!atomic_load(&baton->stop))
        set_timer(baton, look->last ? SECOND_LOOK : TICK);
}

// ---- life ----

int
bk__baton_new(unsigned count, struct bk_baton **ret)
{
    size_t size = sizeof(struct bk_baton) + count * sizeof(struct bk_thread);
    struct bk_baton *baton = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!baton)
        return -ENOMEM;
    memset(baton, 0, size);
    pthread_mutex_init(&baton->idle_lock, NULL);
    baton->timer_fd = -1;
    baton->count = count;
    for (unsigned i = 0; i < count; i++)
        baton->threads[i].number = i + 1;
    *ret = baton;
    return 0;
}

void
bk__baton_free(struct bk_baton *baton)
{
    if (baton)
        pthread_mutex_destroy(&baton->idle_lock);
    free(baton);
}
