// The waiting place of a worker and of the master. One turn: wait, dispatch one batch, fire timers,
// bury the dead. Called by the thread that holds the baton, by a foreign loop through bk_loop_fd,
// or by the master's main.
#include "loop/loop.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

#include "base/banned.h"

static int wait_time(const struct bk_loop *loop, int wait_ms);
static void dispatch(struct bk_loop *loop, unsigned count);
static void bury(struct bk_loop *loop);
static void wake_ready(struct bk_watch *watch, uint32_t events);
static void timer_ready(struct bk_watch *watch, uint32_t events);
static void close_fd(int *fd);

int
bk_loop_turn(struct bk_loop *loop, int wait_ms)
{
    int count = bk_loop_wait(loop, wait_ms);
    bk_loop_dispatch(loop, count);
    return count;
}

int
bk_loop_wait(struct bk_loop *loop, int wait_ms)
{
    int count = epoll_wait(loop->epoll_fd, loop->batch, BK_LOOP_BATCH, wait_time(loop, wait_ms));
    return count < 0 ? -errno : count;
}

void
bk_loop_dispatch(struct bk_loop *loop, int count)
{
    loop->now = bk_clock_mono();
    if (count > 0)
        dispatch(loop, (unsigned)count);
    bk_wheel_run(&loop->wheel, loop->now);
    bury(loop);
    bk_loop_arm(loop);
}

static int
wait_time(const struct bk_loop *loop, int wait_ms)
{
    uint64_t next, now, ms;
    if (wait_ms == 0)
        return 0;
    next = bk_wheel_next(&loop->wheel);
    if (next == UINT64_MAX)
        return wait_ms;
    // loop->now is as old as the last turn's work; with it a deadline would be missed by that much.
    now = bk_clock_mono();
    if (next <= now)
        return 0;
    ms = (next - now + BK_MSEC - 1) / BK_MSEC;  // up: waking before the deadline would only spin
    if (wait_ms > 0 && (uint64_t)wait_ms < ms)
        return wait_ms;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static void
dispatch(struct bk_loop *loop, unsigned count)
{
    loop->batch_len = count;
    for (loop->batch_at = 0; loop->batch_at < loop->batch_len;) {
        struct epoll_event *event = &loop->batch[loop->batch_at++];
        struct bk_watch *watch = event->data.ptr;
        if (bk_unlikely(event->data.u64 & 1))
            bk__guests_ready(loop, (int)(event->data.u64 >> 1), event->events);
        else if (watch)  // NULL: removed by a callback of this turn
            watch->ready(watch, event->events);
    }
    loop->batch_at = loop->batch_len = 0;
}

// Burying may doom more.
static void
bury(struct bk_loop *loop)
{
    while (loop->doomed) {
        struct bk_doomed *doomed = loop->doomed;
        loop->doomed = doomed->next;
        doomed->bury(doomed);
    }
}

int
bk_loop_init(struct bk_loop *loop)
{
    int error;
    *loop = (struct bk_loop){.epoll_fd = -1, .timer_fd = -1, .wake_fd = -1};
    loop->timer_armed = UINT64_MAX;
    loop->now = bk_clock_mono();
    bk_wheel_init(&loop->wheel, loop->now);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        error = -errno;
        goto fail;
    }
    loop->wake_watch = (struct bk_watch){.ready = wake_ready, .fd = loop->wake_fd};
    error = bk_loop_add(loop, &loop->wake_watch, EPOLLIN);
    if (error < 0)
        goto fail;
    return 0;
fail:
    bk_loop_abandon(loop);
    return error;
}

void
bk_loop_release(struct bk_loop *loop)
{
    bury(loop);
    bk__guests_release(loop);
    bk_loop_abandon(loop);
}

void
bk_loop_abandon(struct bk_loop *loop)
{
    close_fd(&loop->timer_fd);
    close_fd(&loop->wake_fd);
    close_fd(&loop->epoll_fd);
}

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int
bk_loop_host(struct bk_loop *loop)
{
    int error;
    if (loop->timer_fd >= 0)
        return 0;
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timer_fd < 0)
        return -errno;
    loop->timer_watch = (struct bk_watch){.ready = timer_ready, .fd = loop->timer_fd};
    loop->timer_armed = UINT64_MAX;
    error = bk_loop_add(loop, &loop->timer_watch, EPOLLIN);
    if (error < 0) {
        close_fd(&loop->timer_fd);
        return error;
    }
    bk_loop_arm(loop);
    return 0;
}

// A deadline that moved away leaves the timer where it is: one wake-up for nothing is cheaper than
// a system call for each move.
void
bk_loop_arm(struct bk_loop *loop)
{
    uint64_t next;
    struct itimerspec at = {0};
    if (loop->timer_fd < 0)
        return;
    next = bk_wheel_next(&loop->wheel);
    if (next >= loop->timer_armed)
        return;
    at.it_value.tv_sec = (time_t)(next / BK_SEC);
    at.it_value.tv_nsec = (long)(next % BK_SEC);
    if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
        loop->timer_armed = next;
}

static void
timer_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_loop *loop = BK_OUTER(watch, struct bk_loop, timer_watch);
    uint64_t expirations;
    if (read(loop->timer_fd, &expirations, sizeof expirations) == (ssize_t)sizeof expirations)
        loop->timer_armed = UINT64_MAX;
}

int
bk_loop_add(struct bk_loop *loop, struct bk_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (bk_unlikely(loop->guests != NULL))
        bk__guests_forget(loop, watch->fd);
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

int
bk_loop_change(struct bk_loop *loop, struct bk_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void
bk_loop_remove(struct bk_loop *loop, struct bk_watch *watch)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    for (unsigned i = loop->batch_at; i < loop->batch_len; i++)
        if (loop->batch[i].data.ptr == watch)
            loop->batch[i].data.ptr = NULL;
}

void
bk_loop_doom(struct bk_loop *loop, struct bk_doomed *doomed, bk_doomed_fn bury_it)
{
    doomed->bury = bury_it;
    doomed->next = loop->doomed;
    loop->doomed = doomed;
}

void
bk_loop_wake(struct bk_loop *loop)
{
    static const uint64_t one = 1;
    int saved = errno;
    // While a wake-up is on its way another one adds nothing; wake_ready clears the flag before it
    // looks at the work.
    if (atomic_exchange(&loop->wake_sent, true))
        return;
    if (write(loop->wake_fd, &one, sizeof one) < 0)
        errno = saved;  // full counter: the loop will wake anyway
}

static void
wake_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_loop *loop = BK_OUTER(watch, struct bk_loop, wake_watch);
    uint64_t count;
    if (read(loop->wake_fd, &count, sizeof count) < 0)
        return;
    atomic_exchange(&loop->wake_sent, false);
    if (loop->woken)
        loop->woken(loop);
}
