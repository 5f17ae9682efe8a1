// The native thread of a worker that keeps time: requests that run too long (--slow-request,
// --timeout), a loop that no longer turns, an import that takes long, and the beat in the scoreboard
// by which the master sees a process that stands still. It runs no Python, needs no lock of
// Python's, blocks all signals, and sleeps most of the time: what it has to see lasts longer than
// its pauses.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "config/config.h"
#include "serve/peek.h"

struct bk_deadlines;
struct bk_engine;

// What only the host can do. Called from this thread, without the GIL; each returns within a second.
struct bk_insight {
    // Stacks of the host's language as finished lines: of the request `of` first (NULL: of the main
    // thread), and with `all` those of every thread behind it. Returns their length, cut at room.
    size_t (*stacks)(void *self, const struct bk_running *of, bool all, char *out, size_t room);
    // Asks the interpreter for a sign of life, now and then, and returns for how many ns it owes one.
    uint64_t (*wedged)(void *self);
    // Raises an exception in the request, soon, if it still runs then. False: that cannot be done.
    bool (*interrupt)(void *self, const struct bk_running *of);
};

// Before the import. `channel_fd` (borrowed) is -1 without a master. `asgi` requests may take their
// time unless --timeout-policy says otherwise; it is told by bk_deadlines_serve.
int bk_deadlines_start(struct bk_engine *engine, const struct bk_config *config, unsigned worker,
                       int channel_fd, struct bk_deadlines **ret) BK_MUST_CHECK;
void bk_deadlines_insight(struct bk_deadlines *deadlines, const struct bk_insight *insight,
                          void *self);
// The import is over, requests come.
void bk_deadlines_serve(struct bk_deadlines *deadlines, bool asgi);
// A person is at a breakpoint: nothing is counted.
void bk_deadlines_pause(struct bk_deadlines *deadlines, bool on);
// Stops and joins it. Accepts NULL.
void bk_deadlines_stop(struct bk_deadlines *deadlines);
