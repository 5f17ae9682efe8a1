// --workers-min and --workers-max: as many workers as the load needs. More when their threads are busy or
// connections wait to be accepted; fewer after a quiet time, and never one that has a request. Called by watchdog.c.
#pragma once

#include "master/state.h"

// Reads the bounds into pool->adapt. `workers` is what --workers came to; returns with how many to begin.
unsigned bk_adapt_begin(struct bk_master_pool *pool, unsigned workers);
// How often the load wants to be looked at, ns; UINT64_MAX: never.
uint64_t bk_adapt_tick(const struct bk_master_pool *pool);
void bk_adapt_look(struct bk_master_pool *pool, uint64_t now);
