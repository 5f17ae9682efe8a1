// Signals to the master, read from a signalfd in the loop. Workers do not see them: each child gets a clean mask.
#pragma once

#include "master/state.h"

// Blocks what we read (before the first thread starts, so that all threads have it blocked), puts inherited "ignore"
// dispositions right and makes the signalfd. Negative errno.
int bk_signals_open(struct bk_master *master) BK_MUST_CHECK;
// Into the loop.
int bk_signals_watch(struct bk_master *master) BK_MUST_CHECK;
void bk_signals_close(struct bk_master *master);
