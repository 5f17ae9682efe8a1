// Borrowed bytes: comparing, trimming, lists, numbers, escaping.
#include "base/str.h"

#include <errno.h>

static unsigned char
lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool
bk_str_equal_nocase(struct bk_str a, struct bk_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.at[i]) != lower(b.at[i]))
            return false;
    return true;
}

bool
bk_str_starts(struct bk_str s, struct bk_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

struct bk_str
bk_str_trim(struct bk_str s)
{
    while (s.len && (s.at[0] == ' ' || s.at[0] == '\t')) {
        s.at++;
        s.len--;
    }
    while (s.len && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

bool
bk_str_next_item(struct bk_str *rest, char separator, struct bk_str *ret_item)
{
    if (!rest->at)
        return false;
    const char *found = rest->len ? memchr(rest->at, separator, rest->len) : NULL;
    size_t len = found ? (size_t)(found - rest->at) : rest->len;
    *ret_item = bk_str_trim((struct bk_str){rest->at, len});
    if (found)
        *rest = (struct bk_str){found + 1, rest->len - len - 1};
    else
        *rest = (struct bk_str){NULL, 0};
    return true;
}

int
bk_str_parse_u64(struct bk_str s, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    bool over = false;
    if (s.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.at[i] - '0';
        if (digit > 9)
            return -EINVAL;
        over |= __builtin_mul_overflow(value, 10, &value);
        over |= __builtin_add_overflow(value, digit, &value);
    }
    if (over || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

size_t
bk_str_format_u64(char *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

// How many bytes from here on need no escape, eight at a time. Each term sets the top bit of a byte
// that is what it looks for (or is above one that is, which only makes the slow look come earlier).
static size_t
plain_bytes(const char *at, size_t len)
{
    const uint64_t ones = UINT64_MAX / 255, tops = ones * 0x80;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t word, quote, slash;
        memcpy(&word, at + i, 8);
        quote = word ^ ones * '"';
        slash = word ^ ones * '\\';
        uint64_t odd = (word - ones * 0x20) | (word + ones) | word | ((quote - ones) & ~quote) |
                       ((slash - ones) & ~slash);
        if (odd & tops)
            break;
    }
    for (; i < len; i++) {
        unsigned char c = (unsigned char)at[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            break;
    }
    return i;
}

size_t
bk_str_escape(char *out, size_t room, struct bk_str s)
{
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        size_t plain = plain_bytes(s.at + i, s.len - i);
        if (plain > room - len)
            plain = room - len;
        memcpy(out + len, s.at + i, plain);
        len += plain;
        i += plain;
        if (i == s.len)
            break;
        unsigned char c = (unsigned char)s.at[i];
        if (room - len < 4)
            break;
        out[len++] = '\\';
        out[len++] = 'x';
        out[len++] = "0123456789abcdef"[c >> 4];
        out[len++] = "0123456789abcdef"[c & 15];
    }
    return len;
}

#define DISTANCE_MAX 64  // longer texts are never "near"

// Insertions, deletions, replacements, swaps of neighbours ("gevetn") count one each, case nothing.
unsigned
bk_str_distance(struct bk_str a, struct bk_str b, unsigned limit)
{
    unsigned rows[3][DISTANCE_MAX];
    if (a.len >= DISTANCE_MAX || b.len >= DISTANCE_MAX)
        return limit + 1;
    for (unsigned k = 0; k <= b.len; k++)
        rows[0][k] = k;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (unsigned k = 1; k <= b.len; k++) {
            unsigned char x = lower(a.at[i - 1]), y = lower(b.at[k - 1]);
            unsigned least = above[k - 1] + (x != y);
            if (above[k] + 1 < least)
                least = above[k] + 1;
            if (row[k - 1] + 1 < least)
                least = row[k - 1] + 1;
            bool swap = i > 1 && k > 1 && x == lower(b.at[k - 2]) && lower(a.at[i - 2]) == y;
            if (swap && two_above[k - 2] + 1 < least)
                least = two_above[k - 2] + 1;
            row[k] = least;
        }
    }
    unsigned distance = rows[a.len % 3][b.len];
    return distance > limit ? limit + 1 : distance;
}
