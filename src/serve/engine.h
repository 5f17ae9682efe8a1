// The engine of one worker: loop, listeners, connections, the run queue. Everything in serve/ hangs
// on it; hosts see it through host/host.h, the worker through the calls at the end of this file.
#pragma once

#include <stdatomic.h>

#include "base/arena.h"
#include "base/log.h"
#include "config/config.h"
#include "host/host.h"
#include "loop/loop.h"
#include "loop/offload.h"
#include "net/listen.h"
#include "proto/codec.h"
#include "serve/accept.h"
#include "serve/access_log.h"
#include "serve/baton.h"
#include "serve/conn.h"
#include "serve/exchange.h"
#include "serve/guard.h"
#include "serve/peek.h"
#include "stats/stats_segment.h"
#include "tls/tls.h"

#define BK_SCRATCH_SIZE (128 * 1024)
#define BK_SLAB_SIZE 32
#define BK_SLABS_MAX 4096

enum bk_order {
    BK_ORDER_NONE,
    BK_ORDER_YIELD,  // others take over: drain, but idle connections may send one more request
    BK_ORDER_DRAIN,  // finish what is here
    BK_ORDER_QUIT,
};

struct bk_engine {
    struct bk_loop loop;
    const struct bk_config *config;  // borrows the worker
    struct bk_slot *slot;            // borrows the scoreboard: this worker's own slot
    struct bk_counters *counters;    // the slot's counters
    struct bk_pool blocks;
    struct bk_offload *offload;     // owns
    const struct bk_host_ops *ops;  // borrows the host; NULL before attach
    void *host;

    struct bk_accept accept;
    struct bk_list conns;    // every connection, least recently active first
    struct bk_list pending;  // connections to look at in the next turn without waiting for an event
    uint32_t conn_count;
    uint64_t next_conn;  // number of the next connection

    struct bk_baton *baton;  // owns; NULL: one caller only
    struct bk_exchange *ready_first, *ready_last;  // the run queue
    struct bk_timer queue_timer;  // --queue-timeout of the first in the run queue
    struct bk_log_limit queue_said;
    struct bk_list running;  // exchanges with the host, oldest first
    uint64_t free_rows;      // rows of the scoreboard that show nobody, a bit each
    uint32_t running_count;
    unsigned ready_count;
    struct bk_exchange *free_exchange;
    struct bk_exchange *slabs[BK_SLABS_MAX];  // owns: BK_SLAB_SIZE exchanges each, never moved
    _Atomic unsigned slab_count;

    struct bk_codec_limits limits;
    struct bk_nets trusted;  // --forwarded-allow-ips
    struct bk_guard guard;
    struct bk_access_log access;
    struct bk_list stirred;         // exchanges for which bk_engine_event may have something
    struct bk_timer gate_timer;     // polled by a foreign loop: the accept gate's next look
    uint64_t turned_at;             // monotonic ns: the last turn's wait ended
    uint64_t spill_bytes;  // bytes in spill files now
    char *spill_dir;       // owns

    char common[64];  // "Server: barkeep\r\nDate: ...\r\n" of this second
    uint8_t common_server, common_len;
    uint64_t common_second;
    uint64_t wall_offset;  // wall clock minus monotonic clock, refreshed each second

    void (*doors_closed)(void *self);  // a drain has emptied the accept queues; may be NULL
    void *doors_self;                  // borrows the worker
    // --max-requests are answered. False: call again in the next turn. Never called with spent_at
    // UINT64_MAX.
    bool (*spent)(void *self);
    uint64_t spent_at;
    _Atomic int order;                 // enum bk_order, set by any thread
    uint64_t idle_until;  // draining: from then on idle connections are closed
    bool draining, stopped, turning;
    bool standing;         // all threads are busy: somebody turns the loop who will run nothing
    bool hosted;           // BK_HOST_LOOP: no call may wait
    bool stop_told;        // hosted: BK_TURN_STOP was returned; turns wait as asked again
    bool polled;           // a foreign loop polls the loop's fd
    bool handed_out;       // the host got an exchange since the last turn
    bool dead;             // a forked child: touch nothing
    _Atomic bool peeking;  // peek.c looks at exchanges: a commit waits
    uint64_t id_secret[2];  // request ids

    struct bk_tls *tls;                // ref: certificates for new connections; NULL without https
    struct bk_tls *_Atomic tls_next;   // ref: takes its place at the next one
    uint64_t tls_keep_alive;           // --keep-alive of https listeners, ns
    uint64_t handshake_turn;           // loop.now of the turn that `handshakes` counts
    unsigned handshakes;
    char *scratch;         // owns: BK_SCRATCH_SIZE bytes to receive bodies into
};

// Makes an engine on the heap. `slot` and `config` must outlive it; `peers` are all slots, for the
// accept gate.
int bk_engine_new(const struct bk_config *config, struct bk_segment *segment, struct bk_slot *slot,
                  struct bk_engine **ret) BK_MUST_CHECK;
void bk_engine_free(struct bk_engine *engine);
// Takes over the fd. The engine does not accept before bk_engine_open.
int bk_engine_add_listener(struct bk_engine *engine,
                           const struct bk_listener *listener) BK_MUST_CHECK;
// Any thread: certificates for the connections to come; takes over the reference.
void bk_engine_set_tls(struct bk_engine *engine, struct bk_tls *tls);
// Starts accepting.
int bk_engine_open(struct bk_engine *engine) BK_MUST_CHECK;
// Any thread, also signal handlers: asks for one of them; going back is not possible.
void bk_engine_order(struct bk_engine *engine, enum bk_order order);
// Any thread: takes the listeners out of the loop and closes them at once.
void bk_engine_close_listeners(struct bk_engine *engine);
// Forked child: closes every fd without touching shared kernel state.
void bk_engine_abandon(struct bk_engine *engine);

// True from the moment an order came, also before a turn has obeyed it: answers say close from then
// on.
static inline bool
bk_engine_is_stopping(const struct bk_engine *engine)
{
    return atomic_load_explicit(&engine->order, memory_order_relaxed) != BK_ORDER_NONE;
}

// Wall clock of this turn in ns.
static inline uint64_t
bk_engine_wall(const struct bk_engine *engine)
{
    return engine->loop.now + engine->wall_offset;
}

// One turn, inside. `nested`: by one who will not run what is ready (an application thread that
// waits in its call, the watcher), so that a filled run queue is no reason not to wait.
int bk__engine_turn(struct bk_engine *engine, int wait_ms, bool nested);

// hosted.c: after a call from outside a turn the foreign loop must hear of new deadlines and of work
// that no event announces.
void bk__hosted_settle(struct bk_engine *engine);
// The same at the end of a turn.
void bk__hosted_turned(struct bk_engine *engine);

// Server and Date lines of this second.
void bk__engine_second(struct bk_engine *engine);
