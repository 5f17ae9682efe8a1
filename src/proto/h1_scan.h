// Finding the end of tokens, targets and values, with the widest instructions this machine has. Only h1_parse.c calls
 // it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BK__SCAN_WINDOW 512  // bytes classified at a time: one window holds most heads

// One bit per byte. Bits behind the last byte of the buffer are set, so a search always ends.
struct bk__scan_marks {
    uint64_t names[BK__SCAN_WINDOW / 64 + 1];   // bytes that cannot be in a token; the last word is for the caller
    uint64_t values[BK__SCAN_WINDOW / 64 + 1];  // bytes that cannot be in a field value
};

struct bk__scan {
    const char *name;
    // Classifies at[0..len), 0 < len <= BK__SCAN_WINDOW, into (len + 63) / 64 words of each kind. Reads nothing
    // outside. Returns whether there is a byte >= 0x80.
    bool (*classify)(const char *at, size_t len, struct bk__scan_marks *ret_marks);
    // First byte of [at, end) that is not of the class, or end.
    const char *(*token)(const char *at, const char *end);
    const char *(*target)(const char *at, const char *end);
    const char *(*value)(const char *at, const char *end);
};

extern const struct bk__scan bk__scan_plain;
#if defined(__x86_64__)
extern const struct bk__scan bk__scan_sse42, bk__scan_avx2;
#endif

// The code chosen for this machine before main(); only bk_h1_scan_force changes it later, in tests.
extern const struct bk__scan *bk__scan;
