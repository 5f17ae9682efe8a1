// A report in the JSON of uWSGI 2.0.30's stats server, for uwsgitop and the exporters that read it.
// Names and units are uWSGI's; what has no counterpart here is 0.
#include "stats/json.h"
#include "stats/report.h"

#include "base/clock.h"

#include "base/banned.h"

static void put_sockets(struct bk_json *json, const struct bk_report *report);
static void put_worker(struct bk_json *json, const struct bk_report *report,
                       const struct bk_report_worker *worker);
static void put_app(struct bk_json *json, const struct bk_report *report,
                    const struct bk_report_worker *worker);
static void put_core(struct bk_json *json, const struct bk_report *report,
                     const struct bk_report_worker *worker, unsigned index);
static void zeroes(struct bk_json *json, const char *const *keys, unsigned count);

int
bk_report_uwsgi(const struct bk_report *report, struct bk_buf *out)
{
    static const char *const nothing[] = {"listen_queue_errors", "signal_queue"};
    struct bk_json json = {.out = out, .most = BK_REPORT_MAX};
    unsigned queue = 0;

    for (unsigned i = 0; i < report->listener_count; i++)
        if (report->listeners[i].waiting > queue)
            queue = report->listeners[i].waiting;
    bk_json_open(&json, NULL, '{');
    bk_json_text(&json, "version", report->version);
    bk_json_u64(&json, "listen_queue", queue);
    zeroes(&json, nothing, BK_COUNT(nothing));
    bk_json_u64(&json, "load", queue);
    bk_json_u64(&json, "pid", (uint64_t)report->pid);
    bk_json_u64(&json, "uid", report->uid);
    bk_json_u64(&json, "gid", report->gid);
    bk_json_text(&json, "cwd", report->cwd);
    bk_json_open(&json, "locks", '[');
    bk_json_close(&json, ']');
    put_sockets(&json, report);
    bk_json_open(&json, "workers", '[');
    for (unsigned i = 0; i < report->worker_count; i++)
        put_worker(&json, report, &report->workers[i]);
    bk_json_close(&json, ']');
    bk_json_close(&json, '}');
    if (json.error == 0)
        json.error = bk_buf_append(out, BK_STR("\n"), BK_REPORT_MAX);
    return json.error;
}

static void
put_sockets(struct bk_json *json, const struct bk_report *report)
{
    static const char *const nothing[] = {"shared", "can_offload"};

    bk_json_open(json, "sockets", '[');
    for (unsigned i = 0; i < report->listener_count; i++) {
        bk_json_open(json, NULL, '{');
        bk_json_text(json, "name", report->listeners[i].address);
        bk_json_text(json, "proto", "http");
        bk_json_u64(json, "queue", report->listeners[i].waiting);
        bk_json_u64(json, "max_queue", report->listeners[i].limit);
        zeroes(json, nothing, BK_COUNT(nothing));
        bk_json_close(json, '}');
    }
    bk_json_close(json, ']');
}

static void
put_worker(struct bk_json *json, const struct bk_report *report,
           const struct bk_report_worker *worker)
{
    static const char *const signals[] = {"signals", "signal_queue"};
    const uint64_t *counters = worker->tally.counters;
    uint64_t served = worker->tally.latency.count;

    bk_json_open(json, NULL, '{');
    bk_json_u64(json, "id", worker->number);
    bk_json_u64(json, "pid", (uint64_t)worker->pid);
    bk_json_u64(json, "accepting", worker->pid > 0 && worker->ready > 0);
    bk_json_u64(json, "requests", counters[BK_COUNTER_requests]);
    bk_json_u64(json, "delta_requests", worker->requests);
    bk_json_u64(json, "exceptions", counters[BK_COUNTER_errors_app]);
    bk_json_u64(json, "harakiri_count", worker->restarts[BK_RESTART_TIMEOUT]);
    zeroes(json, signals, BK_COUNT(signals));
    bk_json_text(json, "status",
                 worker->pid == 0      ? "cheap"
                 : worker->running > 0 ? "busy"
                                       : "idle");
    bk_json_u64(json, "rss", worker->rss);
    bk_json_u64(json, "vsz", worker->vsz);
    bk_json_u64(json, "uss", 0);
    bk_json_u64(json, "pss", worker->pss);
    bk_json_u64(json, "running_time", worker->tally.busy / 1000);
    bk_json_u64(json, "last_spawn", worker->born / BK_SEC);
    bk_json_u64(json, "respawn_count", worker->starts);
    bk_json_u64(json, "tx", counters[BK_COUNTER_bytes_out]);
    bk_json_u64(json, "avg_rt", served ? worker->tally.latency.sum / served / 1000 : 0);
    bk_json_open(json, "apps", '[');
    put_app(json, report, worker);
    bk_json_close(json, ']');
    bk_json_open(json, "cores", '[');
    for (unsigned i = 0; i < worker->threads && i < BK_STATS_THREADS; i++)
        put_core(json, report, worker, i);
    bk_json_close(json, ']');
    bk_json_close(json, '}');
}

static void
put_app(struct bk_json *json, const struct bk_report *report, const struct bk_report_worker *worker)
{
    uint64_t took = worker->ready > worker->born ? (worker->ready - worker->born) / BK_SEC : 0;

    bk_json_open(json, NULL, '{');
    bk_json_u64(json, "id", 0);
    bk_json_u64(json, "modifier1", 0);
    bk_json_text(json, "mountpoint", "");
    bk_json_u64(json, "startup_time", took);
    bk_json_u64(json, "requests", worker->tally.counters[BK_COUNTER_requests]);
    bk_json_u64(json, "exceptions", worker->tally.counters[BK_COUNTER_errors_app]);
    bk_json_text(json, "chdir", report->cwd);
    bk_json_close(json, '}');
}

// A core is a thread. `vars` has what the scoreboard knows of the request, never its header fields.
static void
put_core(struct bk_json *json, const struct bk_report *report,
         const struct bk_report_worker *worker, unsigned index)
{
    static const char *const nothing[] = {"static_requests", "routed_requests",
                                          "offloaded_requests", "write_errors", "read_errors"};
    const struct bk_row_copy *row = NULL;
    char text[BK_STATS_TEXT + 32];

    for (unsigned i = 0; i < worker->row_count && !row; i++)
        if (worker->rows[i].thread == index + 1)
            row = &worker->rows[i];
    bk_json_open(json, NULL, '{');
    bk_json_u64(json, "id", index);
    bk_json_u64(json, "requests", worker->thread_rows[index].requests);
    zeroes(json, nothing, BK_COUNT(nothing));
    bk_json_u64(json, "in_request", row != NULL);
    bk_json_open(json, "vars", '[');
    if (row) {
        const char *space = memchr(row->text, ' ', row->len);
        size_t method = space ? (size_t)(space - row->text) : 0, from = space ? method + 1 : 0;
        char *end = mempcpy(mempcpy(text, "REQUEST_METHOD=", 15), row->text, method);
        bk_json_str(json, NULL, (struct bk_str){text, (size_t)(end - text)});
        end = mempcpy(mempcpy(text, "REQUEST_URI=", 12), row->text + from, row->len - from);
        bk_json_str(json, NULL, (struct bk_str){text, (size_t)(end - text)});
        bk_json_text(json, NULL, "");
    }
    bk_json_close(json, ']');
    bk_json_open(json, "req_info", '{');
    if (row) {
        uint64_t age = report->mono > row->since ? report->mono - row->since : 0;
        bk_json_u64(json, "request_start", (report->now - age) / BK_SEC);
    }
    bk_json_close(json, '}');
    bk_json_close(json, '}');
}

static void
zeroes(struct bk_json *json, const char *const *keys, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bk_json_u64(json, keys[i], 0);
}
