// Blocks and arenas. A pool keeps 16 KiB blocks for reuse (LIFO, so the hottest comes first); an
// arena is a bump allocator over a first block (usually the one the request head was received into)
// and, when that is full, heap chunks. Not thread-safe: a pool belongs to one loop, an arena to one
// exchange.
#pragma once

#include <stddef.h>

#include "base/compiler.h"

#define BK_BLOCK_SIZE 16384

struct bk_block {
    struct bk_block *next;  // owns: the next free block while in the pool
};

struct bk_pool {
    struct bk_block *free;  // owns
    unsigned kept;          // blocks in `free`
    unsigned keep;          // at most so many are kept, the rest goes back to the allocator
    unsigned out;           // blocks in use, for tests and counters
};

void bk_pool_init(struct bk_pool *pool, unsigned keep);
void bk_pool_release(struct bk_pool *pool);
// A block of BK_BLOCK_SIZE bytes, contents undefined; NULL when out of memory.
void *bk_pool_take(struct bk_pool *pool) BK_MUST_CHECK;
// Accepts NULL.
void bk_pool_give(struct bk_pool *pool, void *block);

struct bk_arena_chunk {
    struct bk_arena_chunk *next;  // owns
};

struct bk_arena {
    char *at, *end;                 // free bytes of the current block; borrows the block
    struct bk_arena_chunk *chunks;  // owns: heap chunks
    size_t heap;                    // bytes in chunks
};

// Starts over the free part [at, end) of a block that outlives the arena. Owns nothing yet.
void bk_arena_init(struct bk_arena *arena, char *at, char *end);
// Frees the heap chunks and forgets everything.
void bk_arena_release(struct bk_arena *arena);
// `size` bytes aligned to 8, or NULL when out of memory or above 1 GiB.
void *bk_arena_take(struct bk_arena *arena, size_t size) BK_MUST_CHECK;
// `size` bytes without alignment (text); NULL when out of memory.
char *bk_arena_text(struct bk_arena *arena, size_t size) BK_MUST_CHECK;
