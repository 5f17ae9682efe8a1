// Accepting: listeners in the loop with EPOLLEXCLUSIVE, a gate that keeps workers level, a pause
// when there is no room.
#pragma once

#include "host/host.h"
#include "loop/loop.h"
#include "net/listen.h"
#include "stats/stats_segment.h"

#define BK_LISTENERS_MAX 64

struct bk_accept_listener {
    struct bk_watch watch;
    struct bk_engine *engine;  // borrows
    struct bk_listener listener;
    struct bk_listener_info info;
    uint8_t batch, full;  // connections expected at once less one; full batches in a row
    char name[INET6_ADDRSTRLEN + 108];
    char port[8];
    char text[160];  // as bk_addr_text
    char hint[200];  // https: what a client that speaks plain HTTP is told
};

struct bk_accept {
    struct bk_accept_listener *listeners;  // owns
    unsigned count;
    struct bk_segment *segment;  // borrows: everybody's slots, for the gate
    bool open, armed, paused;
    uint32_t limit;         // most connections of this worker
    uint64_t seen;          // connections opened and closed by all workers, as of the last look
    uint64_t active_until;  // the gate holds until then; afterwards everybody may accept
    uint64_t *suspects;     // owns: per slot the `turned` of a worker that left a connection lying
    uint8_t unaccepted;     // ticks in a row that found a connection waiting
    int spare_fd;           // owns: given up for a moment on EMFILE
    struct bk_timer timer;  // end of a pause
    uint64_t look;          // when an armed worker looks for a forgotten connection next
    uint64_t tick;          // next gate tick, 0 = none
};

int bk__accept_init(struct bk_engine *engine, struct bk_segment *segment) BK_MUST_CHECK;
void bk__accept_release(struct bk_engine *engine);
int bk__accept_open(struct bk_engine *engine) BK_MUST_CHECK;
// Drain: takes what is queued, then closes. Called each turn until it returns true.
bool bk__accept_drain(struct bk_engine *engine);
void bk__accept_close(struct bk_engine *engine);
// A connection ended: there may be room again.
void bk__accept_room(struct bk_engine *engine);
// Once a turn: arms or disarms by the gate. Milliseconds until it wants to be asked again, -1 = no
// wish.
int bk__accept_gate(struct bk_engine *engine);
