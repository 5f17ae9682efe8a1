// Starts one worker process on a seat: heritage, fork, exec. On the main thread only, which is the only one
// that forks.
#pragma once

#include "master/state.h"

// It sits down on the seat when that is empty, else it is the successor of who sits there; the seat has
// no successor yet. Negative errno when there is no process or memory, -ENOSPC when all slots are in use;
// nothing is left behind then.
int bk_spawn(struct bk_seat *seat) BK_MUST_CHECK;
