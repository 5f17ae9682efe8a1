// Which seats are filled, when, and who has to leave.
#include "master/scale.h"

#include <stdio.h>

#include "base/clock.h"
#include "master/hear.h"
#include "master/recycle.h"
#include "master/reload.h"
#include "master/spawn.h"
#include "master/words.h"

#include "base/banned.h"

#define QUICK_LIMIT (1800 * BK_MSEC)  // --help promises two seconds
#define BRIEF_LIMIT (5 * BK_SEC)      // of requests to an old version while developing

static void empty_seat(struct bk_seat *seat);
static uint64_t patience_for(const struct bk_master_pool *pool, enum bk_dismissal how);
static void order_drain(struct bk_member *member, enum bk_dismissal how);
static bool fill_seat(struct bk_seat *seat);
static void pause_over(struct bk_timer *timer);

void
bk_scale_fill(struct bk_master_pool *pool)
{
    struct bk_master *master = pool->master;
    // One import at first: a traceback shows once, and a broken application is not started eight
    // times.
    unsigned seats = pool->served ? pool->wanted : 1;
    unsigned at_once = pool->served ? bk_cpus_usable(&master->cpus) : 1;

    bool may = !bk_reload_holds(pool) && !pool->waiting;
    for (unsigned i = 0;
         may && i < seats && master->phase == BK_MASTER_RUNNING && pool->booting < at_once; i++) {
        struct bk_seat *seat = &pool->seats[i];
        if (!seat->member && !seat->successor && !bk_timer_is_set(&seat->respawn))
            may = fill_seat(seat);
    }
    bk_reload_advance(pool);
    bk_recycle_advance(pool);
}

void
bk_scale_respawn(struct bk_seat *seat, uint64_t pause)
{
    struct bk_loop *loop = &seat->pool->master->loop;

    if (seat->number > seat->pool->wanted)
        return;
    bk_timer_init(&seat->respawn, pause_over);
    bk_timer_set(&loop->wheel, &seat->respawn, bk_clock_mono() + pause);
}

void
bk_scale_by(struct bk_master_pool *pool, int by, const char *signal_name)
{
    unsigned before = pool->wanted;

    if (by > 0 ? before >= pool->seat_count : before <= 1) {
        bk_log(BK_LOG_WARNING, NULL, "%s: there %s %u worker%s, and %s are not possible",
               signal_name, before == 1 ? "is" : "are", before, before == 1 ? "" : "s",
               by > 0 ? "more" : "fewer");
        return;
    }
    bk_scale_to(pool, by > 0 ? before + 1 : before - 1, signal_name);
}

void
bk_scale_to(struct bk_master_pool *pool, unsigned wanted, const char *who)
{
    unsigned before = pool->wanted;

    if (wanted == before)
        return;
    pool->wanted = wanted;
    bk_companion_tell(pool->master, "nworkers_changed", "new=%u\nold=%u", wanted, before);
    bk_log(BK_LOG_INFO, NULL, "%s: %u worker%s instead of %u", who, wanted, wanted == 1 ? "" : "s",
           before);
    for (unsigned i = wanted; i < before; i++)
        empty_seat(&pool->seats[i]);
    bk_scale_fill(pool);
}

static void
empty_seat(struct bk_seat *seat)
{
    bk_timer_cancel(&seat->pool->master->loop.wheel, &seat->respawn);
    seat->backoff = (struct bk_backoff){0};
    if (seat->successor)
        bk_scale_dismiss(seat->successor, BK_DISMISS_QUIT);
    if (seat->member) {
        seat->member->why = BK_RESTART_SCALE;
        bk_scale_dismiss(seat->member, BK_DISMISS_YIELD);
    }
}

void
bk_scale_dismiss(struct bk_member *member, enum bk_dismissal how)
{
    struct bk_master_pool *pool = member->pool;
    uint64_t patience = patience_for(pool, how);

    if (member->state == BK_MEMBER_BOOTING) {
        pool->booting--;
        how = BK_DISMISS_QUIT;  // it has nothing to finish
        if (patience > QUICK_LIMIT)
            patience = QUICK_LIMIT;
    }
    member->state = BK_MEMBER_LEAVING;
    member->patience = patience;
    member->brief = how == BK_DISMISS_BRIEFLY;
    if (member->seat->member == member)
        member->seat->member = NULL;
    bk_reload_left(member);
    if (member->frozen)
        bk_hear_kill(member);
    else if (how == BK_DISMISS_QUIT)
        bk_hear_order(member, BK_MESSAGE_QUIT, "");
    else
        order_drain(member, how);
    bk_timer_set(&pool->master->loop.wheel, &member->deadline, bk_clock_mono() + patience);
}

bool
bk_scale_hurry(struct bk_member *member)
{
    struct bk_loop *loop = &member->pool->master->loop;

    if (!member->brief)
        return false;
    member->brief = false;
    member->patience = QUICK_LIMIT;
    bk_hear_order(member, BK_MESSAGE_QUIT, "");
    bk_timer_set(&loop->wheel, &member->deadline, bk_clock_mono() + QUICK_LIMIT);
    return true;
}

static uint64_t
patience_for(const struct bk_master_pool *pool, enum bk_dismissal how)
{
    uint64_t graceful = pool->config->graceful_timeout;

    if (how == BK_DISMISS_QUIT)
        return QUICK_LIMIT;
    return how == BK_DISMISS_BRIEFLY && graceful > BRIEF_LIMIT ? BRIEF_LIMIT : graceful;
}

static void
order_drain(struct bk_member *member, enum bk_dismissal how)
{
    uint64_t patience = member->patience;
    char text[64];

    // A little less than we wait, so that it can end by itself and say what it cut off.
    uint64_t told = patience - (patience / 20 < 500 * BK_MSEC ? patience / 20 : 500 * BK_MSEC);
    snprintf(text, sizeof text, "timeout_ms=%llu%s", (unsigned long long)(told / BK_MSEC),
             how == BK_DISMISS_YIELD ? "\nyield=yes" : "");
    bk_hear_order(member, BK_MESSAGE_DRAIN, text);
}

// False when no process could be made: later, or never when it is the first.
static bool
fill_seat(struct bk_seat *seat)
{
    struct bk_master_pool *pool = seat->pool;
    char why[BK_WORDS_ROOM], next[BK_WORDS_ROOM];
    int rc = bk_spawn(seat);

    if (rc == 0)
        return true;
    bk_words_error(rc, why);
    if (!pool->served) {
        bk_master_fail(pool->master, BK_KEY_WORKER_BOOT, "", "cannot start a worker: %s", why);
        return false;
    }
    uint64_t pause = bk_backoff_died(&seat->backoff, 0);
    bk_log(BK_LOG_ERROR, BK_MASTER_KEY(WORKER_BOOT), "cannot start worker %u: %s; next try in %s",
           seat->number, why, bk_words_duration(pause, next));
    bk_scale_respawn(seat, pause);
    return false;
}

static void
pause_over(struct bk_timer *timer)
{
    struct bk_seat *seat = BK_OUTER(timer, struct bk_seat, respawn);

    bk_scale_fill(seat->pool);
}
