// Who may touch the engine. Several threads run the application, one at a time is inside the
// engine; the loop changes hands when the application is slow or waits for the GIL, and costs next
// to nothing when it is fast. One atomic word {sequence, state, owner}; see docs/decisions/003. An
// engine without a baton (hosted loops, tests) belongs to its one caller.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "serve/mailbox.h"

struct bk_engine;
struct bk_exchange;

enum bk_baton_state {
    BK_BATON_FREE,      // nobody's; a thread was woken to take it
    BK_BATON_SPARE,     // nobody's, and nobody was idle: for the next thread that is done, or the
                        // watcher
    BK_BATON_TURNING,   // owner is inside: undisputed, short
    BK_BATON_WAITING,   // owner is in epoll_wait: undisputed, ended by an event or a wake-up
    BK_BATON_STANDING,  // the same by one who runs nothing: gives it to the first idle thread
    BK_BATON_AWAY,      // owner is between turn and next, or commit and next: may wait for the GIL
    BK_BATON_LENT,      // owner is in the application
};

#define BK_THREADS_MAX 1024
#define BK_WATCHER 0xffff  // its owner number
#define BK_ROUTES 64

enum bk_phase { BK_PHASE_ENGINE, BK_PHASE_IDLE, BK_PHASE_CLAIM, BK_PHASE_APP };

struct bk_thread {
    unsigned number;              // 1..
    struct bk_thread *next_idle;  // under idle_lock
    _Atomic uint32_t wake;        // futex: sleeps in follow() while 0
    _Atomic uint32_t phase;       // enum bk_phase, for the watcher
    _Atomic bool idle;            // in the list of idle threads, or on its way into it
};

struct bk_baton {
    _Alignas(64) _Atomic uint64_t word;
    _Alignas(64) struct bk_mailbox mail;
    _Atomic bool armed;        // the watcher's timer runs
    _Atomic bool stop;         // the engine has stopped: threads leave
    _Atomic uint32_t forking;  // fork()s going on: the loop holds still
    _Alignas(64) pthread_mutex_t idle_lock;
    struct bk_thread *idle_first;  // the last one that became idle comes first: its stack is warm
    _Atomic uint32_t idle_count;
    int timer_fd;                       // borrows the watcher; -1: there is none
    unsigned count;                     // threads that run the application
    _Atomic uint32_t usual[BK_ROUTES];  // ns of wall time in the application, by route
    _Atomic uint64_t hands;             // calls before which the loop was handed over, for tests
    struct bk_thread threads[];
};

int bk__baton_new(unsigned count, struct bk_baton **ret) BK_MUST_CHECK;
void bk__baton_free(struct bk_baton *baton);

// Owner comes back, or takes what is nobody's. True: inside until one of the leave calls.
bool bk__baton_enter(struct bk_engine *engine, struct bk_thread *me);
// Leaves; what was posted meanwhile is run first.
void bk__baton_leave(struct bk_engine *engine, unsigned owner, enum bk_baton_state state);
// Enters also while another thread has the loop but is outside. Then *ret_before is what to give
// back.
bool bk__baton_borrow(struct bk_engine *engine, unsigned number, uint64_t *ret_before);
// Of a word that was borrowed over: number of the thread that has the loop, 0: none.
unsigned bk__baton_owner(uint64_t word);
void bk__baton_give_back(struct bk_engine *engine, unsigned number, uint64_t before);
// Inside: the loop goes to an idle thread, which is woken. False: there is none, still inside.
bool bk__baton_hand_over(struct bk_engine *engine);

// Sleeps until the loop is offered, at most wait_ms. 0, or -EINTR, -ETIMEDOUT.
int bk__baton_follow(struct bk_engine *engine, struct bk_thread *me, int wait_ms);
// Around epoll_wait, inside. before: returns the time to wait, 0 when there is something to do
// after all.
int bk__baton_before_wait(struct bk_engine *engine, int wait_ms, bool standing);
void bk__baton_after_wait(struct bk_engine *engine);

// Inside, `x` goes to the application: leaves, with a follower in place when the route is usually
// slow.
void bk__baton_lend(struct bk_engine *engine, struct bk_exchange *x);
// Runs x->errand, which gives the exchange back, inside: now or soon, by whoever is there.
void bk__baton_return(struct bk_engine *engine, struct bk_exchange *x);

// Runs `run` inside and returns when it was run. The errand is the caller's.
void bk__baton_run(struct bk_exchange *x, struct bk_errand *errand);

// Somebody is ready to run the application and waits for the GIL: waking more threads would only
// lengthen the queue there.
bool bk__baton_claimed(const struct bk_baton *baton);
// The engine has stopped: everybody is woken and finds out.
void bk__baton_stop(struct bk_engine *engine);

// The watcher's look, at each expiration of its timer.
struct bk_look {
    uint64_t last;  // the word at the last look when its owner was outside, else 0
};
void bk__baton_look(struct bk_engine *engine, struct bk_look *look);
// Around fork(): between the two the loop stands still, so that the child sees whole lists.
void bk__baton_hold(struct bk_engine *engine, uint64_t *ret_before);
void bk__baton_release(struct bk_engine *engine, uint64_t before);
