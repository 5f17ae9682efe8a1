// Bytes that grow, with a ceiling: what a peer sends must never decide alone how much memory is
// taken.
#pragma once

#include "base/str.h"

struct bk_buf {  // all zero: empty
    char *at;    // owns
    size_t len, size;
};

// Makes sure that `more` bytes fit behind what is there. Doubles, so that many small additions stay
// cheap, but takes no more than `most` bytes in all. -EMSGSIZE when `most` is too little, -ENOMEM;
// nothing is lost then.
int bk_buf_reserve(struct bk_buf *buf, size_t more, size_t most) BK_MUST_CHECK;
// Appends; errors as above.
int bk_buf_append(struct bk_buf *buf, struct bk_str bytes, size_t most) BK_MUST_CHECK;
void bk_buf_release(struct bk_buf *buf);
