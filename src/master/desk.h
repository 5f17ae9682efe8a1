// The desk: one thread of the master that serves outsiders, so that the main thread never does. It
// gives out statistics (--stats), takes commands of barkeepctl (an abstract unix socket), pushes to
// statsd. It reads the scoreboard itself and asks the main thread for the rest (hatch.h): nothing a
// client does or fails to do can hold up supervision.
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

struct bk_master;
struct bk_desk;

// Opens what the settings ask for and starts the thread. False after bk_master_fail. Main thread,
// before the first worker.
bool bk_desk_open(struct bk_master *master) BK_MUST_CHECK;
// Clients that still get something have half a second. Accepts NULL.
void bk_desk_close(struct bk_desk *desk);
