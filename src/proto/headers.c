// Known field names and the character classes of fields. The parser asks for every field of every
// request, serve and the hosts for the application's fields.
#include "proto/headers.h"

#include "proto/chars.h"
#include "proto/headers_find.h"

#include "base/banned.h"

const uint8_t bk__header_slots[1 << BK__HEADER_HASH_BITS] = {
#define X(slot, id, key) [slot] = BK_HEADER_##id,
    BK__HEADER_HASHES(X)
#undef X
};

const uint64_t bk__header_keys[BK_HEADER_COUNT] = {
#define X(slot, id, key) [BK_HEADER_##id] = key,
    BK__HEADER_HASHES(X)
#undef X
};

const struct bk__header_known bk__header_known[BK_HEADER_COUNT] = {
    [BK_HEADER_OTHER] = {0, ""},
#define X(id, name) [BK_HEADER_##id] = {sizeof(name) - 1, name},
    BK_HEADERS(X)
#undef X
};

#define X(id, name) _Static_assert(sizeof(name) - 1 >= 2 && sizeof(name) <= BK__HEADER_NAME_MAX, "too short or too long");
BK_HEADERS(X)
#undef X

// CR is the one byte besides '-' that setting 0x20 turns into '-', and no token.
enum bk_header
bk_header_id(const char *name, size_t len)
{
    enum bk_header id = bk__header_of_token(name, len);
    return id != BK_HEADER_OTHER && bk_unlikely(memchr(name, '\r', len)) ? BK_HEADER_OTHER : id;
}

struct bk_str
bk_header_name(enum bk_header id)
{
    if ((unsigned)id >= BK_HEADER_COUNT)
        id = BK_HEADER_OTHER;
    return (struct bk_str){bk__header_known[id].name, bk__header_known[id].len};
}

static bool
all_are(struct bk_str s, unsigned class)
{
    for (size_t i = 0; i < s.len; i++)
        if (!bk__char_is(s.at[i], class))
            return false;
    return true;
}

bool
bk_token_valid(struct bk_str s)
{
    return s.len > 0 && all_are(s, BK__CHAR_TOKEN);
}

bool
bk_value_valid(struct bk_str s)
{
    return all_are(s, BK__CHAR_VALUE);
}

bool
bk_value_lists(struct bk_str value, struct bk_str token)
{
    struct bk_str item;
    while (bk_str_next_item(&value, ',', &item))
        if (bk_str_equal_nocase(item, token))
            return true;
    return false;
}
