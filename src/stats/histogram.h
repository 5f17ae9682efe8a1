// How long things took: a log-linear histogram in shared memory. Eight buckets for each doubling,
// so a percentile read from it is at most one eighth too high. One writer, any number of readers.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"

#define BK_HISTOGRAM_LOW 10  // the first bucket: below 2^10 ns, about 1 us
#define BK_HISTOGRAM_HIGH 37 // the last one: from 2^37 ns on, 137 s
#define BK_HISTOGRAM_BUCKETS (2 + (BK_HISTOGRAM_HIGH - BK_HISTOGRAM_LOW) * 8)

struct bk_histogram {
    _Atomic uint64_t sum; // ns
    _Atomic uint64_t buckets[BK_HISTOGRAM_BUCKETS];
};

// A copy, or the sum of several.
struct bk_timings {
    uint64_t count, sum;
    uint64_t buckets[BK_HISTOGRAM_BUCKETS];
};

static inline unsigned
bk_histogram_bucket(uint64_t ns)
{
    if (bk_unlikely(ns < (uint64_t)1 << BK_HISTOGRAM_LOW))
        return 0;
    unsigned top = 63 - (unsigned)__builtin_clzll(ns);
    if (bk_unlikely(top >= BK_HISTOGRAM_HIGH))
        return BK_HISTOGRAM_BUCKETS - 1;
    return 1 + (top - BK_HISTOGRAM_LOW) * 8 + (unsigned)(ns >> (top - 3) & 7);
}

static inline void
bk_histogram_add(struct bk_histogram *histogram, uint64_t ns)
{
    _Atomic uint64_t *bucket = &histogram->buckets[bk_histogram_bucket(ns)];
    atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&histogram->sum,
                          atomic_load_explicit(&histogram->sum, memory_order_relaxed) + ns,
                          memory_order_relaxed);
}

// What a bucket ends at in ns; the last one has no end: UINT64_MAX.
uint64_t bk_histogram_end(unsigned bucket);

void bk_timings_add_histogram(struct bk_timings *to, const struct bk_histogram *from);
void bk_timings_add(struct bk_timings *to, const struct bk_timings *from);
// What happened between two copies of a histogram that only grew; `earlier` may be NULL. A count
// that went back (it cannot) is taken as none.
void bk_timings_between(struct bk_timings *out, const struct bk_timings *earlier,
                        const struct bk_timings *later);
// The time in ns that `permille` of 1000 did not exceed: the end of its bucket, 0 when nothing was
// measured.
uint64_t bk_timings_percentile(const struct bk_timings *timings, unsigned permille);
