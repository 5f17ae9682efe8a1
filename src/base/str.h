// Borrowed bytes: a pointer and a length, never an owner, not NUL-terminated.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "base/compiler.h"

struct bk_str {
    const char *at;  // borrows; may be NULL when len is 0
    size_t len;
};

// A bk_str over a string literal.
#define BK_STR(literal) ((struct bk_str){("" literal), sizeof(literal) - 1})

static inline struct bk_str
bk_str_of(const char *text)
{
    return (struct bk_str){text, text ? strlen(text) : 0};
}

static inline bool
bk_str_equal(struct bk_str a, struct bk_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

// ASCII case-insensitive equality; no locale.
bool bk_str_equal_nocase(struct bk_str a, struct bk_str b);

// True when `s` starts with `prefix` (exact bytes).
bool bk_str_starts(struct bk_str s, struct bk_str prefix);

// `s` without leading and trailing SP and HTAB (OWS of RFC 9110 §5.6.3), nothing else.
struct bk_str bk_str_trim(struct bk_str s);

// Takes the next element of a comma list (RFC 9110 §5.6.1) out of *rest, trimmed; false at the end.
// Empty elements are returned as empty strings: the caller decides whether they matter. "" is one empty element, a
// *rest that is NULL has none.
bool bk_str_next_item(struct bk_str *rest, char separator, struct bk_str *ret_item);

// 1*DIGIT into *ret: -EINVAL when not only digits or empty, -ERANGE above `max`. No sign, no space.
int bk_str_parse_u64(struct bk_str s, uint64_t max, uint64_t *ret) BK_MUST_CHECK;

// Decimal digits of `value` into `out` (no NUL); returns how many (1..20). `out` has room for 20.
size_t bk_str_format_u64(char *out, uint64_t value);

// Escapes for a log line: control bytes, backslash, double quote and bytes >= 0x7f as \xNN.
// Writes at most `room` bytes without NUL, whole escapes only; returns bytes written.
size_t bk_str_escape(char *out, size_t room, struct bk_str s);

// Edit distance without regard to case, a swap counts one; capped at `limit` (+1 when larger). For "near:" hints only.
unsigned bk_str_distance(struct bk_str a, struct bk_str b, unsigned limit);
