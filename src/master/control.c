// Commands. The table says what there is; barkeepctl's help is made from the same words.
#include "master/control.h"

#include <errno.h>
#include <signal.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "master/cli.h"
#include "master/hear.h"
#include "master/reap.h"
#include "master/recycle.h"
#include "master/reload.h"
#include "master/roster.h"
#include "master/scale.h"
#include "master/state.h"
#include "master/stop.h"
#include "master/words.h"

#include "base/banned.h"

#define WORDS_MAX 8

// What a command does. True: the wish has its answer; false: it waits in one of the lists.
typedef bool command_fn(struct bk_master *master, struct bk_wish *wish, unsigned count,
                        char **words);

static command_fn do_config, do_log, do_reload, do_scale, do_stop, do_worker;

static const struct {
    const char *name;
    command_fn *run;
    bool acts;
} commands[] = {
    {"config", do_config, false}, {"log", do_log, true},   {"reload", do_reload, true},
    {"scale", do_scale, true},    {"stop", do_stop, true}, {"worker", do_worker, true},
};

static bool obey(struct bk_master *master, struct bk_wish *wish);
static bool obey_command(struct bk_master *master, struct bk_wish *wish);
static bool answer(struct bk_wish *wish, const char *format, ...) BK_PRINTF(2, 3);
static bool refuse(struct bk_wish *wish, enum bk_key key, const char *format, ...) BK_PRINTF(3, 4);
static void append(struct bk_wish *wish, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static bool log_level(struct bk_master *master, struct bk_wish *wish, const char *name);
static bool act_on(struct bk_wish *wish, struct bk_member *member, const char *what);
static void grant_list(struct bk_master *master, struct bk_wish **list, unsigned generation,
                       int code, enum bk_key key, const char *text);

void
bk_control_obey(struct bk_loop *loop)
{
    struct bk_master *master = BK_OUTER(loop, struct bk_master, loop);
    struct bk_wish *next;

    for (struct bk_wish *wish = bk_hatch_wishes(&master->control.hatch); wish; wish = next) {
        next = wish->next;
        if (obey(master, wish))
            bk_hatch_grant(&master->control.hatch, wish);
    }
}

static bool
obey(struct bk_master *master, struct bk_wish *wish)
{
    if (wish->kind == BK_WISH_COMMAND)
        return obey_command(master, wish);
    wish->roster = bk_roster_take(master);
    return true;
}

static bool
obey_command(struct bk_master *master, struct bk_wish *wish)
{
    char *words[WORDS_MAX], *rest = NULL;
    unsigned count = 0;

    for (char *word = strtok_r(wish->words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (count == WORDS_MAX)
            return refuse(wish, BK_KEY_CONTROL_COMMAND, "too many words");
        words[count++] = word;
    }
    for (unsigned i = 0; count > 0 && i < BK_COUNT(commands); i++) {
        if (strcmp(words[0], commands[i].name) != 0)
            continue;
        if (commands[i].acts && !wish->may_act)
            return refuse(wish, BK_KEY_CONTROL_FOREIGN,
                          "a process of another pid namespace may look, but not '%s'", words[0]);
        return commands[i].run(master, wish, count, words);
    }
    return refuse(wish, BK_KEY_CONTROL_COMMAND, "the server (barkeep %s) does not know '%s'",
                  BK_VERSION, count > 0 ? words[0] : "");
}

// ---- answers ----

static bool
answer(struct bk_wish *wish, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    append(wish, format, args);
    va_end(args);
    return true;
}

static bool
refuse(struct bk_wish *wish, enum bk_key key, const char *format, ...)
{
    const struct bk_message_info *info = bk_message(key);
    va_list args;

    wish->code = info->exit_code ? info->exit_code : 1;
    wish->key = info->key;
    va_start(args, format);
    append(wish, format, args);
    va_end(args);
    return true;
}

static void
append(struct bk_wish *wish, const char *format, va_list args)
{
    char line[BK_WISH_ANSWER_MAX / 256];
    int len = vsnprintf(line, sizeof line, format, args);
    size_t used = len < 0 ? 0 : (size_t)len < sizeof line ? (size_t)len : sizeof line - 1;

    if (bk_buf_append(&wish->text, (struct bk_str){line, used}, BK_WISH_ANSWER_MAX) < 0 ||
        bk_buf_append(&wish->text, BK_STR("\n"), BK_WISH_ANSWER_MAX) < 0)
        wish->code = 1;
}

// ---- reload and stop ----

unsigned
bk_control_generation(const struct bk_master_pool *pool)
{
    for (unsigned i = 0; i < pool->seat_count; i++)
        if (pool->seats[i].member && pool->seats[i].member->ready > 0)
            return pool->seats[i].member->generation + 1;
    return 0;
}

static bool
do_reload(struct bk_master *master, struct bk_wish *wish, unsigned count, char **words)
{
    struct bk_master_pool *pool = &master->pools[0];

    if (master->phase != BK_MASTER_RUNNING)
        return refuse(wish, BK_KEY_CONTROL_STOPPING, "the server is stopping");
    bk_reload_begin(pool, "barkeepctl", false);
    // One that was under way may have read an older version of some file: ours is the next.
    wish->generation = pool->reload.generation + (pool->reload.again ? 1 : 0);
    wish->next = master->control.reloading;
    master->control.reloading = wish;
    return false;
}

void
bk_control_reloaded(struct bk_master_pool *pool, struct bk_str refused, struct bk_str detail)
{
    struct bk_master *master = pool->master;
    struct bk_control *control = &master->control;
    char text[BK_WISH_ANSWER_MAX / 256], since[32], took[BK_WORDS_ROOM];
    time_t version = (time_t)(pool->version_since / BK_SEC);
    bool import = !bk_str_starts(refused, BK_STR("the new worker")) &&
                  !bk_str_starts(refused, BK_STR("cannot "));
    struct tm when;

    control->reloaded_at = bk_clock_wall();
    snprintf(control->cause, sizeof control->cause, "%s", pool->reload.cause);
    if (refused.len == 0) {
        snprintf(control->result, sizeof control->result, "reloaded");
        snprintf(text, sizeof text, "reloaded in %s: generation %u, %u worker%s",
                 bk_words_duration(bk_clock_mono() - pool->reload.began, took),
                 bk_control_generation(pool), pool->wanted, pool->wanted == 1 ? "" : "s");
        grant_list(master, &control->reloading, pool->reload.generation, 0, BK_KEY_INTERNAL, text);
        return;
    }
    snprintf(control->result, sizeof control->result, "refused: %.*s", (int)refused.len,
             refused.at);
    localtime_r(&version, &when);
    strftime(since, sizeof since, "%H:%M", &when);
    int len =
        import ? snprintf(text, sizeof text, "not reloaded: the new code does not import\n  %.*s\n",
                          (int)refused.len, refused.at)
               : snprintf(text, sizeof text, "not reloaded: %.*s\n", (int)refused.len, refused.at);
    size_t at = len > 0 && (size_t)len < sizeof text ? (size_t)len : 0;
    while (detail.len > 0) { // the log has the same lines
        const char *eol = memchr(detail.at, '\n', detail.len);
        size_t line = eol ? (size_t)(eol - detail.at) : detail.len;
        if (line > 0 && at + line + 4 < sizeof text)
            at += (size_t)snprintf(text + at, sizeof text - at, "  %.*s\n", (int)line, detail.at);
        detail.at += eol ? line + 1 : line;
        detail.len -= eol ? line + 1 : line;
    }
    if (bk_control_generation(pool) > 0)
        snprintf(text + at, sizeof text - at,
                 "  still serving generation %u (since %s), %u worker%s",
                 bk_control_generation(pool), since, pool->wanted, pool->wanted == 1 ? "" : "s");
    else
        snprintf(text + at, sizeof text - at, "  no worker is left");
    grant_list(master, &control->reloading, pool->reload.generation, 1, BK_KEY_RELOAD_REFUSED,
               text);
}

static bool
do_stop(struct bk_master *master, struct bk_wish *wish, unsigned count, char **words)
{
    bool now = count > 1 && strcmp(words[1], "now") == 0;

    if (count > 2 || (count == 2 && !now))
        return refuse(wish, BK_KEY_CONTROL_COMMAND, "stop, or stop now");
    bk_log(BK_LOG_INFO, NULL, "barkeepctl: %s", now ? "stopping at once" : "stopping");
    wish->next = master->control.stopping;
    master->control.stopping = wish;
    bk_stop(master, now ? BK_MASTER_QUITTING : BK_MASTER_DRAINING);
    return false;
}

void
bk_control_end(struct bk_master *master)
{
    struct bk_wish *next;
    uint64_t requests, errors;
    char text[100];

    bk_reap_totals(master, &requests, &errors);
    snprintf(text, sizeof text, "stopped: %llu requests, %llu errors", (unsigned long long)requests,
             (unsigned long long)errors);
    for (struct bk_wish *wish = bk_hatch_wishes(&master->control.hatch); wish; wish = next) {
        next = wish->next;
        refuse(wish, BK_KEY_CONTROL_STOPPING, "the server has stopped");
        bk_hatch_grant(&master->control.hatch, wish);
    }
    grant_list(master, &master->control.reloading, UINT_MAX, 1, BK_KEY_CONTROL_STOPPING,
               "not reloaded: the server has stopped");
    grant_list(master, &master->control.stopping, UINT_MAX, 0, BK_KEY_INTERNAL, text);
}

static void
grant_list(struct bk_master *master, struct bk_wish **list, unsigned generation, int code,
           enum bk_key key, const char *text)
{
    for (struct bk_wish **at = list; *at;) {
        struct bk_wish *wish = *at;
        if (wish->generation > generation) {
            at = &wish->next;
            continue;
        }
        *at = wish->next;
        if (code)
            refuse(wish, key, "%s", text);
        else
            answer(wish, "%s", text);
        bk_hatch_grant(&master->control.hatch, wish);
    }
}

// ---- workers ----

// "scale 4", "scale +1", "scale -1".
static bool
do_scale(struct bk_master *master, struct bk_wish *wish, unsigned count, char **words)
{
    struct bk_master_pool *pool = &master->pools[0];
    char sign = count == 2 ? words[1][0] : '\0';
    bool relative = sign == '+' || sign == '-';
    unsigned before = pool->wanted;
    uint64_t number;

    if (count != 2 || bk_str_parse_u64(bk_str_of(words[1] + relative), 1024, &number) < 0)
        return refuse(wish, BK_KEY_CONTROL_COMMAND, "scale takes a number, or +N, or -N");
    if (master->phase != BK_MASTER_RUNNING)
        return refuse(wish, BK_KEY_CONTROL_STOPPING, "the server is stopping");
    int64_t wanted =
        relative ? (int64_t)before + (sign == '+' ? 1 : -1) * (int64_t)number : (int64_t)number;
    if (wanted < 1 || wanted > (int64_t)pool->seat_count)
        return refuse(wish, BK_KEY_CONTROL_COMMAND, "there can be 1 to %u workers",
                      pool->seat_count);
    bk_scale_to(pool, (unsigned)wanted, "barkeepctl");
    if (before == pool->wanted)
        return answer(wish, "%u worker%s, as before", before, before == 1 ? "" : "s");
    return answer(wish, "%u worker%s instead of %u", pool->wanted, pool->wanted == 1 ? "" : "s",
                  before);
}

// "worker N kill", "worker N drain".
static bool
do_worker(struct bk_master *master, struct bk_wish *wish, unsigned count, char **words)
{
    struct bk_master_pool *pool = &master->pools[0];
    uint64_t number;

    if (count != 3 || bk_str_parse_u64(bk_str_of(words[1]), 1024, &number) < 0 ||
        (strcmp(words[2], "kill") != 0 && strcmp(words[2], "drain") != 0))
        return refuse(wish, BK_KEY_CONTROL_COMMAND, "worker takes a number and kill or drain");
    if (number < 1 || number > pool->seat_count || !pool->seats[number - 1].member)
        return refuse(wish, BK_KEY_CONTROL_WORKER, "there is no worker %u now", (unsigned)number);
    if (master->phase != BK_MASTER_RUNNING)
        return refuse(wish, BK_KEY_CONTROL_STOPPING, "the server is stopping");
    return act_on(wish, pool->seats[number - 1].member, words[2]);
}

// A seam: what else can be done to one worker (stacks) begins here.
static bool
act_on(struct bk_wish *wish, struct bk_member *member, const char *what)
{
    struct bk_master_pool *pool = member->pool;
    unsigned number = member->number;
    int pid = (int)member->pid;
    bool kills = strcmp(what, "kill") == 0;

    if (kills)
        bk_log(BK_LOG_INFO, NULL, "barkeepctl: worker %u (pid %d) is killed", number, pid);
    if (kills) {
        member->why = BK_RESTART_ASKED;
        bk_scale_dismiss(member, BK_DISMISS_QUIT);
        bk_hear_kill(member);
        bk_scale_fill(pool);
    } else {
        bk_recycle_ask(member, true, BK_RESTART_ASKED, "barkeepctl asked for it");
    }
    return kills ? answer(wish, "worker %u (pid %d) was killed; another one starts", number, pid)
                 : answer(wish, "worker %u (pid %d) drains when another one is ready for its place",
                          number, pid);
}

// ---- logs and settings ----

// "log reopen", "log level debug".
static bool
do_log(struct bk_master *master, struct bk_wish *wish, unsigned count, char **words)
{
    if (count == 2 && strcmp(words[1], "reopen") == 0) {
        bk_journal_reopen(master->journal);
        bk_log(BK_LOG_INFO, NULL, "barkeepctl: log files reopened");
        return answer(wish, "log files are reopened");
    }
    if (count == 3 && strcmp(words[1], "level") == 0)
        return log_level(master, wish, words[2]);
    return refuse(wish, BK_KEY_CONTROL_COMMAND,
                  "log takes reopen, or level and one of debug, info, warning, error, critical");
}

static bool
log_level(struct bk_master *master, struct bk_wish *wish, const char *name)
{
    struct bk_master_pool *pool = &master->pools[0];
    enum bk_log_level level;
    const char *why;
    char text[64];

    if (bk_log_level_parse(bk_str_of(name), &level) < 0 ||
        bk_config_set(master->start->config, BK_STR("log_level"), bk_str_of(name), "barkeepctl",
                      &why) < 0)
        return refuse(wish, BK_KEY_CONTROL_COMMAND,
                      "a level is debug, info, warning, error or critical");
    bk_log_set_level(level);
    snprintf(text, sizeof text, "level=%s", name);
    for (struct bk_list *at = pool->members.next; at != &pool->members; at = at->next)
        bk_hear_order(BK_OUTER(at, struct bk_member, link), BK_MESSAGE_LOG_LEVEL, text);
    return answer(wish, "log level is %s", name);
}

static bool
do_config(struct bk_master *master, struct bk_wish *wish, unsigned count, char **words)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return refuse(wish, BK_KEY_INTERNAL, "out of memory");
    bk_cli_write_config(out, master->pools[0].config);
    fclose(out);
    if (bk_buf_append(&wish->text, (struct bk_str){text, len}, BK_WISH_ANSWER_MAX) < 0)
        wish->code = 1;
    free(text);
    return true;
}
