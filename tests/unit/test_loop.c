// One waiting place: turns, watches that vanish in mid-batch, deadlines, the doomed, wake-ups from
// threads and signals.
#include "loop/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "check.h"

static struct bk_loop loop;

static void
start(void)
{
    CHECK_INT(bk_loop_init(&loop), 0);
}

struct end {
    struct bk_watch watch;
    int peer;
    unsigned ready;
    uint32_t events;
};

static void
count_ready(struct bk_watch *watch, uint32_t events)
{
    struct end *end = BK_OUTER(watch, struct end, watch);
    end->ready++;
    end->events = events;
}

static void
open_end(struct end *end, bk_watch_fn ready)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    *end = (struct end){.watch = {.ready = ready, .fd = pair[0]}, .peer = pair[1]};
    CHECK_INT(bk_loop_add(&loop, &end->watch, EPOLLIN), 0);
}

static void
close_end(struct end *end)
{
    bk_loop_remove(&loop, &end->watch);
    close(end->watch.fd);
    close(end->peer);
}

TEST(nothing_leaks_to_children)
{
    start();
    CHECK_INT(bk_loop_host(&loop), 0);
    CHECK(fcntl(loop.epoll_fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(loop.wake_fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(loop.timer_fd, F_GETFD) & FD_CLOEXEC);
    int first = loop.epoll_fd;
    bk_loop_release(&loop);
    CHECK_INT(fcntl(first, F_GETFD), -1);
    CHECK_INT(loop.epoll_fd, -1);
    bk_loop_release(&loop);  // safe twice
}

TEST(events_arrive)
{
    struct end end;
    start();
    open_end(&end, count_ready);
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    CHECK(write(end.peer, "x", 1) == 1);
    uint64_t before = bk_clock_mono();
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK(loop.now >= before && loop.now <= bk_clock_mono());
    CHECK_INT(end.ready, 1);
    CHECK_INT(end.events, EPOLLIN);
    CHECK_INT(bk_loop_change(&loop, &end.watch, EPOLLOUT), 0);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK_INT(end.events, EPOLLOUT);
    close_end(&end);
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    CHECK_INT(bk_loop_change(&loop, &end.watch, EPOLLIN), -EBADF);
    bk_loop_release(&loop);
}

static struct end ends[10];
static unsigned order_ready;

// Whoever is first removes all, itself too.
static void
remove_all(struct bk_watch *watch, uint32_t events)
{
    order_ready++;
    for (unsigned i = 0; i < BK_COUNT(ends); i++)
        bk_loop_remove(&loop, &ends[i].watch);
}

TEST(removed_watches_are_not_called_in_the_same_turn)
{
    start();
    for (unsigned i = 0; i < BK_COUNT(ends); i++) {
        open_end(&ends[i], remove_all);
        CHECK(write(ends[i].peer, "x", 1) == 1);
    }
    CHECK_INT(bk_loop_turn(&loop, -1), BK_COUNT(ends));
    CHECK_INT(order_ready, 1);
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    bk_loop_release(&loop);
}

// A closed descriptor's number and a freed watch's memory are reused at once by the next
// connection.
static void
replace_second(struct bk_watch *watch, uint32_t events)
{
    unsigned other = watch == &ends[0].watch ? 1 : 0;
    ends[2].ready++;
    if (ends[2].ready > 1)
        return;
    close_end(&ends[other]);
    open_end(&ends[other], replace_second);
}

TEST(reused_watch_gets_no_event_of_its_predecessor)
{
    start();
    open_end(&ends[0], replace_second);
    open_end(&ends[1], replace_second);
    ends[2].ready = 0;
    CHECK(write(ends[0].peer, "x", 1) == 1);
    CHECK(write(ends[1].peer, "x", 1) == 1);
    CHECK_INT(bk_loop_turn(&loop, -1), 2);
    CHECK_INT(ends[2].ready, 1);
    CHECK_INT(bk_loop_turn(&loop, 0), 1);  // the one that stayed has still its byte
    bk_loop_release(&loop);
}

TEST(more_events_than_a_batch)
{
    static struct end many[BK_LOOP_BATCH + 20];
    unsigned ready = 0;
    start();
    for (unsigned i = 0; i < BK_COUNT(many); i++) {
        open_end(&many[i], count_ready);
        CHECK(write(many[i].peer, "x", 1) == 1);
    }
    CHECK_INT(bk_loop_turn(&loop, -1), BK_LOOP_BATCH);
    CHECK(bk_loop_turn(&loop, -1) > 0);  // level-triggered: the rest comes, mixed with the first
    for (unsigned i = 0; i < BK_COUNT(many); i++)
        ready += many[i].ready > 0;
    CHECK_INT(ready, BK_COUNT(many));
    bk_loop_release(&loop);
}

struct once {
    struct bk_timer timer;
    uint64_t fired_at;
};

static void
fire_once(struct bk_timer *timer)
{
    BK_OUTER(timer, struct once, timer)->fired_at = loop.now;
}

TEST(deadline_shortens_the_wait)
{
    unsigned turns = 0;
    start();
    for (unsigned i = 0; i < 8; i++) {
        struct once once = {0};
        bk_timer_init(&once.timer, fire_once);
        uint64_t deadline = bk_clock_mono() + (5 + i) * BK_MSEC + i * 300000;
        bk_timer_set(&loop.wheel, &once.timer, deadline);
        for (; once.fired_at == 0; turns++)
            CHECK_INT(bk_loop_turn(&loop, -1), 0);
        CHECK(once.fired_at >= deadline);
    }
    CHECK(turns <= 24);  // it waits, it does not spin
    CHECK_INT(bk_loop_turn(&loop, 1), 0);
    bk_loop_release(&loop);
}

TEST(due_timer_does_not_wait)
{
    struct once once = {0};
    start();
    bk_timer_init(&once.timer, fire_once);
    bk_timer_set(&loop.wheel, &once.timer, 0);
    CHECK_INT(bk_loop_turn(&loop, -1), 0);
    CHECK(once.fired_at > 0);
    bk_loop_release(&loop);
}

struct body {
    struct bk_doomed doomed;
    struct body *also;
    unsigned buried;
    bool in_turn;
};

static void
bury_body(struct bk_doomed *doomed)
{
    struct body *body = BK_OUTER(doomed, struct body, doomed);
    body->buried++;
    if (body->also)
        bk_loop_doom(&loop, &body->also->doomed, bury_body);
}

static struct body bodies[3];

static void
doom_two(struct bk_watch *watch, uint32_t events)
{
    bk_loop_doom(&loop, &bodies[0].doomed, bury_body);
    bk_loop_doom(&loop, &bodies[1].doomed, bury_body);
    bodies[0].in_turn = bodies[0].buried == 0 && bodies[1].buried == 0;
    bk_loop_remove(&loop, watch);
}

TEST(doomed_are_buried_at_the_end_of_the_turn)
{
    struct end end;
    start();
    bodies[1].also = &bodies[2];  // burying may doom more
    open_end(&end, doom_two);
    CHECK(write(end.peer, "x", 1) == 1);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK(bodies[0].in_turn);
    for (unsigned i = 0; i < 3; i++)
        CHECK_INT(bodies[i].buried, 1);
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    CHECK_INT(bodies[0].buried, 1);
    bk_loop_doom(&loop, &bodies[0].doomed, bury_body);
    bk_loop_release(&loop);  // nothing is left behind
    CHECK_INT(bodies[0].buried, 2);
}

static unsigned woken;

static void
count_woken(struct bk_loop *woken_loop)
{
    CHECK(woken_loop == &loop);
    woken++;
}

TEST(wake_before_and_without_listener)
{
    start();
    bk_loop_wake(&loop);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);  // nobody to call, but the wait returns
    loop.woken = count_woken;
    for (unsigned i = 0; i < 1000; i++)
        bk_loop_wake(&loop);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK_INT(woken, 1);
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    bk_loop_wake(&loop);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK_INT(woken, 2);
    bk_loop_release(&loop);
}

static void
wake_again(struct bk_loop *woken_loop)
{
    if (++woken < 5)
        bk_loop_wake(woken_loop);
}

TEST(wake_inside_woken_comes_in_the_next_turn)
{
    start();
    loop.woken = wake_again;
    bk_loop_wake(&loop);
    for (unsigned i = 1; i <= 5; i++) {
        CHECK_INT(bk_loop_turn(&loop, -1), 1);
        CHECK_INT(woken, i);
    }
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    bk_loop_release(&loop);
}

#define POSTS 20000
static _Atomic unsigned posted;
static unsigned seen;

static void *
post(void *self)
{
    for (unsigned i = 0; i < POSTS; i++) {
        atomic_fetch_add_explicit(&posted, 1, memory_order_relaxed);
        bk_loop_wake(&loop);
    }
    return NULL;
}

static void
see(struct bk_loop *woken_loop)
{
    seen = atomic_load_explicit(&posted, memory_order_relaxed);
}

TEST(no_wake_is_lost_between_threads)
{
    pthread_t threads[3];
    start();
    loop.woken = see;
    for (unsigned i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, post, NULL) == 0);
    while (seen < 3 * POSTS)  // a lost wake-up hangs here until the time limit
        CHECK(bk_loop_turn(&loop, -1) >= 0);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    bk_loop_turn(&loop, 0);
    bk_loop_release(&loop);
}

static void
on_signal(int number)
{
    bk_loop_wake(&loop);
}

TEST(signal_interrupts_and_may_wake)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct once once = {0};
    start();
    loop.woken = count_woken;
    bk_timer_init(&once.timer, fire_once);
    bk_timer_set(&loop.wheel, &once.timer, 0);
    sigaction(SIGUSR1, &action, NULL);
    CHECK(raise(SIGUSR1) == 0);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK_INT(woken, 1);
    CHECK(once.fired_at > 0);
    bk_loop_release(&loop);
}

static void
ignore_signal(int number)
{
}

static void *
keep_signalling(void *target)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    pthread_t thread = *(pthread_t *)target;
    while (atomic_load(&posted) == 0) {
        pthread_kill(thread, SIGUSR1);
        nanosleep(&pause, NULL);  // the other side may not wait yet, so again and again
    }
    return NULL;
}

TEST(signal_first_is_eintr_and_the_turn_is_finished)
{
    struct sigaction action = {.sa_handler = ignore_signal};
    pthread_t self = pthread_self(), other;
    struct body body = {0};
    start();
    sigaction(SIGUSR1, &action, NULL);
    bk_loop_doom(&loop, &body.doomed, bury_body);
    CHECK(pthread_create(&other, NULL, keep_signalling, &self) == 0);
    CHECK_INT(bk_loop_turn(&loop, -1), -EINTR);
    atomic_store(&posted, 1);
    pthread_join(other, NULL);
    CHECK_INT(body.buried, 1);
    bk_loop_release(&loop);
}

static int
poll_loop(int ms)
{
    struct pollfd fd = {.fd = bk_loop_fd(&loop), .events = POLLIN};
    return poll(&fd, 1, ms);
}

TEST(hosted_loop_fires_through_its_fd)
{
    struct once once = {0};
    start();
    CHECK_INT(bk_loop_host(&loop), 0);
    CHECK_INT(bk_loop_host(&loop), 0);
    CHECK_INT(poll_loop(0), 0);
    bk_timer_init(&once.timer, fire_once);
    uint64_t deadline = bk_clock_mono() + 20 * BK_MSEC;
    bk_timer_set(&loop.wheel, &once.timer, deadline);
    bk_loop_arm(&loop);
    for (unsigned turns = 0; once.fired_at == 0; turns++) {
        CHECK_INT(poll_loop(-1), 1);
        bk_loop_turn(&loop, 0);
        CHECK(turns < 4);
    }
    CHECK(once.fired_at >= deadline);
    CHECK_INT(poll_loop(0), 0);  // and is quiet again
    CHECK_INT(loop.timer_armed, UINT64_MAX);
    bk_loop_release(&loop);
}

TEST(hosted_timer_moves_only_forward)
{
    struct once once = {0};
    start();
    CHECK_INT(bk_loop_host(&loop), 0);
    bk_timer_init(&once.timer, fire_once);
    bk_timer_set(&loop.wheel, &once.timer, loop.now + 100 * BK_SEC);
    bk_loop_turn(&loop, 0);
    uint64_t armed = loop.timer_armed;
    CHECK(armed != UINT64_MAX);
    bk_timer_set(&loop.wheel, &once.timer, loop.now + 200 * BK_SEC);
    bk_loop_turn(&loop, 0);
    CHECK_INT(loop.timer_armed, armed);
    bk_timer_cancel(&loop.wheel, &once.timer);
    bk_loop_turn(&loop, 0);
    CHECK_INT(loop.timer_armed, armed);  // no system call to take it away either
    bk_timer_set(&loop.wheel, &once.timer, loop.now + 10 * BK_SEC);
    bk_loop_turn(&loop, 0);
    CHECK(loop.timer_armed < armed);
    bk_timer_set(&loop.wheel, &once.timer, 0);  // due at once: the fd is readable by that alone
    bk_loop_arm(&loop);
    CHECK_INT(poll_loop(-1), 1);
    bk_loop_turn(&loop, 0);
    CHECK(once.fired_at > 0);
    bk_loop_release(&loop);
}

TEST(hosted_wake_is_seen_by_the_foreign_loop)
{
    start();
    loop.woken = count_woken;
    bk_loop_wake(&loop);
    CHECK_INT(poll_loop(-1), 1);
    CHECK_INT(bk_loop_turn(&loop, 0), 1);
    CHECK_INT(woken, 1);
    CHECK_INT(poll_loop(0), 0);
    bk_loop_release(&loop);
}

TEST(abandon_in_a_child_leaves_the_parents_set_alone)
{
    struct end end;
    int status = 0;
    start();
    open_end(&end, count_ready);
    pid_t pid = fork();
    if (pid == 0) {
        bk_loop_abandon(&loop);
        bk_loop_remove(&loop, &end.watch);  // what a destructor might still do
        close(end.watch.fd);
        _exit(bk_loop_add(&loop, &end.watch, EPOLLIN) == -EBADF ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
    CHECK(write(end.peer, "x", 1) == 1);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK_INT(end.ready, 1);
    close_end(&end);
    bk_loop_release(&loop);
}

TEST(no_descriptors_left)
{
    struct rlimit none = {0, 0}, old;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    int first = dup(0);  // the lowest free number: init may open so many from here on
    close(first);
    for (rlim_t spare = 0; spare < 2; spare++) {
        none = (struct rlimit){(rlim_t)first + spare, old.rlim_max};
        CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
        CHECK_INT(bk_loop_init(&loop), -EMFILE);
        CHECK_INT(loop.epoll_fd, -1);
        CHECK(fcntl(first, F_GETFD) == -1);  // nothing is left open
    }
    none.rlim_cur = (rlim_t)first + 2;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK_INT(bk_loop_init(&loop), 0);
    CHECK_INT(bk_loop_host(&loop), -EMFILE);
    bk_loop_wake(&loop);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);  // still a loop
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK_INT(bk_loop_host(&loop), 0);
    bk_loop_release(&loop);
}

TEST(errors_come_back)
{
    struct bk_watch watch = {.ready = count_ready, .fd = -1};
    start();
    CHECK_INT(bk_loop_add(&loop, &watch, EPOLLIN), -EBADF);
    watch.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_INT(bk_loop_add(&loop, &watch, EPOLLIN), -EPERM);  // a file cannot be waited for
    bk_loop_remove(&loop, &watch);
    bk_loop_release(&loop);
    CHECK_INT(bk_loop_turn(&loop, 0), -EBADF);
}

TEST(guests_of_a_foreign_loop)
{
    struct bk_guest found[4];
    int pair[2];
    start();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK_INT(bk_guests_set(&loop, pair[0], 0), 0);  // taking out what is not there
    CHECK_INT(bk_guests_set(&loop, -1, EPOLLIN), -EBADF);
    CHECK_INT(bk_guests_set(&loop, pair[0], EPOLLIN), 0);
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    CHECK(!bk_guests_any(&loop));
    CHECK(write(pair[1], "x", 1) == 1);
    for (int again = 0; again < 2; again++) {  // level-triggered
        CHECK_INT(bk_loop_turn(&loop, -1), 1);
        CHECK(bk_guests_any(&loop));
        CHECK_INT(bk_guests_take(&loop, found, 4), 1);
        CHECK_INT(found[0].fd, pair[0]);
        CHECK_INT(found[0].events, EPOLLIN);
        CHECK_INT(bk_guests_take(&loop, found, 4), 0);
    }
    CHECK_INT(bk_guests_set(&loop, pair[0], EPOLLOUT), 0);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK_INT(bk_guests_set(&loop, pair[0], 0), 0);  // after it was found, before it is taken
    CHECK_INT(bk_guests_take(&loop, found, 4), 0);
    CHECK_INT(bk_loop_turn(&loop, 0), 0);
    close(pair[0]);
    close(pair[1]);
    bk_loop_release(&loop);
}

TEST(a_number_taken_over_is_ours)
{
    struct end end;
    int pair[2];
    start();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK_INT(bk_guests_set(&loop, pair[0], EPOLLIN), 0);
    close(pair[1]);
    close(pair[0]);  // the guest forgets to take it out; the number is free again
    open_end(&end, count_ready);
    CHECK_INT(end.watch.fd, pair[0]);
    CHECK_INT(bk_guests_set(&loop, pair[0], 0), 0);  // now it does
    CHECK_INT(bk_guests_set(&loop, pair[0], EPOLLOUT), -EEXIST);
    CHECK(write(end.peer, "x", 1) == 1);
    CHECK_INT(bk_loop_turn(&loop, -1), 1);
    CHECK_INT(end.ready, 1);
    CHECK(!bk_guests_any(&loop));
    close_end(&end);
    bk_loop_release(&loop);
}
