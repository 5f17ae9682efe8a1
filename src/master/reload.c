// Replacing the workers of a pool by others that import the application anew.
#include "master/reload.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "master/scale.h"
#include "master/spawn.h"
#include "master/state.h"
#include "master/words.h"

#include "base/banned.h"

#define CLOSING (500 * BK_MSEC)

static void begin(struct bk_master_pool *pool, const char *cause, bool development);
static void clear_seat(struct bk_seat *seat);
static void start_trial(struct bk_master_pool *pool);
static struct bk_seat *trial_seat(struct bk_master_pool *pool);
static void roll(struct bk_master_pool *pool);
static bool doors_closed(struct bk_master_pool *pool);
static void closing_over(struct bk_timer *timer);
static void finish(struct bk_master_pool *pool);
static void give_up(struct bk_master_pool *pool, struct bk_str brief, struct bk_str detail);
static void say_refused(const struct bk_master_pool *pool, struct bk_str brief,
                        struct bk_str detail);
static bool still_serves(const struct bk_master_pool *pool);
static void go_idle(struct bk_master_pool *pool);

void
bk_reload_begin(struct bk_master_pool *pool, const char *cause, bool development)
{
    struct bk_reload *reload = &pool->reload;

    if (pool->master->phase != BK_MASTER_RUNNING)
        return;
    bool busy =
        reload->phase == BK_RELOAD_TRIAL || pool->booting > 0 || bk_timer_is_set(&reload->closing);
    if (!pool->served || (busy && !development)) {
        reload->again = true;
        snprintf(reload->next_cause, sizeof reload->next_cause, "%s", cause);
        return;
    }
    begin(pool, cause, development);
}

static void
begin(struct bk_master_pool *pool, const char *cause, bool development)
{
    struct bk_reload *reload = &pool->reload;

    if (!development) {
        bk_companion_renew(pool->master);
        bk_companion_tell(pool->master, "on_reload", "%s", "");
    }
    for (unsigned i = 0; i < pool->seat_count; i++)
        clear_seat(&pool->seats[i]);
    if (reload->trial)
        bk_scale_dismiss(reload->trial, BK_DISMISS_QUIT);
    reload->trial = NULL;
    reload->phase = BK_RELOAD_TRIAL;
    reload->closed = false;
    bk_timer_cancel(&pool->master->loop.wheel, &reload->closing);
    reload->development = development;
    reload->generation++;
    reload->began = bk_clock_mono();
    snprintf(reload->cause, sizeof reload->cause, "%s", cause);
    bk_systemd_reloading(pool->master);
    bk_reload_advance(pool);
}

// Whoever boots now may have read an older version of some file, and what died did so of an older
// version.
static void
clear_seat(struct bk_seat *seat)
{
    if (seat->successor)
        bk_scale_dismiss(seat->successor, BK_DISMISS_QUIT);
    bk_timer_cancel(&seat->pool->master->loop.wheel, &seat->respawn);
    seat->backoff = (struct bk_backoff){0};
}

bool
bk_reload_holds(const struct bk_master_pool *pool)
{
    return pool->reload.phase == BK_RELOAD_TRIAL;
}

void
bk_reload_advance(struct bk_master_pool *pool)
{
    if (pool->master->phase != BK_MASTER_RUNNING)
        return;
    if (pool->reload.phase == BK_RELOAD_TRIAL && !pool->reload.trial)
        start_trial(pool);
    else if (pool->reload.phase == BK_RELOAD_ROLLING)
        roll(pool);
}

static void
start_trial(struct bk_master_pool *pool)
{
    struct bk_seat *seat = trial_seat(pool);
    char text[BK_WORDS_ROOM + 40], why[BK_WORDS_ROOM];

    int rc = bk_spawn(seat);
    if (rc == -ENOSPC)
        return;  // until one of those that are leaving is gone
    if (rc < 0) {
        snprintf(text, sizeof text, "cannot start a worker: %s", bk_words_error(rc, why));
        give_up(pool, bk_str_of(text), BK_STR(""));
        return;
    }
    pool->reload.trial = seat->successor ? seat->successor : seat->member;
}

// An empty seat, if there is one: then there is a worker more, not two on one seat.
static struct bk_seat *
trial_seat(struct bk_master_pool *pool)
{
    for (unsigned i = 0; i < pool->wanted; i++)
        if (!pool->seats[i].member)
            return &pool->seats[i];
    return &pool->seats[0];
}

static void
roll(struct bk_master_pool *pool)
{
    unsigned at_once = bk_cpus_usable(&pool->master->cpus), old = 0;

    for (unsigned i = 0; i < pool->wanted; i++) {
        struct bk_seat *seat = &pool->seats[i];
        if (!seat->member || seat->member->generation == pool->reload.generation)
            continue;  // an empty one is filled as at any other time
        old++;
        if (!seat->successor && !bk_timer_is_set(&seat->respawn) && pool->booting < at_once &&
            !bk_reload_successor(seat))
            return;
    }
    if (old == 0 && doors_closed(pool))
        finish(pool);
    else if (old > 0 && pool->reload.again && pool->booting == 0)
        go_idle(pool);  // their successors fail again and again; perhaps newer ones do not
}

// Whoever reads "reloaded" expects the new version: until the old workers have closed their
// listeners, one of them may still take a connection. A busy one may not find the time; it takes
// none either.
static bool
doors_closed(struct bk_master_pool *pool)
{
    struct bk_reload *reload = &pool->reload;
    bool open = false;

    for (struct bk_list *at = pool->members.next; at != &pool->members; at = at->next) {
        struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        if (member->ready && member->state == BK_MEMBER_LEAVING && member->channel.fd >= 0)
            open = open || !member->listeners_closed;
    }
    if (!open || reload->closed)
        return true;
    if (!bk_timer_is_set(&reload->closing)) {
        bk_timer_init(&reload->closing, closing_over);
        bk_timer_set(&pool->master->loop.wheel, &reload->closing, bk_clock_mono() + CLOSING);
    }
    return false;
}

static void
closing_over(struct bk_timer *timer)
{
    struct bk_reload *reload = BK_OUTER(timer, struct bk_reload, closing);
    struct bk_master_pool *pool = BK_OUTER(reload, struct bk_master_pool, reload);

    reload->closed = true;
    bk_reload_advance(pool);
}

bool
bk_reload_successor(struct bk_seat *seat)
{
    int rc = bk_spawn(seat);
    char why[BK_WORDS_ROOM], next[BK_WORDS_ROOM];

    if (rc == 0)
        return true;
    if (rc == -ENOSPC)
        return false;
    uint64_t pause = bk_backoff_died(&seat->backoff, 0);
    bk_log(BK_LOG_ERROR, BK_MASTER_KEY(WORKER_BOOT), "cannot start worker %u: %s; next try in %s",
           seat->number, bk_words_error(rc, why), bk_words_duration(pause, next));
    bk_scale_respawn(seat, pause);
    return false;
}

void
bk_reload_ready(struct bk_member *member)
{
    struct bk_master_pool *pool = member->pool;
    struct bk_reload *reload = &pool->reload;
    struct bk_seat *seat = member->seat;

    if (!pool->served || reload->trial == member)
        pool->version_since = bk_clock_wall();
    if (seat->successor == member) {
        struct bk_member *old = seat->member;
        seat->member = member;
        seat->successor = NULL;
        bk_timer_cancel(&pool->master->loop.wheel, &seat->respawn);
        seat->backoff = (struct bk_backoff){0};
        if (old && old->why == BK_RESTART_NONE)
            old->why = BK_RESTART_RELOAD;
        if (old)
            bk_scale_dismiss(old, reload->development ? BK_DISMISS_BRIEFLY : BK_DISMISS_YIELD);
    }
    if (reload->trial == member) {
        reload->trial = NULL;
        reload->phase = BK_RELOAD_ROLLING;
    } else if (!pool->served) {
        pool->served = true;
        go_idle(pool);
    }
}

static void
finish(struct bk_master_pool *pool)
{
    char took[BK_WORDS_ROOM];

    bk_log(BK_LOG_INFO, NULL, "%s: reloaded in %s", pool->reload.cause,
           bk_words_duration(bk_clock_mono() - pool->reload.began, took));
    bk_systemd_ready(pool->master, "serving, reloaded");
    bk_control_reloaded(pool, BK_STR(""), BK_STR(""));
    go_idle(pool);
}

bool
bk_reload_failed(struct bk_member *member, struct bk_str brief, struct bk_str detail)
{
    if (member->pool->reload.trial != member)
        return false;
    give_up(member->pool, brief, detail);
    return true;
}

void
bk_reload_left(struct bk_member *member)
{
    if (member->seat->successor == member)
        member->seat->successor = NULL;
    if (member->pool->reload.trial == member)
        member->pool->reload.trial = NULL;
}

bool
bk_reload_gone(struct bk_member *member, const char *how)
{
    struct bk_master_pool *pool = member->pool;
    bool trial = pool->reload.trial == member;
    char text[200];

    if (member->seat->successor == member)
        member->seat->successor = NULL;
    if (!trial)
        return member->refused;
    snprintf(text, sizeof text, "the new worker ended before it was ready: %s", how);
    give_up(pool, bk_str_of(text), BK_STR(""));
    return true;
}

static void
give_up(struct bk_master_pool *pool, struct bk_str brief, struct bk_str detail)
{
    if (pool->reload.trial)
        pool->reload.trial->refused = true;
    pool->reload.trial = NULL;
    say_refused(pool, brief, detail);
    bk_control_reloaded(pool, brief, detail);
    go_idle(pool);
}

// On a terminal a plain line: whoever saves files all day reads many of them.
static void
say_refused(const struct bk_master_pool *pool, struct bk_str brief, struct bk_str detail)
{
    bool plain = pool->reload.development && bk_log_on(BK_LOG_INFO) &&
                 bk_journal_shape(pool->master->journal) == BK_SHAPE_SHORT;
    time_t since = (time_t)(pool->version_since / BK_SEC);
    struct tm when;
    char tail[64] = "no worker is left", status[400];

    if (still_serves(pool)) {
        localtime_r(&since, &when);
        strftime(tail, sizeof tail, "still serving the version of %H:%M:%S", &when);
    }
    bk_log_detail(plain ? BK_LOG_INFO : BK_LOG_ERROR, plain ? NULL : BK_MASTER_KEY(RELOAD_REFUSED),
                  detail, "%s: %.*s; %s", pool->reload.cause, (int)brief.len, brief.at, tail);
    snprintf(status, sizeof status, "not reloaded, %s: %.*s", tail, (int)brief.len, brief.at);
    bk_systemd_ready(pool->master, status);
}

static bool
still_serves(const struct bk_master_pool *pool)
{
    for (unsigned i = 0; i < pool->seat_count; i++)
        if (pool->seats[i].member && pool->seats[i].member->state == BK_MEMBER_READY)
            return true;
    return false;
}

static void
go_idle(struct bk_master_pool *pool)
{
    struct bk_reload *reload = &pool->reload;

    reload->phase = BK_RELOAD_IDLE;
    bk_timer_cancel(&pool->master->loop.wheel, &reload->closing);
    if (!reload->again)
        return;
    reload->again = false;
    begin(pool, reload->next_cause, false);
}
