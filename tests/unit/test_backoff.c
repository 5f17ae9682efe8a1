// The pauses between restarts: 0.1 s doubled to 30 s, forgotten after a healthy minute.
#include "master/backoff.h"

#include "check.h"

TEST(doubles_up_to_thirty_seconds)
{
    static const unsigned expected_ms[] = {100,  200,   400,   800,   1600, 3200,
                                           6400, 12800, 25600, 30000, 30000};
    struct bk_backoff backoff = {0};
    for (unsigned i = 0; i < BK_COUNT(expected_ms); i++)
        CHECK_INT(bk_backoff_died(&backoff, 0) / BK_MSEC, expected_ms[i]);
}

TEST(never_overflows)
{
    struct bk_backoff backoff = {0};
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t pause = bk_backoff_died(&backoff, 59 * BK_SEC);
        CHECK(pause >= BK_BACKOFF_FIRST && pause <= BK_BACKOFF_MOST);
    }
}

TEST(a_healthy_minute_forgets)
{
    struct bk_backoff backoff = {0};
    for (unsigned i = 0; i < 5; i++)
        bk_backoff_died(&backoff, 0);
    CHECK_INT(bk_backoff_died(&backoff, BK_BACKOFF_HEALTHY - 1), 3200 * BK_MSEC);
    CHECK_INT(bk_backoff_died(&backoff, BK_BACKOFF_HEALTHY), 100 * BK_MSEC);
    CHECK_INT(bk_backoff_died(&backoff, 0), 200 * BK_MSEC);
}
