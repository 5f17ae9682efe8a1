// One worker for another while the rest serves: the way of a reload (reload.h) for a single seat. The successor
// imports first; when it is ready the old one drains and leaves. Asked for by workers (--max-requests, --timeout)
// and by watchdog.c (age, memory, silence). Called from the loop.
#pragma once

#include "master/state.h"

// `reason` is for the statistics; `why` completes "worker 2 (pid 41) is replaced: ". Urgent ones do not wait for others
// that are being replaced.
// Once per member; again does nothing, and a member that is booting or leaving is let be.
void bk_recycle_ask(struct bk_member *member, bool urgent, enum bk_restart reason, const char *why);
// Starts what is due: at most a quarter of the workers are being replaced at once. Whenever a member came, went or
// a pause is over.
void bk_recycle_advance(struct bk_master_pool *pool);
