// statsd: once a second a few datagrams with Gunicorn's names. What one server sends for each
// request is summed here; durations are sent as samples in proportion, with their rate.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/desk_internal.h"
#include "master/words.h"

#include "base/banned.h"

#define EVERY (1 * BK_SEC)
#define AGAIN (10 * BK_SEC) // after a name that was not known
#define PACKET 1400         // fits an Ethernet frame with room for tunnels
#define SAMPLES 100         // of durations in one push

struct bk__statsd {
    struct bk_desk *desk;
    struct bk_bind bind;
    struct bk_addr addr;
    struct bk_job job; // looks the name up
    int found;         // what that gave
    bool looking;
    int fd; // owns, -1: not connected
    struct bk_timer timer;
    struct bk_log_limit said;
    struct bk_tally *last; // owns
    uint64_t last_logged[5];
    char prefix[128], tags[512], name[300];
    char packet[PACKET];
    size_t len;
};

static void copy_tags(struct bk__statsd *statsd, const struct bk_config *config);
static void tick(struct bk_timer *timer);
static void look_up(struct bk_job *job);
static void looked_up(struct bk_job *job);
static int connect_to(struct bk__statsd *statsd);
static void complain(struct bk__statsd *statsd, int error);
static void metric(struct bk__statsd *statsd, const char *name, const char *value);
static void count(struct bk__statsd *statsd, const char *name, uint64_t now, uint64_t before);
static void gauge(struct bk__statsd *statsd, const char *name, uint64_t value);
static void durations(struct bk__statsd *statsd, const struct bk_timings *before,
                      const struct bk_timings *now);
static void flush(struct bk__statsd *statsd);

int
bk__statsd_open(struct bk_desk *desk, const struct bk_config *config, const char **ret_why)
{
    struct bk__statsd *statsd = calloc(1, sizeof *statsd);
    struct bk_str host = bk_str_of(config->statsd_host);
    char text[300];

    if (!statsd)
        return -ENOMEM;
    desk->statsd = statsd;
    statsd->desk = desk;
    statsd->fd = -1;
    statsd->last = calloc(1, sizeof *statsd->last);
    if (!statsd->last)
        return -ENOMEM;
    // Gunicorn's spelling of a socket's path.
    if (bk_str_starts(host, BK_STR("unix://"))) {
        snprintf(text, sizeof text, "unix:%s", config->statsd_host + 7);
        host = bk_str_of(text);
    } else if (bk_str_starts(host, BK_STR("udp://"))) {
        host = bk_str_of(config->statsd_host + 6);
    }
    if (bk_bind_parse(host, &statsd->bind, ret_why) < 0)
        return -EINVAL;
    snprintf(statsd->name, sizeof statsd->name, "%s", config->statsd_host);
    if (config->statsd_prefix && config->statsd_prefix[0]) {
        size_t len = strlen(config->statsd_prefix);
        while (len > 0 && config->statsd_prefix[len - 1] == '.')
            len--;
        snprintf(statsd->prefix, sizeof statsd->prefix, "%.*s.", (int)len, config->statsd_prefix);
    }
    copy_tags(statsd, config);
    bk_timer_init(&statsd->timer, tick);
    return 0;
}

void
bk__statsd_close(struct bk_desk *desk)
{
    struct bk__statsd *statsd = desk->statsd;

    if (!statsd)
        return;
    if (statsd->fd >= 0)
        close(statsd->fd);
    free(statsd->last);
    free(statsd);
    desk->statsd = NULL;
}

void
bk__statsd_start(struct bk_desk *desk)
{
    if (desk->statsd)
        bk_timer_set(&desk->loop.wheel, &desk->statsd->timer, bk_clock_mono());
}

static void
copy_tags(struct bk__statsd *statsd, const struct bk_config *config)
{
    size_t len = 0;

    for (unsigned i = 0; i < config->dogstatsd_tags.count && len < sizeof statsd->tags; i++)
        len += (size_t)snprintf(statsd->tags + len, sizeof statsd->tags - len, "%s%s",
                                i ? "," : "|#", config->dogstatsd_tags.items[i]);
    for (char *at = statsd->tags + (len > 1 ? 2 : 0); *at; at++)
        if (*at == '\n' || *at == '|')
            *at = '_';
}

static void
tick(struct bk_timer *timer)
{
    struct bk__statsd *statsd = BK_OUTER(timer, struct bk__statsd, timer);
    struct bk_desk *desk = statsd->desk;

    bk_timer_set(&desk->loop.wheel, timer, bk_clock_mono() + EVERY);
    if (statsd->fd >= 0) {
        bk__desk_ask_roster(desk);
        return;
    }
    if (statsd->looking)
        return;
    statsd->looking = true;
    statsd->job = (struct bk_job){.work = look_up, .done = looked_up};
    if (bk_offload_submit(desk->offload, &statsd->job) < 0)
        statsd->looking = false;
}

// On a thread of its own: a name server may take its time.
static void
look_up(struct bk_job *job)
{
    struct bk__statsd *statsd = BK_OUTER(job, struct bk__statsd, job);

    statsd->found = bk_bind_resolve(&statsd->bind, &statsd->addr);
}

static void
looked_up(struct bk_job *job)
{
    struct bk__statsd *statsd = BK_OUTER(job, struct bk__statsd, job);
    struct bk_desk *desk = statsd->desk;
    int rc = statsd->found == 0 ? connect_to(statsd) : statsd->found;

    statsd->looking = false;
    if (rc == 0) {
        bk__desk_ask_roster(desk);
        return;
    }
    complain(statsd, rc);
    bk_timer_set(&desk->loop.wheel, &statsd->timer, bk_clock_mono() + AGAIN);
}

static int
connect_to(struct bk__statsd *statsd)
{
    int fd = socket(statsd->addr.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, &statsd->addr.sa, statsd->addr.len) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    statsd->fd = fd;
    return 0;
}

static void
complain(struct bk__statsd *statsd, int error)
{
    char why[BK_WORDS_ROOM];
    unsigned held;

    if (bk_log_limited(&statsd->said, bk_clock_mono(), &held))
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(STATSD_ADDRESS), "--statsd-host '%s': %s",
               statsd->name, bk_words_error(error, why));
}

void
bk__statsd_push(struct bk_desk *desk, const struct bk_report *report)
{
    struct bk__statsd *statsd = desk->statsd;
    const struct bk_tally *now = &report->totals;
    uint64_t workers = 0, waiting = 0, connections = 0, queued = 0, running = 0;
    char name[64];

    if (statsd->fd < 0)
        return;
    for (unsigned i = 0; i < report->worker_count; i++) {
        const struct bk_report_worker *worker = &report->workers[i];
        workers += worker->pid > 0 && worker->ready > 0;
        connections += worker->connections;
        queued += worker->queued;
        running += worker->running;
    }
    for (unsigned i = 0; i < report->listener_count; i++)
        waiting += report->listeners[i].waiting;
    count(statsd, "gunicorn.requests", now->counters[BK_COUNTER_requests],
          statsd->last->counters[BK_COUNTER_requests]);
    for (unsigned i = 0; i < BK_STATS_STATUSES; i++) {
        snprintf(name, sizeof name, "gunicorn.request.status.%u", i + 100);
        count(statsd, name, now->statuses[i], statsd->last->statuses[i]);
    }
    durations(statsd, &statsd->last->latency, &now->latency);
    gauge(statsd, "gunicorn.workers", workers);
    snprintf(name, sizeof name, "%llu|ms",
             (unsigned long long)waiting); // a histogram, as Gunicorn says it
    metric(statsd, "gunicorn.backlog", name);
    count(statsd, "gunicorn.log.critical", report->logged[BK_LOG_CRITICAL],
          statsd->last_logged[BK_LOG_CRITICAL]);
    count(statsd, "gunicorn.log.error", report->logged[BK_LOG_ERROR],
          statsd->last_logged[BK_LOG_ERROR]);
    count(statsd, "gunicorn.log.warning", report->logged[BK_LOG_WARNING],
          statsd->last_logged[BK_LOG_WARNING]);
    count(statsd, "gunicorn.log.exception", now->counters[BK_COUNTER_errors_app],
          statsd->last->counters[BK_COUNTER_errors_app]);
    gauge(statsd, "barkeep.connections", connections);
    gauge(statsd, "barkeep.queued", queued);
    gauge(statsd, "barkeep.running", running);
    flush(statsd);
    *statsd->last = *now;
    memcpy(statsd->last_logged, report->logged, sizeof statsd->last_logged);
}

static void
count(struct bk__statsd *statsd, const char *name, uint64_t now, uint64_t before)
{
    char value[40];

    if (now <= before)
        return;
    snprintf(value, sizeof value, "%llu|c", (unsigned long long)(now - before));
    metric(statsd, name, value);
}

static void
gauge(struct bk__statsd *statsd, const char *name, uint64_t value)
{
    char text[40];

    snprintf(text, sizeof text, "%llu|g", (unsigned long long)value);
    metric(statsd, name, text);
}

// Each bucket sends as many samples as its share of all says, one at least, and the rate makes up
// for the rest.
static void
durations(struct bk__statsd *statsd, const struct bk_timings *before, const struct bk_timings *now)
{
    struct bk_timings between;
    char value[64];

    bk_timings_between(&between, before, now);
    for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS; i++) {
        uint64_t seen = between.buckets[i];
        if (seen == 0)
            continue;
        uint64_t end =
            i < BK_HISTOGRAM_BUCKETS - 1 ? bk_histogram_end(i) : (uint64_t)1 << BK_HISTOGRAM_HIGH;
        uint64_t start = i > 0 ? bk_histogram_end(i - 1) : 0;
        uint64_t lines = between.count <= SAMPLES ? seen : seen * SAMPLES / between.count;
        double middle = (double)(start + end) / 2e6;
        if (lines == 0)
            lines = 1;
        if (lines == seen)
            snprintf(value, sizeof value, "%.3f|ms", middle);
        else
            snprintf(value, sizeof value, "%.3f|ms|@%.6f", middle, (double)lines / (double)seen);
        for (uint64_t n = 0; n < lines; n++)
            metric(statsd, "gunicorn.request.duration", value);
    }
}

static void
metric(struct bk__statsd *statsd, const char *name, const char *value)
{
    char line[900];
    int len = snprintf(line, sizeof line, "%s%s:%s%s", statsd->prefix, name, value, statsd->tags);
    size_t size = len < 0 ? 0 : (size_t)len < sizeof line ? (size_t)len : sizeof line - 1;

    if (statsd->len + size + 1 > sizeof statsd->packet)
        flush(statsd);
    if (statsd->len > 0)
        statsd->packet[statsd->len++] = '\n';
    memcpy(statsd->packet + statsd->len, line, size);
    statsd->len += size;
}

// Lost is lost. When nobody is there any more the name is looked up anew.
static void
flush(struct bk__statsd *statsd)
{
    if (statsd->len > 0 && statsd->fd >= 0 &&
        send(statsd->fd, statsd->packet, statsd->len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EAGAIN && errno != EINTR) {
        complain(statsd, errno);
        close(statsd->fd);
        statsd->fd = -1;
    }
    statsd->len = 0;
}
