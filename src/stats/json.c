// JSON, written. Used by the reports and by the control socket's answers.
#include "stats/json.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/utf8.h"

#include "base/banned.h"

static void begin(struct bk_json *json, const char *key);
static void put(struct bk_json *json, const char *bytes, size_t len);
static void put_quoted(struct bk_json *json, struct bk_str text);

void
bk_json_open(struct bk_json *json, const char *key, char bracket)
{
    begin(json, key);
    put(json, &bracket, 1);
    json->comma = false;
}

void
bk_json_close(struct bk_json *json, char bracket)
{
    put(json, &bracket, 1);
    json->comma = true;
}

void
bk_json_str(struct bk_json *json, const char *key, struct bk_str value)
{
    begin(json, key);
    put_quoted(json, value);
}

void
bk_json_text(struct bk_json *json, const char *key, const char *value)
{
    bk_json_str(json, key, bk_str_of(value));
}

void
bk_json_u64(struct bk_json *json, const char *key, uint64_t value)
{
    char digits[20];

    begin(json, key);
    put(json, digits, bk_str_format_u64(digits, value));
}

void
bk_json_bool(struct bk_json *json, const char *key, bool value)
{
    begin(json, key);
    put(json, value ? "true" : "false", value ? 4 : 5);
}

void
bk_json_null(struct bk_json *json, const char *key)
{
    begin(json, key);
    put(json, "null", 4);
}

void
bk_json_seconds(struct bk_json *json, const char *key, uint64_t ns)
{
    char text[40];

    begin(json, key);
    int len = snprintf(text, sizeof text, "%llu.%09llu", (unsigned long long)(ns / BK_SEC),
                       (unsigned long long)(ns % BK_SEC));
    put(json, text, (size_t)len);
}

static void
begin(struct bk_json *json, const char *key)
{
    if (json->comma)
        put(json, ",", 1);
    json->comma = true;
    if (key) {
        put_quoted(json, bk_str_of(key));
        put(json, ":", 1);
    }
}

static void
put(struct bk_json *json, const char *bytes, size_t len)
{
    if (json->error == 0)
        json->error = bk_buf_append(json->out, (struct bk_str){bytes, len}, json->most);
}

static void
put_quoted(struct bk_json *json, struct bk_str text)
{
    bool utf8 = bk_utf8_valid(text);
    char escape[8];
    size_t from = 0;

    put(json, "\"", 1);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && (c < 0x80 || utf8))
            continue;
        put(json, text.at + from, i - from);
        int len = c == '"' || c == '\\' ? snprintf(escape, sizeof escape, "\\%c", c)
                                        : snprintf(escape, sizeof escape, "\\u%04x", c);
        put(json, escape, (size_t)len);
        from = i + 1;
    }
    if (from < text.len)
        put(json, text.at + from, text.len - from);
    put(json, "\"", 1);
}
