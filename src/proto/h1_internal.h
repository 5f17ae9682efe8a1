// Between h1_parse.c, which finds the fields of a head, and h1_head.c, which says what they mean for the connection.
#pragma once

#include "base/err.h"
#include "proto/headers.h"
#include "proto/message.h"

// Which known fields a head has, kept while its lines are cut.
struct bk__h1_found {
    uint64_t seen[2], again[2];       // one bit per enum bk_header: there, there more than once
    uint8_t where[BK_HEADER_COUNT];   // index of the last such field; valid when seen
};
_Static_assert(BK_HEADER_COUNT <= 128, "struct bk__h1_found has 128 bits");

static inline void
bk__h1_note(struct bk__h1_found *found, unsigned id, unsigned index)
{
    uint64_t bit = UINT64_C(1) << (id & 63);
    found->again[id >> 6] |= found->seen[id >> 6] & bit;
    found->seen[id >> 6] |= bit;
    found->where[id] = (uint8_t)index;
}

// Fills head->flags and content_length from the fields and checks what RFC 9112 §3.2, §6 and RFC 9110 §5.3, §10.1.1 say
// about them together. The faults come in a fixed order, so they do not depend on the order of the lines.
int bk__h1_judge(struct bk_head *head, const struct bk__h1_found *found, struct bk_fault *fault) BK_MUST_CHECK;
