// A second opinion, slow and plain: is the first head of these bytes acceptable? Written from the RFC's grammar by
// splitting at CRLF, with nothing in common with src/proto but the rules. It judges only heads that are complete.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../h1_drive.h"

static bool
reference_in(struct bk_str s, const char *alphabet, bool controls, bool high)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && !(c && c < 0x80 && strchr(alphabet, c)) && !(high && c >= 0x80) && !(controls && c == '\t'))
            return false;
    }
    return true;
}

#define REFERENCE_TOKEN "!#$%&'*+-.^_`|~"
#define REFERENCE_GRAPHIC "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

static bool
reference_is(struct bk_str s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

static struct bk_str
reference_strip(struct bk_str s)
{
    while (s.len && strchr(" \t", s.at[0]) && s.at[0])
        s = (struct bk_str){s.at + 1, s.len - 1};
    while (s.len && strchr(" \t", s.at[s.len - 1]) && s.at[s.len - 1])
        s.len--;
    return s;
}

static bool
reference_digits(struct bk_str s, size_t most)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    while (s.len > 1 && s.at[0] == '0')
        s = (struct bk_str){s.at + 1, s.len - 1};
    return s.len > 0 && s.len <= most;
}

static bool
reference_target(struct bk_str method, struct bk_str target)
{
    if (!reference_in(target, "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~", false, true) || target.len == 0)
        return false;
    if (method.len == 7 && memcmp(method.at, "CONNECT", 7) == 0)
        return false;
    if (target.at[0] == '/')
        return true;
    if (target.len == 1 && target.at[0] == '*')
        return method.len == 7 && memcmp(method.at, "OPTIONS", 7) == 0;
    size_t skip = target.len > 7 && strncasecmp(target.at, "http://", 7) == 0 ? 7
                  : target.len > 8 && strncasecmp(target.at, "https://", 8) == 0 ? 8 : 0, len = skip;
    while (len < target.len && target.at[len] != '/' && target.at[len] != '?')
        len++;
    return skip && len > skip && target.at[skip] != ':' &&
           bk_target_host_valid((struct bk_str){target.at + skip, len - skip});
}

static bool
reference_request_line(struct bk_str line, const struct bk_codec_limits *limits, bool *ret_old)
{
    const char *first = memchr(line.at, ' ', line.len), *last = memrchr(line.at, ' ', line.len);
    if (!first || first == last || line.len > limits->h1.line)
        return false;
    struct bk_str method = {line.at, (size_t)(first - line.at)}, target = {first + 1, (size_t)(last - first) - 1};
    struct bk_str version = {last + 1, (size_t)(line.at + line.len - last) - 1};
    if (method.len == 0 || method.len > 64 || !reference_in(method, REFERENCE_TOKEN, false, false))
        return false;
    if (version.len != 8 || memcmp(version.at, "HTTP/1.", 7) != 0 || version.at[7] < '0' || version.at[7] > '9')
        return false;
    *ret_old = version.at[7] == '0';
    return reference_target(method, target);
}

struct reference_seen {
    unsigned hosts, lengths, codings, others[16];
    bool bad, huge;
};

static void
reference_field(struct reference_seen *seen, struct bk_str name, struct bk_str value, uint64_t body_limit)
{
    static const char *const once[] = {
        "content-type",        "content-range", "authorization", "proxy-authorization", "expect", "if-modified-since",
        "if-unmodified-since", "if-range",      "range",         "max-forwards",        "origin", "sec-websocket-key"};
    for (unsigned i = 0; i < BK_COUNT(once); i++)
        if (reference_is(name, once[i]) && ++seen->others[i] > 1)
            seen->bad = true;
    if (reference_is(name, "host") && (++seen->hosts > 1 || !bk_target_host_valid(value)))
        seen->bad = true;
    if (reference_is(name, "content-length")) {
        char digits[32] = {0};
        seen->lengths++;
        if (!reference_digits(value, 18)) {
            seen->bad = true;  // more than 18 digits can be fine: not judged here
            return;
        }
        while (value.len > 18)
            value = (struct bk_str){value.at + 1, value.len - 1};
        memcpy(digits, value.at, value.len);
        seen->huge |= strtoull(digits, NULL, 10) > body_limit;
    }
    if (reference_is(name, "transfer-encoding")) {
        seen->codings++;
        if (!reference_is(value, "chunked"))
            seen->bad = true;
    }
}

// 1: good, -1: bad, 0: not for this judge.
static int
reference_judge(const char *bytes, size_t len, const struct bk_codec_limits *limits)
{
    struct reference_seen seen = {0};
    size_t at = 0;
    bool old = false, odd_expect = false;
    for (unsigned i = 0; i < 8 && len - at >= 2 && memcmp(bytes + at, "\r\n", 2) == 0; i++)
        at += 2;
    const char *end = memmem(bytes + at, len - at, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if ((size_t)(end - bytes) + 4 > limits->h1.head)
        return -1;
    for (unsigned number = 0; at <= (size_t)(end - bytes); number++) {
        const char *stop = memmem(bytes + at, len - at, "\r\n", 2);
        struct bk_str line = {bytes + at, (size_t)(stop - bytes) - at};
        at += line.len + 2;
        if (number == 0) {
            if (!reference_request_line(line, limits, &old))
                return -1;
            continue;
        }
        const char *colon = memchr(line.at, ':', line.len);
        if (!colon || colon == line.at || line.len > limits->h1.field || number > limits->h1.fields)
            return -1;
        struct bk_str name = {line.at, (size_t)(colon - line.at)};
        struct bk_str value = reference_strip((struct bk_str){colon + 1, line.len - name.len - 1});
        if (!reference_in(name, REFERENCE_TOKEN, false, false) ||
            !reference_in((struct bk_str){colon + 1, line.len - name.len - 1}, REFERENCE_GRAPHIC " ", true, true))
            return -1;
        if (reference_is(name, "content-length") && value.len > 18 && reference_digits(value, 30))
            return 0;
        odd_expect |= reference_is(name, "expect") && !reference_is(value, "100-continue");
        reference_field(&seen, name, value, limits->body.bytes);
    }
    if (seen.bad || seen.huge || seen.lengths > 1 || seen.codings > 1 || (seen.codings && (seen.lengths || old)) ||
        (odd_expect && !old) || (!seen.hosts && !old))
        return -1;
    return 1;
}

static void
reference_check_head(const struct transcript *transcript, const char *bytes, size_t len,
                     const struct bk_codec_limits *limits)
{
    int wanted = reference_judge(bytes, len, limits);
    // Methods can be called "fault" and "idle": no target begins with a digit, no line of a head is one word.
    bool refused =
        strncmp(transcript->text, "fault ", 6) == 0 && transcript->text[6] <= '9' && transcript->text[6] >= '0';
    bool open = strcmp(transcript->text, "in a head\n") == 0 || strcmp(transcript->text, "idle\n") == 0;
    if (wanted == 0 || (wanted > 0 && !refused && !open) || (wanted < 0 && refused))
        return;
    fprintf(stderr, "the reference says %s, the transcript is\n%s\n", wanted > 0 ? "good" : "bad", transcript->text);
    abort();
}
