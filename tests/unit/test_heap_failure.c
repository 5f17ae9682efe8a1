// Each allocation fails once, in turn: the call says so, leaves its out-parameters alone and leaks
// nothing (the leak checker of a sanitizer build looks). The linker sends malloc, calloc and
// aligned_alloc of everything linked here to the wrappers below (tests/unit/meson.build).
#include "base/arena.h"
#include "check.h"
#include "loop/offload.h"
#include "net/addr.h"

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);

static long countdown = -1;  // allocations until one fails; negative: never

static bool
fails(void)
{
    if (countdown < 0)
        return false;
    return countdown-- == 0;
}

void *
__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(align, size);
}

// Calls `attempt` with the first, second, ... allocation failing until it gets through; returns how
// often it failed.
static unsigned
fail_each(int (*attempt)(void))
{
    for (unsigned n = 0;; n++) {
        countdown = n;
        int error = attempt();
        bool used = countdown < 0;
        countdown = -1;
        if (error == 0 && !used)
            return n;
        CHECK(n < 1000);
        if (used)
            CHECK_INT(error, -ENOMEM);
    }
}

static int
fill_arena(void)
{
    struct bk_arena arena;
    int error = 0;
    bk_arena_init(&arena, NULL, NULL);
    for (size_t size = 1; size < 5000 && error == 0; size += 500) {
        struct bk_arena before = arena;
        if (!bk_arena_take(&arena, size)) {
            CHECK(arena.chunks == before.chunks && arena.heap == before.heap);
            error = -ENOMEM;
        }
    }
    bk_arena_release(&arena);
    return error;
}

TEST(arena)
{
    CHECK(fail_each(fill_arena) > 3);
}

static int
take_blocks(void)
{
    struct bk_pool pool;
    int error = 0;
    void *blocks[3] = {NULL};
    bk_pool_init(&pool, 1);
    for (unsigned i = 0; i < 3; i++) {
        blocks[i] = bk_pool_take(&pool);
        if (!blocks[i])
            error = -ENOMEM;
    }
    CHECK_INT(pool.out, error ? 2 : 3);
    for (unsigned i = 0; i < 3; i++)
        bk_pool_give(&pool, blocks[i]);
    CHECK_INT(pool.out, 0);
    bk_pool_release(&pool);
    return error;
}

TEST(pool)
{
    CHECK_INT(fail_each(take_blocks), 3);
}

static int
make_offload(void)
{
    struct bk_offload *offload = NULL;
    struct bk_loop loop = {0};
    int error = bk_offload_new(&loop, 2, &offload);
    CHECK((error == 0) == (offload != NULL));
    bk_offload_free(offload);
    return error;
}

TEST(offload)
{
    CHECK_INT(fail_each(make_offload), 1);
}

static int
parse_nets(void)
{
    struct bk_nets nets = {.count = 77};
    struct bk_str bad;
    int error = bk_nets_parse(BK_STR("127.0.0.1,::1"), &nets, &bad);
    CHECK_INT(nets.count, error ? 77 : 2);
    if (error == 0)
        bk_nets_release(&nets);
    return error;
}

TEST(nets)
{
    CHECK_INT(fail_each(parse_nets), 1);
}
