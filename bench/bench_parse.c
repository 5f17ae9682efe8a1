// How long one request head takes, with each scanning code: nanoseconds (best of many short rounds)
// and, under `valgrind --tool=callgrind --toggle-collect=bk_h1_parse_head`, instructions. Not part
// of the test run.
//     ninja -C BUILD tests/unit/bench_parse && BUILD/tests/unit/bench_parse [ROUNDS [CODE]]
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/codec.h"

static const char small[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";

static const char ten[] =
    "GET /shop/items?page=2&sort=price HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Referer: https://www.example.com/shop/\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0123456789abcdef01234567\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Cache-Control: max-age=0\r\n\r\n";

static const char proxied[] =
    "POST /api/v1/orders HTTP/1.1\r\n"
    "Host: shop.example.com\r\n"
    "X-Real-IP: 203.0.113.9\r\n"
    "X-Forwarded-For: 203.0.113.9, 10.0.0.7\r\n"
    "X-Forwarded-Proto: https\r\n"
    "X-Request-ID: 7c1f09aa52e1d6b47c1f09aa52e1d6b4\r\n"
    "Content-Length: 0\r\n"
    "Content-Type: application/json\r\n"
    "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijklm\r\n"
    "Accept: */*\r\n"
    "Accept-Encoding: gzip\r\n"
    "User-Agent: python-requests/2.32.3\r\n"
    "X-Trace: 1-67891233-abcdef012345678912345678\r\n"
    "Sec-Fetch-Mode: cors\r\n\r\n";

static uint64_t
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static double
measure(const char *bytes, size_t len, unsigned rounds)
{
    static const struct bk_h1_limits limits = {8190, 32768, 65536, 100};
    static struct bk_field fields[BK_FIELDS_MAX];
    struct bk_head head = {.fields = fields};
    struct bk_h1_parser parser;
    struct bk_fault fault;
    double best = 1e9;
    for (unsigned round = 0; round < rounds; round++) {
        uint64_t start = now();
        for (unsigned i = 0; i < 1000; i++) {
            bk_h1_parse_reset(&parser);
            __asm__ volatile("" : : "r"(bytes) : "memory");
            if (bk_h1_parse_head(&parser, bytes, len, &limits, &head, &fault) != (ssize_t)len)
                abort();
        }
        double each = (double)(now() - start) / 1000;
        best = each < best ? each : best;
    }
    return best;
}

int
main(int argc, char **argv)
{
    static const char *const names[] = {"plain", "sse4.2", "avx2"};
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2000;
    printf("%-8s %12s %12s %12s   ns per head\n", "", "2 lines", "10 fields", "13 fields");
    printf("%-8s %10zu B %10zu B %10zu B\n", "", sizeof small - 1, sizeof ten - 1,
           sizeof proxied - 1);
    for (unsigned i = 0; i < 3; i++) {
        if (bk_h1_scan_force(names[i]) < 0 || (argc > 2 && strcmp(argv[2], names[i]) != 0))
            continue;
        printf("%-8s %12.1f %12.1f %12.1f\n", names[i], measure(small, sizeof small - 1, rounds),
               measure(ten, sizeof ten - 1, rounds), measure(proxied, sizeof proxied - 1, rounds));
    }
    return 0;
}
