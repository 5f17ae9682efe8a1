// Histograms: where values fall, percentiles, sums; and the tallies made of them.
#include "stats/histogram.h"

#include "check.h"
#include "stats/tally.h"

TEST(every_value_is_below_the_end_of_its_bucket)
{
    unsigned before = 0;
    for (uint64_t ns = 0; ns < (uint64_t)1 << 39; ns = ns * 33 / 32 + 1) {
        unsigned bucket = bk_histogram_bucket(ns);
        CHECK(bucket < BK_HISTOGRAM_BUCKETS);
        CHECK(bucket >= before && bucket <= before + 1);
        CHECK(ns < bk_histogram_end(bucket));
        if (bucket > 0)
            CHECK(ns >= bk_histogram_end(bucket - 1));
        before = bucket;
    }
    CHECK_INT(before, BK_HISTOGRAM_BUCKETS - 1);
    CHECK_INT(bk_histogram_bucket(UINT64_MAX), BK_HISTOGRAM_BUCKETS - 1);
    CHECK_INT(bk_histogram_end(8), 2048); // bounds stand at the doublings
}

TEST(percentiles)
{
    static struct bk_histogram histogram;
    struct bk_timings timings = {0}, later = {0}, between;
    CHECK_INT(bk_timings_percentile(&timings, 500), 0);
    for (unsigned i = 1; i <= 100; i++)
        bk_histogram_add(&histogram, i * BK_MSEC);
    bk_timings_add_histogram(&timings, &histogram);
    CHECK_INT(timings.count, 100);
    CHECK_INT(timings.sum, 5050 * BK_MSEC);
    CHECK(bk_timings_percentile(&timings, 500) >= 50 * BK_MSEC);
    CHECK(bk_timings_percentile(&timings, 500) <= 57 * BK_MSEC);
    CHECK(bk_timings_percentile(&timings, 990) >= 99 * BK_MSEC);
    CHECK(bk_timings_percentile(&timings, 1000) >= 100 * BK_MSEC);
    CHECK(bk_timings_percentile(&timings, 1000) <= 113 * BK_MSEC);
    CHECK(bk_timings_percentile(&timings, 0) >= 1 * BK_MSEC);
    bk_histogram_add(&histogram, UINT64_MAX / 2);
    bk_timings_add_histogram(&later, &histogram);
    CHECK_INT(bk_timings_percentile(&later, 1000), (int64_t)1 << 37);
    bk_timings_between(&between, &timings, &later);
    CHECK_INT(between.count, 1);
    CHECK_INT(between.buckets[BK_HISTOGRAM_BUCKETS - 1], 1);
    bk_timings_between(&between, NULL, &timings);
    CHECK_INT(between.count, 100);
}

TEST(tally_of_slots)
{
    static struct bk_slot slot;
    static struct bk_tally tally, sum;
    bk_count(&slot.counters.requests, 3);
    bk_count(&slot.statuses[104], 2);
    bk_count(&slot.thread_rows[0].busy, 5);
    bk_count(&slot.thread_rows[63].busy, 6);
    bk_histogram_add(&slot.latency, 1000);
    bk_tally_add_slot(&tally, &slot);
    bk_tally_add_slot(&tally, &slot);
    bk_tally_add(&sum, &tally);
    bk_tally_add(&sum, &tally);
    CHECK_INT(sum.counters[BK_COUNTER_requests], 12);
    CHECK_INT(sum.statuses[104], 8);
    CHECK_INT(sum.busy, 44);
    CHECK_INT(sum.latency.count, 4);
    CHECK_STR(bk_counter_name(BK_COUNTER_requests), "requests");
    CHECK_STR(bk_restart_word(BK_RESTART_MAX_REQUESTS), "max-requests");
}
