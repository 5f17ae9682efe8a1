// The block pool and the bump arena.
#include "base/arena.h"

#include "check.h"

TEST(pool_keeps_the_hottest_block)
{
    struct bk_pool pool;
    bk_pool_init(&pool, 2);
    void *a = bk_pool_take(&pool), *b = bk_pool_take(&pool), *c = bk_pool_take(&pool);
    CHECK(a && b && c);
    CHECK_INT(pool.out, 3);
    memset(a, 1, BK_BLOCK_SIZE);
    bk_pool_give(&pool, a);
    bk_pool_give(&pool, b);
    bk_pool_give(&pool, c);  // over what is kept: back to the allocator
    bk_pool_give(&pool, NULL);
    CHECK_INT(pool.kept, 2);
    CHECK_INT(pool.out, 0);
    CHECK(bk_pool_take(&pool) == b);
    CHECK(bk_pool_take(&pool) == a);
    CHECK_INT(pool.kept, 0);
    memset(a, 2, BK_BLOCK_SIZE);
    bk_pool_give(&pool, a);
    bk_pool_give(&pool, b);
    bk_pool_release(&pool);
    CHECK_INT(pool.kept, 0);
}

TEST(blocks_are_aligned)
{
    struct bk_pool pool;
    bk_pool_init(&pool, 0);
    void *block = bk_pool_take(&pool);
    CHECK_INT((uintptr_t)block % 64, 0);
    bk_pool_give(&pool, block);
    CHECK_INT(pool.kept, 0);
}

TEST(arena_fills_its_block_first)
{
    _Alignas(8) char block[64];
    struct bk_arena arena;
    bk_arena_init(&arena, block, block + sizeof block);
    CHECK(bk_arena_text(&arena, 3) == block);
    CHECK(bk_arena_take(&arena, 8) == (void *)(block + 8));
    CHECK(bk_arena_take(&arena, 48) == (void *)(block + 16));  // to the last byte
    CHECK_INT(arena.heap, 0);
    CHECK(bk_arena_text(&arena, 0) == block + sizeof block);
    char *outside = bk_arena_text(&arena, 1);
    CHECK(outside && (outside < block || outside >= block + sizeof block));
    CHECK(arena.heap > 0);
    bk_arena_release(&arena);
    CHECK_INT(arena.heap, 0);
    CHECK(arena.chunks == NULL);
}

TEST(arena_padding_does_not_run_over_the_end)
{
    _Alignas(8) char block[64];
    struct bk_arena arena;
    bk_arena_init(&arena, block + 1, block + 4);
    char *piece = bk_arena_take(&arena, 0);  // the padding alone does not fit
    CHECK(piece && (piece < block || piece >= block + sizeof block));
    bk_arena_release(&arena);
}

TEST(arena_without_a_block)
{
    struct bk_arena arena;
    bk_arena_init(&arena, NULL, NULL);
    CHECK(bk_arena_take(&arena, 0) != NULL);
    for (unsigned i = 1; i < 3000; i++) {
        char *piece = bk_arena_take(&arena, i);
        CHECK(piece != NULL);
        CHECK_INT((uintptr_t)piece % 8, 0);
        memset(piece, (int)i, i);
    }
    bk_arena_release(&arena);
    bk_arena_release(&arena);
}

TEST(large_pieces_do_not_waste_the_small_chunk)
{
    struct bk_arena arena;
    bk_arena_init(&arena, NULL, NULL);
    char *first = bk_arena_text(&arena, 10), *large = bk_arena_text(&arena, 100000);
    char *second = bk_arena_text(&arena, 10);
    CHECK(first && large && second == first + 10);
    memset(large, 'x', 100000);
    CHECK(arena.heap >= 100000 && arena.heap < 110000);
    bk_arena_release(&arena);
}

TEST(impossible_sizes_are_refused)
{
    char block[64];
    struct bk_arena arena;
    bk_arena_init(&arena, block, block + sizeof block);
    volatile size_t huge = SIZE_MAX;  // the compiler must not see through it
    CHECK(bk_arena_take(&arena, huge) == NULL);
    CHECK(bk_arena_take(&arena, huge - 7) == NULL);
    CHECK(bk_arena_text(&arena, huge / 2) == NULL);
    CHECK(bk_arena_text(&arena, 64) == block);
    bk_arena_release(&arena);
}
