// A small JSON reader. Called by barkeepctl for what a server answers.
#include "ctl/tree.h"

#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

#define DEPTH 32

struct reader {
    struct bk_tree *tree;
    char *at, *end;
    int error;
};

static uint32_t read_value(struct reader *reader, unsigned depth);
static uint32_t new_value(struct reader *reader, enum bk_tree_kind kind);
static void read_members(struct reader *reader, uint32_t index, unsigned depth);
static struct bk_str read_string(struct reader *reader);
static bool read_escape(struct reader *reader, char **out);
static bool read_hex(struct reader *reader, unsigned *ret);
static char *put_utf8(char *out, unsigned code);
static bool read_word(struct reader *reader, const char *word);
static bool is_number(const struct reader *reader);
static void skip_space(struct reader *reader);

int
bk_tree_parse(char *text, size_t len, struct bk_tree *ret)
{
    struct reader reader = {.tree = ret, .at = text, .end = text + len};

    *ret = (struct bk_tree){.text = text};
    if (new_value(&reader, BK_TREE_NULL) == 0 && reader.error == 0) {
        read_value(&reader, 0);
        skip_space(&reader);
        if (reader.error == 0 && reader.at != reader.end)
            reader.error = -EPROTO;
    }
    if (reader.error)
        bk_tree_release(ret);
    return reader.error;
}

void
bk_tree_release(struct bk_tree *tree)
{
    free(tree->text);
    free(tree->values);
    *tree = (struct bk_tree){0};
}

static uint32_t
read_value(struct reader *reader, unsigned depth)
{
    uint32_t index = 0;

    skip_space(reader);
    if (reader->error || reader->at == reader->end || depth > DEPTH) {
        reader->error = reader->error ? reader->error : -EPROTO;
        return 0;
    }
    switch (*reader->at) {
    case '{':
    case '[':
        index = new_value(reader, *reader->at == '{' ? BK_TREE_OBJECT : BK_TREE_ARRAY);
        read_members(reader, index, depth);
        return index;
    case '"': {
        struct bk_str text = read_string(reader);
        index = new_value(reader, BK_TREE_STRING);
        reader->tree->values[index].text = text;
        return index;
    }
    case 't':
        return read_word(reader, "true") ? new_value(reader, BK_TREE_TRUE) : 0;
    case 'f':
        return read_word(reader, "false") ? new_value(reader, BK_TREE_FALSE) : 0;
    case 'n':
        return read_word(reader, "null") ? new_value(reader, BK_TREE_NULL) : 0;
    default:
        break;
    }
    struct bk_str number = {reader->at, 0};
    while (is_number(reader))
        reader->at++;
    number.len = (size_t)(reader->at - number.at);
    if (number.len == 0)
        reader->error = -EPROTO;
    index = new_value(reader, BK_TREE_NUMBER);
    reader->tree->values[index].text = number;
    return index;
}

// Index 0 when there is no memory: a place where writing does no harm, because parsing ends.
static uint32_t
new_value(struct reader *reader, enum bk_tree_kind kind)
{
    struct bk_tree *tree = reader->tree;

    if (tree->count == tree->room) {
        uint32_t room = tree->room ? tree->room * 2 : 256;
        struct bk_tree_value *grown = realloc(tree->values, room * sizeof *grown);
        if (!grown) {
            reader->error = -ENOMEM;
            return 0;
        }
        tree->values = grown;
        tree->room = room;
    }
    tree->values[tree->count] = (struct bk_tree_value){.kind = kind};
    return tree->count++;
}

static void
read_members(struct reader *reader, uint32_t index, unsigned depth)
{
    bool object = *reader->at == '{';
    char close = object ? '}' : ']';
    uint32_t last = 0;

    reader->at++;
    skip_space(reader);
    if (!reader->error && reader->at < reader->end && *reader->at == close) {
        reader->at++;
        return;
    }
    while (!reader->error) {
        struct bk_str key = {NULL, 0};
        skip_space(reader);
        if (object) {
            key = read_string(reader);
            skip_space(reader);
            if (reader->error || reader->at == reader->end || *reader->at++ != ':') {
                reader->error = reader->error ? reader->error : -EPROTO;
                return;
            }
        }
        uint32_t member = read_value(reader, depth + 1);
        if (reader->error)
            return;
        reader->tree->values[member].key = key;
        reader->tree->values[index].count++;
        if (last)
            reader->tree->values[last].next = member;
        else
            reader->tree->values[index].first = member;
        last = member;
        skip_space(reader);
        if (reader->at < reader->end && *reader->at == ',') {
            reader->at++;
            continue;
        }
        if (reader->at == reader->end || *reader->at != close)
            reader->error = -EPROTO;
        else
            reader->at++;
        return;
    }
}

// An escape is never shorter than what it stands for.
static struct bk_str
read_string(struct reader *reader)
{
    char *out;

    if (reader->at == reader->end || *reader->at != '"') {
        reader->error = -EPROTO;
        return BK_STR("");
    }
    const char *from = out = ++reader->at;
    while (reader->at < reader->end && *reader->at != '"') {
        if ((unsigned char)*reader->at < 0x20)
            break;
        if (*reader->at != '\\')
            *out++ = *reader->at++;
        else if (!read_escape(reader, &out))
            break;
    }
    if (reader->at == reader->end || *reader->at != '"') {
        reader->error = -EPROTO;
        return BK_STR("");
    }
    reader->at++;
    return (struct bk_str){from, (size_t)(out - from)};
}

static bool
read_escape(struct reader *reader, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned code, low;

    if (reader->end - reader->at < 2)
        return false;
    char c = reader->at[1];
    const char *found = c ? strchr(from, c) : NULL;
    reader->at += 2;
    if (found) {
        *(*out)++ = to[found - from];
        return true;
    }
    if (c != 'u' || !read_hex(reader, &code))
        return false;
    if (code >= 0xd800 && code < 0xdc00 && reader->end - reader->at >= 6 && reader->at[0] == '\\' &&
        reader->at[1] == 'u') {
        reader->at += 2;
        if (!read_hex(reader, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xd800 && code < 0xe000) {
        code = 0xfffd;
    }
    *out = put_utf8(*out, code);
    return true;
}

static bool
read_hex(struct reader *reader, unsigned *ret)
{
    if (reader->end - reader->at < 4)
        return false;
    *ret = 0;
    for (unsigned i = 0; i < 4; i++) {
        char c = *reader->at++;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        *ret = *ret * 16 + digit;
    }
    return true;
}

static char *
put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xe0 | code >> 12);
        } else {
            *out++ = (char)(0xf0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 63));
        }
        *out++ = (char)(0x80 | (code >> 6 & 63));
    }
    *out++ = (char)(0x80 | (code & 63));
    return out;
}

static bool
read_word(struct reader *reader, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(reader->end - reader->at) < len || memcmp(reader->at, word, len) != 0) {
        reader->error = -EPROTO;
        return false;
    }
    reader->at += len;
    return true;
}

static bool
is_number(const struct reader *reader)
{
    return reader->at < reader->end && *reader->at && strchr("0123456789+-.eE", *reader->at);
}

static void
skip_space(struct reader *reader)
{
    while (reader->at < reader->end && *reader->at && strchr(" \t\r\n", *reader->at))
        reader->at++;
}

// ---- looking ----

static bk_tree_at
at_index(const struct bk_tree *tree, uint32_t index)
{
    return index > 0 && index < tree->count ? &tree->values[index] : NULL;
}

bk_tree_at
bk_tree_root(const struct bk_tree *tree)
{
    return at_index(tree, 1);
}

bk_tree_at
bk_tree_get(const struct bk_tree *tree, bk_tree_at at, const char *key)
{
    for (at = bk_tree_first(tree, at); at; at = bk_tree_next(tree, at))
        if (bk_str_equal(at->key, bk_str_of(key)))
            return at;
    return NULL;
}

bk_tree_at
bk_tree_first(const struct bk_tree *tree, bk_tree_at at)
{
    return at ? at_index(tree, at->first) : NULL;
}

bk_tree_at
bk_tree_next(const struct bk_tree *tree, bk_tree_at at)
{
    return at ? at_index(tree, at->next) : NULL;
}

uint64_t
bk_tree_u64(const struct bk_tree *tree, bk_tree_at at, const char *key)
{
    bk_tree_at found = key ? bk_tree_get(tree, at, key) : at;
    uint64_t value;

    if (!found || found->kind != BK_TREE_NUMBER ||
        bk_str_parse_u64(found->text, UINT64_MAX, &value) < 0)
        return 0;
    return value;
}

double
bk_tree_double(const struct bk_tree *tree, bk_tree_at at, const char *key)
{
    bk_tree_at found = bk_tree_get(tree, at, key);
    char text[64];

    if (!found || found->kind != BK_TREE_NUMBER || found->text.len >= sizeof text)
        return 0;
    memcpy(text, found->text.at, found->text.len);
    text[found->text.len] = '\0';
    return strtod(text, NULL);
}

struct bk_str
bk_tree_text(const struct bk_tree *tree, bk_tree_at at, const char *key)
{
    bk_tree_at found = bk_tree_get(tree, at, key);

    return found && found->kind == BK_TREE_STRING ? found->text : BK_STR("");
}
