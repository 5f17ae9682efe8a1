// What the master knows: the program, its pools (one application each: interpreter, listeners, workers), their seats
// (worker numbers) and members (worker processes). Shared by the files of this folder that act on it; everything here
// belongs to the main thread.
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "config/config.h"
#include "config/messages.h"
#include "loop/loop.h"
#include "master/backoff.h"
#include "master/companion.h"
#include "master/control.h"
#include "master/cpus.h"
#include "master/interpreter.h"
#include "master/journal.h"
#include "master/ledger.h"
#include "master/master.h"
#include "master/pidfile.h"
#include "master/privileges.h"
#include "master/reload.h"
#include "master/surroundings.h"
#include "master/systemd.h"
#include "net/listen.h"
#include "process/channel.h"
#include "process/logring.h"
#include "stats/stats_segment.h"

enum bk_member_state {
    BK_MEMBER_BOOTING,  // importing the application
    BK_MEMBER_READY,    // serving
    BK_MEMBER_LEAVING,  // told to go
};

// One worker process, from fork to reap.
struct bk_member {
    struct bk_list link;          // in pool->members
    struct bk_master_pool *pool;
    struct bk_seat *seat;         // whose member it is or was
    unsigned number, slot;        // worker number; scoreboard slot and log ring
    unsigned age;                 // how many were started before it, and itself
    unsigned generation;          // which version of the application it imports, see reload.h
    pid_t pid;
    enum bk_member_state state;
    uint64_t born, ready;         // monotonic ns; ready 0 = not yet
    struct bk_watch channel;      // .fd owns our end, -1 once it is closed
    struct bk_timer deadline;     // startup-timeout, later the moment of SIGKILL
    bool failed;                  // has said why it cannot start
    bool refused;                 // the first of a new version, and cannot start: that has been said
    bool killed;                  // by us
    bool listeners_closed;        // draining, and its copies of the listeners are closed
    bool brief;                   // leaving, and only for a few seconds: development
    uint64_t patience;            // leaving: how long it may take, ns
    enum bk_restart why;          // it was told to leave; NONE: it was not
    bool debugging;               // a person is at its breakpoint(): nothing hurries it
    bool recycle, urgent;         // to be replaced (recycle.c); before others that are
    bool silent, frozen;          // its beat has stopped, that was said; and it is to be killed for that
    uint64_t memory;              // resident bytes at the last look, 0: none yet
};

// A worker number. A new member may sit down while its predecessor is still leaving.
struct bk_seat {
    unsigned number;
    struct bk_master_pool *pool;
    struct bk_member *member;     // borrows; NULL: empty, or its member is leaving
    struct bk_member *successor;  // borrows; booting beside `member`, whose seat it takes when it is ready
    struct bk_backoff backoff;
    struct bk_timer respawn;      // set while a pause is kept
};

// What READY said, for the start lines.
struct bk_app_facts {
    char app[256], kind[96], python[64], ready_ms[24];
    char threads[8], loop[48];  // of the worker class: "4"; "loop asyncio, lifespan on"
};

// The regular look, watchdog.c.
struct bk_watchdog {
    struct bk_timer timer;
    uint64_t last, since;  // monotonic ns: of the last tick; silence of workers counts from then on
    uint64_t relieved;     // when a worker was last recycled because the cgroup was nearly full
};

// The number of workers by load, adapt.c.
struct bk_adapt {
    unsigned least, most;   // 0: the number is fixed
    double busy;            // share of the workers' threads that is busy, smoothed
    uint64_t sampled;       // monotonic ns
    uint64_t high_since, low_since;  // busy or a queue, or hardly busy, since then; 0: not now
};

struct bk_master_pool {
    struct bk_master *master;
    const struct bk_config *config;     // borrows
    struct bk_interpreter interpreter;
    struct bk_listener *listeners;      // owns
    unsigned listener_count;
    struct bk_list members;
    unsigned member_count, booting;
    struct bk_seat *seats;              // owns: room for seat_count
    unsigned seat_count;
    unsigned wanted;                    // seats 1..wanted are to be filled
    bool served;                        // a worker has been ready: from now on failures do not end the program
    struct bk_app_facts facts;
    uint64_t failure_hash;              // of the last failure text that was shown in full
    uint64_t failure_until;             // when it may be shown in full again
    struct bk_log_limit crashes;
    struct bk_reload reload;
    struct bk_certificates *certificates;  // owns; NULL: no address is https
    struct bk_watchdog watchdog;
    struct bk_adapt adapt;
    struct bk_autoreload *autoreload;   // owns; NULL: no files are watched
    bool waiting;                       // the first import failed and --reload is on: until a file changes
    uint64_t starting;                  // monotonic ns: the first worker was started, or started anew
    uint64_t version_since;             // wall clock ns: when the version that serves was first ready
};

enum bk_master_phase {
    BK_MASTER_RUNNING,
    BK_MASTER_DRAINING,  // TERM: members finish what they have
    BK_MASTER_QUITTING,  // INT, QUIT: members leave at once
    BK_MASTER_KILLING,   // second signal
};

struct bk_master {
    struct bk_master_start *start;    // borrows
    struct bk_loop loop;
    struct bk_watch signals;          // .fd owns the signalfd
    struct bk_privileges privileges;  // of the workers
    struct bk_pidfile pidfile;
    struct bk_systemd systemd;
    struct bk_surroundings surroundings;
    struct bk_cpus cpus;
    struct bk_logrings *rings;        // owns
    struct bk_journal *journal;       // owns
    struct bk_segment *scoreboard;    // owns
    int scoreboard_fd;                // owns
    struct bk_ledger *ledger;         // owns
    struct bk_desk *desk;             // owns; NULL: nobody wants to know anything
    struct bk_control control;
    struct bk_member **slots;         // owns: who uses which slot; [0] is never used
    unsigned slot_count;
    struct bk_master_pool *pools;     // owns
    unsigned pool_count;
    enum bk_master_phase phase;
    uint64_t phase_since;             // monotonic ns
    uint64_t started;                 // monotonic ns
    bool over;                        // leave the loop when the last member is reaped
    int exit_code;
    struct bk_companion companion;
    unsigned ages;                    // members started so far
    bool announced;                   // the start line was written: write a last line too
    uint64_t requests, errors;        // of members that are gone
    uint64_t oom_kills;               // the cgroup's count, see memory.h
};

#define BK_MASTER_KEY(name) (bk_message(BK_KEY_##name)->key)

// The reason why the program ends, as a fatal error ("barkeep: error: TEXT [key]" and the detail below), and
// the exit code that goes with the key. The first one decides; the caller begins the stop.
void bk_master_fail(struct bk_master *master, enum bk_key key, const char *detail, const char *format, ...)
    BK_PRINTF(4, 5);
