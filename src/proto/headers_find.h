// Looking a field name up, inlined into the parser: it is asked for every field of every request.
#pragma once

#include "proto/headers.h"
#include "proto/headers_hash.h"

#define BK__HEADER_NAME_MAX 32

struct bk__header_known {
    uint8_t len;
    char name[BK__HEADER_NAME_MAX - 1];
};

extern const uint8_t bk__header_slots[1 << BK__HEADER_HASH_BITS];
extern const uint64_t bk__header_keys[BK_HEADER_COUNT];  // see bk__header_of_token
extern const struct bk__header_known bk__header_known[BK_HEADER_COUNT];

static inline uint32_t
bk__load_32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

// Setting 0x20 makes letters lower case. Of all token bytes it maps only the two cases of a letter to that letter and
// only
// '-' to '-', and our names have nothing else: for tokens this comparison is exact.
static inline uint64_t
bk__load_lower(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value | UINT64_C(0x2020202020202020);
}

// bk_header_id for a name that is known to be a token.
static inline enum bk_header
bk__header_of_token(const char *name, size_t len)
{
    uint32_t first, last;
    if (bk_likely(len >= 4)) {
        first = bk__load_32(name) | 0x20202020;
        last = bk__load_32(name + len - 4) | 0x20202020;
    } else if (len >= 2) {
        char padded[4] = {name[0], name[1], len == 3 ? name[2] : ' ', 0};
        last = first = bk__load_32(padded) | 0x20202020;
    } else {
        return BK_HEADER_OTHER;
    }
    uint64_t key = ((uint64_t)first << 32 | last) ^ len;
    unsigned id = bk__header_slots[key * BK__HEADER_FACTOR >> (64 - BK__HEADER_HASH_BITS)];
    const struct bk__header_known *known = &bk__header_known[id];
    if (bk_unlikely(bk__header_keys[id] != key || known->len != len))
        return BK_HEADER_OTHER;
    if (len > 8) {  // else the key holds all its bytes
        for (size_t i = 4; i + 8 < len; i += 8)
            if (bk_unlikely(bk__load_lower(name + i) != bk__load_lower(known->name + i)))
                return BK_HEADER_OTHER;
        if (bk_unlikely(bk__load_lower(name + len - 8) != bk__load_lower(known->name + len - 8)))
            return BK_HEADER_OTHER;
    }
    return (enum bk_header)id;
}
