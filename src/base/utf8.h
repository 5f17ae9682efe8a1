// Is a run of bytes UTF-8 (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF)? In
// one go or piece by piece: a wrong byte is seen as soon as it arrives, wherever the pieces are
// cut.
#pragma once

#include "base/str.h"

// All zero: at the beginning of a character.
struct bk_utf8 {
    uint8_t left;       // continuation bytes still to come
    uint8_t low, high;  // what the next of them may be
};

// False: no text continues what was fed before with these bytes; the state is of no use then.
bool bk_utf8_feed(struct bk_utf8 *state, struct bk_str bytes) BK_MUST_CHECK;

// The text does not end inside a character.
static inline bool
bk_utf8_whole(const struct bk_utf8 *state)
{
    return state->left == 0;
}

static inline bool
bk_utf8_valid(struct bk_str text)
{
    struct bk_utf8 state = {0};
    return bk_utf8_feed(&state, text) && bk_utf8_whole(&state);
}
