// CPython maps and unmaps its 16 KiB pieces of the Python stack through the arena allocator: 8 us
// for each call at an unlucky depth, and for each fresh greenlet. A few freed pieces are kept here
// instead (python-host.md, results 7 and 8). One state per process, because the allocator is one
// per process.
#include "allocator.h"

#include "compat.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/compiler.h"

#define PIECE 16384
#define KEEP 64  // pieces; enough for threads
#define KEEP_MOST 1024

static struct {
    PyObjectArenaAllocator original;
    atomic_flag
        busy;  // threads hold the GIL here, but interpreters with a GIL of their own may meet
    unsigned count, keep;
    void *pieces[KEEP_MOST];
    bool installed;
} cache = {.busy = ATOMIC_FLAG_INIT, .keep = KEEP};

static void *
take(void *unused, size_t size)
{
    void *piece = NULL;
    if (bk_likely(size == PIECE)
        && !atomic_flag_test_and_set_explicit(&cache.busy, memory_order_acquire)) {
        if (cache.count)
            piece = cache.pieces[--cache.count];
        atomic_flag_clear_explicit(&cache.busy, memory_order_release);
    }
    return piece ? piece : cache.original.alloc(cache.original.ctx, size);
}

static void
give(void *unused, void *piece, size_t size)
{
    if (bk_likely(size == PIECE)
        && !atomic_flag_test_and_set_explicit(&cache.busy, memory_order_acquire)) {
        bool kept = cache.count < cache.keep;
        if (kept)
            cache.pieces[cache.count++] = piece;
        atomic_flag_clear_explicit(&cache.busy, memory_order_release);
        if (kept)
            return;
    }
    cache.original.free(cache.original.ctx, piece, size);
}

// The interpreter's own functions lie in the same file as the rest of the interpreter; those of a
// profiler do not.
static bool
is_interpreters(PyObjectArenaAllocator *allocator)
{
    Dl_info interpreter, alloc, release;
    return dladdr((void *)(uintptr_t)PyObject_GetArenaAllocator, &interpreter)
           && dladdr((void *)(uintptr_t)allocator->alloc, &alloc)
           && dladdr((void *)(uintptr_t)allocator->free, &release)
           && alloc.dli_fbase == interpreter.dli_fbase
           && release.dli_fbase == interpreter.dli_fbase;
}

int
bkpy_allocator_install(void)
{
    const char *chosen = getenv("PYTHONMALLOC");
    if (cache.installed)
        return 1;
    if (chosen && *chosen)
        return 0;
    PyObject_GetArenaAllocator(&cache.original);
    if (!is_interpreters(&cache.original))
        return 0;
    PyObjectArenaAllocator ours = {.ctx = NULL, .alloc = take, .free = give};
    PyObject_SetArenaAllocator(&ours);
    cache.installed = true;
    return 1;
}

void
bkpy_allocator_keep(unsigned pieces)
{
    cache.keep = pieces < KEEP ? KEEP : pieces > KEEP_MOST ? KEEP_MOST : pieces;
}
