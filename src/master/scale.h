// How many members there are: filling seats, pauses after deaths, one more or one fewer. Called from the loop.
#pragma once

#include "master/state.h"

// Starts what is missing: at first one member alone, once that is ready as many at once as there are CPUs.
void bk_scale_fill(struct bk_master_pool *pool);
// Leaves the seat empty for `pause`, then fills it.
void bk_scale_respawn(struct bk_seat *seat, uint64_t pause);
// TTIN and TTOU: `by` is +1 or -1.
void bk_scale_by(struct bk_master_pool *pool, int by, const char *signal_name);
// So many workers from now on, 1..seat_count; `who` asked for it.
void bk_scale_to(struct bk_master_pool *pool, unsigned wanted, const char *who);
enum bk_dismissal {
    BK_DISMISS_QUIT,     // at once
    BK_DISMISS_DRAIN,    // stopping: what it has is served, until --graceful-timeout
    BK_DISMISS_YIELD,    // replaced while others serve: the same, and idle connections may ask once more
    BK_DISMISS_BRIEFLY,  // replaced in development: what it has is served, for a few seconds at most
};

// Tells a member to go; kills it when it does not.
void bk_scale_dismiss(struct bk_member *member, enum bk_dismissal how);
// The time of a member that was dismissed BRIEFLY is over: tells it to end at once. False: it was not, or
// has been told.
bool bk_scale_hurry(struct bk_member *member);
