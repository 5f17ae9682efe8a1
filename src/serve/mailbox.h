// Errands for whoever is inside the engine: a stack many threads push to and one empties. Nothing
// is allocated, an errand lives with its owner: on the stack of a thread that sleeps until it was
// run, or in the exchange that is committed.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct bk_errand {
    struct bk_errand *next;
    // Inside the engine. May free the errand when nobody waits for it.
    void (*run)(struct bk_errand *errand);
    bool waited_for;  // its owner sleeps in bk__errand_wait
    _Atomic uint32_t done;
};

struct bk_mailbox {
    _Atomic(struct bk_errand *) last;
};

// Any thread.
void bk__mailbox_post(struct bk_mailbox *mailbox, struct bk_errand *errand);
// Runs what was posted, oldest first. Only inside the engine.
void bk__mailbox_empty(struct bk_mailbox *mailbox);
// Sleeps until the errand was run.
void bk__errand_wait(struct bk_errand *errand);

// Ordered after what the caller stored before (seq_cst): a poster that did not see that store is
// seen here.
static inline bool
bk__mailbox_has(const struct bk_mailbox *mailbox)
{
    return atomic_load(&mailbox->last) != NULL;
}

// futex(2), for words of this process. wait: returns 0, or -EINTR, -ETIMEDOUT; timeout_ms -1: none.
int bk__futex_wait(_Atomic uint32_t *word, uint32_t expected, int timeout_ms);
void bk__futex_wake(_Atomic uint32_t *word);
