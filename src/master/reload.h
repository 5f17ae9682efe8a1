// One version of the application for another, without a moment in which nothing serves: the first new
// worker imports alone while the old ones serve. When it is ready the others follow, and each old worker
// leaves when its successor is ready; when it fails, the reason is logged and everything stays as it was.
// Begun by SIGHUP and by autoreload.c. Called from the loop.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/str.h"
#include "loop/timer.h"

struct bk_master_pool;
struct bk_member;
struct bk_seat;

enum bk_reload_phase {
    BK_RELOAD_IDLE,
    BK_RELOAD_TRIAL,    // one new worker imports; nobody else starts
    BK_RELOAD_ROLLING,  // it serves; the others are replaced
};

// Of one pool; zeroed at first.
struct bk_reload {
    enum bk_reload_phase phase;
    bool development;         // begun by a changed file: old workers leave soon
    bool again;               // asked for once more meanwhile
    unsigned generation;      // the newest that was tried; members carry the one they belong to
    struct bk_member *trial;  // borrows: who imports alone; NULL: not started yet
    uint64_t began;           // monotonic ns
    struct bk_timer closing;  // all are new; the old ones have this long to close their listeners
    bool closed;              // they had
    char cause[300];          // "SIGHUP", "api.py changed": begins the lines about it
    char next_cause[300];     // of `again`
};

// Replaces all workers. While a reload runs: a changed file (`development`) begins anew, because what is
// being imported is old already; anything else is done once more afterwards, however often it was asked
// for. Before the first worker is ready it waits for that.
void bk_reload_begin(struct bk_master_pool *pool, const char *cause, bool development);
// Starts what is due. Whenever a member came, went or a pause is over.
void bk_reload_advance(struct bk_master_pool *pool);
// A trial goes on: seats that are empty stay so until its outcome is known.
bool bk_reload_holds(const struct bk_master_pool *pool);

// Starts a member beside that of the seat. False when no other needs to be tried now.
bool bk_reload_successor(struct bk_seat *seat);

// What became of a member. Each may be called for any member.
void bk_reload_ready(struct bk_member *member);
// It said why it cannot start (one line, and more below it). True when it was the trial: that has been logged.
bool bk_reload_failed(struct bk_member *member, struct bk_str brief, struct bk_str detail);
// It is told to leave.
void bk_reload_left(struct bk_member *member);
// Its process is gone. True when it was a trial that has failed.
bool bk_reload_gone(struct bk_member *member, const char *how);
