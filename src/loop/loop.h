// The one waiting place: an epoll set, a timer wheel, an eventfd to be woken by other threads, and
// an end-of-turn queue for things that must not die while callbacks may still point at them. The
// single fd (bk_loop_fd) can be polled by a foreign loop; then a timerfd in the set carries the
// wheel's next deadline (bk_loop_host).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/compiler.h"
#include "base/list.h"
#include "loop/guests.h"
#include "loop/timer.h"

struct bk_guests;
struct bk_loop;
struct bk_watch;
// `events` as from epoll. May add, change or remove any watch, also this one.
typedef void (*bk_watch_fn)(struct bk_watch *watch, uint32_t events);

struct bk_watch {
    bk_watch_fn ready;
    int fd;  // borrows: the owner closes it after bk_loop_remove
};

struct bk_doomed;
typedef void (*bk_doomed_fn)(struct bk_doomed *doomed);
// Embedded in objects that die at the end of the turn.
struct bk_doomed {
    struct bk_doomed *next;
    bk_doomed_fn bury;
};

#define BK_LOOP_BATCH 256

struct bk_loop {
    int epoll_fd, timer_fd, wake_fd;  // owns; timer_fd -1 until bk_loop_host
    uint64_t now;                     // monotonic ns, refreshed once after each wait
    uint64_t timer_armed;             // deadline the timerfd stands at, UINT64_MAX = off
    struct bk_wheel wheel;
    struct bk_doomed *doomed;
    struct bk_guests *guests;  // owns; NULL until a foreign loop brings descriptors
    struct bk_watch wake_watch, timer_watch;
    void (*woken)(struct bk_loop *loop);  // called in the turn after bk_loop_wake; may be NULL
    _Atomic bool wake_sent;               // a wake-up is on its way
    unsigned batch_at, batch_len;         // position in `batch` while a turn dispatches
    struct epoll_event batch[BK_LOOP_BATCH];
};

// Creates the epoll set and the eventfd, all CLOEXEC. Negative errno on failure; then nothing is
// left open.
int bk_loop_init(struct bk_loop *loop) BK_MUST_CHECK;
// Buries the doomed and closes the fds; watches and timers are their owners' business.
void bk_loop_release(struct bk_loop *loop);
// In a forked child: closes the fds without touching the shared epoll set (pitfalls 24).
void bk_loop_abandon(struct bk_loop *loop);
// Creates the timerfd so that a foreign loop may poll bk_loop_fd().
int bk_loop_host(struct bk_loop *loop) BK_MUST_CHECK;
// Hosted loops: who sets a timer outside a turn calls this before the foreign loop waits again (a
// turn does it itself).
void bk_loop_arm(struct bk_loop *loop);
static inline int
bk_loop_fd(const struct bk_loop *loop)
{
    return loop->epoll_fd;
}

// `events` go to epoll as they are (EPOLLET, EPOLLEXCLUSIVE included). Negative errno.
int bk_loop_add(struct bk_loop *loop, struct bk_watch *watch, uint32_t events) BK_MUST_CHECK;
int bk_loop_change(struct bk_loop *loop, struct bk_watch *watch, uint32_t events);
// Also drops events of this watch that the running turn has still in its batch.
void bk_loop_remove(struct bk_loop *loop, struct bk_watch *watch);

// Puts `doomed` on the queue that is buried when the turn ends; outside a turn: at the end of the
// next one. Once only.
void bk_loop_doom(struct bk_loop *loop, struct bk_doomed *doomed, bk_doomed_fn bury);

// One turn: waits at most `wait_ms` (-1: until something happens; shortened by the next deadline),
// refreshes `now`, dispatches one batch, fires timers, buries the doomed. Returns the number of
// events, 0 on time-out, -EINTR when a signal came first (the rest of the turn is done all the
// same). Not re-entrant.
int bk_loop_turn(struct bk_loop *loop, int wait_ms);

// The two halves of a turn. wait: the number of events or -EINTR; nothing of the loop is written but
// its batch. dispatch: all that follows, given what wait returned.
int bk_loop_wait(struct bk_loop *loop, int wait_ms);
void bk_loop_dispatch(struct bk_loop *loop, int count);

// From any thread or signal handler: makes the current or next wait return and `woken` run.
void bk_loop_wake(struct bk_loop *loop);
