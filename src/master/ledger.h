// What worker numbers have done since the master started, over all processes that had the number:
// counters survive a respawn here. The main thread writes, the desk (desk.h) reads; a lock keeps a
// worker's numbers from being counted twice or not at all while they move from its slot into the
// ledger.
#pragma once

#include <pthread.h>

#include "stats/tally.h"

struct bk_ledger_row {
    uint64_t starts;
    uint64_t restarts[BK_RESTART_COUNT];
    struct bk_tally gone; // of processes that have ended
};

struct bk_ledger {
    pthread_mutex_t lock;
    unsigned count, used;        // rows 0..used-1 have ever been somebody's
    struct bk_ledger_row rows[]; // by worker number - 1
};

// NULL when out of memory.
struct bk_ledger *bk_ledger_new(unsigned count);
void bk_ledger_free(struct bk_ledger *ledger);
// A process was started.
void bk_ledger_start(struct bk_ledger *ledger, unsigned number);
// Its process is gone: takes over what its slot has and clears the slot. BK_RESTART_NONE: nobody
// counts it.
void bk_ledger_end(struct bk_ledger *ledger, unsigned number, struct bk_slot *slot,
                   enum bk_restart why);
