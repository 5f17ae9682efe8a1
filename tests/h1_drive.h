// Drives the HTTP/1.x codec as a connection does and writes down what it says, for the conformance tables and the fuzz
// targets: the same bytes must give the same transcript however they are cut.
//
//     GET /a ?b=c @authority 1.1 length=5 KEEP_ALIVE HAS_LENGTH
//       Host: a
//     body hello
//     end
//     fault 400 bare LF in a field [GET /a /a]     (last line; or "idle", "in a head", "in a body")
//
// Every offer is a fresh allocation of the exact size, so that AddressSanitizer sees a read behind it, and the head
// handed in is rubbish, because a connection gives no promise to offer the same one again.
#pragma once

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/headers.h"
#include "proto/target.h"

struct transcript {
    char *text;  // owns
    size_t len, room;
};

static const struct bk_codec_limits drive_limits = {{8190, 32768, 65536, 100}, {UINT64_MAX, 4096, 8192, 262144}};

static void
drive_add(struct transcript *t, const char *bytes, size_t len)
{
    if (t->len + len + 1 > t->room) {
        t->room = (t->len + len + 1) * 2;
        t->text = realloc(t->text, t->room);
    }
    if (len)
        memcpy(t->text + t->len, bytes, len);
    t->len += len;
    t->text[t->len] = 0;
}

__attribute__((format(printf, 2, 3))) static void
drive_say(struct transcript *t, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    drive_add(t, text, len < (int)sizeof text ? (size_t)len : sizeof text - 1);
}

static void
drive_add_head(struct transcript *t, const struct bk_head *head)
{
    static const char *const flags[] = {"KEEP_ALIVE", "HAS_LENGTH", "CHUNKED",  "EXPECT",
                                        "UPGRADE",    "ABSOLUTE",   "SAY_KEEP", "TRAILERS_OK"};
    drive_add(t, head->base + head->method, head->method_len);
    drive_add(t, " ", 1);
    drive_add(t, head->base + head->path, head->path_len);
    drive_add(t, " ?", 2);
    drive_add(t, head->base + head->query, head->query_len);
    if (head->flags & BK_HEAD_ABSOLUTE) {
        drive_add(t, " @", 2);
        drive_add(t, head->base + head->authority, head->authority_len);
    }
    drive_say(t, " 1.%d length=%llu", head->minor, (unsigned long long)head->content_length);
    for (unsigned i = 0; i < BK_COUNT(flags); i++)
        if (head->flags >> i & 1)
            drive_say(t, " %s", flags[i]);
    drive_add(t, "\n", 1);
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        drive_add(t, "  ", 2);
        drive_add(t, head->base + field->name, field->name_len);
        drive_add(t, field->flags & BK_FIELD_UNDERSCORE ? "_: " : ": ", field->flags & BK_FIELD_UNDERSCORE ? 3 : 2);
        drive_add(t, head->base + field->value, field->value_len);
        drive_add(t, field->flags & BK_FIELD_HIGH ? " HIGH\n" : "\n", field->flags & BK_FIELD_HIGH ? 6 : 1);
    }
}

struct drive {
    struct bk_codec codec;
    const struct bk_codec_limits *limits;
    struct transcript *transcript;
    const char *bytes;
    size_t at;        // first byte the codec has not taken
    bool has_data;    // a "body" line is open
    bool failed;
};

// Offers bytes [at, end) once. False: nothing more to do before the next piece.
static bool
drive_once(struct drive *drive, size_t end)
{
    struct bk_field fields[BK_FIELDS_MAX];
    struct bk_head head;
    struct bk_fault fault = {0, NULL};
    struct transcript *t = drive->transcript;
    size_t len = end - drive->at, used = 0;
    char *copy = malloc(len ? len : 1);
    struct bk_str data;
    memcpy(copy, drive->bytes + drive->at, len);
    memset(&head, 0xa5, sizeof head);
    memset(fields, 0xa5, sizeof fields);
    head.fields = fields;
    bool was_head = !drive->codec.h1.in_body;
    int item =
        drive->codec.ops->next(&drive->codec, (struct bk_str){copy, len}, drive->limits, &head, &used, &data, &fault);
    if (item == BK_ITEM_HEAD)
        drive_add_head(t, &head);
    if (item >= 0 && data.len) {
        if (!drive->has_data)
            drive_add(t, "body ", 5);
        drive->has_data = true;
        drive_add(t, data.at, data.len);
    }
    if (item < 0 || item == BK_ITEM_END) {
        if (drive->has_data)
            drive_add(t, "\n", 1);
        drive->has_data = false;
        if (item < 0)
            drive_say(t, "fault %d %s", fault.status, fault.why ? fault.why : "(no reason)");
        else
            drive_say(t, "end\n");
    }
    if (item < 0 && was_head) {  // what the log will say
        drive_add(t, " [", 2);
        drive_add(t, head.base + head.method, head.method_len);
        drive_add(t, " ", 1);
        drive_add(t, head.base + head.target, head.target_len);
        drive_add(t, " ", 1);
        drive_add(t, head.base + head.path, head.path_len);
        drive_add(t, "]\n", 2);
    } else if (item < 0) {
        drive_add(t, "\n", 1);
    }
    drive->failed = item < 0;
    if (item >= 0)
        drive->at += used;
    free(copy);
    return item >= 0 && (used > 0 || item == BK_ITEM_END) && (drive->at < end || item == BK_ITEM_HEAD);
}

// `cuts`: ascending positions where the input is cut; NULL with count SIZE_MAX: after every byte.
static struct transcript
drive_bytes(const char *bytes, size_t len, const struct bk_codec_limits *limits, const size_t *cuts, size_t count)
{
    struct transcript t = {0};
    struct drive drive = {.codec.ops = &bk_codec_h1, .limits = limits, .transcript = &t, .bytes = bytes};
    drive.codec.ops->reset(&drive.codec);
    size_t pieces = count == SIZE_MAX ? len : count + 1;
    for (size_t i = 0; i < pieces && !drive.failed; i++) {
        size_t end = count == SIZE_MAX ? i + 1 : i < count ? cuts[i] : len;
        while (drive_once(&drive, end))
            continue;
    }
    if (!drive.failed)
        drive_say(&t, "%s%s\n", drive.has_data ? "\n" : "",
                  drive.codec.h1.in_body ? "in a body" : drive.at < len ? "in a head" : "idle");
    return t;
}

__attribute__((unused)) static bool
drive_same(const struct transcript *a, const struct transcript *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}
