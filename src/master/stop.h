// The way down: graceful, quick, now. Called from the loop.
#pragma once

#include "master/state.h"

// Begins (or worsens) the stop: DRAINING, QUITTING or KILLING. Going back is not possible.
void bk_stop(struct bk_master *master, enum bk_master_phase phase);
// A member was reaped while stopping.
void bk_stop_member_gone(struct bk_master_pool *pool);
// A member has closed its copies of the listeners, or is gone: once all have, ours are closed too, so that new
// clients are refused instead of waiting in a queue nobody will empty.
void bk_stop_listeners_closed(struct bk_master_pool *pool);
