// The runner of the HTTP/1.x tables. Each row is sent to the codec whole, one byte at a time and cut in two at every
// position, with every scanning code this machine has: all transcripts must be equal. Then again behind a good request,
// and good rows in front of another one.
#pragma once

#include "../h1_drive.h"
#include "../unit/check.h"

enum { GOOD = 0, OPEN = -1 };  // accepted to the last byte; not complete, nothing refused

struct row {
    const char *id;
    const char *bytes;
    size_t len;
    int status;        // of the refusal, GOOD or OPEN
    const char *want;  // must be in the transcript; NULL: anything
};

#define R(id, bytes, status, want) {id, bytes, sizeof(bytes) - 1, status, want},
#define BAD(id, bytes) R(id, bytes, 400, NULL)
#define OK(id, bytes, want) R(id, bytes, GOOD, want)

#define HOST "Host: a\r\n"
#define LINE(text) text "\r\n" HOST "\r\n"
#define GET(fields) "GET / HTTP/1.1\r\n" HOST fields "\r\n"
#define POST(fields) "POST / HTTP/1.1\r\n" HOST fields "\r\n"
#define CHUNKED(body) POST("Transfer-Encoding: chunked\r\n") body

static const char before_bytes[] = "POST /before HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc";
static const char before_text[] =
    "POST /before ? 1.1 length=3 KEEP_ALIVE HAS_LENGTH\n  Host: b\n  Content-Length: 3\nbody abc\nend\n";
static const char after_bytes[] = "GET /after HTTP/1.1\r\nHost: c\r\n\r\n";
static const char after_text[] = "GET /after ? 1.1 length=0 KEEP_ALIVE\n  Host: c\nend\nidle\n";

static struct transcript every_way(const char *id, const char *bytes, size_t len, const struct bk_codec_limits *limits);

static void
fail(const char *id, const char *how, const char *text)
{
    printf("  row %s: %s\n%s\n", id, how, text);
    fflush(stdout);
    _exit(1);
}

static char *
join(const char *a, size_t a_len, const char *b, size_t b_len)
{
    char *both = malloc(a_len + b_len + 1);
    memcpy(both, a, a_len);
    memcpy(both + a_len, b, b_len);
    both[a_len + b_len] = 0;
    return both;
}

static int
status_of(const struct transcript *t)
{
    const char *fault = memmem(t->text, t->len, "\nfault ", 7);
    if (strncmp(t->text, "fault ", 6) == 0)
        return (int)strtol(t->text + 6, NULL, 10);
    if (fault)
        return (int)strtol(fault + 7, NULL, 10);
    return t->len >= 5 && strcmp(t->text + t->len - 5, "idle\n") == 0 ? GOOD : OPEN;
}

static void
run_row(const struct row *row, const struct bk_codec_limits *limits)
{
    struct transcript t = every_way(row->id, row->bytes, row->len, limits);
    if (status_of(&t) != row->status)
        fail(row->id, "another verdict", t.text);
    if (row->want && !memmem(t.text, t.len, row->want, strlen(row->want)))
        fail(row->id, row->want, t.text);
    // Behind a good request with a body: it is served, then comes the same verdict.
    char *bytes = join(before_bytes, sizeof before_bytes - 1, row->bytes, row->len);
    struct transcript behind = every_way(row->id, bytes, sizeof before_bytes - 1 + row->len, limits);
    char *expected = join(before_text, sizeof before_text - 1, t.text, t.len);
    if (strcmp(behind.text, expected) != 0)
        fail(row->id, "differs behind a good request", behind.text);
    free(bytes);
    free(expected);
    free(behind.text);
    if (row->status == GOOD) {  // and the next request begins where it should
        bytes = join(row->bytes, row->len, after_bytes, sizeof after_bytes - 1);
        struct transcript next = every_way(row->id, bytes, row->len + sizeof after_bytes - 1, limits);
        expected = join(t.text, t.len - 5, after_text, sizeof after_text - 1);
        if (strcmp(next.text, expected) != 0)
            fail(row->id, "the pipelined next request differs", next.text);
        free(bytes);
        free(expected);
        free(next.text);
    }
    free(t.text);
}

static void
run(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        run_row(&rows[i], &drive_limits);
}

#define TABLE(name, ...) \
    TEST(name) \
    { \
        static const struct row rows[] = {__VA_ARGS__}; \
        run(rows, BK_COUNT(rows)); \
    }

static void
must_equal(const char *id, const char *how, const struct transcript *expected, struct transcript got)
{
    if (!drive_same(expected, &got)) {
        printf("  --- whole:\n%s", expected->text);
        fail(id, how, got.text);
    }
    free(got.text);
}

// The transcript of `bytes`, the same for every way to cut them and every scanning code.
static struct transcript
every_way(const char *id, const char *bytes, size_t len, const struct bk_codec_limits *limits)
{
    static const char *const names[] = {"plain", "sse4.2", "avx2"};
    struct transcript whole = drive_bytes(bytes, len, limits, NULL, 0);
    const char *best = bk_h1_scan_name();
    for (unsigned i = 0; i < BK_COUNT(names); i++) {
        if (bk_h1_scan_force(names[i]) < 0)
            continue;
        must_equal(id, names[i], &whole, drive_bytes(bytes, len, limits, NULL, 0));
        must_equal(id, "byte by byte", &whole, drive_bytes(bytes, len, limits, NULL, SIZE_MAX));
        // Long rows are one long line: the ends and some places in between do for them.
        for (size_t cut = 1; cut < len; cut += len > 2000 && cut > 200 && cut < len - 200 ? 97 : 1) {
            char how[64];
            snprintf(how, sizeof how, "cut at %zu with %s", cut, names[i]);
            must_equal(id, how, &whole, drive_bytes(bytes, len, limits, &cut, 1));
        }
    }
    if (bk_h1_scan_force(best) < 0)
        fail(id, "cannot go back to the scanning code", best);
    return whole;
}
