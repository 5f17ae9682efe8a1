// What a forked child does before it becomes another program. Async-signal-safe: the log thread may have held
// any lock at the moment of the fork. Used by ask.c and spawn.c; close_on_exec by the master at its start.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// All dispositions to default but an inherited "ignore" of SIGHUP (nohup), nothing blocked.
void bk_child_reset_signals(bool hangup_ignored);
// Soft limit of descriptors up to the hard one (at most 1 Mi: programs exist that loop over all of them).
void bk_child_raise_descriptors(void);
// Every descriptor from 3 up becomes close-on-exec; each child then keeps what it is meant to have.
void bk_child_close_on_exec(void);
// Clears close-on-exec. False when `fd` is not open.
bool bk_child_keep(int fd);

// The parent's part: reads a child's output to its end, keeps what fits and a NUL. False when `limit` (ns) is over
// first; what came is in `out` all the same. Blocking, for start-up and rare questions.
bool bk_child_collect(int fd, char *out, size_t room, uint64_t limit);
