// Output of one exchange: parts in order, each a run of bytes (in the exchange's block, in an own
// block, or lent by the host) or a file range. Small pieces are copied next to each other, so a
// usual answer is one part and one send.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

struct bk_exchange;

enum bk_part_kind { BK_PART_BYTES, BK_PART_LENT, BK_PART_FILE };

struct bk_part {
    struct bk_part *next;
    uint8_t kind;    // enum bk_part_kind
    bool heap;       // the part itself is malloc'ed
    const char *at;  // BYTES, LENT: next byte to send
    uint64_t len;    // bytes left
    void *token;     // LENT: the host's; BYTES: malloc'ed block to free, or NULL
    int fd;          // FILE: owns
    off_t offset;    // FILE: next byte
};

#define BK_PARTS_INLINE 4
#define BK_COPY_MAX 4096  // lent pieces up to this size are copied instead

struct bk_out {
    struct bk_part *first, *last;
    uint64_t queued;        // bytes in all parts
    char *room, *room_end;  // free bytes to copy into
    char *home, *home_end;  // the part of the exchange's block that output may use
    char *headroom;  // room kept free for the head in front of the first copied piece, or NULL
    uint32_t headroom_size;
    uint8_t inline_used;  // bit per inline part
    struct bk_part parts[BK_PARTS_INLINE];
};

void bk__out_init(struct bk_out *out);
// Keeps `size` bytes free in front of the first piece that is copied, so that head and body end up
// in one run.
void bk__out_keep_headroom(struct bk_exchange *x, size_t size);
// Copies; -ENOMEM.
int bk__out_copy(struct bk_exchange *x, const void *data, size_t len);
// Puts `len` bytes in front of everything queued. They are in the headroom or live as long as the
// exchange.
int bk__out_prepend(struct bk_exchange *x, const char *at, size_t len);
// Takes over a malloc'ed block of `len` bytes; -ENOMEM (not taken then).
int bk__out_give(struct bk_exchange *x, char *block, size_t len) BK_MUST_CHECK;
// Lent until released; -ENOMEM (nothing taken then).
int bk__out_lend(struct bk_exchange *x, const void *data, size_t len, void *token);
int bk__out_file(struct bk_exchange *x, int fd, off_t offset, uint64_t len);
// The first part is a file: `len` bytes of it were read into the malloc'ed `block`, which is taken
// over and sent in their place. -ENOMEM (not taken then).
int bk__out_read(struct bk_exchange *x, char *block, size_t len) BK_MUST_CHECK;
// `sent` bytes of the first part(s) are gone: frees what is done.
void bk__out_consume(struct bk_exchange *x, size_t sent);
// Drops everything (tokens are released, files closed).
void bk__out_drop(struct bk_exchange *x);
