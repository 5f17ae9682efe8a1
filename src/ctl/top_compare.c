// From two looks at a server to rates and percentiles.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/top.h"

#include "base/banned.h"

static void fill_head(const struct bk_tree *tree, struct bk_top *top);
static void fill_rates(const struct bk_tree *earlier, const struct bk_tree *later,
                       struct bk_top *top);
static double grown(const struct bk_tree *earlier, bk_tree_at before, const struct bk_tree *later,
                    bk_tree_at now, const char *key, double seconds);
static void fill_latency(const struct bk_tree *earlier, const struct bk_tree *later,
                         struct bk_top *top);
static void read_timings(const struct bk_tree *tree, const char *key, struct bk_timings *ret);
static int fill_workers(const struct bk_tree *earlier, const struct bk_tree *later,
                        const char *list, struct bk_top *top);
static bk_tree_at find_worker(const struct bk_tree *tree, uint64_t number);
static int fill_requests(const struct bk_tree *tree, bk_tree_at worker, struct bk_top *top);
static int older_first(const void *a, const void *b);

int
bk_top_compare(const struct bk_tree *earlier, const struct bk_tree *later, struct bk_top *ret)
{
    int rc;

    fill_head(later, ret);
    if (earlier->count > 0)
        ret->seconds = bk_tree_double(later, bk_tree_root(later), "now") -
                       bk_tree_double(earlier, bk_tree_root(earlier), "now");
    if (ret->seconds < 1e-3)
        ret->seconds = 0;
    fill_rates(earlier, later, ret);
    fill_latency(earlier, later, ret);
    rc = fill_workers(earlier, later, "workers", ret);
    if (rc == 0)
        rc = fill_workers(earlier, later, "leaving", ret);
    if (ret->request_count > 1)
        qsort(ret->requests, ret->request_count, sizeof *ret->requests, older_first);
    return rc;
}

void
bk_top_release(struct bk_top *top)
{
    free(top->workers);
    free(top->requests);
    top->workers = NULL;
    top->requests = NULL;
    top->worker_count = top->request_count = 0;
}

static void
fill_head(const struct bk_tree *tree, struct bk_top *top)
{
    bk_tree_at root = bk_tree_root(tree);
    bk_tree_at listener = bk_tree_first(tree, bk_tree_get(tree, root, "listeners"));
    bk_tree_at totals = bk_tree_get(tree, root, "totals");

    bk_ctl_safe(bk_tree_text(tree, root, "name"), top->name, sizeof top->name);
    bk_ctl_safe(bk_tree_text(tree, root, "kind"), top->kind, sizeof top->kind);
    bk_ctl_safe(bk_tree_text(tree, root, "phase"), top->phase, sizeof top->phase);
    bk_ctl_safe(bk_tree_text(tree, listener, "address"), top->address, sizeof top->address);
    top->pid = bk_tree_u64(tree, root, "pid");
    top->generation = bk_tree_u64(tree, root, "generation");
    top->backlog = bk_tree_u64(tree, listener, "backlog");
    top->backlog_limit = bk_tree_u64(tree, listener, "backlog_limit");
    top->up = bk_tree_double(tree, root, "now") - bk_tree_double(tree, root, "started");
    top->connections = bk_tree_u64(tree, totals, "connections");
    top->queued = bk_tree_u64(tree, totals, "queued");
    top->running = bk_tree_u64(tree, totals, "running");
}

static void
fill_rates(const struct bk_tree *earlier, const struct bk_tree *later, struct bk_top *top)
{
    bk_tree_at before = bk_tree_get(earlier, bk_tree_root(earlier), "totals");
    bk_tree_at now = bk_tree_get(later, bk_tree_root(later), "totals");

    top->rate = grown(earlier, before, later, now, "requests", top->seconds);
    top->errors = grown(earlier, before, later, now, "errors_app", top->seconds);
    top->in = grown(earlier, before, later, now, "bytes_in", top->seconds);
    top->out = grown(earlier, before, later, now, "bytes_out", top->seconds);
    top->dropped = grown(earlier, before, later, now, "dropped", top->seconds);
}

static double
grown(const struct bk_tree *earlier, bk_tree_at before, const struct bk_tree *later, bk_tree_at now,
      const char *key, double seconds)
{
    double by = bk_tree_double(later, now, key) - bk_tree_double(earlier, before, key);

    return before && seconds > 0 && by > 0 ? by / seconds : 0;
}

static void
fill_latency(const struct bk_tree *earlier, const struct bk_tree *later, struct bk_top *top)
{
    struct bk_timings before = {0}, now = {0}, between;

    read_timings(earlier, "latency", &before);
    read_timings(later, "latency", &now);
    bk_timings_between(&between, &before, &now);
    top->p50 = (double)bk_timings_percentile(&between, 500) / 1e9;
    top->p90 = (double)bk_timings_percentile(&between, 900) / 1e9;
    top->p99 = (double)bk_timings_percentile(&between, 990) / 1e9;
    top->most = (double)bk_timings_percentile(&between, 1000) / 1e9;
    before = now = (struct bk_timings){0};
    read_timings(earlier, "queue_wait", &before);
    read_timings(later, "queue_wait", &now);
    bk_timings_between(&between, &before, &now);
    top->wait99 = (double)bk_timings_percentile(&between, 990) / 1e9;
}

static void
read_timings(const struct bk_tree *tree, const char *key, struct bk_timings *ret)
{
    bk_tree_at totals = bk_tree_get(tree, bk_tree_root(tree), "totals");
    bk_tree_at buckets = bk_tree_get(tree, bk_tree_get(tree, totals, key), "buckets");

    for (bk_tree_at at = bk_tree_first(tree, buckets); at; at = bk_tree_next(tree, at)) {
        bk_tree_at index = bk_tree_first(tree, at);
        uint64_t bucket = bk_tree_u64(tree, index, NULL);
        uint64_t count = bk_tree_u64(tree, bk_tree_next(tree, index), NULL);
        if (bucket >= BK_HISTOGRAM_BUCKETS)
            continue;
        ret->buckets[bucket] += count;
        ret->count += count;
    }
}

static int
fill_workers(const struct bk_tree *earlier, const struct bk_tree *later, const char *list,
             struct bk_top *top)
{
    bk_tree_at root = bk_tree_root(later), all = bk_tree_get(later, root, list);
    double time = bk_tree_double(later, root, "now");

    if (!all || all->count == 0)
        return 0;
    struct bk_top_worker *workers =
        realloc(top->workers, (top->worker_count + all->count) * sizeof *workers);
    if (!workers)
        return -ENOMEM;
    top->workers = workers;
    for (bk_tree_at now = bk_tree_first(later, all); now; now = bk_tree_next(later, now)) {
        struct bk_top_worker *worker = &workers[top->worker_count++];
        bk_tree_at before = find_worker(earlier, bk_tree_u64(later, now, "worker"));
        double started = bk_tree_double(later, now, "started");
        *worker = (struct bk_top_worker){.number = (unsigned)bk_tree_u64(later, now, "worker")};
        bk_ctl_safe(bk_tree_text(later, now, "state"), worker->state, sizeof worker->state);
        worker->pid = bk_tree_u64(later, now, "pid");
        worker->running = bk_tree_u64(later, now, "running");
        worker->queued = bk_tree_u64(later, now, "queued");
        worker->connections = bk_tree_u64(later, now, "connections");
        worker->rss = bk_tree_u64(later, now, "rss");
        worker->restarts = bk_tree_u64(later, now, "starts");
        worker->restarts -= worker->restarts > 0;
        worker->up = started > 0 ? time - started : 0;
        if (strcmp(list, "workers") == 0) {
            worker->rate = grown(earlier, before, later, now, "requests", top->seconds);
            worker->busy = grown(earlier, before, later, now, "busy", top->seconds);
        }
        if (fill_requests(later, now, top) < 0)
            return -ENOMEM;
    }
    return 0;
}

static bk_tree_at
find_worker(const struct bk_tree *tree, uint64_t number)
{
    bk_tree_at at = bk_tree_first(tree, bk_tree_get(tree, bk_tree_root(tree), "workers"));

    while (at && bk_tree_u64(tree, at, "worker") != number)
        at = bk_tree_next(tree, at);
    return at;
}

static int
fill_requests(const struct bk_tree *tree, bk_tree_at worker, struct bk_top *top)
{
    bk_tree_at all = bk_tree_get(tree, worker, "current");

    if (!all || all->count == 0)
        return 0;
    struct bk_top_request *requests =
        realloc(top->requests, (top->request_count + all->count) * sizeof *requests);
    if (!requests)
        return -ENOMEM;
    top->requests = requests;
    for (bk_tree_at at = bk_tree_first(tree, all); at; at = bk_tree_next(tree, at)) {
        struct bk_top_request *request = &requests[top->request_count++];
        request->age = bk_tree_double(tree, at, "age");
        request->worker = bk_tree_u64(tree, worker, "worker");
        request->thread = bk_tree_u64(tree, at, "thread");
        bk_ctl_safe(bk_tree_text(tree, at, "step"), request->step, sizeof request->step);
        bk_ctl_safe(bk_tree_text(tree, at, "client"), request->client, sizeof request->client);
        bk_ctl_safe(bk_tree_text(tree, at, "method"), request->method, sizeof request->method);
        bk_ctl_safe(bk_tree_text(tree, at, "path"), request->path, sizeof request->path);
    }
    return 0;
}

static int
older_first(const void *a, const void *b)
{
    const struct bk_top_request *x = a, *y = b;

    return x->age > y->age ? -1 : x->age < y->age;
}
