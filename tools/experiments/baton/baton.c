// The machine under test, see baton.h. Everything in `engine` is plain memory on purpose: ThreadSanitizer then proves
// that the baton alone keeps two threads out of it.
#include "baton.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct options options;
struct counts counts;
struct thread threads[THREADS_MAX];

static _Alignas(64) _Atomic uint64_t baton;
static _Alignas(64) _Atomic(struct exchange *) mailbox;
static _Atomic bool wake_sent, stop, armed;
static _Atomic uint32_t estimate[64];  // ns of wall time in the application, by route
static int wake_fd, timer_fd, accept_fd;

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static struct thread *idle_first;        // under idle_lock
static _Atomic unsigned idle_count;

static struct {
    int epoll_fd;
    struct conn conns[CONNS_MAX];
    unsigned conn_count, open;
    struct exchange *ready_first, *ready_last, *unused, *flush;
    unsigned inside;                     // proves exclusion without TSan too
} engine;

static uint64_t
word(unsigned owner, enum state state, uint64_t sequence)
{
    return sequence << 16 | (uint64_t)state << 8 | owner;
}
static unsigned
owner_of(uint64_t w)
{
    return w & 255;
}
static enum state
state_of(uint64_t w)
{
    return (enum state)(w >> 8 & 255);
}

uint64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void
fail(const char *what, int line)
{
    fprintf(stderr, "FAILED line %d: %s\n", line, what);
    abort();
}

// ---- the word ----------------------------------------------------------------------------------------------------

static bool
replace(uint64_t expected, unsigned owner, enum state state)
{
    return atomic_compare_exchange_strong_explicit(&baton, &expected, word(owner, state, (expected >> 16) + 1),
                                                   memory_order_acquire, memory_order_relaxed);
}

// Only the undisputed owner calls these two: a plain store is enough.
static void
leave(unsigned me, enum state state)
{
    MUST(engine.inside-- == 1);
    uint64_t w = atomic_load_explicit(&baton, memory_order_relaxed);
    MUST(owner_of(w) == me && state_of(w) == TURNING);
    // seq_cst for watch(): AWAY must be seen before `armed` is read
    atomic_store(&baton, word(state == FREE || state == SPARE ? 0 : me, state, w >> 16));
}

static void
mark(unsigned me, enum state state)
{
    uint64_t w = atomic_load_explicit(&baton, memory_order_relaxed);
    atomic_store(&baton, word(me, state, w >> 16));  // seq_cst: WAITING must be seen before the mailbox is looked at
}

static bool
entered(void)
{
    MUST(engine.inside++ == 0);
    return true;
}

// The owner comes back, or takes what is free.
static bool
enter(unsigned me)
{
    uint64_t w = atomic_load_explicit(&baton, memory_order_relaxed);
    while (owner_of(w) == 0 || (owner_of(w) == me && (state_of(w) == AWAY || state_of(w) == LENT))) {
        if (replace(w, me, TURNING))
            return entered();
        w = atomic_load_explicit(&baton, memory_order_relaxed);
    }
    return false;
}

// ---- waking ----------------------------------------------------------------------------------------------------------

static void
wake_loop(void)
{
    if (!atomic_exchange(&wake_sent, true))
        MUST(eventfd_write(wake_fd, 1) == 0);
}

static void
follow(struct thread *me)
{
    atomic_store_explicit(&me->wake, 0, memory_order_relaxed);
    atomic_store_explicit(&me->phase, PHASE_IDLE, memory_order_relaxed);
    pthread_mutex_lock(&idle_lock);
    me->next_idle = idle_first;
    idle_first = me;
    atomic_fetch_add(&idle_count, 1);
    pthread_mutex_unlock(&idle_lock);
    uint64_t w = atomic_load(&baton);
    if (owner_of(w) == WATCHER && state_of(w) == WAITING)
        wake_loop();  // it gives the loop to whom can run the application
    while (!atomic_load_explicit(&me->wake, memory_order_acquire) && !stop)
        syscall(SYS_futex, &me->wake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static struct thread *
pop_idle(void)
{
    if (!atomic_load_explicit(&idle_count, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&idle_lock);
    struct thread *t = idle_first;
    if (t) {
        idle_first = t->next_idle;
        atomic_fetch_sub(&idle_count, 1);
    }
    pthread_mutex_unlock(&idle_lock);
    return t;
}

static void
wake(struct thread *t)
{
    atomic_store_explicit(&t->wake, 1, memory_order_release);
    syscall(SYS_futex, &t->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void
arm_watcher(unsigned us)
{
    struct itimerspec spec = {.it_value.tv_nsec = us * 1000};
    atomic_fetch_add_explicit(&counts.arms, 1, memory_order_relaxed);
    MUST(timerfd_settime(timer_fd, 0, &spec, NULL) == 0);
}

// ---- inside ----------------------------------------------------------------------------------------------------------

static struct exchange *
exchange_new(struct conn *conn, struct request request)
{
    struct exchange *x = engine.unused;
    if (x) {
        engine.unused = x->next;
    } else {
        x = calloc(1, sizeof *x);
        pthread_mutex_init(&x->lock, NULL);
        pthread_cond_init(&x->changed, NULL);
    }
    MUST(x->state == UNUSED && x->post == 0);
    x->conn = conn;
    x->request = request;
    x->state = READY;
    x->body = false;
    x->gone = false;
    x->parts = 0;
    x->next = NULL;
    counts.created++;
    if (engine.ready_first)
        engine.ready_last->next = x;
    else
        engine.ready_first = x;
    engine.ready_last = x;
    return conn->x = x;
}

static void
exchange_free(struct exchange *x)
{
    x->state = UNUSED;
    x->generation++;
    x->request = (struct request){.route = 255};
    x->next = engine.unused;
    engine.unused = x;
    counts.freed++;
}

static void
send_answer(struct conn *conn, uint32_t id, uint32_t last)
{
    struct answer a = {id, last};
    if (send(conn->fd, &a, sizeof a, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        MUST(errno == EPIPE || errno == ECONNRESET);
}

static void
exchange_done(struct exchange *x)
{
    MUST(x->state == RUNNING);
    x->state = DONE;
    counts.committed++;
    x->next = engine.flush;
    engine.flush = x;
}

// The answers of this round go out together, without the GIL.
static void
flush(void)
{
    for (struct exchange *x = engine.flush, *next; x; x = next) {
        next = x->next;
        MUST(x->state == DONE);
        if (x->conn) {
            send_answer(x->conn, x->request.id, 1);
            x->conn->x = NULL;
        }
        exchange_free(x);
    }
    engine.flush = NULL;
}

static void
read_mail(void)
{
    struct exchange *x = atomic_exchange(&mailbox, NULL), *next;
    for (; x; x = next) {
        next = x->mail_next;  // before the bits are cleared: then it may be posted again
        unsigned bits = atomic_exchange_explicit(&x->post, 0, memory_order_acq_rel);
        if (bits & POST_FLUSH) {
            unsigned parts = atomic_exchange(&x->parts, 0);
            for (unsigned i = 0; x->conn && i < parts; i++)
                send_answer(x->conn, x->request.id, 0);
            if (!(bits & POST_COMMIT)) {
                pthread_mutex_lock(&x->lock);
                pthread_cond_signal(&x->changed);
                pthread_mutex_unlock(&x->lock);
            }
        }
        if (bits & POST_COMMIT)
            exchange_done(x);
    }
}

static void
conn_gone(struct conn *conn)
{
    struct exchange *x = conn->x;
    epoll_ctl(engine.epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    close(conn->fd);
    conn->dead = true;
    engine.open--;
    if (!x)
        return;
    conn->x = NULL;
    x->conn = NULL;
    counts.aborted++;
    if (x->state == RUNNING) {
        pthread_mutex_lock(&x->lock);
        atomic_store(&x->gone, true);
        pthread_cond_signal(&x->changed);
        pthread_mutex_unlock(&x->lock);
    } else if (x->state == READY) {
        struct exchange **at = &engine.ready_first, *before = NULL;
        for (; *at != x; at = &(*at)->next)
            before = *at;
        *at = x->next;
        if (engine.ready_last == x)
            engine.ready_last = before;
        exchange_free(x);
    }
}

static void
conn_ready(struct conn *conn)
{
    struct request r;
    ssize_t n;
    while (!conn->dead && (n = recv(conn->fd, &r, sizeof r, MSG_DONTWAIT)) != -1) {
        if (n != sizeof r) {
            conn_gone(conn);
        } else if (r.route == LIVE) {
            send_answer(conn, r.id, 1);
        } else if (r.more) {
            if (!conn->x)
                continue;
            pthread_mutex_lock(&conn->x->lock);
            conn->x->body = true;
            pthread_cond_signal(&conn->x->changed);
            pthread_mutex_unlock(&conn->x->lock);
        } else {
            MUST(!conn->x);
            exchange_new(conn, r);
        }
    }
    if (!conn->dead && errno != EAGAIN)
        conn_gone(conn);
}

static void
conn_accept(void)
{
    int pair[2];  // slot, fd
    if (read(accept_fd, pair, sizeof pair) != sizeof pair)
        return;
    struct conn *c = &engine.conns[pair[0]];
    MUST(c->dead && !c->x);
    *c = (struct conn){.fd = pair[1]};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    MUST(epoll_ctl(engine.epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) == 0);
    engine.open++;
}

// Somebody waits for the GIL to run what is ready: waking more threads would only lengthen the queue there.
static bool
somebody_claims(void)
{
    for (unsigned i = 0; i < options.threads; i++)
        if (atomic_load_explicit(&threads[i].phase, memory_order_relaxed) == PHASE_CLAIM)
            return true;
    return false;
}

// One turn; `me` is the undisputed owner throughout. Blocks when nothing is ready to run, the watcher also when there is:
// it leaves the queue alone.
static void
io(unsigned me)
{
    struct epoll_event events[64];
    read_mail();
    flush();
    int wait = 0;
    bool block = me == WATCHER || !engine.ready_first;
    if (block) {
        mark(me, WAITING);
        bool give = me == WATCHER && atomic_load(&idle_count) && !somebody_claims();
        if (!atomic_load(&mailbox) && !stop && !give)
            wait = 1000;
    }
    int n = epoll_wait(engine.epoll_fd, events, 64, wait);
    if (block)
        mark(me, TURNING);
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr == &accept_fd) {
            conn_accept();
        } else if (events[i].data.ptr) {
            conn_ready(events[i].data.ptr);
        } else {
            eventfd_t value;
            eventfd_read(wake_fd, &value);
            atomic_store(&wake_sent, false);
        }
    read_mail();
    flush();
}

// ---- the door --------------------------------------------------------------------------------------------------------

// After leaving: the watcher ticks from now on. Pairs with its last look before it sleeps.
static void
watch(void)
{
    if (options.watch && !atomic_load(&armed) && !atomic_exchange(&armed, true))
        arm_watcher(options.tick_us);
}

// Without the GIL. True: bk_next may have something; false: stop.
bool
bk_turn(struct thread *me)
{
    atomic_store_explicit(&me->phase, PHASE_ENGINE, memory_order_relaxed);
    while (!stop) {
        if (!enter(me->id)) {
            follow(me);
            continue;
        }
        io(me->id);
        bool ready = engine.ready_first != NULL;
        if (ready)
            atomic_store_explicit(&me->phase, PHASE_CLAIM, memory_order_relaxed);
        leave(me->id, AWAY);
        if (ready) {
            watch();
            return true;
        }
    }
    return false;
}

struct exchange *
bk_next(struct thread *me)
{
    atomic_store_explicit(&me->phase, PHASE_ENGINE, memory_order_relaxed);
    if (!enter(me->id)) {
        atomic_fetch_add_explicit(&counts.lost, 1, memory_order_relaxed);
        return NULL;
    }
    struct exchange *x = engine.ready_first;
    if (!x) {
        leave(me->id, AWAY);
        return NULL;
    }
    engine.ready_first = x->next;
    MUST(x->state == READY);
    x->state = RUNNING;
    uint32_t usual = atomic_load_explicit(&estimate[x->request.route], memory_order_relaxed);
    bool slow = options.slow_ns && usual + 1 >= options.slow_ns;
    struct thread *follower = slow ? pop_idle() : NULL;
    atomic_store_explicit(&me->phase, PHASE_APP, memory_order_relaxed);
    if (slow)
        atomic_fetch_add_explicit(&counts.hands, 1, memory_order_relaxed);
    leave(me->id, follower ? FREE : slow ? SPARE : LENT);
    if (follower)
        wake(follower);
    else if (slow && options.watch)
        arm_watcher(options.look_us);
    x->started = now_ns();
    return x;
}

static void
post(struct exchange *x, unsigned bit)
{
    if (atomic_fetch_or_explicit(&x->post, bit, memory_order_acq_rel) == 0) {
        struct exchange *head = atomic_load_explicit(&mailbox, memory_order_relaxed);
        do
            x->mail_next = head;
        while (!atomic_compare_exchange_weak(&mailbox, &head, x));
    }
    if (state_of(atomic_load(&baton)) == WAITING)
        wake_loop();
}

void
bk_commit(struct thread *me, struct exchange *x)
{
    uint64_t took = now_ns() - x->started;
    _Atomic uint32_t *e = &estimate[x->request.route];  // races lose a sample, no more
    int64_t usual = atomic_load_explicit(e, memory_order_relaxed), t = took > 1000000000 ? 1000000000 : (int64_t)took;
    atomic_store_explicit(e, (uint32_t)(usual + (t - usual) / (t > usual ? 4 : 8)), memory_order_relaxed);
    atomic_store_explicit(&me->phase, PHASE_ENGINE, memory_order_relaxed);
    if (enter(me->id)) {
        exchange_done(x);
        leave(me->id, AWAY);
    } else {
        post(x, POST_COMMIT);
    }
}

void
bk_push(struct exchange *x)
{
    atomic_fetch_add(&x->parts, 1);
    post(x, POST_FLUSH);
}

void
bk_wait_drain(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    while (atomic_load(&x->parts) && !atomic_load(&x->gone))
        pthread_cond_wait(&x->changed, &x->lock);
    pthread_mutex_unlock(&x->lock);
}

void
bk_wait_body(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    while (!x->body && !atomic_load(&x->gone))
        pthread_cond_wait(&x->changed, &x->lock);
    pthread_mutex_unlock(&x->lock);
}

// ---- the watcher -----------------------------------------------------------------------------------------------------

// All application threads are busy or wait for the GIL: I/O goes on here until one of them is free.
static void
stand_in(void)
{
    atomic_fetch_add_explicit(&counts.taken_by_watcher, 1, memory_order_relaxed);
    entered();
    for (;;) {
        struct thread *t = stop || somebody_claims() ? NULL : pop_idle();
        if (t || stop) {
            leave(WATCHER, FREE);
            if (t)
                wake(t);
            return;
        }
        io(WATCHER);
        atomic_fetch_add_explicit(&counts.watcher_turns, 1, memory_order_relaxed);
    }
}

void *
watcher(void *unused)
{
    (void)unused;
    uint64_t last = 0, expired;
    while (!stop) {
        struct pollfd p = {.fd = timer_fd, .events = POLLIN};
        if (poll(&p, 1, 200) != 1 || read(timer_fd, &expired, sizeof expired) != sizeof expired)
            continue;
        atomic_fetch_add_explicit(&counts.ticks, 1, memory_order_relaxed);
        uint64_t w = atomic_load_explicit(&baton, memory_order_acquire);
        enum state s = state_of(w);
        if (s == WAITING) {
            atomic_store(&armed, false);  // the leader arms it again when it has work
            last = 0;
            if (state_of(atomic_load(&baton)) != WAITING)
                watch();
            continue;
        }
        bool outside = s != TURNING;
        if (s == SPARE || (outside && w == last)) {
            struct thread *t = s == LENT && !somebody_claims() ? pop_idle() : NULL;
            if (t) {
                if (replace(w, 0, FREE))
                    atomic_fetch_add_explicit(&counts.given_by_watcher, 1, memory_order_relaxed);
                wake(t);  // also when the owner was quicker: it was popped, it must look for itself
            } else if (replace(w, WATCHER, TURNING)) {
                stand_in();
            }
            w = 0;
        }
        last = w;
        arm_watcher(outside && w ? options.look_us : options.tick_us);
    }
    return NULL;
}

// ---- set-up ------------------------------------------------------------------------------------------------------

int
engine_init(const int *fds, unsigned count, int accepting)
{
    engine.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN};
    epoll_ctl(engine.epoll_fd, EPOLL_CTL_ADD, wake_fd, &ev);
    accept_fd = accepting;
    ev.data.ptr = &accept_fd;
    if (accepting >= 0)
        epoll_ctl(engine.epoll_fd, EPOLL_CTL_ADD, accept_fd, &ev);
    for (unsigned i = 0; i < 64; i++)
        estimate[i] = options.poison_ns;
    for (unsigned i = 0; i < CONNS_MAX; i++)
        engine.conns[i].dead = i >= count;
    for (unsigned i = 0; i < count; i++) {
        engine.conns[i].fd = fds[i];
        ev.data.ptr = &engine.conns[i];
        epoll_ctl(engine.epoll_fd, EPOLL_CTL_ADD, fds[i], &ev);
    }
    engine.conn_count = engine.open = count;
    return 0;
}

bool
engine_stopped(void)
{
    return stop;
}

void
engine_stop(void)
{
    stop = true;
    wake_loop();
    for (unsigned i = 0; i < options.threads; i++)
        wake(&threads[i]);
}

// After all threads ended: exchanges that nobody finished.
unsigned
engine_left(void)
{
    read_mail();
    flush();
    unsigned n = 0;
    for (unsigned i = 0; i < engine.conn_count; i++)
        n += !engine.conns[i].dead && engine.conns[i].x;
    return n;
}
