// See watchdog.h. Called by master.c and by its own timer.
#include "master/watchdog.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/adapt.h"
#include "master/hear.h"
#include "master/memory.h"
#include "master/recycle.h"
#include "master/words.h"

#include "base/banned.h"

#define LONGEST_TICK (10 * BK_SEC)
#define SHORTEST_TICK (50 * BK_MSEC)
#define BEAT (5 * BK_SEC) // a worker beats at least that often

static void tick(struct bk_timer *timer);
static uint64_t tick_of(const struct bk_master_pool *pool);
static void look_at(struct bk_member *member, uint64_t now);
static void look_at_beat(struct bk_member *member, uint64_t now);
static bool is_stopped(pid_t pid);
static void look_at_age(struct bk_member *member, uint64_t now);

void
bk_watchdog_start(struct bk_master_pool *pool)
{
    struct bk_watchdog *dog = &pool->watchdog;

    bk_timer_init(&dog->timer, tick);
    dog->last = bk_clock_mono();
    bk_timer_set(&pool->master->loop.wheel, &dog->timer, dog->last + tick_of(pool));
}

void
bk_watchdog_stop(struct bk_master_pool *pool)
{
    bk_timer_cancel(&pool->master->loop.wheel, &pool->watchdog.timer);
}

static void
tick(struct bk_timer *timer)
{
    struct bk_watchdog *dog = BK_OUTER(timer, struct bk_watchdog, timer);
    struct bk_master_pool *pool = BK_OUTER(dog, struct bk_master_pool, watchdog);
    uint64_t now = bk_clock_mono(), pause = tick_of(pool);
    struct bk_list *at, *next;

    if (pool->master->phase != BK_MASTER_RUNNING)
        return;
    // Whoever stopped us (a debugger, a frozen container) stopped the workers too: their silence
    // counts from now on.
    if (now - dog->last > pause + BEAT)
        dog->since = now;
    dog->last = now;
    for (at = pool->members.next; at != &pool->members; at = next) {
        next = at->next;
        look_at(BK_OUTER(at, struct bk_member, link), now);
    }
    bk_memory_look(pool, now);
    bk_adapt_look(pool, now);
    bk_timer_set(&pool->master->loop.wheel, timer, now + pause);
}

// A quarter of what has to be noticed is often enough.
static uint64_t
tick_of(const struct bk_master_pool *pool)
{
    const struct bk_config *config = pool->config;
    uint64_t pause = LONGEST_TICK, wanted;

    if (config->timeout && config->timeout / 4 < pause)
        pause = config->timeout / 4;
    if (config->max_worker_lifetime && config->max_worker_lifetime / 20 < pause)
        pause = config->max_worker_lifetime / 20;
    if ((wanted = bk_memory_tick(pool)) < pause)
        pause = wanted;
    if ((wanted = bk_adapt_tick(pool)) < pause)
        pause = wanted;
    return pause < SHORTEST_TICK ? SHORTEST_TICK : pause;
}

static void
look_at(struct bk_member *member, uint64_t now)
{
    if (member->state != BK_MEMBER_READY || member->debugging || member->killed)
        return;
    look_at_beat(member, now);
    look_at_age(member, now);
}

// The beat comes from a thread of the worker that depends on nothing: when it stops, the whole
// process stands still. A worker that was stopped and goes on in time loses nothing.
static void
look_at_beat(struct bk_member *member, uint64_t now)
{
    struct bk_master_pool *pool = member->pool;
    const struct bk_slot *slot = &pool->master->scoreboard->slots[member->slot];
    uint64_t beat = atomic_load(&slot->beat), limit = pool->config->timeout;
    char age[BK_WORDS_ROOM];

    if (!limit || !beat || beat > now)
        return;
    if (beat < pool->watchdog.since)
        beat = pool->watchdog.since;
    if (now - beat < limit + BEAT) {
        member->silent = member->frozen = false;
        return;
    }
    bool kill = strcmp(pool->config->timeout_policy, "log") != 0;
    if (!member->silent)
        bk_log(BK_LOG_ERROR, BK_MASTER_KEY(WORKER_FROZEN),
               "worker %u (pid %d) has not moved for %s%s%s", member->number, (int)member->pid,
               bk_words_duration(now - beat, age), is_stopped(member->pid) ? ", it is stopped" : "",
               kill ? "; it is killed when its successor is ready" : "");
    member->silent = true;
    member->frozen = kill;
    if (kill)
        bk_recycle_ask(member, true, BK_RESTART_STUCK, "it does not move");
}

// /proc/PID/stat: "PID (NAME) STATE ..."; T is stopped, t is traced.
static bool
is_stopped(pid_t pid)
{
    char path[40], text[256];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && (name_end[2] == 'T' || name_end[2] == 't');
}

static void
look_at_age(struct bk_member *member, uint64_t now)
{
    uint64_t limit = member->pool->config->max_worker_lifetime;
    char text[BK_WORDS_ROOM + 40], age[BK_WORDS_ROOM];

    if (!limit || member->recycle)
        return;
    // Of pids that follow each other no two have the same tenth.
    limit += limit / 10 * (uint64_t)(member->pid % 16) / 15;
    if (now - member->ready < limit)
        return;
    snprintf(text, sizeof text, "it has served for %s (--max-worker-lifetime)",
             bk_words_duration(now - member->ready, age));
    bk_recycle_ask(member, false, BK_RESTART_LIFETIME, text);
}
