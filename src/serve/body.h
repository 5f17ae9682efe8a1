// Request bodies: in memory, in an unlinked spill file, or streamed to an application that runs
// already.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct bk_exchange;
struct bk_spill;

enum bk_body_kind { BK_BODY_NONE, BK_BODY_MEMORY, BK_BODY_SPILL, BK_BODY_STREAM };

#define BK_STREAM_HIGH 65536  // received but unread bytes of a streamed body; reading stops above

struct bk_body {
    uint8_t kind;            // enum bk_body_kind
    bool complete;           // every byte is here
    bool owned;              // `at` is malloc'ed (else it lies in the exchange's block)
    bool peeked;             // STREAM: the application looks at `at`: it stays where it is
    char *kept;              // owns: what `at` was while it was looked at
    int error;               // negative errno once the body broke
    uint32_t size;           // bytes allocated at `at` when owned
    char *at;                // MEMORY: the body; STREAM: unread bytes start at at + head
    uint32_t head;           // STREAM: offset of the first unread byte
    uint64_t len;            // MEMORY, SPILL: bytes so far; STREAM: unread bytes
    uint64_t position;       // the application's read position
    struct bk_spill *spill;  // owns
};

// Chooses the kind for the head at hand.
void bk__body_begin(struct bk_exchange *x, bool buffered);
// Takes bytes: 0 go on, 1 go on but stop reading (spill or stream is full), negative errno:
// -ENOMEM, -ENOSPC (507), -EIO.
int bk__body_take(struct bk_exchange *x, struct bk_str data) BK_MUST_CHECK;
// The codec said END. 1: not before the spill is written (bk__conn_body_done comes later), 0:
// complete now.
int bk__body_end(struct bk_exchange *x);
// Broken by the peer or a limit; the application's next read gets `error`.
void bk__body_fail(struct bk_exchange *x, int error);
// Is there room to receive more?
bool bk__body_wants(const struct bk_exchange *x);
void bk__body_release(struct bk_exchange *x);
