// How many members there are: filling seats, pauses after deaths, one more or one fewer. Called from the loop.
#pragma once

#include "master/state.h"

// Starts what is missing: at first one member alone, once that is ready as many at once as there are CPUs.
void bk_scale_fill(struct bk_master_pool *pool);
// Leaves the seat empty for `pause`, then fills it.
void bk_scale_respawn(struct bk_seat *seat, uint64_t pause);
// TTIN and TTOU: `by` is +1 or -1.
void bk_scale_by(struct bk_master_pool *pool, int by, const char *signal_name);
// Tells a member to go: gracefully (what it has is served, until --graceful-timeout) or at once. Kills it when
// it does not.
void bk_scale_dismiss(struct bk_member *member, bool gracefully);
