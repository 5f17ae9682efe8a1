// A report in our own JSON; docs/stats.md describes every field.
#include "stats/json.h"
#include "stats/report.h"

#include "base/banned.h"

static void put_head(struct bk_json *json, const struct bk_report *report);
static void put_reload(struct bk_json *json, const struct bk_report *report);
static void put_listeners(struct bk_json *json, const struct bk_report *report);
static void put_totals(struct bk_json *json, const struct bk_report *report);
static void put_worker(struct bk_json *json, const struct bk_report *report,
                       const struct bk_report_worker *worker);
static void put_process(struct bk_json *json, const struct bk_report *report,
                        const struct bk_report_worker *worker);
static void put_counters(struct bk_json *json, const struct bk_tally *tally);
static void put_statuses(struct bk_json *json, const struct bk_tally *tally);
static void put_times(struct bk_json *json, const struct bk_tally *tally, bool buckets);
static void put_timings(struct bk_json *json, const char *key, const struct bk_timings *timings,
                        bool buckets);
static void put_threads(struct bk_json *json, const struct bk_report_worker *worker);
static void put_requests(struct bk_json *json, const struct bk_report *report,
                         const struct bk_report_worker *worker);

int
bk_report_json(const struct bk_report *report, struct bk_buf *out)
{
    struct bk_json json = {.out = out, .most = BK_REPORT_MAX};

    bk_json_open(&json, NULL, '{');
    put_head(&json, report);
    put_reload(&json, report);
    put_listeners(&json, report);
    put_totals(&json, report);
    bk_json_open(&json, "workers", '[');
    for (unsigned i = 0; i < report->worker_count; i++)
        put_worker(&json, report, &report->workers[i]);
    bk_json_close(&json, ']');
    bk_json_open(&json, "leaving", '[');
    for (unsigned i = 0; i < report->leaving_count; i++)
        put_worker(&json, report, &report->leaving[i]);
    bk_json_close(&json, ']');
    bk_json_close(&json, '}');
    if (json.error == 0)
        json.error = bk_buf_append(out, BK_STR("\n"), BK_REPORT_MAX);
    return json.error;
}

static void
put_head(struct bk_json *json, const struct bk_report *report)
{
    bk_json_u64(json, "schema", BK_REPORT_SCHEMA);
    bk_json_text(json, "barkeep", report->version);
    bk_json_text(json, "name", report->name);
    bk_json_text(json, "app", report->app);
    bk_json_text(json, "kind", report->kind);
    bk_json_text(json, "python", report->python);
    bk_json_text(json, "loop", report->loop);
    bk_json_text(json, "phase", report->phase);
    bk_json_u64(json, "pid", (uint64_t)report->pid);
    bk_json_u64(json, "uid", report->uid);
    bk_json_u64(json, "gid", report->gid);
    bk_json_text(json, "cwd", report->cwd);
    bk_json_seconds(json, "now", report->now);
    bk_json_seconds(json, "started", report->started);
    bk_json_u64(json, "workers_wanted", report->wanted);
    bk_json_u64(json, "generation", report->generation);
    bk_json_seconds(json, "version_since", report->version_since);
}

static void
put_reload(struct bk_json *json, const struct bk_report *report)
{
    if (report->reload_at == 0) {
        bk_json_null(json, "reload");
        return;
    }
    bk_json_open(json, "reload", '{');
    bk_json_seconds(json, "at", report->reload_at);
    bk_json_text(json, "cause", report->reload_cause);
    bk_json_text(json, "result", report->reload_result);
    bk_json_close(json, '}');
}

static void
put_listeners(struct bk_json *json, const struct bk_report *report)
{
    bk_json_open(json, "listeners", '[');
    for (unsigned i = 0; i < report->listener_count; i++) {
        const struct bk_report_listener *listener = &report->listeners[i];
        bk_json_open(json, NULL, '{');
        bk_json_text(json, "address", listener->address);
        if (listener->limit > 0) {
            bk_json_u64(json, "backlog", listener->waiting);
            bk_json_u64(json, "backlog_limit", listener->limit);
        }
        bk_json_close(json, '}');
    }
    bk_json_close(json, ']');
}

static void
put_totals(struct bk_json *json, const struct bk_report *report)
{
    static const char *const levels[] = {"debug", "info", "warning", "error", "critical"};
    uint64_t connections = 0, queued = 0, running = 0;

    for (unsigned i = 0; i < report->worker_count + report->leaving_count; i++) {
        const struct bk_report_worker *worker = i < report->worker_count
                                                    ? &report->workers[i]
                                                    : &report->leaving[i - report->worker_count];
        connections += worker->connections;
        queued += worker->queued;
        running += worker->running;
    }
    bk_json_open(json, "totals", '{');
    bk_json_u64(json, "connections", connections);
    bk_json_u64(json, "queued", queued);
    bk_json_u64(json, "running", running);
    put_counters(json, &report->totals);
    put_statuses(json, &report->totals);
    put_times(json, &report->totals, true);
    bk_json_open(json, "log", '{');
    for (unsigned i = 0; i < BK_COUNT(levels); i++)
        bk_json_u64(json, levels[i], report->logged[i]);
    bk_json_close(json, '}');
    bk_json_close(json, '}');
}

static void
put_worker(struct bk_json *json, const struct bk_report *report,
           const struct bk_report_worker *worker)
{
    bk_json_open(json, NULL, '{');
    bk_json_u64(json, "worker", worker->number);
    bk_json_text(json, "state", worker->state);
    bk_json_u64(json, "pid", (uint64_t)worker->pid);
    put_process(json, report, worker);
    put_counters(json, &worker->tally);
    put_times(json, &worker->tally, false);
    bk_json_open(json, "restarts", '{');
    for (unsigned i = 0; i < BK_RESTART_COUNT; i++)
        if (worker->restarts[i] > 0)
            bk_json_u64(json, bk_restart_word((enum bk_restart)i), worker->restarts[i]);
    bk_json_close(json, '}');
    put_threads(json, worker);
    put_requests(json, report, worker);
    bk_json_close(json, '}');
}

static void
put_process(struct bk_json *json, const struct bk_report *report,
            const struct bk_report_worker *worker)
{
    bk_json_u64(json, "generation", worker->generation);
    bk_json_seconds(json, "started", worker->born);
    bk_json_seconds(json, "ready", worker->ready);
    bk_json_u64(json, "starts", worker->starts);
    bk_json_u64(json, "requests_of_process", worker->requests);
    bk_json_u64(json, "connections", worker->connections);
    bk_json_u64(json, "queued", worker->queued);
    bk_json_u64(json, "running", worker->running);
    if (worker->turned_ago != UINT64_MAX)
        bk_json_seconds(json, "turned_ago", worker->turned_ago);
    if (worker->progressed_ago != UINT64_MAX)
        bk_json_seconds(json, "progressed_ago", worker->progressed_ago);
    bk_json_u64(json, "rss", worker->rss);
    bk_json_u64(json, "vsz", worker->vsz);
    if (worker->pss > 0)
        bk_json_u64(json, "pss", worker->pss);
}

static void
put_counters(struct bk_json *json, const struct bk_tally *tally)
{
    for (unsigned i = 0; i < BK_COUNTER_COUNT; i++)
        bk_json_u64(json, bk_counter_name((enum bk_counter)i), tally->counters[i]);
}

static void
put_statuses(struct bk_json *json, const struct bk_tally *tally)
{
    char key[8];

    bk_json_open(json, "statuses", '{');
    for (unsigned i = 0; i < BK_STATS_STATUSES; i++) {
        if (tally->statuses[i] == 0)
            continue;
        key[bk_str_format_u64(key, i + 100)] = '\0';
        bk_json_u64(json, key, tally->statuses[i]);
    }
    bk_json_close(json, '}');
}

static void
put_times(struct bk_json *json, const struct bk_tally *tally, bool buckets)
{
    bk_json_seconds(json, "busy", tally->busy);
    put_timings(json, "latency", &tally->latency, buckets);
    put_timings(json, "queue_wait", &tally->queue_wait, buckets);
    put_timings(json, "proxy_wait", &tally->proxy_wait, buckets);
}

static void
put_timings(struct bk_json *json, const char *key, const struct bk_timings *timings, bool buckets)
{
    static const struct {
        const char *key;
        unsigned permille;
    } points[] = {{"p50", 500}, {"p90", 900},  {"p95", 950},
                  {"p99", 990}, {"p999", 999}, {"max", 1000}};

    bk_json_open(json, key, '{');
    bk_json_u64(json, "count", timings->count);
    bk_json_seconds(json, "sum", timings->sum);
    for (unsigned i = 0; i < BK_COUNT(points); i++)
        bk_json_seconds(json, points[i].key, bk_timings_percentile(timings, points[i].permille));
    if (buckets) { // [index, count], see docs/stats.md
        bk_json_open(json, "buckets", '[');
        for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS; i++) {
            if (timings->buckets[i] == 0)
                continue;
            bk_json_open(json, NULL, '[');
            bk_json_u64(json, NULL, i);
            bk_json_u64(json, NULL, timings->buckets[i]);
            bk_json_close(json, ']');
        }
        bk_json_close(json, ']');
    }
    bk_json_close(json, '}');
}

static void
put_threads(struct bk_json *json, const struct bk_report_worker *worker)
{
    bk_json_open(json, "threads", '[');
    for (unsigned i = 0; i < worker->threads && i < BK_STATS_THREADS; i++) {
        const struct bk_report_thread *thread = &worker->thread_rows[i];
        bool busy = false;
        for (unsigned k = 0; k < worker->row_count; k++)
            busy = busy || worker->rows[k].thread == i + 1;
        bk_json_open(json, NULL, '{');
        bk_json_u64(json, "thread", i + 1);
        bk_json_text(json, "state", busy ? "busy" : "idle");
        bk_json_u64(json, "requests", thread->requests);
        bk_json_u64(json, "errors", thread->errors);
        bk_json_u64(json, "bytes_out", thread->bytes_out);
        bk_json_seconds(json, "busy", thread->busy);
        bk_json_close(json, '}');
    }
    bk_json_close(json, ']');
}

static void
put_requests(struct bk_json *json, const struct bk_report *report,
             const struct bk_report_worker *worker)
{
    char client[256];

    bk_json_open(json, "current", '[');
    for (unsigned i = 0; i < worker->row_count; i++) {
        const struct bk_row_copy *row = &worker->rows[i];
        const char *space = memchr(row->text, ' ', row->len);
        size_t method = space ? (size_t)(space - row->text) : 0;
        size_t path = space ? method + 1 : 0;
        bk_json_open(json, NULL, '{');
        bk_json_str(json, "method", (struct bk_str){row->text, method});
        bk_json_str(json, "path", (struct bk_str){row->text + path, row->len - path});
        bk_json_seconds(json, "age", report->mono > row->since ? report->mono - row->since : 0);
        bk_json_text(json, "step", bk_report_step(row->step));
        bk_json_text(json, "client", bk_report_client(&row->peer, client));
        bk_json_u64(json, "thread", row->thread);
        bk_json_close(json, '}');
    }
    bk_json_close(json, ']');
}
