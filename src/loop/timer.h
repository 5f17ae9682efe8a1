// Deadlines on a two-level wheel: 256 slots of 4.2 ms, then 1024 slots of 1.07 s. Setting a timer
// later than where it already sits only stores the deadline; the wheel looks again when that slot
// comes up. So a keep-alive connection moves its deadline on each request for the price of one
// store.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bk_timer;
typedef void (*bk_timer_fn)(struct bk_timer *timer);

struct bk_timer {
    struct bk_timer *next, **link;  // slot list; link == NULL: not set
    uint64_t deadline;              // monotonic ns
    uint64_t slot;                  // when the wheel looks at it next
    // Called once, at or up to 5 ms after the deadline, never before. It may set or cancel any
    // timer and free its own.
    bk_timer_fn fire;
};

#define BK_TIMER_NEAR 256
#define BK_TIMER_FAR 1024

struct bk_wheel {
    struct bk_timer *near[BK_TIMER_NEAR], *far[BK_TIMER_FAR];  // borrows the timers
    uint64_t near_used[BK_TIMER_NEAR / 64], far_used[BK_TIMER_FAR / 64];
    uint64_t now;    // everything before this moment has fired
    unsigned count;  // timers set
};

void bk_wheel_init(struct bk_wheel *wheel, uint64_t now);
void bk_timer_init(struct bk_timer *timer, bk_timer_fn fire);
// (Re)sets the deadline. One at or before wheel->now (0 is fine for "as soon as possible") fires at
// the next run.
void bk_timer_set(struct bk_wheel *wheel, struct bk_timer *timer, uint64_t deadline);
// Safe on a timer that is not set.
void bk_timer_cancel(struct bk_wheel *wheel, struct bk_timer *timer);
static inline bool
bk_timer_is_set(const struct bk_timer *timer)
{
    return timer->link != 0;
}
// Fires what is due at `now` (monotonic). Timers set by callbacks to a moment <= now fire in the
// next run, not in this one.
void bk_wheel_run(struct bk_wheel *wheel, uint64_t now);
// The moment the wheel wants to be run next, UINT64_MAX when empty. May be early, never late.
uint64_t bk_wheel_next(const struct bk_wheel *wheel);
