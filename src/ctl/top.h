// What `barkeepctl top` shows: the difference between two looks.
#pragma once

#include "ctl/ctl.h"
#include "stats/histogram.h"

#define BK_TOP_HISTORY 60

struct bk_top_worker {
    unsigned number;
    char state[16];
    uint64_t pid, running, queued, connections, rss, restarts;
    double rate, busy,
        up; // requests a second, threads' time spent in the application (1 = one thread), s
};

struct bk_top_request {
    double age;
    uint64_t worker, thread;
    char step[24], client[64], method[24], path[200];
};

struct bk_top {
    char name[128], kind[64], phase[16], address[128];
    uint64_t pid, generation, backlog, backlog_limit;
    double up, seconds;                    // since the server's start; between the looks
    double rate, errors, in, out, dropped; // a second
    uint64_t connections, queued, running;
    double p50, p90, p99, most, wait99; // s, of what ended between the looks
    struct bk_top_worker *workers;      // owns
    unsigned worker_count;
    struct bk_top_request *requests; // owns, oldest first
    unsigned request_count;
    double history[BK_TOP_HISTORY]; // of `rate`, the newest last
    unsigned history_count;
};

// Fills in all but the history. `earlier` may be empty: then there are no rates. -ENOMEM.
int bk_top_compare(const struct bk_tree *earlier, const struct bk_tree *later,
                   struct bk_top *ret) BK_MUST_CHECK;
void bk_top_release(struct bk_top *top);
// A frame of at most `rows` lines of at most `columns` columns, each ended by `eol`.
int bk_top_draw(const struct bk_top *top, unsigned rows, unsigned columns, bool ascii,
                const char *eol, struct bk_buf *out) BK_MUST_CHECK;
// The same as one line of JSON.
int bk_top_json(const struct bk_top *top, struct bk_buf *out) BK_MUST_CHECK;
