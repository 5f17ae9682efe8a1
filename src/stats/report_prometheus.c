// A report in Prometheus' text format 0.0.4. Counters carry the worker's number, which stays over
// replacements; histograms are of the whole server, with a bound at each doubling.
#include "stats/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#include "base/banned.h"

struct text {
    struct bk_buf *out;
    int error;
};

static void put(struct text *text, const char *format, ...) BK_PRINTF(2, 3);
static void head(struct text *text, const char *name, const char *type, const char *help);
static void quoted(struct text *text, const char *label, const char *value, const char *after);
static void put_server(struct text *text, const struct bk_report *report);
static void put_listeners(struct text *text, const struct bk_report *report);
static void put_counters(struct text *text, const struct bk_report *report);
static void put_statuses(struct text *text, const struct bk_report *report);
static void put_gauges(struct text *text, const struct bk_report *report);
static void put_restarts(struct text *text, const struct bk_report *report);
static void put_histogram(struct text *text, const char *name, const char *help,
                          const struct bk_timings *timings);
static void put_log(struct text *text, const struct bk_report *report);

int
bk_report_prometheus(const struct bk_report *report, struct bk_buf *out)
{
    struct text text = {.out = out};

    put_server(&text, report);
    put_listeners(&text, report);
    put_counters(&text, report);
    put_statuses(&text, report);
    put_gauges(&text, report);
    put_restarts(&text, report);
    put_histogram(&text, "barkeep_request_duration_seconds",
                  "from a request being ready for the application to the end of its answer",
                  &report->totals.latency);
    put_histogram(&text, "barkeep_queue_wait_seconds",
                  "from a request being ready for the application to the application's call",
                  &report->totals.queue_wait);
    put_histogram(&text, "barkeep_proxy_wait_seconds",
                  "from a trusted proxy's X-Request-Start to the request's arrival",
                  &report->totals.proxy_wait);
    put_log(&text, report);
    return text.error;
}

static void
put(struct text *text, const char *format, ...)
{
    char line[600];
    va_list args;

    if (text->error)
        return;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t used = len < 0 ? 0 : (size_t)len < sizeof line ? (size_t)len : sizeof line - 1;
    text->error = bk_buf_append(text->out, (struct bk_str){line, used}, BK_REPORT_MAX);
}

static void
head(struct text *text, const char *name, const char *type, const char *help)
{
    put(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

// LABEL="value", where only backslash, quote and newline have to be escaped; other bytes that are
// no text become a question mark.
static void
quoted(struct text *text, const char *label, const char *value, const char *after)
{
    char out[1200];
    size_t len = 0;

    for (; *value && len < sizeof out - 3; value++) {
        unsigned char c = (unsigned char)*value;
        if (c == '\\' || c == '"')
            out[len++] = '\\';
        out[len++] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
    }
    out[len] = '\0';
    put(text, "%s=\"", label);
    if (!text->error)
        text->error = bk_buf_append(text->out, (struct bk_str){out, len}, BK_REPORT_MAX);
    put(text, "\"%s", after);
}

static void
put_server(struct text *text, const struct bk_report *report)
{
    head(text, "barkeep_info", "gauge", "what runs here; always 1");
    put(text, "barkeep_info{");
    quoted(text, "version", report->version, ",");
    quoted(text, "app", report->app, ",");
    quoted(text, "kind", report->kind, ",");
    quoted(text, "python", report->python, "} 1\n");
    head(text, "barkeep_start_time_seconds", "gauge", "when the master was started, Unix time");
    put(text, "barkeep_start_time_seconds %.3f\n", (double)report->started / 1e9);
    head(text, "barkeep_workers_wanted", "gauge", "workers there should be");
    put(text, "barkeep_workers_wanted %u\n", report->wanted);
    head(text, "barkeep_generation", "gauge", "grows with each reload that was tried");
    put(text, "barkeep_generation %u\n", report->generation);
    head(text, "barkeep_version_time_seconds", "gauge",
         "when the version of the application that serves was first ready, Unix time");
    put(text, "barkeep_version_time_seconds %.3f\n", (double)report->version_since / 1e9);
}

static void
put_listeners(struct text *text, const struct bk_report *report)
{
    head(text, "barkeep_listen_backlog", "gauge",
         "connections that the kernel holds and no worker has taken");
    for (unsigned i = 0; i < report->listener_count; i++)
        if (report->listeners[i].limit > 0) {
            put(text, "barkeep_listen_backlog{");
            quoted(text, "address", report->listeners[i].address, "} ");
            put(text, "%u\n", report->listeners[i].waiting);
        }
    head(text, "barkeep_listen_backlog_limit", "gauge", "how many the kernel would hold");
    for (unsigned i = 0; i < report->listener_count; i++)
        if (report->listeners[i].limit > 0) {
            put(text, "barkeep_listen_backlog_limit{");
            quoted(text, "address", report->listeners[i].address, "} ");
            put(text, "%u\n", report->listeners[i].limit);
        }
}

static void
put_counters(struct text *text, const struct bk_report *report)
{
    char name[80];

    for (unsigned c = 0; c < BK_COUNTER_COUNT; c++) {
        snprintf(name, sizeof name, "barkeep_%s_total", bk_counter_name((enum bk_counter)c));
        head(text, name, "counter", bk_counter_help((enum bk_counter)c));
        for (unsigned i = 0; i < report->worker_count; i++)
            put(text, "%s{worker=\"%u\"} %llu\n", name, report->workers[i].number,
                (unsigned long long)report->workers[i].tally.counters[c]);
    }
    head(text, "barkeep_busy_seconds_total", "counter",
         "time spent in the application, over all threads");
    for (unsigned i = 0; i < report->worker_count; i++)
        put(text, "barkeep_busy_seconds_total{worker=\"%u\"} %.6f\n", report->workers[i].number,
            (double)report->workers[i].tally.busy / 1e9);
}

static void
put_statuses(struct text *text, const struct bk_report *report)
{
    head(text, "barkeep_responses_total", "counter", "answers by status");
    for (unsigned i = 0; i < BK_STATS_STATUSES; i++)
        if (report->totals.statuses[i] > 0)
            put(text, "barkeep_responses_total{status=\"%u\"} %llu\n", i + 100,
                (unsigned long long)report->totals.statuses[i]);
}

static uint64_t
value_of(const struct bk_report_worker *worker, unsigned gauge)
{
    switch (gauge) {
    case 0:
        return worker->pid > 0 && worker->ready > 0;
    case 1:
        return worker->connections;
    case 2:
        return worker->queued;
    case 3:
        return worker->running;
    case 4:
        return worker->threads;
    case 5:
        return worker->rss;
    case 6:
        return worker->pss;
    default:
        return worker->born / BK_SEC;
    }
}

static void
put_gauges(struct text *text, const struct bk_report *report)
{
    static const struct {
        const char *name, *help;
    } gauges[] = {
        {"barkeep_worker_up", "1 when the worker serves"},
        {"barkeep_connections", "open connections"},
        {"barkeep_queue_depth", "requests that wait for a thread"},
        {"barkeep_requests_running", "requests in the application"},
        {"barkeep_threads", "threads that run the application"},
        {"barkeep_worker_rss_bytes", "resident memory"},
        {"barkeep_worker_pss_bytes", "resident memory, what is shared counted in parts"},
        {"barkeep_worker_start_time_seconds", "when the process was started, Unix time"},
    };

    for (unsigned g = 0; g < BK_COUNT(gauges); g++) {
        head(text, gauges[g].name, "gauge", gauges[g].help);
        for (unsigned i = 0; i < report->worker_count; i++)
            put(text, "%s{worker=\"%u\"} %llu\n", gauges[g].name, report->workers[i].number,
                (unsigned long long)value_of(&report->workers[i], g));
    }
    head(text, "barkeep_workers_leaving", "gauge", "processes that finish what they have and go");
    put(text, "barkeep_workers_leaving %u\n", report->leaving_count);
}

static void
put_restarts(struct text *text, const struct bk_report *report)
{
    head(text, "barkeep_worker_restarts_total", "counter",
         "worker processes that ended, by reason");
    for (unsigned i = 0; i < report->worker_count; i++)
        for (unsigned r = 0; r < BK_RESTART_COUNT; r++)
            put(text, "barkeep_worker_restarts_total{worker=\"%u\",reason=\"%s\"} %llu\n",
                report->workers[i].number, bk_restart_word((enum bk_restart)r),
                (unsigned long long)report->workers[i].restarts[r]);
}

static void
put_histogram(struct text *text, const char *name, const char *help,
              const struct bk_timings *timings)
{
    uint64_t count = 0;

    head(text, name, "histogram", help);
    for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS - 1; i++) {
        count += timings->buckets[i];
        if (i % 8 == 0)
            put(text, "%s_bucket{le=\"%.9g\"} %llu\n", name, (double)bk_histogram_end(i) / 1e9,
                (unsigned long long)count);
    }
    put(text, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)timings->count);
    put(text, "%s_sum %.9f\n", name, (double)timings->sum / 1e9);
    put(text, "%s_count %llu\n", name, (unsigned long long)timings->count);
}

static void
put_log(struct text *text, const struct bk_report *report)
{
    static const char *const levels[] = {"debug", "info", "warning", "error", "critical"};

    head(text, "barkeep_log_records_total", "counter", "lines of the error log by level");
    for (unsigned i = 0; i < BK_COUNT(levels); i++)
        put(text, "barkeep_log_records_total{level=\"%s\"} %llu\n", levels[i],
            (unsigned long long)report->logged[i]);
}
