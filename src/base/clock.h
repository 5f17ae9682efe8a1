// Time. CLOCK_MONOTONIC nanoseconds decide every deadline; CLOCK_REALTIME only makes dates for
// people.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Monotonic nanoseconds now (vDSO, no system call).
uint64_t bk_clock_mono(void);

// Wall clock nanoseconds since 1970 now.
uint64_t bk_clock_wall(void);

#define BK_CLOCK_HTTP_LEN 29

// IMF-fixdate of RFC 9110 §5.6.7 ("Sun, 06 Nov 1994 08:49:37 GMT"), exactly 29 bytes, no NUL.
void bk_clock_http_date(char out[BK_CLOCK_HTTP_LEN], uint64_t wall_seconds);

// "2026-11-21T09:16:02.114Z" (24 bytes and a NUL).
void bk_clock_iso(char out[25], uint64_t wall_ns);

// "[21/Nov/2026:09:16:02 +0100]" as the Apache combined format and Gunicorn's %(t)s, with NUL;
// local time zone.
void bk_clock_clf(char out[32], uint64_t wall_ns);
