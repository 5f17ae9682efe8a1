// What barkeepctl may ask for, on the main thread: each command does its work with the words of the
// other files and fills in an answer. Some answers come much later (reload, stop). Nothing here
// talks to a socket.
#pragma once

#include "master/hatch.h"

struct bk_master;
struct bk_master_pool;

struct bk_control {
    struct bk_hatch hatch;
    struct bk_wish *reloading, *stopping; // owns: wait for an outcome
    uint64_t reloaded_at;                 // wall clock ns: the last reload's end, 0: there was none
    char cause[300], result[600];         // of it
};

// Grants what lies in the hatch. Called from the loop when it is woken (loop.woken).
void bk_control_obey(struct bk_loop *loop);
// The version that serves.
unsigned bk_control_generation(const struct bk_master_pool *pool);
// A reload is over. `refused` is "" when it worked, else one line that says why not (whole: nothing
// more to say than that); `tail` what serves now.
void bk_control_reloaded(struct bk_master_pool *pool, struct bk_str refused, struct bk_str detail);
// The server ends: everybody who still waits is told, stoppers how it ended. The loop turns no
// more.
void bk_control_end(struct bk_master *master);
