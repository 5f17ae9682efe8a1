// The companion: a Python process beside the workers that calls the master's hooks of a gunicorn.conf.py (on_starting,
// when_ready, on_reload, pre_fork, nworkers_changed, child_exit, on_exit). The master runs no Python and never waits
// for it while serving: events go out without blocking, and are dropped, with a line in the log, when it does not keep
// up. Started only when such a hook is defined; when it dies another one is started, later each time.
#pragma once

#include <sys/types.h>

#include "base/log.h"
#include "loop/loop.h"
#include "master/backoff.h"

struct bk_master;

struct bk_companion {
    struct bk_master *master;  // borrows; NULL: no hook is defined
    struct bk_watch channel;   // .fd owns our end, -1: there is no companion now
    pid_t pid;                 // 0: none
    uint64_t born;             // monotonic ns
    unsigned sent, called;     // events, since it was started
    bool failed;               // on_starting raised
    bool stopping;             // its end is asked for
    struct bk_timer again;     // when another one is started
    struct bk_backoff backoff;
    struct bk_log_limit dropped;
};

// Starts it, when start->master_hooks says so, and has on_starting called: waits for that, up to --startup-timeout or
// until a signal asks for the end. False: the program shall end, and that is noted. Before the listeners are opened.
bool bk_companion_open(struct bk_master *master);
// One event: `name` of a hook, and "key=value" lines. Never waits. Does nothing without a companion.
void bk_companion_tell(struct bk_master *master, const char *name, const char *format, ...) BK_PRINTF(3, 4);
// A new one with the file as it is now; the old one finishes what it was told. For a reload.
void bk_companion_renew(struct bk_master *master);
// A child is gone: true when it was a companion.
bool bk_companion_gone(struct bk_master *master, pid_t pid, int status);
// on_exit, and the end of it: waits a few seconds. When all workers are gone.
void bk_companion_close(struct bk_master *master);
