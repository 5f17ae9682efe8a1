// The chunked decoder against a slow one, whole, byte by byte and in pieces. First byte: seed of
 // the cuts and the limit.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/h1_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int status;     // 0 open, 1 complete, else the fault's
    size_t used;    // when complete
    char *body;     // owns
    size_t len;
};

static struct outcome
decode(const char *bytes, size_t len, uint64_t max, uint64_t seed)
{
    struct outcome out = {.body = malloc(len ? len : 1)};
    struct bk_head head = {.flags = BK_HEAD_CHUNKED};
    struct bk_fault fault = {0, NULL};
    struct bk_h1_body_limits limits = {max, 4096, 8192, 256 * 1024};
    struct bk_h1_body body;
    if (bk_h1_body_begin(&body, &head, &limits, &fault) < 0)
        abort();
    size_t at = 0, seen = 0;
    while (out.status == 0 && seen < len) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t piece = seed ? (seed >> 40) % 9 + 1 : len;
        seen = piece < len - seen ? seen + piece : len;
        for (int done = 0; done == 0 && at < seen;) {
            size_t used = 0, offered = seen - at;
            char *copy = malloc(offered);
            struct bk_str got;
            memcpy(copy, bytes + at, offered);
            done = bk_h1_body_feed(&body, (struct bk_str){copy, offered}, &used, &got, &fault);
            if (done < 0) {
                out.status = fault.status;
            } else {
                if (used > offered || (done == 0 && used == 0))
                    abort();
                if (got.len && (got.at < copy || got.at + got.len > copy + used))
                    abort();
                if (got.len)
                    memcpy(out.body + out.len, got.at, got.len);
                out.len += got.len;
                at += used;
                out.status = done;
            }
            free(copy);
        }
    }
    out.used = out.status == 1 ? at : 0;
    if (out.status <= 1 && body.total != out.len)
        abort();
    return out;
}

// A whole chunked body by brute force, extensions and trailers excepted: 1 complete, 0 cannot say,
// -1 must be refused.
static int
reference(const char *bytes, size_t len, struct outcome *ret)
{
    size_t at = 0;
    ret->len = 0;
    for (;;) {
        char *stop, line[40] = {0};
        const char *end = memmem(bytes + at, len - at, "\r\n", 2);
        size_t digits = end ? (size_t)(end - bytes) - at : 0;
        if (!end || memchr(bytes + at, ';', digits))
            return 0;
        if (digits == 0 || digits > 16 || memchr(bytes + at, 0, digits))
            return -1;
        memcpy(line, bytes + at, digits);
        if (strspn(line, "0123456789abcdefABCDEF") != digits)
            return -1;
        unsigned long long size = strtoull(line, &stop, 16);
        at += digits + 2;
        if (size == 0)
            break;
        if (size > len - at || len - at - size < 2)
            return 0;
        memcpy(ret->body + ret->len, bytes + at, size);
        ret->len += size;
        at += size;
        if (memcmp(bytes + at, "\r\n", 2) != 0)
            return -1;
        at += 2;
    }
    if (len - at < 2 || memcmp(bytes + at, "\r\n", 2) != 0)
        return 0;
    ret->used = at + 2;
    return 1;
}

static void
same(const struct outcome *a, const struct outcome *b)
{
    if (a->status != b->status || a->used != b->used ||
        (a->status <= 1 && (a->len != b->len || memcmp(a->body, b->body, a->len)))) {
        fprintf(stderr, "status %d and %d, used %zu and %zu, body %zu and %zu\n", a->status,
                b->status, a->used, b->used, a->len, b->len);
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *bytes = (const char *)data + 1;
    size_t len = size - 1;
    uint64_t max = data[0] & 1 ? 20 : UINT64_MAX;
    struct outcome whole = decode(bytes, len, max, 0), other = {.body = malloc(len ? len : 1)};
    for (uint64_t seed = data[0] + 1u; seed < data[0] + 4u; seed++) {
        struct outcome pieces = decode(bytes, len, max, seed);
        same(&whole, &pieces);
        free(pieces.body);
    }
    int wanted = reference(bytes, len, &other);
    other.status = 1;
    if (wanted > 0 && (max == UINT64_MAX || other.len <= max))
        same(&whole, &other);
    if ((wanted < 0 && whole.status <= 1) || (whole.status == 1 && whole.len > max))
        abort();
    free(whole.body);
    free(other.body);
    return 0;
}
