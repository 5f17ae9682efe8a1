// barkeepctl status: a page to read.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl.h"

#include "base/banned.h"

static int print_json(const struct bk_ctl_server *server);
static void print_head(const struct bk_tree *tree);
static void print_totals(const struct bk_tree *tree);
static void print_workers(const struct bk_tree *tree, const char *list);
static void print_current(const struct bk_tree *tree, const char *list);

int
bk_ctl_status(const struct bk_ctl_server *server, const struct bk_ctl_options *options)
{
    struct bk_tree tree;
    int rc;

    if (options->json)
        return print_json(server);
    rc = bk_ctl_look(server, &tree);
    if (rc < 0)
        return bk_ctl_fail(1, "control-answer", "the server with pid %d does not answer: %s",
                           (int)server->pid, strerrordesc_np(-rc));
    print_head(&tree);
    print_totals(&tree);
    print_workers(&tree, "workers");
    print_workers(&tree, "leaving");
    print_current(&tree, "workers");
    print_current(&tree, "leaving");
    bk_tree_release(&tree);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int
print_json(const struct bk_ctl_server *server)
{
    struct bk_ctl_answer answer;
    int rc = bk_ctl_ask(server, "stats json", &answer);

    if (rc < 0 || answer.code != 0)
        return bk_ctl_fail(1, "control-answer", "the server with pid %d does not answer",
                           (int)server->pid);
    fwrite(answer.text.at, 1, answer.text.len, stdout);
    bk_buf_release(&answer.text);
    return fflush(stdout) == 0 ? 0 : 1;
}

static void
print_head(const struct bk_tree *tree)
{
    bk_tree_at root = bk_tree_root(tree);
    char name[200], kind[100], python[64], up[32], age[32], text[300];
    double now = bk_tree_double(tree, root, "now");

    printf("%s (%s), barkeep %s, python %s\n",
           bk_ctl_safe(bk_tree_text(tree, root, "name"), name, sizeof name),
           bk_ctl_safe(bk_tree_text(tree, root, "kind"), kind, sizeof kind),
           bk_ctl_safe(bk_tree_text(tree, root, "barkeep"), text, sizeof text),
           bk_ctl_safe(bk_tree_text(tree, root, "python"), python, sizeof python));
    printf("pid %llu, %s for %s", (unsigned long long)bk_tree_u64(tree, root, "pid"),
           bk_ctl_safe(bk_tree_text(tree, root, "phase"), text, sizeof text),
           bk_ctl_span(now - bk_tree_double(tree, root, "started"), up));
    if (bk_tree_double(tree, root, "version_since") > 0)
        printf(", generation %llu since %s",
               (unsigned long long)bk_tree_u64(tree, root, "generation"),
               bk_ctl_span(now - bk_tree_double(tree, root, "version_since"), age));
    printf("\n");
    bk_tree_at reload = bk_tree_get(tree, root, "reload");
    if (reload && reload->kind == BK_TREE_OBJECT)
        printf("last reload %s ago: %s\n",
               bk_ctl_span(now - bk_tree_double(tree, reload, "at"), age),
               bk_ctl_safe(bk_tree_text(tree, reload, "result"), text, sizeof text));
    for (bk_tree_at at = bk_tree_first(tree, bk_tree_get(tree, root, "listeners")); at;
         at = bk_tree_next(tree, at)) {
        printf("listens on %s", bk_ctl_safe(bk_tree_text(tree, at, "address"), text, sizeof text));
        if (bk_tree_u64(tree, at, "backlog_limit") > 0)
            printf(", %llu of %llu in the backlog",
                   (unsigned long long)bk_tree_u64(tree, at, "backlog"),
                   (unsigned long long)bk_tree_u64(tree, at, "backlog_limit"));
        printf("\n");
    }
}

static void
print_totals(const struct bk_tree *tree)
{
    bk_tree_at totals = bk_tree_get(tree, bk_tree_root(tree), "totals");
    bk_tree_at latency = bk_tree_get(tree, totals, "latency");
    char a[32], b[32], c[32], d[32];

    printf("%s requests, %s errors of the application, %s in, %s out\n",
           bk_ctl_number(bk_tree_double(tree, totals, "requests"), a),
           bk_ctl_number(bk_tree_double(tree, totals, "errors_app"), b),
           bk_ctl_bytes(bk_tree_double(tree, totals, "bytes_in"), c),
           bk_ctl_bytes(bk_tree_double(tree, totals, "bytes_out"), d));
    printf("latency p50 %s, p90 %s, p99 %s, p99.9 %s\n",
           bk_ctl_span(bk_tree_double(tree, latency, "p50"), a),
           bk_ctl_span(bk_tree_double(tree, latency, "p90"), b),
           bk_ctl_span(bk_tree_double(tree, latency, "p99"), c),
           bk_ctl_span(bk_tree_double(tree, latency, "p999"), d));
    printf("\n%6s  %-8s  %7s  %10s  %7s  %7s  %7s  %9s  %7s\n", "worker", "state", "pid",
           "requests", "errors", "running", "conns", "rss", "up");
}

static void
print_workers(const struct bk_tree *tree, const char *list)
{
    bk_tree_at root = bk_tree_root(tree);
    double now = bk_tree_double(tree, root, "now");
    char state[32], requests[32], rss[32], up[32];

    for (bk_tree_at at = bk_tree_first(tree, bk_tree_get(tree, root, list)); at;
         at = bk_tree_next(tree, at)) {
        double started = bk_tree_double(tree, at, "started");
        printf("%6llu  %-8s  %7llu  %10s  %7llu  %7llu  %7llu  %9s  %7s\n",
               (unsigned long long)bk_tree_u64(tree, at, "worker"),
               bk_ctl_safe(bk_tree_text(tree, at, "state"), state, sizeof state),
               (unsigned long long)bk_tree_u64(tree, at, "pid"),
               bk_ctl_number(bk_tree_double(tree, at, "requests"), requests),
               (unsigned long long)bk_tree_u64(tree, at, "errors_app"),
               (unsigned long long)bk_tree_u64(tree, at, "running"),
               (unsigned long long)bk_tree_u64(tree, at, "connections"),
               bk_ctl_bytes(bk_tree_double(tree, at, "rss"), rss),
               started > 0 ? bk_ctl_span(now - started, up) : "-");
    }
}

static void
print_current(const struct bk_tree *tree, const char *list)
{
    char age[32], method[40], path[300], client[256], step[40];

    for (bk_tree_at worker = bk_tree_first(tree, bk_tree_get(tree, bk_tree_root(tree), list));
         worker; worker = bk_tree_next(tree, worker))
        for (bk_tree_at at = bk_tree_first(tree, bk_tree_get(tree, worker, "current")); at;
             at = bk_tree_next(tree, at))
            printf("worker %llu thread %llu: %s %s for %s, %s, client %s\n",
                   (unsigned long long)bk_tree_u64(tree, worker, "worker"),
                   (unsigned long long)bk_tree_u64(tree, at, "thread"),
                   bk_ctl_safe(bk_tree_text(tree, at, "method"), method, sizeof method),
                   bk_ctl_safe(bk_tree_text(tree, at, "path"), path, sizeof path),
                   bk_ctl_span(bk_tree_double(tree, at, "age"), age),
                   bk_ctl_safe(bk_tree_text(tree, at, "step"), step, sizeof step),
                   bk_ctl_safe(bk_tree_text(tree, at, "client"), client, sizeof client));
}
