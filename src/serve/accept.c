// Accepting connections. Listeners are shared by all workers and watched with EPOLLEXCLUSIVE, so
// the kernel wakes one waiting worker per connection. A gate keeps workers level: one with more
// connections than the least loaded takes its listeners out of the loop *before* it can be woken
// (pitfalls 4). Why it is like this: docs/decisions/001-accept-gate.md.
#include "serve/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "serve/engine.h"

#define BATCH 64            // connections taken in one go where there is one worker only
#define FULL_BATCHES 4      // after so many full batches in a row a larger one is tried
#define TICK (5 * BK_MSEC)  // a disarmed worker looks again that often
#define QUIET                                                                                      \
    (200 * BK_MSEC)  // nothing came or went anywhere for so long: everybody may take the next one
#define LOOK (1000 * BK_MSEC)  // an armed worker looks whether a connection was forgotten
#define STALE                                                                                      \
    (50 * BK_MSEC)  // a worker that is not waiting and has not turned for so long takes nothing now
#define ALONE 100  // ms: all threads are busy, here and elsewhere; there may be a new worker soon
#define NOBODY UINT64_MAX      // in `suspects`: no worker ever turned at that moment
#define PAUSE (100 * BK_MSEC)  // without descriptors

struct view {
    uint64_t changes;
    uint32_t least;
    bool others;
    bool ready;  // another one can take a connection and run its request at once
};

static void accept_batch(struct bk_engine *engine, struct bk_accept_listener *from);
static void on_listener(struct bk_watch *watch, uint32_t events);
static int accept_some(struct bk_engine *engine, struct bk_accept_listener *from, unsigned most);
static void out_of_descriptors(struct bk_engine *engine, struct bk_accept_listener *from,
                               int error);
static void arm(struct bk_engine *engine, bool on);
static bool too_many(struct bk_engine *engine);
static void on_pause_over(struct bk_timer *timer);
static bool connection_waits(const struct bk_engine *engine);
static struct view look_around(const struct bk_engine *engine);
static void suspect_the_armed(struct bk_engine *engine);
static int leave_it_to_others(struct bk_engine *engine);
static bool left_lying(struct bk_engine *engine);
static int look_for_the_forgotten(struct bk_engine *engine);

int
bk__accept_init(struct bk_engine *engine, struct bk_segment *segment)
{
    struct bk_accept *accept = &engine->accept;
    struct rlimit files;
    accept->segment = segment;
    accept->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    accept->listeners = calloc(BK_LISTENERS_MAX, sizeof *accept->listeners);
    bk_timer_init(&accept->timer, on_pause_over);
    accept->limit = (uint32_t)engine->config->worker_connections;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY &&
        accept->limit > files.rlim_cur * 8 / 10)
        accept->limit = (uint32_t)(files.rlim_cur * 8 / 10);
    uint32_t index = (uint32_t)(engine->slot - segment->slots);
    uint32_t used = atomic_load(&segment->used);
    while (used <= index && !atomic_compare_exchange_weak(&segment->used, &used, index + 1))
        ;
    accept->suspects = malloc(segment->slot_count * sizeof *accept->suspects);
    if (!accept->listeners || !accept->suspects)
        return -ENOMEM;
    for (uint32_t i = 0; i < segment->slot_count; i++)
        accept->suspects[i] = NOBODY;
    return 0;
}

void
bk__accept_release(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    if (!engine->dead)
        bk__accept_close(engine);
    if (accept->spare_fd >= 0 && !engine->dead)
        close(accept->spare_fd);
    free(accept->listeners);
    free(accept->suspects);
    accept->listeners = NULL;
}

int
bk_engine_add_listener(struct bk_engine *engine, const struct bk_listener *listener)
{
    struct bk_accept *accept = &engine->accept;
    if (accept->count == BK_LISTENERS_MAX)
        return -ENOSPC;
    struct bk_accept_listener *slot = &accept->listeners[accept->count];
    slot->engine = engine;
    slot->listener = *listener;
    slot->watch = (struct bk_watch){.ready = on_listener, .fd = listener->fd};
    unsigned port = 0;
    size_t len = bk_addr_host(slot->name, &listener->addr, &port);
    if (len == 0)  // unix sockets: there is no server address; a Host header will be there, this is
                   // the fallback
        len = (size_t)(stpcpy(slot->name, "localhost") - slot->name);
    slot->info.server_name = (struct bk_str){slot->name, len};
    if (port)
        slot->info.server_port = (struct bk_str){slot->port, bk_str_format_u64(slot->port, port)};
    slot->info.https = listener->scheme == BK_SCHEME_HTTPS;
    bk_addr_text(slot->text, sizeof slot->text, listener->scheme, &listener->addr);
    slot->info.address = bk_str_of(slot->text);
    snprintf(slot->hint, sizeof slot->hint, "this port speaks HTTPS: %s/", slot->text);
    accept->count++;
    return 0;
}

int
bk__accept_open(struct bk_engine *engine)
{
    engine->accept.open = true;
    arm(engine, true);
    return engine->accept.armed ? 0 : -EIO;
}

static void
on_listener(struct bk_watch *watch, uint32_t events)
{
    struct bk_accept_listener *from = BK_OUTER(watch, struct bk_accept_listener, watch);
    struct bk_engine *engine = from->engine;
    if (!look_around(engine).others) {
        accept_batch(engine, from);
        return;
    }
    // One at a time: a worker that gathers a pile and then sleeps in its application keeps them all
    // waiting.
    if (accept_some(engine, from, 1) <= 0 || !engine->accept.armed ||
        engine->conn_count <= look_around(engine).least)
        return;
    // The kernel wakes the head of its queue of waiters; who is ahead of the others goes to the
    // tail.
    bk_loop_remove(&engine->loop, watch);
    if (bk_loop_add(&engine->loop, watch, EPOLLIN | EPOLLEXCLUSIVE) < 0)
        arm(engine, false);
}

// An accept() that finds nobody costs as much as half a request: so many are taken as were there
// the last times, and what is left makes the listener ready again.
static void
accept_batch(struct bk_engine *engine, struct bk_accept_listener *from)
{
    int most = (int)from->batch + 1, taken = accept_some(engine, from, (unsigned)most);
    if (taken < most) {
        from->batch = taken > 0 ? (uint8_t)(taken - 1) : 0;
        from->full = 0;
    } else if (++from->full >= FULL_BATCHES && most < BATCH) {
        from->batch++;
        from->full = 0;
    }
}

// Returns how many were taken, or a negative errno when accepting stopped for another reason than
// an empty queue.
static int
accept_some(struct bk_engine *engine, struct bk_accept_listener *from, unsigned most)
{
    for (unsigned taken = 0; taken < most; taken++) {
        struct bk_addr peer = {.len = sizeof peer.storage};
        if (too_many(engine)) {
            arm(engine, false);
            engine->accept.paused = true;
            bk_count(&engine->counters->accept_pauses, 1);
            return -EBUSY;
        }
        int fd = accept4(from->listener.fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN ||
                errno == ENOTSOCK)  // ENOTSOCK: bk_engine_close_listeners was here
                return (int)taken;
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            int error = -errno;
            out_of_descriptors(engine, from, error);
            return error;
        }
        bk_count(&engine->counters->accepted, 1);
        if (bk__conn_new(engine, fd, &peer, (unsigned)(from - engine->accept.listeners)) < 0) {
            close(fd);
            return -ENOMEM;
        }
    }
    return (int)most;
}

// EMFILE and kin: the waiting connection would wake us for ever. The spare descriptor lets one be
// taken and refused, then accepting rests for a moment.
static void
out_of_descriptors(struct bk_engine *engine, struct bk_accept_listener *from, int error)
{
    static struct bk_log_limit limit;
    struct bk_accept *accept = &engine->accept;
    unsigned held;
    if (bk_log_limited(&limit, engine->loop.now, &held))
        bk_log(BK_LOG_ERROR, "accept-failed",
               "cannot accept on %s: %s (%u times); resting for 100 ms", from->text,
               bk_err_name(-error), held + 1);
    if (accept->spare_fd >= 0 && (error == -EMFILE || error == -ENFILE)) {
        static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: "
                                   "1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        close(accept->spare_fd);
        int fd = accept4(from->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (!from->info.https && send(fd, busy, sizeof busy - 1, MSG_NOSIGNAL) < 0)
                errno = 0;  // it is refused either way
            close(fd);
        }
        accept->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    bk_count(&engine->counters->accept_pauses, 1);
    arm(engine, false);
    accept->paused = true;
    bk_timer_set(&engine->loop.wheel, &accept->timer, engine->loop.now + PAUSE);
}

static void
on_pause_over(struct bk_timer *timer)
{
    struct bk_engine *engine = BK_OUTER(timer, struct bk_engine, accept.timer);
    engine->accept.paused = false;
    if (engine->accept.open && !too_many(engine))
        arm(engine, true);
}

// Closes the oldest idle connection at nine tenths of the limit; true when even that leaves no
// room.
static bool
too_many(struct bk_engine *engine)
{
    if (bk_likely(engine->conn_count < engine->accept.limit / 10 * 9))
        return false;
    unsigned looked = 0;
    for (struct bk_list *node = engine->conns.next; node != &engine->conns && looked < 64;
         node = node->next, looked++) {
        struct bk_conn *conn = BK_OUTER(node, struct bk_conn, node);
        if (conn->step == BK_STEP_IDLE && !conn->readable && bk_list_empty(&conn->pending)) {
            bk__conn_next(conn, BK_CONN_LINGER);
            break;
        }
    }
    return engine->conn_count >= engine->accept.limit;
}

void
bk__accept_room(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    if (bk_unlikely(accept->paused) && accept->open && !bk_timer_is_set(&accept->timer) &&
        engine->conn_count < accept->limit) {
        accept->paused = false;
        arm(engine, true);
    }
}

static void
arm(struct bk_engine *engine, bool on)
{
    struct bk_accept *accept = &engine->accept;
    if (accept->armed == on)
        return;
    for (unsigned i = 0; i < accept->count; i++) {
        struct bk_watch *watch = &accept->listeners[i].watch;
        if (!on)
            bk_loop_remove(&engine->loop, watch);
        else if (bk_loop_add(&engine->loop, watch, EPOLLIN | EPOLLEXCLUSIVE) < 0)
            return;
    }
    accept->armed = on;
    accept->unaccepted = 0;
    atomic_store_explicit(&engine->slot->armed, on, memory_order_relaxed);
}

int
bk__accept_gate(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    if (!accept->open || accept->paused)
        return -1;
    struct view view = look_around(engine);
    uint64_t now = engine->loop.now;
    if (view.changes != accept->seen)
        accept->active_until = now + QUIET;
    accept->seen = view.changes;
    bool step_back = atomic_load_explicit(&engine->slot->step_back, memory_order_relaxed);
    if (bk_unlikely(engine->standing || step_back) && view.ready)
        return leave_it_to_others(engine);
    bool level = engine->conn_count <= view.least + 1 + view.least / 8;
    if (accept->armed && !view.others) {
        return bk_unlikely(engine->standing) ? ALONE : -1;
    } else if (accept->armed) {
        if (level || now >= accept->active_until)
            return look_for_the_forgotten(engine);
        arm(engine, false);
        accept->tick = now + TICK;
    } else if (level || now >= accept->active_until) {
        arm(engine, true);
        return look_for_the_forgotten(engine);
    } else if (left_lying(engine)) {
        arm(engine, true);
        return look_for_the_forgotten(engine);
    }
    return (int)((accept->tick - now + BK_MSEC - 1) / BK_MSEC);
}

// Of a worker out of the loop, once a tick: a connection that two ticks found waiting is left lying
// by those who should take it, and they are suspects from now on.
static bool
left_lying(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    if (engine->loop.now < accept->tick)
        return false;
    accept->tick = engine->loop.now + TICK;
    accept->unaccepted = connection_waits(engine) ? accept->unaccepted + 1 : 0;
    if (accept->unaccepted < 2)
        return false;
    suspect_the_armed(engine);
    return true;
}

// All threads are busy here, and elsewhere one is not: the listeners are out of this loop, unless
// whoever should take a connection does not.
static int
leave_it_to_others(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    uint64_t now = engine->loop.now;
    arm(engine, false);
    left_lying(engine);
    return (int)((accept->tick - now + BK_MSEC - 1) / BK_MSEC);
}

// The kernel wakes one waiter per connection. If that one is killed or stopped between its wake-up
// and its accept, nobody else hears of the connection: so once a second every worker looks for
// itself.
static int
look_for_the_forgotten(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    uint64_t now = engine->loop.now;
    if (now >= accept->look) {
        accept->look = now + LOOK;
        if (connection_waits(engine))
            for (unsigned i = 0; i < accept->count && accept->armed; i++)
                accept_some(engine, &accept->listeners[i], 1);
    }
    int ms = (int)((accept->look - now + BK_MSEC - 1) / BK_MSEC);
    return engine->standing && ms > ALONE ? ALONE : ms;
}

// One look at everybody's slot: the smallest connection count of the workers that can take one now
// (this one included), whether there are others at all, and what came and went so far.
static struct view
look_around(const struct bk_engine *engine)
{
    const struct bk_segment *segment = engine->accept.segment;
    struct view view = {.least = engine->conn_count};
    uint32_t used = atomic_load_explicit(&segment->used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        const struct bk_slot *slot = &segment->slots[i];
        uint32_t count = atomic_load_explicit(&slot->connections, memory_order_relaxed);
        view.changes +=
            2 * atomic_load_explicit(&slot->counters.accepted, memory_order_relaxed) - count;
        uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
        if (slot == engine->slot || (state != BK_SLOT_IDLE && state != BK_SLOT_BUSY))
            continue;
        view.others = true;
        uint64_t turned = atomic_load_explicit(&slot->turned, memory_order_relaxed);
        bool waiting = atomic_load_explicit(&slot->waiting, memory_order_relaxed);
        if (state == BK_SLOT_BUSY ||
            atomic_load_explicit(&slot->step_back, memory_order_relaxed))
            continue;
        if (turned == engine->accept.suspects[i] || (!waiting && turned + STALE < engine->loop.now))
            continue;
        view.ready = true;
        view.least = count < view.least ? count : view.least;
    }
    return view;
}

// A connection lay unaccepted over two ticks: whoever was armed then is stopped or stuck, and does
// not count for the gate until it turns again.
static void
suspect_the_armed(struct bk_engine *engine)
{
    const struct bk_segment *segment = engine->accept.segment;
    uint32_t used = atomic_load_explicit(&segment->used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++)
        if (atomic_load_explicit(&segment->slots[i].armed, memory_order_relaxed))
            engine->accept.suspects[i] =
                atomic_load_explicit(&segment->slots[i].turned, memory_order_relaxed);
}

static bool
connection_waits(const struct bk_engine *engine)
{
    struct pollfd fds[BK_LISTENERS_MAX];
    for (unsigned i = 0; i < engine->accept.count; i++)
        fds[i] = (struct pollfd){.fd = engine->accept.listeners[i].listener.fd, .events = POLLIN};
    return poll(fds, engine->accept.count, 0) > 0;
}

bool
bk__accept_drain(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    if (!accept->open)
        return true;
    for (unsigned i = 0; i < accept->count; i++) {
        int taken = accept_some(engine, &accept->listeners[i], 4 * BATCH);
        if (taken == 4 * BATCH || taken == -EBUSY)
            return false;  // more may wait: the next turn goes on
    }
    bk__accept_close(engine);
    if (engine->doors_closed)
        engine->doors_closed(engine->doors_self);
    return true;
}

void
bk__accept_close(struct bk_engine *engine)
{
    struct bk_accept *accept = &engine->accept;
    accept->open = false;
    bk_timer_cancel(&engine->loop.wheel, &accept->timer);
    arm(engine, false);
    for (unsigned i = 0; i < accept->count; i++) {
        if (accept->listeners[i].listener.fd >= 0)
            close(accept->listeners[i].listener.fd);
        accept->listeners[i].listener.fd = -1;
    }
}

void
bk_engine_close_listeners(struct bk_engine *engine)
{
    // From the helper thread while the loop's thread may be anywhere: only kernel state is touched.
    // /dev/null takes the place of each listener, so that the port is free at once and no number is
    // reused under the loop's hands.
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (unsigned i = 0; null >= 0 && i < engine->accept.count; i++) {
        int fd = engine->accept.listeners[i].listener.fd;
        if (fd >= 0) {
            epoll_ctl(engine->loop.epoll_fd, EPOLL_CTL_DEL, fd, NULL);
            dup3(null, fd, O_CLOEXEC);
        }
    }
    if (null >= 0)
        close(null);
}
