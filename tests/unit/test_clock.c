// Dates for people and the two clocks.
#include "base/clock.h"

#include <time.h>

#include "check.h"

TEST(http_date_of_the_rfc)
{
    char out[BK_CLOCK_HTTP_LEN];
    bk_clock_http_date(out, 784111777);
    CHECK_TEXT(((struct bk_str){out, sizeof out}), "Sun, 06 Nov 1994 08:49:37 GMT");
    bk_clock_http_date(out, 0);
    CHECK_TEXT(((struct bk_str){out, sizeof out}), "Thu, 01 Jan 1970 00:00:00 GMT");
    bk_clock_http_date(out, 951782400);  // leap day of a century that has one
    CHECK_TEXT(((struct bk_str){out, sizeof out}), "Tue, 29 Feb 2000 00:00:00 GMT");
    bk_clock_http_date(out, 4294967296);
    CHECK_TEXT(((struct bk_str){out, sizeof out}), "Sun, 07 Feb 2106 06:28:16 GMT");
}

TEST(http_date_of_a_broken_clock_stays_in_shape)
{
    char out[BK_CLOCK_HTTP_LEN];
    bk_clock_http_date(out, UINT64_C(1) << 60);
    CHECK_TEXT(((struct bk_str){out, sizeof out}), "Sun, 00 Jan 0000 00:00:00 GMT");
}

TEST(iso)
{
    char out[25];
    bk_clock_iso(out, UINT64_C(784111777) * 1000000000 + 114999999);
    CHECK_STR(out, "1994-11-06T08:49:37.114Z");
    bk_clock_iso(out, 0);
    CHECK_STR(out, "1970-01-01T00:00:00.000Z");
}

TEST(clf_in_three_zones)
{
    char out[32];
    setenv("TZ", "UTC0", 1);
    tzset();
    bk_clock_clf(out, UINT64_C(784111777) * 1000000000);
    CHECK_STR(out, "[06/Nov/1994:08:49:37 +0000]");
    setenv("TZ", "ABC-5:45", 1);
    tzset();
    bk_clock_clf(out, UINT64_C(784111777) * 1000000000);
    CHECK_STR(out, "[06/Nov/1994:14:34:37 +0545]");
    setenv("TZ", "ABC+3:30", 1);
    tzset();
    bk_clock_clf(out, UINT64_C(784111777) * 1000000000);
    CHECK_STR(out, "[06/Nov/1994:05:19:37 -0330]");
}

TEST(clocks_run)
{
    uint64_t mono = bk_clock_mono(), wall = bk_clock_wall();
    CHECK(mono > 0);
    CHECK(bk_clock_mono() >= mono);
    CHECK(wall / 1000000000 >= 1700000000);
    CHECK(wall / 1000000000 - (uint64_t)time(NULL) + 5 < 10);
}
