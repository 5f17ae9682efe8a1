// A spill file: a request body too large for memory, in an unlinked file, written by the offload
// threads in 256 KiB pieces so that a slow disk never holds up the loop (pitfalls 21).
#pragma once

#include "base/compiler.h"
#include "base/str.h"

struct bk_exchange;
struct bk_spill;

// Opens the file in --spill-dir. -ENOSPC over --spill-limit, or the errno of open.
int bk__spill_new(struct bk_exchange *x, struct bk_spill **ret) BK_MUST_CHECK;
// Takes the bytes. 0; 1: full for now, stop reading; -ENOSPC, -EIO, -ENOMEM.
int bk__spill_take(struct bk_spill *spill, struct bk_str data) BK_MUST_CHECK;
// No more bytes come. True: a write is still under way; the exchange is queued when it is done.
bool bk__spill_end(struct bk_spill *spill);
bool bk__spill_wants(const struct bk_spill *spill);
uint64_t bk__spill_length(const struct bk_spill *spill);
// Reads at `position`; 0 at the end. peek keeps a window of its own, valid until the next call.
ssize_t bk__spill_read(struct bk_spill *spill, uint64_t position, void *into, size_t room);
ssize_t bk__spill_peek(struct bk_spill *spill, uint64_t position, struct bk_str *ret);
// While a write is under way the file outlives the exchange and goes when that is done.
void bk__spill_free(struct bk_spill *spill);
