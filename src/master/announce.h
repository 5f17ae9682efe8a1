// The lines a user reads at start and stop, word for word as in first-minutes.
#pragma once

#include "master/state.h"

// "barkeep 0.1.0 serving APP (WSGI) on ...": the first worker is ready.
void bk_announce_serving(struct bk_master_pool *pool);
// "ok: APP (WSGI) imports in 1.8 s ..." on standard output.
void bk_announce_check(struct bk_master_pool *pool);
// "stopped: 2 requests, 0 errors".
void bk_announce_stopped(const struct bk_master *master);
