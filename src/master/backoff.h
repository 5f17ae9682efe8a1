// How long to wait before a worker number is started again: 0.1 s, doubled with each death up to 30 s,
// forgotten once a worker has served for a minute. Pure arithmetic, no clock of its own. Used by scale.c and
// reap.c.
#pragma once

#include <stdint.h>

#include "base/compiler.h"

#define BK_BACKOFF_FIRST (100 * BK_MSEC)
#define BK_BACKOFF_MOST (30 * BK_SEC)
#define BK_BACKOFF_HEALTHY (60 * BK_SEC)

struct bk_backoff {
    unsigned deaths;  // in a row, without a healthy minute between
};

// A worker ended unasked after `served_ns` of readiness (0: it never got ready). Returns the pause before the
// next one.
uint64_t bk_backoff_died(struct bk_backoff *backoff, uint64_t served_ns);
