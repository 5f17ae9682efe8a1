// Python buffers lent to the engine, and their way back.
#pragma once

#include "module.h"

#include <stdatomic.h>

struct bkpy_lent {
    struct bkpy_lent *next;
    PyObject *owner;  // ref: exact bytes, so that dropping it runs no Python code
};

struct bkpy_release {
    _Atomic(struct bkpy_lent *) back;  // given back by the engine, any thread
    struct bkpy_lent *spare;           // owns
    unsigned spare_count;
};

void bkpy_release_release(struct bkpy_release *queue);
// A token for bk_answer_push that keeps `owner` alive; NULL with MemoryError.
struct bkpy_lent *bkpy_release_lend(struct bkpy_release *queue, PyObject *owner);
// bk_host_ops.release: any thread, no GIL.
void bkpy_release_back(void *host, void *token);
void bkpy_release_empty(struct bkpy_release *queue);

// Drops what came back. Called at each GIL take and before each loan, so the queue never holds more than one turn's
// worth.
static inline void
bkpy_release_drain(struct bkpy_release *queue)
{
    if (bk_unlikely(atomic_load_explicit(&queue->back, memory_order_relaxed) != NULL))
        bkpy_release_empty(queue);
}
