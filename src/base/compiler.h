// Attributes and small macros every file may use. No functions, no state.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BK_MUST_CHECK __attribute__((warn_unused_result))
#define BK_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define BK_NORETURN __attribute__((noreturn))
#define BK_HOT __attribute__((hot))
#define BK_COLD __attribute__((cold, noinline))
#define BK_UNUSED __attribute__((unused))

#define bk_likely(x) __builtin_expect(!!(x), 1)
#define bk_unlikely(x) __builtin_expect(!!(x), 0)

#define BK_COUNT(array) (sizeof(array) / sizeof((array)[0]))

// The struct that embeds `member`, from a pointer to that member.
#define BK_OUTER(pointer, type, member) \
    ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#define BK_MSEC UINT64_C(1000000)
#define BK_SEC UINT64_C(1000000000)
