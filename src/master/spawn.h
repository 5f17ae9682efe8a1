// Starts one worker process on a seat: heritage, fork, exec. On the main thread only, which is the only one
// that forks.
#pragma once

#include "master/state.h"

// The seat must be empty. Negative errno when there is no process, slot or memory: nothing is left behind then.
int bk_spawn(struct bk_seat *seat) BK_MUST_CHECK;
