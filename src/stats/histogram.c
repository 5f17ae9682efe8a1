// Reading histograms. Called by the master's desk and by tests; workers only add.
#include "stats/histogram.h"

#include "base/banned.h"

uint64_t
bk_histogram_end(unsigned bucket)
{
    if (bucket == 0)
        return (uint64_t)1 << BK_HISTOGRAM_LOW;
    if (bucket >= BK_HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    unsigned top = BK_HISTOGRAM_LOW + (bucket - 1) / 8;
    return (uint64_t)(9 + (bucket - 1) % 8) << (top - 3);
}

void
bk_timings_add_histogram(struct bk_timings *to, const struct bk_histogram *from)
{
    to->sum += atomic_load_explicit(&from->sum, memory_order_relaxed);
    for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&from->buckets[i], memory_order_relaxed);
        to->buckets[i] += count;
        to->count += count;
    }
}

void
bk_timings_add(struct bk_timings *to, const struct bk_timings *from)
{
    to->sum += from->sum;
    to->count += from->count;
    for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
}

void
bk_timings_between(struct bk_timings *out, const struct bk_timings *earlier,
                   const struct bk_timings *later)
{
    *out = (struct bk_timings){0};
    out->sum = later->sum - (earlier && earlier->sum < later->sum ? earlier->sum : 0);
    for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS; i++) {
        uint64_t before = earlier ? earlier->buckets[i] : 0;
        out->buckets[i] = later->buckets[i] > before ? later->buckets[i] - before : 0;
        out->count += out->buckets[i];
    }
}

uint64_t
bk_timings_percentile(const struct bk_timings *timings, unsigned permille)
{
    // The rank is rounded up: of ten values the 99th percentile is the largest.
    uint64_t rank =
        (timings->count / 1000) * permille + (timings->count % 1000 * permille + 999) / 1000;
    uint64_t seen = 0;

    if (timings->count == 0)
        return 0;
    if (rank == 0)
        rank = 1;
    for (unsigned i = 0; i < BK_HISTOGRAM_BUCKETS - 1; i++) {
        seen += timings->buckets[i];
        if (seen >= rank)
            return bk_histogram_end(i);
    }
    return (uint64_t)1 << BK_HISTOGRAM_HIGH;
}
