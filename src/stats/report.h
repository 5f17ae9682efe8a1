// What the server is doing, as plain data, and the forms in which others want it: our JSON, uWSGI's
// JSON, Prometheus' text. Knows no socket and no process; the master's desk fills it in and sends
// the texts.
#pragma once

#include "base/buf.h"
#include "stats/tally.h"

#define BK_REPORT_SCHEMA 1 // of our JSON: grows when a field changes its meaning or goes
#define BK_REPORT_MAX (64 * 1024 * 1024) // bytes of a text

struct bk_report_listener {
    char address[160];
    unsigned waiting,
        limit; // connections the kernel holds that nobody has taken yet; limit 0: unknown
};

struct bk_report_thread {
    uint64_t requests, errors, bytes_out, busy;
};

// A worker number with its present process, or a process that is leaving.
struct bk_report_worker {
    unsigned number, generation;
    pid_t pid;         // 0: nobody sits there now
    const char *state; // "idle", "busy", "booting", "leaving", "down", "unresponsive"
    uint64_t born;     // wall clock ns, 0: no process
    uint64_t ready;    // wall clock ns, 0: not yet
    uint64_t starts;   // processes so far
    uint64_t restarts[BK_RESTART_COUNT];
    unsigned connections, queued, running, threads;
    uint64_t turned_ago, progressed_ago; // ns; UINT64_MAX: never
    uint64_t rss, vsz, pss;              // bytes, 0: not known
    uint64_t requests;                   // of this process
    struct bk_tally tally; // of the number since the master started; leaving: of the process
    struct bk_report_thread thread_rows[BK_STATS_THREADS];
    struct bk_row_copy *rows; // owns: requests in the application, oldest first
    unsigned row_count;
};

struct bk_report {
    const char *version;
    char name[256], app[256], kind[96], python[64], loop[48], cwd[512];
    const char *phase; // "starting", "running", "reloading", "stopping"
    pid_t pid;
    unsigned uid, gid;
    unsigned wanted, generation;
    uint64_t now, mono;     // wall clock and monotonic ns of this report
    uint64_t started;       // wall clock ns
    uint64_t version_since; // wall clock ns: when the version that serves was first ready
    char reload_cause[300], reload_result[600]; // of the last one; "" when there was none
    uint64_t reload_at;
    uint64_t logged[5];                   // records of the error log by level
    struct bk_report_listener *listeners; // owns
    unsigned listener_count;
    struct bk_report_worker *workers, *leaving; // owns
    unsigned worker_count, leaving_count;
    struct bk_tally totals; // of all numbers, also of those that are no longer wanted
};

void bk_report_free(struct bk_report *report);

// Each appends its text. -EMSGSIZE above BK_REPORT_MAX, -ENOMEM.
int bk_report_json(const struct bk_report *report, struct bk_buf *out) BK_MUST_CHECK;
int bk_report_uwsgi(const struct bk_report *report, struct bk_buf *out) BK_MUST_CHECK;
int bk_report_prometheus(const struct bk_report *report, struct bk_buf *out) BK_MUST_CHECK;

// "192.0.2.7:4711", "unix", or what a trusted proxy said; NUL-terminated, any bytes of a peer
// escaped.
const char *bk_report_client(const struct bk_row_peer *peer, char out[256]);
const char *bk_report_step(enum bk_row_step step);
