// Experiment: the loop that changes hands. baton.c is the machine under test: one atomic word, the run queue, the door
// (turn, next, commit), the mailbox, the watcher. bench.c is the fake host, the fake GIL and the client.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define THREADS_MAX 128
#define CONNS_MAX 512
#define WATCHER 255

// The word: sequence << 16 | state << 8 | owner. The sequence grows whenever somebody enters.
enum state {
    FREE,     // nobody's; somebody was woken to take it
    SPARE,    // nobody's, and nobody was there to be woken: for the next thread that is done, or the watcher
    TURNING,  // owner is in the engine: undisputed, short
    WAITING,  // owner is in epoll_wait: undisputed, ends by an event or a wake-up
    AWAY,     // owner is between turn and next, or commit and next: may wait for the GIL. May be taken
    LENT,     // owner is in the application with an exchange. May be taken
};

enum route { HELLO, SLEEP, HOG, BODY, STREAM, LIVE, RANDOM, MIXED };

struct request {
    uint8_t route, more;   // more: second message of BODY
    uint16_t arg;          // SLEEP, HOG: units of 100 us
    uint32_t id;
};
struct answer {
    uint32_t id, last;     // last 0: a part of a stream
};

enum { POST_FLUSH = 1, POST_COMMIT = 2 };
enum exchange_state { UNUSED, READY, RUNNING, DONE };

struct conn {  // the loop's alone
    int fd;
    bool dead;
    struct exchange *x;
};

struct exchange {
    // the loop's alone
    struct conn *conn;
    struct exchange *next;
    enum exchange_state state;
    unsigned generation;
    // the thread's between next and commit, else the loop's
    struct request request;
    uint64_t started;
    // shared
    struct exchange *mail_next;
    _Atomic unsigned post;
    _Atomic bool gone;
    _Atomic unsigned parts;  // pushed, not yet sent
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool body;               // under lock
};

struct thread {
    unsigned id;
    struct thread *next_idle;
    _Atomic unsigned wake;
    _Atomic int phase;       // for the watcher: enum phase
    pthread_t handle;
};
enum phase { PHASE_ENGINE, PHASE_IDLE, PHASE_CLAIM, PHASE_APP };

struct options {
    unsigned threads;
    unsigned slow_ns;        // routes slower than this get a follower before the call; 0: never, 1: always
    unsigned tick_us;        // watcher: looks while there is progress
    unsigned look_us;        // second look when the owner was outside
    unsigned poison_ns;      // what the estimates start with
    bool watch;
};
extern struct options options;

struct counts {
    _Atomic uint64_t ticks, arms, taken_by_watcher, given_by_watcher, watcher_turns, lost, hands, spurious;
    _Atomic uint64_t committed, aborted, created, freed;
};
extern struct counts counts;
extern struct thread threads[THREADS_MAX];

int engine_init(const int *fds, unsigned count, int accepting);
void engine_stop(void);
bool engine_stopped(void);
unsigned engine_left(void);
bool bk_turn(struct thread *me);
struct exchange *bk_next(struct thread *me);
void bk_commit(struct thread *me, struct exchange *x);
void bk_push(struct exchange *x);
void bk_wait_body(struct exchange *x);
void bk_wait_drain(struct exchange *x);
void *watcher(void *unused);
uint64_t now_ns(void);
_Noreturn void fail(const char *what, int line);
#define MUST(x) do { if (!(x)) fail(#x, __LINE__); } while (0)
