// The fake host (a mutex is the GIL), the clients, and what is measured. `make run`, see docs/decisions/003.
#include "baton.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t gil = PTHREAD_MUTEX_INITIALIZER;
static unsigned hello_ns = 3000;

// ---- the host ----------------------------------------------------------------------------------------------------

static void
spin(uint64_t ns)
{
    for (uint64_t end = now_ns() + ns; now_ns() < end;)
        ;
}

static void
rest(uint64_t ns)
{
    nanosleep(&(struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)}, NULL);
}

static void
application(struct exchange *x)
{
    unsigned generation = x->generation;
    struct request r = x->request;
    switch ((enum route)r.route) {
    case SLEEP:
        pthread_mutex_unlock(&gil);
        rest((uint64_t)r.arg * 100000);
        pthread_mutex_lock(&gil);
        break;
    case HOG:  // a C call that keeps the GIL
        rest((uint64_t)r.arg * 100000);
        break;
    case BODY:
        pthread_mutex_unlock(&gil);
        bk_wait_body(x);
        pthread_mutex_lock(&gil);
        break;
    case STREAM:
        for (int i = 0; i < 3; i++) {
            bk_push(x);
            if (i == 1) {
                pthread_mutex_unlock(&gil);
                bk_wait_drain(x);
                pthread_mutex_lock(&gil);
            }
        }
        break;
    case RANDOM:
        if (r.arg % 8 == 0)
            rest((r.arg % 100) * 10000);  // keeps the GIL
        break;
    default:
        spin(hello_ns);
    }
    MUST(generation == x->generation && x->request.id == r.id);  // nobody reused it meanwhile
}

static void *
app_thread(void *arg)
{
    struct thread *me = arg;
    struct exchange *x;
    while (bk_turn(me)) {
        pthread_mutex_lock(&gil);
        while ((x = bk_next(me))) {
            application(x);
            bk_commit(me, x);
        }
        pthread_mutex_unlock(&gil);
    }
    return NULL;
}

static pthread_t watcher_handle;

static void
start(const int *fds, unsigned count, int accepting)
{
    engine_init(fds, count, accepting);
    for (unsigned i = 0; i < options.threads; i++) {
        threads[i].id = i + 1;
        pthread_create(&threads[i].handle, NULL, app_thread, &threads[i]);
    }
    if (options.watch)
        pthread_create(&watcher_handle, NULL, watcher, NULL);
}

static void
finish(void)
{
    engine_stop();
    for (unsigned i = 0; i < options.threads; i++)
        pthread_join(threads[i].handle, NULL);
    if (options.watch)
        pthread_join(watcher_handle, NULL);
}

// ---- a client process that asks again as soon as it was answered --------------------------------------------------

static uint32_t latency[4000000];
static unsigned latency_count;

static int
by_value(const void *a, const void *b)
{
    return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : *(const uint32_t *)a > *(const uint32_t *)b;
}

static double
percentile(double p)
{
    return latency_count ? latency[(unsigned)(p * (latency_count - 1))] / 1e6 : 0;
}

// `slow` of the connections ask for another route and are not counted.
static void
ask_all(const int *fds, unsigned count, struct request r, unsigned slow, struct request other, double seconds)
{
    int epfd = epoll_create1(0);
    static uint64_t asked[CONNS_MAX];
    uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9), now = begin;
    for (unsigned i = 0; i < count; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fds[i], &ev);
        struct request q = i < slow ? other : r;
        q.id = i;
        asked[i] = now_ns();
        MUST(send(fds[i], &q, sizeof q, 0) == sizeof q);
    }
    while (now < end) {
        struct epoll_event ev[64];
        int n = epoll_wait(epfd, ev, 64, 100);
        now = now_ns();
        for (int k = 0; k < n; k++) {
            unsigned i = ev[k].data.u32;
            struct answer a;
            MUST(recv(fds[i], &a, sizeof a, 0) == sizeof a && a.id == i && a.last);
            if (i >= slow && latency_count < sizeof latency / sizeof *latency)
                latency[latency_count++] = (uint32_t)(now - asked[i]);
            struct request q = i < slow ? other : r;
            q.id = i;
            asked[i] = now_ns();
            MUST(send(fds[i], &q, sizeof q, 0) == sizeof q);
        }
    }
    qsort(latency, latency_count, sizeof *latency, by_value);
    printf("%8.0f/s  p50 %.3f  p99 %.3f  worst %.3f ms", latency_count / ((double)(now_ns() - begin) / 1e9),
           percentile(0.5), percentile(0.99), percentile(1));
    close(epfd);
}

static void
pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static int near_ends[CONNS_MAX], far_ends[CONNS_MAX];

static void
pairs(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int p[2];
        MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) == 0);
        near_ends[i] = p[0];
        far_ends[i] = p[1];
    }
}

static void
measure(const char *what, unsigned count, struct request r, unsigned slow, struct request other, double seconds)
{
    printf("%-44s", what);
    fflush(stdout);
    pairs(count);
    pid_t client = fork();
    if (client == 0) {
        pin(1);
        for (unsigned i = 0; i < count; i++)
            close(near_ends[i]);
        ask_all(far_ends, count, r, slow, other, seconds);
        fflush(stdout);
        _exit(0);
    }
    pid_t server = fork();
    if (server == 0) {
        pin(0);
        struct rusage use;
        for (unsigned i = 0; i < count; i++)
            close(far_ends[i]);
        start(near_ends, count, -1);
        // The client's end shows on its sockets.
        for (struct pollfd p = {.fd = near_ends[0], .events = POLLRDHUP}; poll(&p, 1, -1) < 1;)
            ;
        getrusage(RUSAGE_SELF, &use);
        double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                     (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
        printf("  [%.2f us CPU each, ticks %.0f/s, hands %lu, lost %lu, watcher took %lu gave %lu]\n", cpu * 1e6 / (double)counts.committed,
               (double)counts.ticks / seconds, (unsigned long)counts.hands, (unsigned long)counts.lost,
               (unsigned long)counts.taken_by_watcher, (unsigned long)counts.given_by_watcher);
        fflush(stdout);
        _exit(0);
    }
    for (unsigned i = 0; i < count; i++) {
        close(near_ends[i]);
        close(far_ends[i]);
    }
    waitpid(client, NULL, 0);
    waitpid(server, NULL, 0);
}

// ---- /-/live while one, or all, threads sit in a C call that holds the GIL for a second ------------------------------

static void
live(unsigned hogs)
{
    unsigned count = 16;
    pairs(count);
    pid_t server = fork();
    if (server == 0) {
        for (unsigned i = 0; i < count; i++)
            close(far_ends[i]);
        start(near_ends, count, -1);
        for (struct pollfd p = {.fd = near_ends[0], .events = POLLRDHUP}; poll(&p, 1, -1) < 1;)
            ;
        _exit(0);
    }
    usleep(50000);
    for (unsigned i = 0; i < hogs; i++) {
        struct request q = {.route = HOG, .arg = 10000, .id = i};
        MUST(send(far_ends[i], &q, sizeof q, 0) == sizeof q);
    }
    latency_count = 0;
    for (uint64_t end = now_ns() + 900000000; now_ns() < end; usleep(2000)) {
        struct request q = {.route = LIVE, .id = 7};
        struct answer a;
        uint64_t t = now_ns();
        MUST(send(far_ends[count - 1], &q, sizeof q, 0) == sizeof q);
        MUST(recv(far_ends[count - 1], &a, sizeof a, 0) == sizeof a);
        latency[latency_count++] = (uint32_t)(now_ns() - t);
    }
    qsort(latency, latency_count, sizeof *latency, by_value);
    printf("live, %u of %u threads with a 1 s C call: p50 %.3f  p99 %.3f  worst %.3f ms of %u\n", hogs, options.threads,
           percentile(0.5), percentile(0.99), percentile(1), latency_count);
    for (unsigned i = 0; i < count; i++) {
        close(near_ends[i]);
        close(far_ends[i]);
    }
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

// ---- stress: random routes, sleeps and aborts in one process, for ThreadSanitizer -------------------------------------

static void
stress(uint64_t wanted)
{
    enum { COUNT = 64 };
    static struct { struct request q; bool open, waits; unsigned parts; uint64_t more_at; } c[COUNT];
    int accepting[2], epfd = epoll_create1(0);
    uint64_t sent = 0, answered = 0, aborted = 0;
    unsigned seed = 1;
    MUST(pipe2(accepting, O_NONBLOCK) == 0);
    start(NULL, 0, accepting[0]);
    while (answered + aborted < wanted) {
        for (unsigned i = 0; i < COUNT; i++) {
            if (!c[i].open) {
                int p[2];
                MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, p) == 0);
                far_ends[i] = p[1];
                // A fresh slot of the server: the old one may still be dying.
                static unsigned round[COUNT];
                int message[2] = {(int)(i + COUNT * (round[i]++ % (CONNS_MAX / COUNT))), p[0]};
                MUST(write(accepting[1], message, sizeof message) == sizeof message);
                struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};
                epoll_ctl(epfd, EPOLL_CTL_ADD, p[1], &ev);
                c[i].open = true;
                c[i].waits = false;
            }
            if (!c[i].waits) {
                static const uint8_t routes[] = {HELLO, HELLO, HELLO, SLEEP, RANDOM, BODY, STREAM, LIVE, HELLO, STREAM};
                c[i].q = (struct request){.route = routes[rand_r(&seed) % 10], .id = (uint32_t)++sent};
                c[i].q.arg = (uint16_t)(c[i].q.route == RANDOM ? rand_r(&seed) : rand_r(&seed) % 12);
                c[i].waits = true;
                c[i].parts = 0;
                c[i].more_at = c[i].q.route == BODY ? now_ns() + (uint64_t)(rand_r(&seed) % 500) * 1000 : 0;
                MUST(send(far_ends[i], &c[i].q, sizeof c[i].q, 0) == sizeof c[i].q);
            } else if (c[i].more_at && now_ns() >= c[i].more_at) {
                struct request more = c[i].q;
                more.more = 1;
                c[i].more_at = 0;
                MUST(send(far_ends[i], &more, sizeof more, 0) == sizeof more);
            } else if (rand_r(&seed) % 200 == 0) {
                close(far_ends[i]);
                c[i].open = false;
                aborted++;
            }
        }
        struct epoll_event ev[COUNT];
        int n = epoll_wait(epfd, ev, COUNT, 1);
        for (int k = 0; k < n; k++) {
            unsigned i = ev[k].data.u32;
            struct answer a;
            while (c[i].open && recv(far_ends[i], &a, sizeof a, 0) == sizeof a) {
                MUST(c[i].waits && a.id == c[i].q.id);
                if (!a.last) {
                    c[i].parts++;
                    continue;
                }
                MUST(c[i].parts == (c[i].q.route == STREAM ? 3u : 0u));
                c[i].waits = false;
                answered++;
            }
        }
    }
    for (unsigned i = 0; i < COUNT; i++)
        if (c[i].open)
            close(far_ends[i]);
    for (int k = 0; k < 500 && counts.created != counts.freed; k++)
        usleep(10000);
    finish();
    MUST(engine_left() == 0);
    printf("stress: %lu answered, %lu aborted by the client (%lu seen in flight); created %lu freed %lu committed %lu\n"
           "        hands %lu, lost %lu, watcher: ticks %lu took %lu gave %lu\n",
           (unsigned long)answered, (unsigned long)aborted, (unsigned long)counts.aborted, (unsigned long)counts.created,
           (unsigned long)counts.freed, (unsigned long)counts.committed, (unsigned long)counts.hands,
           (unsigned long)counts.lost, (unsigned long)counts.ticks, (unsigned long)counts.taken_by_watcher,
           (unsigned long)counts.given_by_watcher);
    MUST(counts.created == counts.freed);
}

int
main(int argc, char **argv)
{
    options = (struct options){.threads = 8, .slow_ns = 300000, .tick_us = 2000, .look_us = 500, .watch = true};
    struct request none = {0}, hello = {.route = HELLO}, sleep10 = {.route = SLEEP, .arg = 100}, sleep200 = {.route = SLEEP, .arg = 2000};
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && !strcmp(argv[1], "stress")) {
        options.tick_us = 1000;
        stress(argc > 2 ? strtoull(argv[2], NULL, 10) : 20000);
        return 0;
    }
    if (argc > 2 && !strcmp(argv[1], "tick"))
        options.tick_us = (unsigned)atoi(argv[2]);
    options.threads = 1, options.watch = false, options.slow_ns = 0;
    measure("hello, 1 thread, no watcher", 64, hello, 0, none, 1);
    options.watch = true, options.slow_ns = 300000;
    measure("hello, 1 thread", 64, hello, 0, none, 1);
    options.threads = 8;
    measure("hello, 8 threads", 64, hello, 0, none, 1);
    options.poison_ns = 50000000;
    measure("hello, 8 threads, route wrongly slow at first", 64, hello, 0, none, 1);
    options.poison_ns = 0;
    options.slow_ns = 1;
    measure("hello, 8 threads, follower before each call", 64, hello, 0, none, 1);
    options.slow_ns = 0, options.threads = 64;
    measure("10 ms, 64 threads, inline, watcher corrects", 128, sleep10, 0, none, 1);
    options.slow_ns = 300000;
    measure("10 ms, 64 threads", 128, sleep10, 0, none, 2);
    options.threads = 4;
    measure("hello beside 2 x 200 ms, 4 threads", 34, hello, 2, sleep200, 2);
    options.threads = 1;
    live(1);
    options.threads = 8;
    live(1);
    live(8);
    return 0;
}
