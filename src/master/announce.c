// Start and stop lines.
#include "master/announce.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "master/autoreload.h"
#include "master/bind.h"
#include "master/reap.h"
#include "master/words.h"

#include "base/banned.h"

static const char *app_of(const struct bk_master_pool *pool);
static void describe_python(const struct bk_master_pool *pool, char *out, size_t room);
static void describe_workers(const struct bk_master_pool *pool, char *out, size_t room);

void
bk_announce_serving(struct bk_master_pool *pool)
{
    struct bk_master *master = pool->master;
    char where[1500], python[256], workers[280], took[BK_WORDS_ROOM], detail[800], files[64];

    bk_bind_describe(pool, where, sizeof where);
    describe_python(pool, python, sizeof python);
    describe_workers(pool, workers, sizeof workers);
    bk_words_duration(bk_clock_mono() - pool->starting, took);
    bk_autoreload_describe(pool, files, sizeof files);
    if (bk_journal_shape(master->journal) == BK_SHAPE_SHORT) {
        snprintf(detail, sizeof detail, "%s, %s, ready in %s%s%s", python, workers, took, files,
                 master->surroundings.terminal ? "; Ctrl-C stops" : "");
        bk_log_detail(BK_LOG_INFO, NULL, bk_str_of(detail),
                      "barkeep " BK_VERSION " serving %s (%s) on %s", app_of(pool),
                      pool->facts.kind, where);
    } else {
        bk_log(BK_LOG_INFO, NULL, "barkeep " BK_VERSION " serving %s (%s) on %s", app_of(pool),
               pool->facts.kind, where);
        bk_log(BK_LOG_INFO, NULL, "%s; %s%s", workers, python, files);
    }
    master->announced = true;
    snprintf(detail, sizeof detail, "serving %s (%s) on %.300s", app_of(pool), pool->facts.kind,
             where);
    bk_systemd_ready(master, detail);
}

void
bk_announce_check(struct bk_master_pool *pool)
{
    const struct bk_config *config = pool->config;
    char where[1500], python[256], workers[160], took[BK_WORDS_ROOM];
    uint64_t ms;

    if (bk_str_parse_u64(bk_str_of(pool->facts.ready_ms), UINT64_MAX / BK_MSEC, &ms) < 0)
        ms = (bk_clock_mono() - pool->master->started) / BK_MSEC;
    bk_bind_describe_wanted(config, where, sizeof where);
    describe_python(pool, python, sizeof python);
    if (config->workers < 0) {
        char auto_text[128];
        bk_cpus_explain(&pool->master->cpus, auto_text, sizeof auto_text);
        snprintf(workers, sizeof workers, "%u (%s; %s)", pool->wanted, auto_text,
                 bk_config_origin(config, "workers"));
    } else {
        snprintf(workers, sizeof workers, "%u (%s)", pool->wanted,
                 bk_config_origin(config, "workers"));
    }
    printf("ok: %s (%s) imports in %s with %s\n  bind %s (%s), workers %s", app_of(pool),
           pool->facts.kind, bk_words_duration(ms * BK_MSEC, took), python, where,
           bk_config_origin(config, "bind"), workers);
    if (pool->facts.loop[0])
        printf(", %s\n", pool->facts.loop);
    else if (pool->facts.threads[0])
        printf(", threads %s (%s)\n", pool->facts.threads, bk_config_origin(config, "threads"));
    else
        printf("\n");
    fflush(stdout);
}

void
bk_announce_stopped(const struct bk_master *master)
{
    uint64_t requests, errors;

    bk_reap_totals(master, &requests, &errors);
    bk_log(BK_LOG_INFO, NULL, "stopped: %llu request%s, %llu error%s", (unsigned long long)requests,
           requests == 1 ? "" : "s", (unsigned long long)errors, errors == 1 ? "" : "s");
}

// As the worker resolved it ("shop.wsgi" -> "shop.wsgi:application").
static const char *
app_of(const struct bk_master_pool *pool)
{
    if (pool->facts.app[0])
        return pool->facts.app;
    return pool->config->app ? pool->config->app : "?";
}

static void
describe_python(const struct bk_master_pool *pool, char *out, size_t room)
{
    const char *version = pool->facts.python[0] ? pool->facts.python : pool->interpreter.version;

    snprintf(out, room, "python%s%s %s", version[0] ? " " : "", version, pool->interpreter.place);
}

static void
describe_workers(const struct bk_master_pool *pool, char *out, size_t room)
{
    char auto_text[128];
    unsigned long threads = strtoul(pool->facts.threads, NULL, 10);
    size_t len =
        (size_t)snprintf(out, room, "%u worker%s", pool->wanted, pool->wanted == 1 ? "" : "s");

    if (pool->config->workers < 0) {
        bk_cpus_explain(&pool->master->cpus, auto_text, sizeof auto_text);
        len += (size_t)snprintf(out + len, room - len, " (%s)", auto_text);
    }
    if (pool->facts.loop[0])
        snprintf(out + len, room - len, ", %s", pool->facts.loop);
    else if (threads > 1 && pool->wanted > 1)
        snprintf(out + len, room - len, " x %lu threads = %lu requests at once", threads,
                 threads * pool->wanted);
    else if (threads > 1)
        snprintf(out + len, room - len, " x %lu threads", threads);
}
