// A look at the requests that are with the application, from a thread that is not inside the engine
// and does not want to be: a worker's deadlines are kept also while every thread of Python, or its
// one loop, is stuck.
//
// What is looked at stays where it is meanwhile: bk_exchange_commit waits for the end of the look.
// The order "commit clears handed_out, then looks at peeking; the looker sets peeking, then looks at
// handed_out" needs a fence between the two on both sides. The committing side is the hot one, so
// the looker pays for both with membarrier(2).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "host/host.h"

struct bk_engine;
struct bk_exchange;

// What can be said about a request that runs; copies, all of it.
struct bk_running {
    struct bk_exchange_ref ref;
    uint64_t age;                  // ns since the application was called
    uint64_t bytes_in, bytes_out;  // of the request and of the answer, heads included
    unsigned thread;               // whose number runs it; 0: the loop's one
    bool slow_told;                // bk_peek_told was called
    char id[132];                  // request id
    char request[256];             // "GET /path?query", escaped
    char client[64];               // "client 1.2.3.4", "client on a unix socket"
};

// Makes looking possible in this process. Once, before the first look.
void bk_peek_prepare(void);

// The oldest requests that have run for `age` ns or more and have no first byte of an answer yet,
// oldest first, at most `room` of them; no sessions (WebSocket), and none that was marked overdue.
// *ret_running: how many run in all, *ret_overdue: how many of them were marked. Any thread, but one
// at a time.
unsigned bk_peek(struct bk_engine *engine, uint64_t age, struct bk_running *into, unsigned room,
                 unsigned *ret_running, unsigned *ret_overdue);
// Marks a request, if it still is the one that was seen.
void bk_peek_told(struct bk_engine *engine, const struct bk_running *seen);
void bk_peek_overdue(struct bk_engine *engine, const struct bk_running *seen);
// Does that request still run without an answer?
bool bk_peek_runs(struct bk_engine *engine, const struct bk_running *seen);

// For bk_exchange_commit, after handed_out was cleared.
void bk__peek_over(const struct bk_engine *engine);
