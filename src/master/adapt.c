// See adapt.h.
#include "master/adapt.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "master/scale.h"

#include "base/banned.h"

#define TICK (100 * BK_MSEC)
#define SMOOTH 0.15               // weight of a new sample: the last second counts
#define HIGH 0.75                 // share of busy threads at which one more worker is started
#define LOW 0.5                   // and below which, had there been one fewer, one is too many
#define HIGH_TIME (500 * BK_MSEC) // for so long, before one more is started
#define QUEUE_STEP 16             // so many waiting connections are worth one more worker each

static double busy_share(const struct bk_master_pool *pool, unsigned *ret_ready);
static unsigned queue_length(const struct bk_master_pool *pool);
static void grow(struct bk_master_pool *pool, uint64_t now, unsigned queue);
static void shrink(struct bk_master_pool *pool, uint64_t now);

unsigned
bk_adapt_begin(struct bk_master_pool *pool, unsigned workers)
{
    const struct bk_config *config = pool->config;
    struct bk_adapt *adapt = &pool->adapt;

    if (!config->workers_min && !config->workers_max)
        return workers;
    adapt->least = config->workers_min ? (unsigned)config->workers_min : workers;
    adapt->most = config->workers_max ? (unsigned)config->workers_max : workers;
    if (adapt->most < adapt->least)
        adapt->most = adapt->least;
    return adapt->least;
}

uint64_t
bk_adapt_tick(const struct bk_master_pool *pool)
{
    return pool->adapt.least < pool->adapt.most ? TICK : UINT64_MAX;
}

void
bk_adapt_look(struct bk_master_pool *pool, uint64_t now)
{
    struct bk_adapt *adapt = &pool->adapt;
    unsigned ready;

    if (adapt->least == adapt->most || !pool->served || pool->reload.phase != BK_RELOAD_IDLE)
        return;
    double busy = busy_share(pool, &ready);
    unsigned queue = queue_length(pool);
    if (ready == 0)
        return;
    adapt->busy += (busy - adapt->busy) * SMOOTH;
    bool high = adapt->busy > HIGH || queue > 0;
    bool low = !high && ready > 1 && adapt->busy * (double)ready / (double)(ready - 1) < LOW;
    if (!high)
        adapt->high_since = 0;
    else if (!adapt->high_since)
        adapt->high_since = now;
    if (!low)
        adapt->low_since = 0;
    else if (!adapt->low_since)
        adapt->low_since = now;
    // Who is started now changes the load only when it serves.
    if (high && pool->booting == 0 && now - adapt->high_since >= HIGH_TIME)
        grow(pool, now, queue);
    else if (low && now - adapt->low_since >= pool->config->workers_idle)
        shrink(pool, now);
}

// Threads with a request, of all there are. A worker that runs a loop of Python counts as busy
// while it has requests and does not wait for events.
static double
busy_share(const struct bk_master_pool *pool, unsigned *ret_ready)
{
    long threads = strtol(pool->facts.threads, NULL, 10);
    double sum = 0;

    *ret_ready = 0;
    for (unsigned i = 0; i < pool->wanted; i++) {
        const struct bk_member *member = pool->seats[i].member;
        if (!member || member->state != BK_MEMBER_READY)
            continue;
        const struct bk_slot *slot = &pool->master->scoreboard->slots[member->slot];
        double running = atomic_load(&slot->running);
        if (threads > 1)
            running /= (double)threads;
        else if (pool->facts.loop[0] && atomic_load(&slot->waiting))
            running = 0;
        sum += running > 1 ? 1 : running;
        ++*ret_ready;
    }
    return *ret_ready ? sum / *ret_ready : 0;
}

// Connections the kernel has accepted and no worker has taken; of unix sockets that cannot be told.
static unsigned
queue_length(const struct bk_master_pool *pool)
{
    unsigned count = 0;

    for (unsigned i = 0; i < pool->listener_count; i++) {
        struct tcp_info info;
        socklen_t len = sizeof info;
        int family = pool->listeners[i].addr.sa.sa_family;
        if ((family == AF_INET || family == AF_INET6) &&
            getsockopt(pool->listeners[i].fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
            count += info.tcpi_unacked; // of a listening socket: its accept queue
    }
    return count;
}

static void
grow(struct bk_master_pool *pool, uint64_t now, unsigned queue)
{
    struct bk_adapt *adapt = &pool->adapt;
    unsigned step = 1 + queue / QUEUE_STEP, cpus = bk_cpus_usable(&pool->master->cpus);
    char cause[80];

    adapt->high_since = now;
    if (step > cpus)
        step = cpus;
    snprintf(cause, sizeof cause, "load (%.0f %% busy, %u connection%s waiting)", adapt->busy * 100,
             queue, queue == 1 ? "" : "s");
    for (; step > 0 && pool->wanted < adapt->most; step--)
        bk_scale_by(pool, 1, cause);
}

// The last seat's, when it has nothing to do: what comes between this look and its leaving is
// served.
static void
shrink(struct bk_master_pool *pool, uint64_t now)
{
    struct bk_adapt *adapt = &pool->adapt;
    const struct bk_seat *seat = &pool->seats[pool->wanted - 1];
    const struct bk_slot *slot =
        seat->member ? &pool->master->scoreboard->slots[seat->member->slot] : NULL;

    if (pool->wanted <= adapt->least || (slot && atomic_load(&slot->in_app_since)))
        return;
    adapt->low_since = now - pool->config->workers_idle / 2;
    bk_scale_by(pool, -1, "little load");
}
