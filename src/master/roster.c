// Calling the roll. Called by control.c for the desk.
#include "master/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/control.h"
#include "master/state.h"

#include "base/banned.h"

static void fill_head(struct bk_report *report, const struct bk_master *master);
static const char *phase_of(const struct bk_master *master, const struct bk_master_pool *pool);
static bool fill_listeners(struct bk_report *report, const struct bk_master_pool *pool);
static bool fill_members(struct bk_roster *roster, const struct bk_master_pool *pool);

struct bk_roster *
bk_roster_take(const struct bk_master *master)
{
    struct bk_roster *roster = calloc(1, sizeof *roster);

    if (!roster)
        return NULL;
    roster->report = calloc(1, sizeof *roster->report);
    if (roster->report && fill_listeners(roster->report, &master->pools[0]) &&
        fill_members(roster, &master->pools[0])) {
        fill_head(roster->report, master);
        return roster;
    }
    bk_roster_free(roster);
    return NULL;
}

void
bk_roster_free(struct bk_roster *roster)
{
    if (!roster)
        return;
    bk_report_free(roster->report);
    free(roster->members);
    free(roster);
}

static void
fill_head(struct bk_report *report, const struct bk_master *master)
{
    const struct bk_master_pool *pool = &master->pools[0];
    const struct bk_config *config = pool->config;
    const struct bk_app_facts *facts = &pool->facts;

    report->version = BK_VERSION;
    snprintf(report->app, sizeof report->app, "%s",
             facts->app[0] ? facts->app
             : config->app ? config->app
                           : "");
    snprintf(report->name, sizeof report->name, "%s", config->name ? config->name : report->app);
    snprintf(report->kind, sizeof report->kind, "%s", facts->kind);
    snprintf(report->python, sizeof report->python, "%s", facts->python);
    snprintf(report->loop, sizeof report->loop, "%s", facts->loop);
    snprintf(report->cwd, sizeof report->cwd, "%s", master->surroundings.worker_cwd);
    report->phase = phase_of(master, pool);
    report->pid = getpid();
    report->uid = getuid();
    report->gid = getgid();
    report->wanted = pool->wanted;
    report->generation = bk_control_generation(pool);
    report->now = bk_clock_wall();
    report->mono = bk_clock_mono();
    report->started = report->now - (report->mono - master->started);
    report->version_since = pool->version_since;
    snprintf(report->reload_cause, sizeof report->reload_cause, "%s", master->control.cause);
    snprintf(report->reload_result, sizeof report->reload_result, "%s", master->control.result);
    report->reload_at = master->control.reloaded_at;
    bk_journal_counts(master->journal, report->logged);
}

static const char *
phase_of(const struct bk_master *master, const struct bk_master_pool *pool)
{
    if (master->phase != BK_MASTER_RUNNING)
        return "stopping";
    if (!pool->served)
        return "starting";
    return pool->reload.phase == BK_RELOAD_IDLE ? "running" : "reloading";
}

static bool
fill_listeners(struct bk_report *report, const struct bk_master_pool *pool)
{
    report->listeners = calloc(pool->listener_count + 1, sizeof *report->listeners);
    if (!report->listeners)
        return false;
    for (unsigned i = 0; i < pool->listener_count; i++) {
        struct bk_report_listener *listener = &report->listeners[i];
        bk_addr_text(listener->address, sizeof listener->address, pool->listeners[i].scheme,
                     &pool->listeners[i].addr);
        if (bk_listen_queue(&pool->listeners[i], &listener->waiting, &listener->limit) < 0)
            listener->waiting = listener->limit = 0;
    }
    report->listener_count = pool->listener_count;
    return true;
}

static bool
fill_members(struct bk_roster *roster, const struct bk_master_pool *pool)
{
    roster->members = calloc(pool->member_count + 1, sizeof *roster->members);
    if (!roster->members)
        return false;
    for (struct bk_list *at = pool->members.next; at != &pool->members; at = at->next) {
        const struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        if (roster->member_count == pool->member_count)
            break;
        roster->members[roster->member_count++] = (struct bk_roster_member){
            .number = member->number,
            .slot = member->slot,
            .generation = member->generation,
            .pid = member->pid,
            .seated = member->seat->member == member,
            .booting = member->state == BK_MEMBER_BOOTING,
            .leaving = member->state == BK_MEMBER_LEAVING,
            .born = member->born,
            .ready = member->ready,
        };
    }
    return true;
}
