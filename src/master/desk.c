// The desk's thread: its loop, its listeners, and the texts it gives out.
#include "master/desk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/desk_internal.h"
#include "master/words.h"
#include "net/listen.h"

#include "base/banned.h"

#define GOODBYE (500 * BK_MSEC)

static bool open_parts(struct bk_master *master, struct bk_desk *desk);
static bool open_stats(struct bk_master *master, struct bk_desk *desk);
static void warn_public(const struct bk_desk *desk);
static bool open_statsd(struct bk_master *master, struct bk_desk *desk);
static bool start_thread(struct bk_desk *desk);
static void *run(void *self);
static bool finished(struct bk_desk *desk);
static void woken(struct bk_loop *loop);
static void take_granted(struct bk_desk *desk, struct bk_wish *wish);
static void give_out(struct bk_desk *desk, struct bk_roster *roster);
static struct bk__doc *make_doc(const struct bk_report *report, enum bk_doc_format format);
static void stats_ready(struct bk_watch *watch, uint32_t events);
static void control_ready(struct bk_watch *watch, uint32_t events);
static void release(struct bk_desk *desk);

bool
bk_desk_open(struct bk_master *master)
{
    const struct bk_config *config = master->start->config;
    bool stats = config->stats && config->stats[0];
    bool statsd = config->statsd_host && config->statsd_host[0];
    struct bk_desk *desk;

    if (!stats && !statsd && !config->control_socket)
        return true;
    desk = calloc(1, sizeof *desk);
    if (!desk) {
        bk_master_fail(master, BK_KEY_INTERNAL, "", "out of memory");
        return false;
    }
    desk->hatch = &master->control.hatch;
    desk->scoreboard = master->scoreboard;
    desk->slot_count = master->slot_count;
    desk->ledger = master->ledger;
    desk->stats.fd = desk->control_watch.fd = -1;
    desk->loop.epoll_fd = desk->loop.timer_fd = desk->loop.wake_fd = -1;
    bk_list_init(&desk->callers);
    if (open_parts(master, desk)) {
        master->desk = desk;
        desk->hatch->desk = &desk->loop;
        master->loop.woken = bk_control_obey;
        if (start_thread(desk))
            return true;
        master->desk = NULL;
        bk_master_fail(master, BK_KEY_INTERNAL, "", "cannot start a thread");
    }
    release(desk);
    return false;
}

void
bk_desk_close(struct bk_desk *desk)
{
    struct timespec until;

    if (!desk)
        return;
    atomic_store(&desk->stop, true);
    bk_loop_wake(&desk->loop);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 3;
    // Stuck in a system call it keeps its memory: the process is about to end.
    if (pthread_timedjoin_np(desk->thread, NULL, &until) == 0)
        release(desk);
}

static bool
open_parts(struct bk_master *master, struct bk_desk *desk)
{
    const struct bk_config *config = master->start->config;

    desk->memory = calloc(desk->slot_count, sizeof *desk->memory);
    if (!desk->memory || bk_loop_init(&desk->loop) < 0 ||
        bk_offload_new(&desk->loop, 1, &desk->offload) < 0) {
        bk_master_fail(master, BK_KEY_INTERNAL, "", "cannot make the statistics' event loop");
        return false;
    }
    desk->loop.woken = woken;
    if (config->stats && config->stats[0] && !open_stats(master, desk))
        return false;
    if (config->statsd_host && config->statsd_host[0] && !open_statsd(master, desk))
        return false;
    if (config->control_socket && bk__control_open(desk, getuid()) == 0) {
        desk->control_watch.ready = control_ready;
        if (bk_loop_add(&desk->loop, &desk->control_watch, EPOLLIN) < 0)
            bk_log(BK_LOG_DEBUG, NULL, "nobody watches the control socket");
    }
    return true;
}

static bool
open_stats(struct bk_master *master, struct bk_desk *desk)
{
    const struct bk_config *config = master->start->config;
    struct bk_listen_options options = {.backlog = 128, .unix_mode = 0660};
    char why[BK_WORDS_ROOM];
    const char *wrong;
    struct bk_bind bind;
    int rc;

    desk->format = strcmp(config->stats_format, "uwsgi") == 0        ? BK_DOC_UWSGI
                   : strcmp(config->stats_format, "prometheus") == 0 ? BK_DOC_PROMETHEUS
                                                                     : BK_DOC_JSON;
    if (bk_bind_parse(bk_str_of(config->stats), &bind, &wrong) < 0) {
        bk_master_fail(master, BK_KEY_OPTION_VALUE, "", "--stats '%s': %s", config->stats, wrong);
        return false;
    }
    rc = bk_listen_open(&bind, &options, &desk->stats);
    if (rc == 0) {
        desk->stats_watch = (struct bk_watch){.ready = stats_ready, .fd = desk->stats.fd};
        rc = bk_loop_add(&desk->loop, &desk->stats_watch, EPOLLIN);
    } else {
        desk->stats.fd = -1;
    }
    if (rc < 0) {
        bk_master_fail(master, BK_KEY_STATS_ADDRESS, "", "cannot listen on --stats '%s': %s",
                       config->stats, bk_words_error(rc, why));
        return false;
    }
    warn_public(desk);
    return true;
}

static void
warn_public(const struct bk_desk *desk)
{
    const struct bk_addr *addr = &desk->stats.addr;
    char text[160];
    bool local = addr->sa.sa_family == AF_UNIX;

    if (addr->sa.sa_family == AF_INET)
        local = ntohl(addr->in.sin_addr.s_addr) >> 24 == 127;
    else if (addr->sa.sa_family == AF_INET6)
        local = IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
    bk_addr_text(text, sizeof text, desk->stats.scheme, addr);
    bk_log(BK_LOG_INFO, NULL, "statistics on %s", text);
    if (!local)
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(STATS_PUBLIC),
               "--stats %s can be reached from other machines: it shows the paths of requests",
               text);
}

static bool
open_statsd(struct bk_master *master, struct bk_desk *desk)
{
    const struct bk_config *config = master->start->config;
    const char *why = "";
    int rc = bk__statsd_open(desk, config, &why);

    if (rc == 0)
        return true;
    if (rc == -EINVAL)
        bk_master_fail(master, BK_KEY_OPTION_VALUE, "", "--statsd-host '%s': %s",
                       config->statsd_host, why);
    else
        bk_master_fail(master, BK_KEY_INTERNAL, "", "cannot prepare statsd: out of memory");
    return false;
}

static bool
start_thread(struct bk_desk *desk)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    desk->started = pthread_create(&desk->thread, &attributes, run, desk) == 0;
    pthread_attr_destroy(&attributes);
    return desk->started;
}

static void *
run(void *self)
{
    struct bk_desk *desk = self;

    prctl(PR_SET_NAME, "desk", 0, 0, 0);
    bk__statsd_start(desk);
    while (!finished(desk)) {
        int rc = bk_loop_turn(&desk->loop, atomic_load(&desk->stop) ? 50 : -1);
        if (rc >= 0 || rc == -EINTR)
            continue;
        bk_log(BK_LOG_ERROR, BK_MASTER_KEY(INTERNAL),
               "statistics and control have ended: epoll failed");
        return NULL;
    }
    return NULL;
}

// Answers that are on their way are finished, within half a second.
static bool
finished(struct bk_desk *desk)
{
    if (!atomic_load(&desk->stop))
        return false;
    if (desk->stop_by == 0)
        desk->stop_by = bk_clock_mono() + GOODBYE;
    if (bk_clock_mono() >= desk->stop_by)
        return true;
    for (struct bk_list *at = desk->callers.next; at != &desk->callers; at = at->next)
        if (BK_OUTER(at, struct bk__caller, node)->answering)
            return false;
    return true;
}

static void
woken(struct bk_loop *loop)
{
    struct bk_desk *desk = BK_OUTER(loop, struct bk_desk, loop);
    struct bk_wish *next;

    bk_offload_collect(desk->offload);
    for (struct bk_wish *wish = bk_hatch_granted(desk->hatch); wish; wish = next) {
        next = wish->next;
        take_granted(desk, wish);
        bk_wish_free(wish);
    }
}

static void
take_granted(struct bk_desk *desk, struct bk_wish *wish)
{
    if (wish->kind == BK_WISH_ROSTER) {
        desk->asked = false;
        give_out(desk, wish->roster);
        return;
    }
    struct bk__caller *caller = bk__caller_find(desk, wish->asker);
    if (caller)
        bk__control_answer(caller, wish->code, wish->key, &wish->text);
}

void
bk__desk_ask_roster(struct bk_desk *desk)
{
    struct bk_wish *wish = desk->asked ? NULL : bk_wish_new(BK_WISH_ROSTER, NULL);

    if (!wish)
        return;
    desk->asked = true;
    bk_hatch_wish(desk->hatch, wish);
}

// Everybody who waits gets a text made from one and the same look.
static void
give_out(struct bk_desk *desk, struct bk_roster *roster)
{
    struct bk_report *report = roster ? bk__desk_report(desk, roster) : NULL;
    bool made[BK_DOC_COUNT] = {false};
    struct bk_list *next;

    for (struct bk_list *at = desk->callers.next; at != &desk->callers; at = next) {
        struct bk__caller *caller = BK_OUTER(at, struct bk__caller, node);
        next = at->next;
        if (!caller->wants_doc || caller->dead)
            continue;
        if (report && !made[caller->format]) {
            bk__doc_unref(desk->docs[caller->format]);
            desk->docs[caller->format] = make_doc(report, caller->format);
            made[caller->format] = true;
        }
        if (report && desk->docs[caller->format])
            bk__caller_answer(caller, NULL, desk->docs[caller->format]);
        else
            bk__caller_close(caller); // no memory: it may ask again
    }
    if (report && desk->statsd)
        bk__statsd_push(desk, report);
    bk_report_free(report);
}

static struct bk__doc *
make_doc(const struct bk_report *report, enum bk_doc_format format)
{
    struct bk__doc *doc = calloc(1, sizeof *doc);
    int rc;

    if (!doc)
        return NULL;
    doc->refs = 1;
    doc->made = bk_clock_mono();
    rc = format == BK_DOC_UWSGI        ? bk_report_uwsgi(report, &doc->text)
         : format == BK_DOC_PROMETHEUS ? bk_report_prometheus(report, &doc->text)
                                       : bk_report_json(report, &doc->text);
    if (rc == 0)
        return doc;
    bk__doc_unref(doc);
    return NULL;
}

void
bk__doc_unref(struct bk__doc *doc)
{
    if (!doc || --doc->refs > 0)
        return;
    bk_buf_release(&doc->text);
    free(doc);
}

static void
stats_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_desk *desk = BK_OUTER(watch, struct bk_desk, stats_watch);

    bk__caller_accept(desk, watch->fd, false);
}

static void
control_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_desk *desk = BK_OUTER(watch, struct bk_desk, control_watch);

    bk__caller_accept(desk, watch->fd, true);
}

static void
release(struct bk_desk *desk)
{
    while (!bk_list_empty(&desk->callers))
        bk__caller_close(BK_OUTER(desk->callers.next, struct bk__caller, node));
    bk__statsd_close(desk);
    for (unsigned i = 0; i < BK_DOC_COUNT; i++)
        bk__doc_unref(desk->docs[i]);
    bk_offload_free(desk->offload);
    if (desk->stats.fd >= 0)
        bk_listen_close(&desk->stats, true);
    if (desk->control_watch.fd >= 0)
        close(desk->control_watch.fd);
    if (desk->loop.epoll_fd >= 0)
        bk_loop_release(&desk->loop);
    free(desk->memory);
    free(desk);
}
