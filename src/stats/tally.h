// Sums over slots: what a worker number has done since the master started, over all its processes,
// and what the whole server has. Plain memory of whoever sums.
#pragma once

#include "stats/stats_segment.h"

enum bk_counter {
#define X(name, help) BK_COUNTER_##name,
#include "stats/counters.def"
#undef X
    BK_COUNTER_COUNT
};

enum bk_restart {
#define X(name, word, help) BK_RESTART_##name,
#include "stats/restarts.def"
#undef X
    BK_RESTART_COUNT,
    BK_RESTART_NONE = BK_RESTART_COUNT, // nobody asked for it
};

struct bk_tally {
    uint64_t counters[BK_COUNTER_COUNT];
    uint64_t statuses[BK_STATS_STATUSES]; // from 100 on
    uint64_t busy;                        // ns in the application, over all threads
    struct bk_timings latency, queue_wait, proxy_wait;
};

void bk_tally_add_slot(struct bk_tally *to, const struct bk_slot *from);
void bk_tally_add(struct bk_tally *to, const struct bk_tally *from);

const char *bk_counter_name(enum bk_counter counter);
const char *bk_counter_help(enum bk_counter counter);
const char *bk_restart_word(enum bk_restart reason);
