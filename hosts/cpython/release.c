// Lent buffers come back on a lock-free list, because the engine must not touch Python objects: it
// may run without the GIL.
#include "release.h"

#include "bkpy_host.h"

#define KEEP_SPARE 64

struct bkpy_lent *
bkpy_release_lend(struct bkpy_release *queue, PyObject *owner)
{
    bkpy_release_drain(queue);
    struct bkpy_lent *lent = queue->spare;
    if (lent) {
        queue->spare = lent->next;
        queue->spare_count--;
    } else {
        lent = PyMem_Malloc(sizeof(*lent));
        if (!lent) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    lent->owner = Py_NewRef(owner);
    return lent;
}

void
bkpy_release_back(void *host, void *token)
{
    struct bkpy_release *queue = &((struct bkpy_host *)host)->release;
    struct bkpy_lent *lent = token;
    lent->next = atomic_load_explicit(&queue->back, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&queue->back, &lent->next, lent,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

void
bkpy_release_empty(struct bkpy_release *queue)
{
    struct bkpy_lent *lent = atomic_exchange_explicit(&queue->back, NULL, memory_order_acquire);
    while (lent) {
        struct bkpy_lent *next = lent->next;
        Py_CLEAR(lent->owner);
        if (queue->spare_count < KEEP_SPARE) {
            lent->next = queue->spare;
            queue->spare = lent;
            queue->spare_count++;
        } else {
            PyMem_Free(lent);
        }
        lent = next;
    }
}

void
bkpy_release_release(struct bkpy_release *queue)
{
    bkpy_release_empty(queue);
    while (queue->spare) {
        struct bkpy_lent *next = queue->spare->next;
        PyMem_Free(queue->spare);
        queue->spare = next;
    }
    queue->spare_count = 0;
}
