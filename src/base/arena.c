// The block pool of a loop and the bump arena of an exchange. Called by the engine for connection
// buffers, request heads, body blocks and output; sized so that a warm keep-alive request allocates
// nothing.
#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/banned.h"

// Kept blocks are poisoned under ASan, so a use after bk_pool_give is found although the memory is
// never freed.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BK_WITH_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define BK_WITH_ASAN 1
#endif
#ifdef BK_WITH_ASAN
#include <sanitizer/asan_interface.h>
#define hide(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define show(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#else
#define hide(at, size) ((void)0)
#define show(at, size) ((void)0)
#endif

#define BLOCK_ALIGN 64
#define CHUNK_SIZE 4096   // what an ordinary heap chunk takes from the allocator
#define PIECE_MAX ((size_t)1 << 30)
// A piece above this gets a chunk of its own, so that the rest of the current one is not lost.
#define CHUNK_ALONE 1024

static char *take(struct bk_arena *arena, size_t size, size_t align);
static char *add_chunk(struct bk_arena *arena, size_t size);

void
bk_pool_init(struct bk_pool *pool, unsigned keep)
{
    *pool = (struct bk_pool){.keep = keep};
}

void
bk_pool_release(struct bk_pool *pool)
{
    while (pool->free) {
        struct bk_block *block = pool->free;
        pool->free = block->next;
        show(block, BK_BLOCK_SIZE);
        free(block);
    }
    pool->kept = 0;
}

void *
bk_pool_take(struct bk_pool *pool)
{
    struct bk_block *block = pool->free;
    if (bk_likely(block != NULL)) {
        pool->free = block->next;
        pool->kept--;
        show(block, BK_BLOCK_SIZE);
    } else {
        block = aligned_alloc(BLOCK_ALIGN, BK_BLOCK_SIZE);
        if (!block)
            return NULL;
    }
    pool->out++;
    return block;
}

void
bk_pool_give(struct bk_pool *pool, void *memory)
{
    struct bk_block *block = memory;
    if (!block)
        return;
    pool->out--;
    if (pool->kept >= pool->keep) {
        free(block);
        return;
    }
    block->next = pool->free;
    pool->free = block;
    pool->kept++;
    hide(block + 1, BK_BLOCK_SIZE - sizeof *block);
}

void
bk_arena_init(struct bk_arena *arena, char *at, char *end)
{
    *arena = (struct bk_arena){.at = at, .end = end};
}

void
bk_arena_release(struct bk_arena *arena)
{
    while (arena->chunks) {
        struct bk_arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
    *arena = (struct bk_arena){0};
}

void *
bk_arena_take(struct bk_arena *arena, size_t size)
{
    return take(arena, size, 8);
}

char *
bk_arena_text(struct bk_arena *arena, size_t size)
{
    return take(arena, size, 1);
}

static char *
take(struct bk_arena *arena, size_t size, size_t align)
{
    size_t pad = (size_t)-(uintptr_t)arena->at & (align - 1);
    size_t room = arena->at ? (size_t)(arena->end - arena->at) : 0;
    // Two comparisons because pad + size may overflow; `at` is NULL only in an arena that was given
    // no block.
    if (bk_likely(arena->at && pad <= room && size <= room - pad)) {
        char *piece = arena->at + pad;
        arena->at = piece + size;
        return piece;
    }
    return add_chunk(arena, size);
}

static char *
add_chunk(struct bk_arena *arena, size_t size)
{
    size_t head = sizeof(struct bk_arena_chunk);
    bool alone = size > CHUNK_ALONE;
    size_t total = alone ? head + size : CHUNK_SIZE;
    if (size > PIECE_MAX)
        return NULL;
    struct bk_arena_chunk *chunk = malloc(total);
    if (!chunk)
        return NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->heap += total;
    char *piece = (char *)chunk + head;
    if (!alone) {
        arena->at = piece + size;
        arena->end = (char *)chunk + total;
    }
    return piece;
}
