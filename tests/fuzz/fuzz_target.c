// Request targets, percent decoding, Host values, list and number parsing, log escapes: each
// against a property or a slow twin. The input is taken as "METHOD SP rest" for the target and as a
// whole for the rest.
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/headers.h"
#include "proto/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

static void
try_split(struct bk_str s)
{
    const char *space = s.len ? memchr(s.at, ' ', s.len) : NULL;
    if (!space)
        return;
    struct bk_head head = {.base = s.at,
                           .method_len = (uint32_t)(space - s.at),
                           .target = (uint32_t)(space - s.at) + 1};
    struct bk_fault fault = {0, NULL};
    head.target_len = (uint32_t)s.len - head.target;
    head.method_id = (uint8_t)bk_method_of((struct bk_str){s.at, head.method_len});
    if (bk_target_split(&head, &fault) < 0) {
        MUST(fault.status == 400 && fault.why);
        return;
    }
    uint32_t end = head.target + head.target_len;
    MUST(head.path >= head.target && head.path + head.path_len <= end);
    MUST(head.query >= head.target && head.query + head.query_len <= end);
    MUST(!head.path_len || !memchr(s.at + head.path, '?', head.path_len));
    MUST(head.method_id == BK_METHOD_CONNECT || s.at[head.path] == '/' ||
         (s.at[head.path] == '*' && head.path_len == 1));
    MUST(head.path_len > 0 || head.method_id == BK_METHOD_CONNECT);
    if (head.flags & BK_HEAD_ABSOLUTE)
        MUST(head.authority_len > 0 &&
             bk_target_host_valid((struct bk_str){s.at + head.authority, head.authority_len}));
}

static unsigned
nibble(char c)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;
    return at ? (unsigned)(at - digits) % 16 : 16;
}

static void
try_decode(struct bk_str s)
{
    char *out = malloc(s.len ? s.len : 1), *slow = malloc(s.len ? s.len : 1);
    bool plain, expect_plain = true;
    size_t len = bk_target_decode(out, s, &plain), at = 0;
    for (size_t i = 0; i < s.len; i++, at++) {
        slow[at] = s.at[i];
        if (s.at[i] == '%' && i + 2 < s.len && nibble(s.at[i + 1]) < 16 &&
            nibble(s.at[i + 2]) < 16) {
            slow[at] = (char)(nibble(s.at[i + 1]) * 16 + nibble(s.at[i + 2]));
            i += 2;
            expect_plain = false;
        } else if ((unsigned char)s.at[i] >= 0x80) {
            expect_plain = false;
        }
    }
    MUST(len == at && (len == 0 || memcmp(out, slow, len) == 0) && plain == expect_plain);
    free(out);
    free(slow);
}

static void
try_words(struct bk_str s)
{
    char out[512];
    size_t len = bk_str_escape(out, sizeof out, s), items = 0, commas = 0;
    for (size_t i = 0; i < len; i++)
        MUST(out[i] >= 0x20 && out[i] < 0x7f && out[i] != '"');
    struct bk_str rest = s, item;
    while (bk_str_next_item(&rest, ',', &item)) {
        MUST(item.len == 0 || (item.at >= s.at && item.at + item.len <= s.at + s.len &&
                               !memchr(item.at, ',', item.len)));
        items++;
    }
    for (size_t i = 0; i < s.len; i++)
        commas += s.at[i] == ',';
    MUST(items == commas + 1);
    uint64_t number = 0;
    if (bk_str_parse_u64(s, UINT64_MAX, &number) == 0) {
        char digits[64] = {0};
        struct bk_str bare = s;
        while (bare.len > 1 && bare.at[0] == '0')
            bare = (struct bk_str){bare.at + 1, bare.len - 1};
        MUST(bare.len == bk_str_format_u64(digits, number) &&
             memcmp(bare.at, digits, bare.len) == 0);
    }
    enum bk_header id = bk_header_id(s.at, s.len);
    MUST(id == BK_HEADER_OTHER || bk_str_equal_nocase(s, bk_header_name(id)));
    if (bk_target_host_valid(s))
        MUST(bk_value_valid(s) && !(s.len && memchr(s.at, '/', s.len)) &&
             !(s.len && memchr(s.at, '@', s.len)) && !(s.len && memchr(s.at, ' ', s.len)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    struct bk_str s = {copy, size};
    try_split(s);
    try_decode(s);
    try_words(s);
    free(copy);
    return 0;
}
