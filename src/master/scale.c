// Which seats are filled, when, and who has to leave.
#include "master/scale.h"

#include <stdio.h>

#include "base/clock.h"
#include "master/hear.h"
#include "master/spawn.h"
#include "master/words.h"

#include "base/banned.h"

#define QUICK_LIMIT (1800 * BK_MSEC)  // --help promises two seconds

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

    for (unsigned i = 0; i < seats && master->phase == BK_MASTER_RUNNING && pool->booting < at_once;
         i++) {
        struct bk_seat *seat = &pool->seats[i];
        if (!seat->member && !bk_timer_is_set(&seat->respawn) && !fill_seat(seat))
            return;
    }
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
        bk_log(BK_LOG_WARNING, NULL, "%s: there are %u workers, and %s are not possible",
               signal_name, before, by > 0 ? "more" : "fewer");
        return;
    }
    pool->wanted = by > 0 ? before + 1 : before - 1;
    bk_log(BK_LOG_INFO, NULL, "%s: %u worker%s instead of %u", signal_name, pool->wanted,
           pool->wanted == 1 ? "" : "s", before);
    if (by < 0) {
        struct bk_seat *seat = &pool->seats[pool->wanted];
        bk_timer_cancel(&pool->master->loop.wheel, &seat->respawn);
        seat->backoff = (struct bk_backoff){0};
        if (seat->member)
            bk_scale_dismiss(seat->member, true);
    }
    bk_scale_fill(pool);
}

void
bk_scale_dismiss(struct bk_member *member, bool gracefully)
{
    struct bk_master_pool *pool = member->pool;
    struct bk_wheel *wheel = &pool->master->loop.wheel;
    uint64_t patience = gracefully ? pool->config->graceful_timeout : QUICK_LIMIT,
             now = bk_clock_mono();
    char text[48];

    if (member->state == BK_MEMBER_BOOTING) {
        pool->booting--;
        gracefully = false;  // it has nothing to finish
        if (patience > QUICK_LIMIT)
            patience = QUICK_LIMIT;
    }
    member->state = BK_MEMBER_LEAVING;
    if (member->seat->member == member)
        member->seat->member = NULL;
    if (gracefully) {
        // A little less than we wait, so that it can end by itself and say what it cut off.
        uint64_t told = patience - (patience / 20 < 500 * BK_MSEC ? patience / 20 : 500 * BK_MSEC);
        snprintf(text, sizeof text, "timeout_ms=%llu", (unsigned long long)(told / BK_MSEC));
        bk_hear_order(member, BK_MESSAGE_DRAIN, text);
    } else {
        bk_hear_order(member, BK_MESSAGE_QUIT, "");
    }
    bk_timer_set(wheel, &member->deadline, now + patience);
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
