// The master's regular look at its workers: silence (a process that stands still), age
// (--max-worker-lifetime), memory (--max-worker-memory, memory.c), load (--workers-min, adapt.c). Runs only as
// often as the settings need it.
#pragma once

#include "master/state.h"

// Starts the timer of a pool. False when out of memory.
void bk_watchdog_start(struct bk_master_pool *pool);
void bk_watchdog_stop(struct bk_master_pool *pool);
