// Messages of members: ready, failed, still booting, listeners closed, drained; and silence for too
// long.
#include "master/hear.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/announce.h"
#include "master/autoreload.h"
#include "master/bind.h"
#include "master/recycle.h"
#include "master/reload.h"
#include "master/scale.h"
#include "master/stop.h"
#include "master/words.h"

#include "base/banned.h"

#define EOF_PATIENCE (5 * BK_SEC)     // between the end of the channel and the end of the process
#define DEBUGGING_AGAIN (1 * BK_SEC)  // a deadline that passes at a breakpoint is looked at again
#define FAILURE_AGAIN (60 * BK_SEC)   // the same long failure text is shown once a minute

static void channel_ready(struct bk_watch *watch, uint32_t events);
static bool receive_one(struct bk_member *member);
static void take(struct bk_member *member, enum bk_message type, struct bk_str text);
static void take_ready(struct bk_member *member, struct bk_str text);
static void take_recycle(struct bk_member *member, struct bk_str text);
static void take_failed(struct bk_member *member, struct bk_str text);
static void fail_first(struct bk_member *member, int code, struct bk_str key, struct bk_str text);
static void log_failure(struct bk_member *member, struct bk_str key, struct bk_str text);
static void split_text(struct bk_str text, struct bk_str key, struct bk_str *ret_first,
                       struct bk_str *ret_rest);
static void copy_field(char *out, size_t room, struct bk_str text, const char *key);
static void close_channel(struct bk_member *member);
static void deadline_passed(struct bk_timer *timer);
static void not_ready_in_time(struct bk_member *member);
static void not_gone_in_time(struct bk_member *member);

void
bk_hear_begin(struct bk_member *member)
{
    struct bk_master *master = member->pool->master;
    uint64_t limit = member->pool->config->startup_timeout;
    char why[BK_WORDS_ROOM];
    int rc;

    member->channel.ready = channel_ready;
    rc = bk_loop_add(&master->loop, &member->channel, EPOLLIN | EPOLLRDHUP);
    if (rc < 0) {
        // It can be neither heard nor told anything.
        bk_log(BK_LOG_ERROR, BK_MASTER_KEY(INTERNAL), "cannot watch worker %u: %s", member->number,
               bk_words_error(rc, why));
        bk_hear_kill(member);
    }
    bk_timer_init(&member->deadline, deadline_passed);
    if (limit > 0)
        bk_timer_set(&master->loop.wheel, &member->deadline, member->born + limit);
}

void
bk_hear_end(struct bk_member *member)
{
    while (member->channel.fd >= 0 && receive_one(member))
        ;
    close_channel(member);
    bk_timer_cancel(&member->pool->master->loop.wheel, &member->deadline);
}

void
bk_hear_order(struct bk_member *member, enum bk_message order, const char *text)
{
    char why[BK_WORDS_ROOM];

    if (member->channel.fd < 0)
        return;
    int rc = bk_channel_send(member->channel.fd, order, bk_str_of(text));
    if (rc < 0 && rc != -EPIPE)
        bk_log(BK_LOG_DEBUG, NULL, "worker %u does not take orders: %s", member->number,
               bk_words_error(rc, why));
}

void
bk_hear_kill(struct bk_member *member)
{
    member->killed = true;
    kill(member->pid, SIGKILL);
}

static void
channel_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_member *member = BK_OUTER(watch, struct bk_member, channel);

    // A few at a time: a member that talks without end must not hold up the others.
    for (unsigned i = 0; i < 16 && member->channel.fd >= 0; i++)
        if (!receive_one(member))
            return;
}

// False when there is nothing more for now.
static bool
receive_one(struct bk_member *member)
{
    static char buffer[BK_CHANNEL_MAX + 1];  // the main thread's only
    struct bk_master *master = member->pool->master;
    struct bk_str text;
    int rc = bk_channel_receive(member->channel.fd, buffer, sizeof buffer, &text);

    if (rc > 0) {
        take(member, (enum bk_message)rc, text);
        return true;
    }
    if (rc == -EAGAIN)
        return false;
    if (rc == -EPROTO) {
        bk_log(BK_LOG_WARNING, NULL, "worker %u sent something that is no message", member->number);
        return true;
    }
    // The end of the channel comes with the end of the process, or shortly before. Not later.
    close_channel(member);
    if (member->state != BK_MEMBER_LEAVING)
        bk_timer_set(&master->loop.wheel, &member->deadline, bk_clock_mono() + EOF_PATIENCE);
    return false;
}

static void
take(struct bk_member *member, enum bk_message type, struct bk_str text)
{
    struct bk_str stack;

    switch ((int)type) {
    case BK_MESSAGE_READY:
        take_ready(member, text);
        break;
    case BK_MESSAGE_FAILED:
        take_failed(member, text);
        break;
    case BK_MESSAGE_BOOTING:
        stack = bk_channel_field(text, "text");
        bk_log_detail(BK_LOG_WARNING, BK_MASTER_KEY(STARTUP_SLOW), stack,
                      "worker %u still imports the application, for %u s", member->number,
                      (unsigned)((bk_clock_mono() - member->born) / BK_SEC));
        break;
    case BK_MESSAGE_FILES:
        bk_autoreload_files(member, text);
        break;
    case BK_MESSAGE_DEBUGGING:
        member->debugging = bk_str_equal(bk_channel_field(text, "on"), BK_STR("yes"));
        break;
    case BK_MESSAGE_RECYCLE:
        take_recycle(member, text);
        break;
    case BK_MESSAGE_CLOSED:
        member->listeners_closed = true;
        bk_stop_listeners_closed(member->pool);
        bk_reload_advance(member->pool);
        break;
    default:  // DRAINED: its end follows. Others: a newer package's words.
        break;
    }
}

static void
take_ready(struct bk_member *member, struct bk_str text)
{
    struct bk_master_pool *pool = member->pool;
    struct bk_app_facts *facts = &pool->facts;

    if (member->state != BK_MEMBER_BOOTING)
        return;
    member->state = BK_MEMBER_READY;
    member->ready = bk_clock_mono();
    pool->booting--;
    bk_timer_cancel(&pool->master->loop.wheel, &member->deadline);
    copy_field(facts->app, sizeof facts->app, text, "app");
    copy_field(facts->kind, sizeof facts->kind, text, "kind");
    copy_field(facts->python, sizeof facts->python, text, "python");
    copy_field(facts->ready_ms, sizeof facts->ready_ms, text, "ready_ms");
    copy_field(facts->threads, sizeof facts->threads, text, "threads");
    copy_field(facts->loop, sizeof facts->loop, text, "loop");
    struct bk_str framework = bk_channel_field(text, "framework");
    size_t len = strlen(facts->kind);
    if (framework.len > 0 && !bk_str_equal(framework, bk_str_of(facts->kind)))
        snprintf(facts->kind + len, sizeof facts->kind - len, ", %.*s", (int)framework.len,
                 framework.at);
    if (pool->master->start->check_only) {
        bk_announce_check(pool);
        bk_stop(pool->master, BK_MASTER_QUITTING);
        return;
    }
    if (!pool->served)
        bk_announce_serving(pool);
    else
        bk_log(BK_LOG_DEBUG, NULL, "worker %u (pid %d) is ready", member->number, (int)member->pid);
    bk_reload_ready(member);
    bk_autoreload_ready(member);
    pool->served = true;
    bk_scale_fill(pool);
}

// A worker asks for its own replacement.
static void
take_recycle(struct bk_member *member, struct bk_str text)
{
    struct bk_str why = bk_channel_field(text, "why");

    if (bk_str_equal(why, BK_STR("timeout")))
        bk_recycle_ask(member, true, BK_RESTART_TIMEOUT, "a request passed --timeout");
    else if (bk_str_equal(why, BK_STR("stuck")))
        bk_recycle_ask(member, true, BK_RESTART_STUCK, "its loop does not turn");
    else
        bk_recycle_ask(member, false, BK_RESTART_MAX_REQUESTS, "it has answered --max-requests");
}

static void
take_failed(struct bk_member *member, struct bk_str text)
{
    struct bk_str key = bk_channel_field(text, "key"), why = bk_channel_field(text, "text");
    struct bk_str number = bk_channel_field(text, "code"), first, rest;
    uint64_t code = 0;

    if (member->failed || member->state != BK_MEMBER_BOOTING)
        return;
    member->failed = true;
    if (bk_str_parse_u64(number, 255, &code) < 0 || code == 0)
        code = (uint64_t)bk_message(BK_KEY_WORKER_BOOT)->exit_code;
    split_text(why, key, &first, &rest);
    struct bk_str brief = bk_channel_field(text, "brief");
    bool whole = bk_str_equal(bk_channel_field(text, "whole"), BK_STR("yes"));
    if (bk_reload_failed(member, brief.len > 0 ? brief : first, whole ? BK_STR("") : rest))
        return;
    if (member->pool->served)
        log_failure(member, key, why);
    else
        fail_first(member, (int)code, key, why);
}

// Nothing has ever run: the worker's words are the program's last ones.
static void
fail_first(struct bk_member *member, int code, struct bk_str key, struct bk_str text)
{
    struct bk_master *master = member->pool->master;
    struct bk_str first, rest;

    if (master->exit_code)
        return;
    split_text(text, key, &first, &rest);
    struct bk_log_record record = {
        .level = BK_LOG_CRITICAL, .key = key, .text = first, .detail = rest};
    bk_log_record(&record);
    if (bk_autoreload_waits(member->pool, code))
        return;
    master->exit_code = code;
    bk_stop(master, BK_MASTER_QUITTING);
}

// The others go on serving. With many seats and a broken deployment the same text would come again
// and again.
static void
log_failure(struct bk_member *member, struct bk_str key, struct bk_str text)
{
    struct bk_master_pool *pool = member->pool;
    struct bk_str first, rest;
    uint64_t hash = 1469598103934665603ull, now = bk_clock_mono();
    char keyword[64];

    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.at[i]) * 1099511628211ull;
    split_text(text, key, &first, &rest);
    if (hash == pool->failure_hash && now < pool->failure_until)
        rest = (struct bk_str){NULL, 0};
    else
        pool->failure_until = now + FAILURE_AGAIN;
    pool->failure_hash = hash;
    snprintf(keyword, sizeof keyword, "%.*s", (int)key.len, key.len ? key.at : "");
    bk_log_detail(BK_LOG_ERROR, keyword, rest, "worker %u could not start: %.*s", member->number,
                  (int)first.len, first.len ? first.at : "");
}

// "barkeep: error: WHAT [key]" and the lines below; the frame around WHAT is put on again by the
// log.
static void
split_text(struct bk_str text, struct bk_str key, struct bk_str *ret_first, struct bk_str *ret_rest)
{
    static const char head[] = "barkeep: error: ";
    const char *eol;

    if (bk_str_starts(text, bk_str_of(head))) {
        text.at += sizeof head - 1;
        text.len -= sizeof head - 1;
    }
    while (text.len > 0 && text.at[text.len - 1] == '\n')
        text.len--;
    eol = text.len > 0 ? memchr(text.at, '\n', text.len) : NULL;
    *ret_first = (struct bk_str){text.at, eol ? (size_t)(eol - text.at) : text.len};
    *ret_rest =
        eol ? (struct bk_str){eol + 1, text.len - ret_first->len - 1} : (struct bk_str){NULL, 0};
    size_t tail = key.len + 3;
    if (key.len > 0 && ret_first->len > tail && ret_first->at[ret_first->len - 1] == ']' &&
        memcmp(ret_first->at + ret_first->len - tail, " [", 2) == 0 &&
        memcmp(ret_first->at + ret_first->len - 1 - key.len, key.at, key.len) == 0)
        ret_first->len -= tail;
}

static void
copy_field(char *out, size_t room, struct bk_str text, const char *key)
{
    struct bk_str value = bk_channel_field(text, key);

    snprintf(out, room, "%.*s", (int)value.len, value.len ? value.at : "");
}

static void
close_channel(struct bk_member *member)
{
    if (member->channel.fd < 0)
        return;
    bk_loop_remove(&member->pool->master->loop, &member->channel);
    close(member->channel.fd);
    member->channel.fd = -1;
}

// Booting: --startup-timeout is over. Otherwise the member should have been gone by now.
static void
deadline_passed(struct bk_timer *timer)
{
    struct bk_member *member = BK_OUTER(timer, struct bk_member, deadline);
    struct bk_master *master = member->pool->master;

    if (member->debugging && master->phase == BK_MASTER_RUNNING) {
        bk_timer_set(&master->loop.wheel, timer, bk_clock_mono() + DEBUGGING_AGAIN);
        return;
    }
    if (member->state == BK_MEMBER_LEAVING && bk_scale_hurry(member)) {
        bk_log(BK_LOG_INFO, NULL, "worker %u: requests to the old version were cut off",
               member->number);
        return;
    }
    if (member->state == BK_MEMBER_BOOTING && member->channel.fd >= 0)
        not_ready_in_time(member);
    else if (member->state != BK_MEMBER_LEAVING)
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(WORKER_STUCK),
               "worker %u has closed its channel but does not end: killed", member->number);
    else if (master->phase != BK_MASTER_QUITTING && !member->killed)
        not_gone_in_time(member);
    bk_hear_kill(member);
}

static void
not_ready_in_time(struct bk_member *member)
{
    struct bk_master_pool *pool = member->pool;
    char limit[BK_WORDS_ROOM], text[BK_WORDS_ROOM + 64];

    bk_words_duration(pool->config->startup_timeout, limit);
    snprintf(text, sizeof text, "the new worker was not ready within --startup-timeout %s", limit);
    member->failed = true;
    if (bk_reload_failed(member, bk_str_of(text), BK_STR("")))
        return;
    if (pool->served)
        bk_log(BK_LOG_ERROR, BK_MASTER_KEY(STARTUP_TIMEOUT),
               "worker %u was not ready within --startup-timeout %s: killed", member->number,
               limit);
    else
        bk_master_fail(pool->master, BK_KEY_STARTUP_TIMEOUT, "",
                       "the application was not ready within --startup-timeout %s", limit);
}

static void
not_gone_in_time(struct bk_member *member)
{
    char limit[BK_WORDS_ROOM];

    bk_words_duration(member->pool->config->graceful_timeout, limit);
    if (member->patience < member->pool->config->graceful_timeout)
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(WORKER_STUCK), "worker %u did not end: killed",
               member->number);
    else
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(WORKER_STUCK),
               "worker %u did not finish within --graceful-timeout %s: killed", member->number,
               limit);
}
