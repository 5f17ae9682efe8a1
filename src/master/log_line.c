// Shapes of log lines. Every shape is one function that appends to a page; the caller rolls back
// when memory runs out.
#include "master/log_line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#include "base/banned.h"

#define PAGE_MAX (8u << 20)

static void add_short(struct bk_page *page, const struct bk_log_record *record);
static void add_fatal(struct bk_page *page, const struct bk_log_record *record);
static void add_iso(struct bk_page *page, const struct bk_log_record *record);
static void add_journald(struct bk_page *page, const struct bk_log_record *record);
static void add_json(struct bk_page *page, const struct bk_log_record *record);
static void add_plain(struct bk_page *page, const struct bk_log_record *record);
static void add_text_and_key(struct bk_page *page, const struct bk_log_record *record);
static void add_detail(struct bk_page *page, const char *before, struct bk_str detail);
static void add_json_text(struct bk_page *page, const char *name, struct bk_str text);
static void add_json_bytes(struct bk_page *page, struct bk_str text);
static size_t utf8_length(struct bk_str text);
static bool is_fatal(const struct bk_log_record *record);
static const char *level_word(const struct bk_log_record *record);
static void say(struct bk_page *page, const char *text);
static void put(struct bk_page *page, const char *at, size_t len);

void
bk_page_release(struct bk_page *page)
{
    free(page->at);
    *page = (struct bk_page){0};
}

int
bk_page_add(struct bk_page *page, const char *at, size_t len)
{
    if (len > PAGE_MAX - page->len)
        return -ENOMEM;
    if (page->len + len > page->room) {
        size_t room = page->room ? page->room : 4096;
        while (room < page->len + len)
            room *= 2;
        char *bigger = realloc(page->at, room);
        if (!bigger)
            return -ENOMEM;
        page->at = bigger;
        page->room = room;
    }
    if (len > 0)
        memcpy(page->at + page->len, at, len);
    page->len += len;
    return 0;
}

int
bk_log_shape_parse(struct bk_str word, enum bk_log_shape *ret)
{
    static const char *const names[] = {"short", "iso", "journald", "json"};

    for (unsigned i = 0; i < BK_COUNT(names); i++) {
        if (bk_str_equal(word, bk_str_of(names[i]))) {
            *ret = (enum bk_log_shape)i;
            return 0;
        }
    }
    return -EINVAL;
}

int
bk_log_line_add(struct bk_page *page, enum bk_log_shape shape, bool console,
                const struct bk_log_record *record)
{
    static void (*const shapes[])(struct bk_page *, const struct bk_log_record *) = {
        [BK_SHAPE_SHORT] = add_short,       [BK_SHAPE_ISO] = add_iso,
        [BK_SHAPE_JOURNALD] = add_journald, [BK_SHAPE_JSON] = add_json,
        [BK_SHAPE_PLAIN] = add_plain,
    };
    size_t before = page->len;

    page->failed = false;
    if (console && is_fatal(record) && (shape == BK_SHAPE_SHORT || shape == BK_SHAPE_ISO))
        add_fatal(page, record);
    else
        shapes[shape](page, record);
    if (!page->failed)
        return 0;
    page->len = before;  // no torn lines
    return -ENOMEM;
}

int
bk_log_line_severity(const struct bk_log_record *record)
{
    static const int severities[] = {7, 6, 4, 3, 2};

    return is_fatal(record) ? 3 : severities[record->level];
}

static void
add_short(struct bk_page *page, const struct bk_log_record *record)
{
    if (!record->access && record->level != BK_LOG_INFO) {
        say(page, level_word(record));
        say(page, ": ");
    }
    add_text_and_key(page, record);
    add_detail(page, "", record->detail);
}

static void
add_fatal(struct bk_page *page, const struct bk_log_record *record)
{
    say(page, "barkeep: error: ");
    add_text_and_key(page, record);
    add_detail(page, "", record->detail);
}

static void
add_iso(struct bk_page *page, const struct bk_log_record *record)
{
    char head[80], time[25];

    if (!record->access) {  // an access line has the time its format gives it
        bk_clock_iso(time, record->wall_ns);
        snprintf(head, sizeof head, "%s barkeep[%d] %s: ", time, (int)record->pid,
                 level_word(record));
        say(page, head);
    }
    add_text_and_key(page, record);
    add_detail(page, "", record->detail);
}

static void
add_journald(struct bk_page *page, const struct bk_log_record *record)
{
    char head[8];

    snprintf(head, sizeof head, "<%d>", bk_log_line_severity(record));
    say(page, head);
    add_text_and_key(page, record);
    add_detail(page, head, record->detail);
}

static void
add_json(struct bk_page *page, const struct bk_log_record *record)
{
    char head[96], time[25];

    // An access line in the json preset is an object already.
    if (record->access && record->text.len > 0 && record->text.at[0] == '{') {
        add_text_and_key(page, record);
        return;
    }
    bk_clock_iso(time, record->wall_ns);
    snprintf(head, sizeof head, "{\"time\":\"%s\",\"level\":\"%s\",\"pid\":%d", time,
             level_word(record), (int)record->pid);
    say(page, head);
    if (record->worker > 0) {
        snprintf(head, sizeof head, ",\"worker\":%u", record->worker);
        say(page, head);
    }
    if (record->access)
        say(page, ",\"log\":\"access\"");
    if (record->key.len > 0)
        add_json_text(page, ",\"key\":", record->key);
    add_json_text(page, ",\"message\":", record->text);
    if (record->detail.len > 0)
        add_json_text(page, ",\"detail\":", record->detail);
    say(page, "}\n");
}

static void
add_plain(struct bk_page *page, const struct bk_log_record *record)
{
    if (!record->access && record->level != BK_LOG_INFO) {
        say(page, level_word(record));
        say(page, ": ");
    }
    add_text_and_key(page, record);
    add_detail(page, "", record->detail);
}

static void
add_text_and_key(struct bk_page *page, const struct bk_log_record *record)
{
    struct bk_str text = record->text;

    // One line is promised; should it hold more all the same, its sense is kept and not its form.
    while (text.len > 0) {
        const char *eol = memchr(text.at, '\n', text.len);
        size_t len = eol ? (size_t)(eol - text.at) : text.len;
        put(page, text.at, len);
        if (eol)
            say(page, " ");
        text.at += len + (eol != NULL);
        text.len -= len + (eol != NULL);
    }
    if (record->key.len > 0) {
        say(page, " [");
        put(page, record->key.at, record->key.len);
        say(page, "]");
    }
    say(page, "\n");
}

// Evidence and tracebacks stand at least two columns in, so that each line at the margin is a
// record of its own.
static void
add_detail(struct bk_page *page, const char *before, struct bk_str detail)
{
    while (detail.len > 0) {
        const char *eol = memchr(detail.at, '\n', detail.len);
        size_t len = eol ? (size_t)(eol - detail.at) : detail.len;
        say(page, before);
        if (len > 0 && (len < 2 || detail.at[0] != ' ' || detail.at[1] != ' '))
            say(page, "  ");
        put(page, detail.at, len);
        say(page, "\n");
        detail.at += len + (eol != NULL);
        detail.len -= len + (eol != NULL);
    }
}

static void
add_json_text(struct bk_page *page, const char *name, struct bk_str text)
{
    say(page, name);
    say(page, "\"");
    add_json_bytes(page, text);
    say(page, "\"");
}

// Valid JSON whatever the bytes: control characters are escaped, what is not UTF-8 becomes U+FFFD.
static void
add_json_bytes(struct bk_page *page, struct bk_str text)
{
    char escape[8];

    while (text.len > 0) {
        size_t plain = 0;
        while (plain < text.len && text.at[plain] != '"' && text.at[plain] != '\\') {
            size_t n = utf8_length((struct bk_str){text.at + plain, text.len - plain});
            if (n == 0 || (unsigned char)text.at[plain] < 0x20)
                break;
            plain += n;
        }
        put(page, text.at, plain);
        text.at += plain;
        text.len -= plain;
        if (text.len == 0)
            return;
        unsigned char c = (unsigned char)text.at[0];
        if (c == '\n')
            say(page, "\\n");
        else if (c == '"' || c == '\\')
            put(page, c == '"' ? "\\\"" : "\\\\", 2);
        else if (c < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            say(page, escape);
        } else
            say(page, "\\ufffd");
        text.at++;
        text.len--;
    }
}

// Length of the well-formed character at the start, 0 when there is none (RFC 3629 §4).
static size_t
utf8_length(struct bk_str text)
{
    const unsigned char *at = (const unsigned char *)text.at;
    unsigned char low = 0x80, high = 0xbf;
    size_t len;

    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xf4)
        high = 0x8f;
    if (text.len < len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    return len;
}

static bool
is_fatal(const struct bk_log_record *record)
{
    return record->level == BK_LOG_CRITICAL && record->worker == 0 && !record->access;
}

static const char *
level_word(const struct bk_log_record *record)
{
    return is_fatal(record) ? "error" : bk_log_level_name(record->level);
}

static void
say(struct bk_page *page, const char *text)
{
    put(page, text, strlen(text));
}

static void
put(struct bk_page *page, const char *at, size_t len)
{
    if (!page->failed && bk_page_add(page, at, len) < 0)
        page->failed = true;
}
