// The dead: who ended, how, and what it had been doing. Called from the loop at SIGCHLD.
#pragma once

#include "master/state.h"

// Reaps all that have ended: members, and orphans that were handed to us (as PID 1 or subreaper).
void bk_reap(struct bk_master *master);
// Counters of slots in use and of those that are gone.
void bk_reap_totals(const struct bk_master *master, uint64_t *ret_requests, uint64_t *ret_errors);
