// Experiment: workers that share one listener by EPOLLEXCLUSIVE and keep their connection counts level by a gate.
// One command: `make run`. Settings as key=value arguments, see struct settings. Findings: docs/decisions.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_MAX 16

static struct settings {
    int workers;
    int gate;      // 0: plain EPOLLEXCLUSIVE; 1: the gate
    int slack;     // connections above the least before a worker disarms
    int ratio;     // plus least / ratio (0: none)
    int tick;      // ms between looks of a disarmed worker while there is traffic
    int batch;     // most connections per turn
    int rotate;    // after accepting, DEL and ADD, so that the next wake-up goes to another:
                   // 1 always, 2 when above the least
    int pause;     // 1: a worker over the gate pauses even if it is the last armed one, once others could arm
    int suspect;   // 1: ignore peers that left a connection lying for two ticks, until they turn again
    int rest;      // 1: everybody arms when traffic has rested for `quiet` ms
    int quiet;
    int quick;     // 1: leave out the long tests
} set = {4, 1, 1, 8, 5, 1, 2, 1, 1, 1, 200, 0};

struct slot {
    _Alignas(64) _Atomic uint32_t connections, armed, waiting;
    _Atomic uint64_t turned, accepted, closed, wakes, ctls, rescues;
};
static struct slot *slots;
static int listener;
static uint16_t port;

static uint64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ---- the worker ------------------------------------------------------------------------------------------------

static int me, epfd;
static uint64_t suspected[WORKERS_MAX];  // value of `turned` when the peer was caught asleep on duty
static uint64_t seen, active_until, next_tick;
static unsigned unaccepted;

static bool
live(int i, uint64_t now)
{
    struct slot *s = &slots[i];
    uint64_t turned = atomic_load(&s->turned);
    if (!turned || (set.suspect && suspected[i] && suspected[i] == turned))
        return false;
    return atomic_load(&s->waiting) || now - turned < 50000000u;
}

static uint32_t
least(uint64_t now)
{
    uint32_t min = atomic_load(&slots[me].connections);
    for (int i = 0; i < set.workers; i++)
        if (i != me && live(i, now) && atomic_load(&slots[i].connections) < min)
            min = slots[i].connections;
    return min;
}

static bool
eligible(uint64_t now)
{
    uint32_t min = least(now);
    return slots[me].connections <= min + (uint32_t)set.slack + (set.ratio ? min / (uint32_t)set.ratio : 0);
}

static bool
another_armed(uint64_t now)
{
    for (int i = 0; i < set.workers; i++)
        if (i != me && atomic_load(&slots[i].armed) && live(i, now))
            return true;
    return false;
}

static void
listener_ctl(int op)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = listener};
    if (epoll_ctl(epfd, op, listener, &ev))
        abort();
    slots[me].ctls++;
}

static void
arm(void)
{
    listener_ctl(EPOLL_CTL_ADD);
    atomic_store(&slots[me].armed, 1);
}

static void
disarm(uint64_t now)
{
    atomic_store(&slots[me].armed, 0);  // first say so, then look: two workers cannot both believe in the other
    if (!set.pause && !another_armed(now)) {
        atomic_store(&slots[me].armed, 1);
        return;
    }
    listener_ctl(EPOLL_CTL_DEL);
    unaccepted = 0;
    next_tick = now + (uint64_t)set.tick * 1000000u;
}

static bool
waiting_connection(void)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

// Once a turn. Milliseconds until it wants to be called again, -1: no wish.
static int
gate(uint64_t now)
{
    if (!set.gate)
        return -1;
    uint64_t sum = 0;
    for (int i = 0; i < set.workers; i++)
        sum += slots[i].accepted + slots[i].closed;
    if (sum != seen)
        active_until = now + (uint64_t)set.quiet * 1000000u;
    seen = sum;
    if (slots[me].armed) {
        if (!eligible(now))
            disarm(now);
    } else if (eligible(now) || (set.rest && now >= active_until)) {
        arm();
    } else if (now >= next_tick) {
        next_tick = now + (uint64_t)set.tick * 1000000u;
        unaccepted = waiting_connection() ? unaccepted + 1 : 0;
        if (unaccepted >= 2) {
            slots[me].rescues++;
            for (int i = 0; i < set.workers; i++)  // whoever is armed should have come by now
                if (i != me && slots[i].armed)
                    suspected[i] = slots[i].turned;
            arm();
        }
    }
    if (slots[me].armed)
        return -1;
    return now >= active_until ? 500 : set.tick;
}

static void
accept_some(void)
{
    for (int n = 0; n < set.batch; n++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            break;
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev);
        slots[me].connections++;
        slots[me].accepted++;
        if (set.gate && slots[me].connections > least(slots[me].turned))
            break;  // one more than somebody has: let him
    }
    if (set.rotate == 1 || (set.rotate == 2 && slots[me].connections > least(slots[me].turned))) {
        listener_ctl(EPOLL_CTL_DEL);
        listener_ctl(EPOLL_CTL_ADD);
    }
}

static void
serve(int fd)
{
    char byte;
    ssize_t got = read(fd, &byte, 1);
    if (got > 0) {
        if (byte == 's')
            usleep(10000);  // an application that sleeps, called inline
        byte = (char)me;
        if (write(fd, &byte, 1) == 1)
            return;
    }
    close(fd);
    slots[me].connections--;
    slots[me].closed++;
}

static void
worker(int index)
{
    me = index;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    slots[me].turned = now_ns();
    arm();
    int wait = -1;
    for (;;) {
        struct epoll_event ev[64];
        atomic_store(&slots[me].waiting, 1);
        int n = epoll_wait(epfd, ev, 64, wait);
        uint64_t now = now_ns();
        atomic_store(&slots[me].turned, now);
        atomic_store(&slots[me].waiting, 0);
        slots[me].wakes++;
        bool accepting = false;
        for (int i = 0; i < n; i++)
            if (ev[i].data.fd == listener)
                accepting = true;
            else
                serve(ev[i].data.fd);
        if (accepting)
            accept_some();
        wait = gate(now_ns());
    }
}

// ---- the client ------------------------------------------------------------------------------------------------

static int
dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, (void *)&a, sizeof a) && errno != EINPROGRESS))
        abort();
    return fd;
}

static int
put(int fd, char byte, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, wait_ms) == 1 && write(fd, &byte, 1) == 1 ? 0 : -1;
}

static int
ask(int fd, int wait_ms)
{
    char byte = 'q';
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, wait_ms) != 1 || write(fd, &byte, 1) != 1)
        return -1;
    p.events = POLLIN;
    if (poll(&p, 1, wait_ms) != 1 || read(fd, &byte, 1) != 1)
        return -1;
    return byte;
}

static void
settle(void)
{
    for (int i = 0; i < 400; i++) {
        uint32_t sum = 0;
        for (int w = 0; w < set.workers; w++)
            sum += slots[w].connections;
        if (!sum)
            break;
        usleep(5000);
    }
    usleep(20000);
}

static double
spread(const char *what, int count, double took)
{
    uint32_t min = UINT32_MAX, max = 0;
    printf("  %-26s", what);
    for (int i = 0; i < set.workers; i++) {
        uint32_t c = slots[i].connections;
        min = c < min ? c : min;
        max = c > max ? c : max;
        printf(" %3u", c);
    }
    printf("   max/min %.2f  %.1f ms for %d\n", min ? (double)max / min : 99.0, took, count);
    return min ? (double)max / min : 99;
}

static void
load(const char *what, int count, int pace_us)
{
    static int fds[4096];
    uint64_t start = now_ns();
    for (int i = 0; i < count; i++) {
        fds[i] = dial();
        if (pace_us)
            usleep((unsigned)pace_us);
    }
    for (int i = 0; i < count; i++)
        if (ask(fds[i], 3000) < 0)
            printf("  UNANSWERED %d\n", i);
    spread(what, count, (double)(now_ns() - start) / 1e6);
    for (int i = 0; i < count; i++)
        close(fds[i]);
    settle();
}

// The same burst again and again: the worst and the median of max - min and max / min.
static int
by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static void
bursts(int count)
{
    static int fds[4096];
    double ratio[15], took[15];
    for (int round = 0; round < 15; round++) {
        uint64_t start = now_ns();
        for (int i = 0; i < count; i++)
            fds[i] = dial();
        for (int i = 0; i < count; i++)
            if (ask(fds[i], 3000) < 0)
                printf("  UNANSWERED %d\n", i);
        took[round] = (double)(now_ns() - start) / 1e6;
        uint32_t min = UINT32_MAX, max = 0;
        for (int i = 0; i < set.workers; i++) {
            uint32_t c = slots[i].connections;
            min = c < min ? c : min;
            max = c > max ? c : max;
        }
        ratio[round] = min ? (double)max / min : 99;
        for (int i = 0; i < count; i++)
            close(fds[i]);
        settle();
    }
    qsort(ratio, 15, sizeof *ratio, by_value);
    qsort(took, 15, sizeof *took, by_value);
    printf("  15 bursts of %3d: max/min median %5.2f worst %5.2f; answered after median %.1f ms worst %.1f\n",
           count, ratio[7], ratio[14], took[7], took[14]);
}

// 32 connections at once to an application that sleeps 10 ms inline: 80 ms at best with 4 workers.
static void
sleepers(void)
{
    int fds[32];
    double took[5];
    for (int round = 0; round < 5; round++) {
        uint64_t start = now_ns();
        for (int i = 0; i < 32; i++)
            put(fds[i] = dial(), 's', 1000);
        for (int i = 0; i < 32; i++) {
            char byte;
            struct pollfd p = {.fd = fds[i], .events = POLLIN};
            if (poll(&p, 1, 3000) != 1 || read(fds[i], &byte, 1) != 1)
                printf("  UNANSWERED\n");
        }
        took[round] = (double)(now_ns() - start) / 1e6;
        for (int i = 0; i < 32; i++)
            close(fds[i]);
        settle();
    }
    qsort(took, 5, sizeof *took, by_value);
    printf("  32 sleepers of 10 ms: median %.0f ms, worst %.0f (80 at best)\n", took[2], took[4]);
}

// Stops the least loaded worker of an uneven crowd, then asks 100 times, one after the other.
static void
stopped(pid_t *pids, int rest_ms)
{
    static int fds[4096];
    int owner[200], kept = 0, slow = 0, lost = 0;
    for (int i = 0; i < 200; i++)
        owner[i] = ask(fds[i] = dial(), 3000);
    int victim = owner[0];
    for (int i = 0; i < 200; i++)
        if (owner[i] == victim)
            close(fds[i]);
        else
            fds[kept++] = fds[i];
    usleep(rest_ms ? (unsigned)rest_ms * 1000 : 2000);
    kill(pids[victim], SIGSTOP);
    usleep(1000);
    double worst = 0, sum = 0;
    int extra[100];
    for (int i = 0; i < 100; i++) {
        uint64_t t = now_ns();
        int got = ask(extra[i] = dial(), 2000);
        double ms = (double)(now_ns() - t) / 1e6;
        lost += got < 0;
        slow += ms > 100;
        worst = ms > worst ? ms : worst;
        sum += ms;
    }
    printf("  stopped, %4d ms rest: worst %.1f ms, mean %.2f, over 100 ms: %d, lost %d;", rest_ms, worst,
           sum / 100, slow, lost);
    for (int i = 0; i < set.workers; i++)
        printf(" %s%u", i == victim ? "*" : "", slots[i].connections);
    printf("\n");
    kill(pids[victim], SIGCONT);
    for (int i = 0; i < 100; i++)
        close(extra[i]);
    for (int i = 0; i < kept; i++)
        close(fds[i]);
    settle();
}

static void
idle(void)
{
    static int fds[200];
    int owner[200], kept = 0;
    for (int i = 0; i < 200; i++)
        owner[i] = ask(fds[i] = dial(), 3000);
    for (int i = 0; i < 200; i++)
        if (owner[i] == 0)
            close(fds[i]);
        else
            fds[kept++] = fds[i];
    usleep(1200000);
    uint64_t before[WORKERS_MAX];
    for (int i = 0; i < set.workers; i++)
        before[i] = slots[i].wakes;
    sleep(2);
    printf("  idle, uneven: wake-ups a second");
    for (int i = 0; i < set.workers; i++)
        printf(" %.1f", (double)(slots[i].wakes - before[i]) / 2);
    printf("\n");
    for (int i = 0; i < kept; i++)
        close(fds[i]);
    settle();
}

// New connection for each question, `many` at a time; and the longest wait.
static uint64_t
cpu_ns(const pid_t *pids)
{
    unsigned long long sum = 0, ns;
    for (int i = 0; i < set.workers; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pids[i]);
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%llu", &ns) == 1)
            sum += ns;
        if (f)
            fclose(f);
    }
    return sum;
}

static void
churn(const pid_t *pids, int many)
{
    int fds[64];
    uint64_t wakes = 0, ctls = 0, accepted = 0, rescues = 0, count = 0, born[64];
    uint64_t start = now_ns(), cpu = cpu_ns(pids);
    double worst = 0;
    for (int i = 0; i < set.workers; i++) {
        wakes -= slots[i].wakes;
        ctls -= slots[i].ctls;
        accepted -= slots[i].accepted;
        rescues -= slots[i].rescues;
    }
    while (now_ns() - start < 1000000000u) {
        for (int i = 0; i < many; i++) {
            born[i] = now_ns();
            fds[i] = dial();
        }
        for (int i = 0; i < many; i++) {
            if (ask(fds[i], 3000) < 0)
                printf("  UNANSWERED\n");
            double ms = (double)(now_ns() - born[i]) / 1e6;
            worst = ms > worst ? ms : worst;
            close(fds[i]);
            count++;
        }
    }
    for (int i = 0; i < set.workers; i++) {
        wakes += slots[i].wakes;
        ctls += slots[i].ctls;
        accepted += slots[i].accepted;
        rescues += slots[i].rescues;
    }
    printf("  churn %2d at a time: %5lu/s, per connection: %.1f µs CPU of the workers, %.2f wakes, "
           "%.2f epoll_ctl; rescues %lu, worst %.1f ms\n",
           many, (unsigned long)count, (double)(cpu_ns(pids) - cpu) / 1e3 / (double)count,
           (double)wakes / (double)accepted, (double)ctls / (double)accepted, (unsigned long)rescues, worst);
    settle();
}

static void
parse(int argc, char **argv)
{
    static const char *const names[] = {"workers", "gate", "slack", "ratio", "tick", "batch",
                                        "rotate", "pause", "suspect", "rest", "quiet", "quick"};
    int *values = (int *)&set;
    for (int i = 1; i < argc; i++) {
        char *eq = strchr(argv[i], '=');
        size_t n;
        for (n = 0; eq && n < sizeof names / sizeof *names; n++)
            if (strlen(names[n]) == (size_t)(eq - argv[i]) && !strncmp(names[n], argv[i], (size_t)(eq - argv[i])))
                break;
        if (!eq || n == sizeof names / sizeof *names) {
            fprintf(stderr, "unknown setting %s\n", argv[i]);
            exit(2);
        }
        values[n] = atoi(eq + 1);
    }
}

int
main(int argc, char **argv)
{
    parse(argc, argv);
    printf("gate:");
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf("\n");
    slots = mmap(NULL, sizeof *slots * WORKERS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (void *)&a, sizeof a) || listen(listener, 2048) || getsockname(listener, (void *)&a, &len))
        abort();
    port = ntohs(a.sin_port);
    pid_t pids[WORKERS_MAX];
    fflush(stdout);
    for (int i = 0; i < set.workers; i++)
        if (!(pids[i] = fork()))
            worker(i);
    usleep(100000);
    load("400 paced 1 ms", 400, 1000);
    load("40 paced 10 ms", 40, 10000);
    bursts(8);
    bursts(64);
    bursts(400);
    sleepers();
    stopped(pids, 0);
    stopped(pids, 100);
    if (!set.quick) {
        stopped(pids, 2000);
        idle();
    }
    churn(pids, 1);
    churn(pids, 16);
    for (int i = 0; i < set.workers; i++)
        kill(pids[i], SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}
