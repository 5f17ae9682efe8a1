// The two clocks and their text forms. Called by the loop (monotonic), the answer writer (Date),
// and the logs.
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t read_clock(clockid_t id);
static void put_two(char *out, int value);

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

uint64_t
bk_clock_mono(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t
bk_clock_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

static uint64_t
read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void
bk_clock_http_date(char out[BK_CLOCK_HTTP_LEN], uint64_t wall_seconds)
{
    static const char shape[BK_CLOCK_HTTP_LEN + 1] = "Sun, 00 Jan 0000 00:00:00 GMT";
    time_t seconds = (time_t)wall_seconds;
    struct tm tm;
    memcpy(out, shape, BK_CLOCK_HTTP_LEN);
    // The form has four digits for the year; a clock past 9999 is not worth more than the shape
    // itself.
    if (!gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900)
        return;
    memcpy(out, day_names + tm.tm_wday * 3, 3);
    put_two(out + 5, tm.tm_mday);
    memcpy(out + 8, month_names + tm.tm_mon * 3, 3);
    put_two(out + 12, (tm.tm_year + 1900) / 100);
    put_two(out + 14, (tm.tm_year + 1900) % 100);
    put_two(out + 17, tm.tm_hour);
    put_two(out + 20, tm.tm_min);
    put_two(out + 23, tm.tm_sec);
}

void
bk_clock_iso(char out[25], uint64_t wall_ns)
{
    static const char shape[25] = "0000-00-00T00:00:00.000Z";
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    int millis = (int)(wall_ns / 1000000u % 1000u);
    struct tm tm;
    memcpy(out, shape, sizeof shape);
    if (!gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900)
        return;
    put_two(out, (tm.tm_year + 1900) / 100);
    put_two(out + 2, (tm.tm_year + 1900) % 100);
    put_two(out + 5, tm.tm_mon + 1);
    put_two(out + 8, tm.tm_mday);
    put_two(out + 11, tm.tm_hour);
    put_two(out + 14, tm.tm_min);
    put_two(out + 17, tm.tm_sec);
    out[20] = (char)('0' + millis / 100);
    put_two(out + 21, millis % 100);
}

void
bk_clock_clf(char out[32], uint64_t wall_ns)
{
    static const char shape[] = "[00/Jan/0000:00:00:00 +0000]";
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm tm;
    memcpy(out, shape, sizeof shape);
    if (!localtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900)
        return;
    int zone = (int)(tm.tm_gmtoff / 60);
    out[22] = zone < 0 ? '-' : '+';
    zone = zone < 0 ? -zone : zone;
    put_two(out + 1, tm.tm_mday);
    memcpy(out + 4, month_names + tm.tm_mon * 3, 3);
    put_two(out + 8, (tm.tm_year + 1900) / 100);
    put_two(out + 10, (tm.tm_year + 1900) % 100);
    put_two(out + 13, tm.tm_hour);
    put_two(out + 16, tm.tm_min);
    put_two(out + 19, tm.tm_sec);
    put_two(out + 23, zone / 60);
    put_two(out + 25, zone % 60);
}

static void
put_two(char *out, int value)
{
    out[0] = (char)('0' + value / 10);
    out[1] = (char)('0' + value % 10);
}
