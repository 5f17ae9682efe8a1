// The timer wheel. Called by the loop once per turn, and by whoever owns a deadline. Time is cut
// into ticks of 2^22 ns (4.2 ms); a timer sits in the first tick that begins at or after its
// deadline, so it never fires early. Ticks further away than the near ring sit in far slots of 256
// ticks and move in when their slot begins.
#include "loop/timer.h"

#include <stddef.h>

#include "base/compiler.h"

#include "base/banned.h"

#define TICK_BITS 22
#define FAR_BITS 8  // near ticks in a far slot, as a power of two
#define LATEST (UINT64_MAX >> 1)

static void place(struct bk_wheel *wheel, struct bk_timer *timer);
static struct bk_timer **gather(struct bk_timer **ring, uint64_t *used, uint64_t number,
                                struct bk_timer **tail);
static void link_before(struct bk_timer **at, struct bk_timer *timer);
static void take_out(struct bk_wheel *wheel, struct bk_timer *timer);
static uint64_t first_used(const uint64_t *used, unsigned count, uint64_t from);
static uint64_t tick_of(uint64_t deadline);

void
bk_wheel_init(struct bk_wheel *wheel, uint64_t now)
{
    *wheel = (struct bk_wheel){.now = now};
}

void
bk_timer_init(struct bk_timer *timer, bk_timer_fn fire)
{
    *timer = (struct bk_timer){.fire = fire};
}

void
bk_timer_set(struct bk_wheel *wheel, struct bk_timer *timer, uint64_t deadline)
{
    timer->deadline = deadline = deadline < LATEST ? deadline : LATEST;
    if (timer->link) {
        // The common case: a deadline that moves away. The wheel finds out when the old slot comes
        // up.
        if (timer->slot <= tick_of(deadline) << TICK_BITS && deadline > wheel->now)
            return;
        take_out(wheel, timer);
    }
    wheel->count++;
    place(wheel, timer);
}

void
bk_timer_cancel(struct bk_wheel *wheel, struct bk_timer *timer)
{
    if (timer->link)
        take_out(wheel, timer);
}

void
bk_wheel_run(struct bk_wheel *wheel, uint64_t now)
{
    uint64_t tick = wheel->now >> TICK_BITS, last, far;
    struct bk_timer *gathered = NULL, **tail = &gathered;
    if (now > wheel->now)
        wheel->now = now;
    last = wheel->now >> TICK_BITS;
    if (wheel->count == 0)
        return;
    // First gather, then fire: what a callback sets anew cannot get into this run, what it cancels
    // leaves the list.
    far = (tick >> FAR_BITS) + 1;
    for (unsigned n = 0; far <= last >> FAR_BITS && n < BK_TIMER_FAR; far++, n++)
        tail = gather(wheel->far, wheel->far_used, far % BK_TIMER_FAR, tail);
    for (unsigned n = 0; tick <= last && n < BK_TIMER_NEAR; tick++, n++)
        tail = gather(wheel->near, wheel->near_used, tick % BK_TIMER_NEAR, tail);
    while (gathered) {
        struct bk_timer *timer = gathered;
        take_out(wheel, timer);
        if (timer->deadline <= wheel->now) {
            timer->fire(timer);
        } else {
            // Its deadline had moved away meanwhile, or its far slot begins.
            wheel->count++;
            place(wheel, timer);
        }
    }
}

// Moves the slot's timers to the end of a list; returns the new end.
static struct bk_timer **
gather(struct bk_timer **ring, uint64_t *used, uint64_t number, struct bk_timer **tail)
{
    if (!ring[number])
        return tail;
    *tail = ring[number];
    (*tail)->link = tail;
    ring[number] = NULL;
    used[number / 64] &= ~(UINT64_C(1) << number % 64);
    while (*tail)
        tail = &(*tail)->next;
    return tail;
}

static void
place(struct bk_wheel *wheel, struct bk_timer *timer)
{
    uint64_t tick = tick_of(timer->deadline), now = wheel->now >> TICK_BITS, far;
    if (timer->deadline <= wheel->now)
        tick = now;  // the slot of the running tick is looked at by every run
    if (tick - now < BK_TIMER_NEAR) {
        timer->slot = tick << TICK_BITS;
        tick %= BK_TIMER_NEAR;
        wheel->near_used[tick / 64] |= UINT64_C(1) << tick % 64;
        link_before(&wheel->near[tick], timer);
        return;
    }
    far = tick >> FAR_BITS;
    now >>= FAR_BITS;
    if (far - now >= BK_TIMER_FAR)
        far = now + BK_TIMER_FAR - 1;  // beyond the wheel: looked at on the way
    timer->slot = far << (TICK_BITS + FAR_BITS);
    far %= BK_TIMER_FAR;
    wheel->far_used[far / 64] |= UINT64_C(1) << far % 64;
    link_before(&wheel->far[far], timer);
}

static void
link_before(struct bk_timer **at, struct bk_timer *timer)
{
    timer->next = *at;
    if (timer->next)
        timer->next->link = &timer->next;
    timer->link = at;
    *at = timer;
}

static void
take_out(struct bk_wheel *wheel, struct bk_timer *timer)
{
    struct bk_timer **link = timer->link;
    uintptr_t at = (uintptr_t)link;
    *link = timer->next;
    timer->link = NULL;
    wheel->count--;
    if (timer->next) {
        timer->next->link = link;
        timer->next = NULL;
    } else if (at - (uintptr_t)wheel->near < sizeof wheel->near) {
        wheel->near_used[(link - wheel->near) / 64] &= ~(UINT64_C(1) << (link - wheel->near) % 64);
    } else if (at - (uintptr_t)wheel->far < sizeof wheel->far) {
        wheel->far_used[(link - wheel->far) / 64] &= ~(UINT64_C(1) << (link - wheel->far) % 64);
    }
}

uint64_t
bk_wheel_next(const struct bk_wheel *wheel)
{
    uint64_t tick = wheel->now >> TICK_BITS, far = (tick >> FAR_BITS) + 1, near_at, far_at;
    if (wheel->count == 0)
        return UINT64_MAX;
    near_at = first_used(wheel->near_used, BK_TIMER_NEAR, tick);
    if (near_at == tick)
        return wheel->now;
    // A near tick before the next far slot begins makes looking at the far ones needless.
    if (near_at < far << FAR_BITS)
        return near_at << TICK_BITS;
    far_at = first_used(wheel->far_used, BK_TIMER_FAR, far);
    if (far_at == UINT64_MAX)
        return near_at == UINT64_MAX ? UINT64_MAX : near_at << TICK_BITS;
    far_at <<= FAR_BITS;
    return (near_at < far_at ? near_at : far_at) << TICK_BITS;
}

// The first slot number >= from whose bit is set in a ring of `count` bits; UINT64_MAX when none
// is.
static uint64_t
first_used(const uint64_t *used, unsigned count, uint64_t from)
{
    unsigned start = (unsigned)(from % count), words = count / 64;
    // The last round is in the first word again, for the bits before the start: those behind it are
    // known to be clear.
    for (unsigned i = 0; i <= words; i++) {
        unsigned word = (start / 64 + i) % words;
        uint64_t bits = used[word];
        if (i == 0)
            bits &= UINT64_MAX << start % 64;
        if (bits) {
            unsigned at = word * 64 + (unsigned)__builtin_ctzll(bits);
            return from + (at + count - start) % count;
        }
    }
    return UINT64_MAX;
}

// The first tick that begins at or after `deadline`.
static uint64_t
tick_of(uint64_t deadline)
{
    return (deadline + (UINT64_C(1) << TICK_BITS) - 1) >> TICK_BITS;
}
