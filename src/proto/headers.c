// Known field names and the character classes of fields. The parser asks for every field of every request, serve and the
// hosts for the application's fields.
#include "proto/headers.h"

#include "proto/chars.h"

#include "base/banned.h"

#define NAME_MAX_LEN 32  // room for the longest name of the table, a multiple of 8

// begin of tools/header_hash.py's output
#define FACTOR UINT64_C(0xa1b3000e929354b7)
#define HASH_BITS 9
static const uint8_t slots[1 << HASH_BITS] = {
    [1] = BK_HEADER_IF_MATCH,
    [5] = BK_HEADER_PROXY_AUTHORIZATION,
    [6] = BK_HEADER_SEC_CH_UA_PLATFORM,
    [8] = BK_HEADER_X_FORWARDED_FOR,
    [16] = BK_HEADER_SEC_WEBSOCKET_VERSION,
    [23] = BK_HEADER_X_FORWARDED_PREFIX,
    [24] = BK_HEADER_SEC_FETCH_SITE,
    [32] = BK_HEADER_CONTENT_TYPE,
    [38] = BK_HEADER_CF_CONNECTING_IP,
    [40] = BK_HEADER_TRACESTATE,
    [44] = BK_HEADER_PRAGMA,
    [48] = BK_HEADER_IF_UNMODIFIED_SINCE,
    [50] = BK_HEADER_SEC_CH_UA_MOBILE,
    [52] = BK_HEADER_SEC_FETCH_DEST,
    [57] = BK_HEADER_IF_MODIFIED_SINCE,
    [59] = BK_HEADER_PROXY_CONNECTION,
    [65] = BK_HEADER_VIA,
    [66] = BK_HEADER_ACCEPT_LANGUAGE,
    [92] = BK_HEADER_SEC_CH_UA,
    [95] = BK_HEADER_USER_AGENT,
    [96] = BK_HEADER_X_REAL_IP,
    [100] = BK_HEADER_X_FORWARDED_PROTO,
    [108] = BK_HEADER_IF_RANGE,
    [112] = BK_HEADER_PRIORITY,
    [118] = BK_HEADER_ACCESS_CONTROL_REQUEST_METHOD,
    [122] = BK_HEADER_MAX_FORWARDS,
    [143] = BK_HEADER_CONTENT_LANGUAGE,
    [168] = BK_HEADER_UPGRADE_INSECURE_REQUESTS,
    [172] = BK_HEADER_SERVER,
    [180] = BK_HEADER_VARY,
    [182] = BK_HEADER_LAST_MODIFIED,
    [186] = BK_HEADER_ACCEPT_ENCODING,
    [205] = BK_HEADER_FORWARDED,
    [207] = BK_HEADER_WWW_AUTHENTICATE,
    [213] = BK_HEADER_ALLOW,
    [235] = BK_HEADER_SEC_WEBSOCKET_EXTENSIONS,
    [237] = BK_HEADER_CONTENT_ENCODING,
    [243] = BK_HEADER_REFERER,
    [251] = BK_HEADER_CONTENT_LENGTH,
    [254] = BK_HEADER_KEEP_ALIVE,
    [256] = BK_HEADER_FROM,
    [259] = BK_HEADER_X_REQUEST_ID,
    [262] = BK_HEADER_SEC_FETCH_USER,
    [265] = BK_HEADER_ACCEPT,
    [266] = BK_HEADER_UPGRADE,
    [268] = BK_HEADER_SEC_WEBSOCKET_KEY,
    [292] = BK_HEADER_TRACEPARENT,
    [296] = BK_HEADER_ETAG,
    [299] = BK_HEADER_X_FORWARDED_PORT,
    [304] = BK_HEADER_ACCEPT_RANGES,
    [314] = BK_HEADER_IF_NONE_MATCH,
    [329] = BK_HEADER_DNT,
    [333] = BK_HEADER_CONTENT_DISPOSITION,
    [344] = BK_HEADER_X_REQUEST_START,
    [353] = BK_HEADER_TRAILER,
    [356] = BK_HEADER_COOKIE,
    [370] = BK_HEADER_SEC_WEBSOCKET_PROTOCOL,
    [372] = BK_HEADER_ACCESS_CONTROL_REQUEST_HEADERS,
    [376] = BK_HEADER_AUTHORIZATION,
    [381] = BK_HEADER_X_FORWARDED_HOST,
    [392] = BK_HEADER_X_FORWARDED_SSL,
    [405] = BK_HEADER_CONTENT_RANGE,
    [406] = BK_HEADER_X_FORWARDED_PROTOCOL,
    [418] = BK_HEADER_SEC_FETCH_MODE,
    [426] = BK_HEADER_ACCEPT_CHARSET,
    [428] = BK_HEADER_X_CSRFTOKEN,
    [433] = BK_HEADER_LOCATION,
    [442] = BK_HEADER_HOST,
    [449] = BK_HEADER_AGE,
    [451] = BK_HEADER_BAGGAGE,
    [455] = BK_HEADER_CONNECTION,
    [462] = BK_HEADER_DATE,
    [465] = BK_HEADER_SET_COOKIE,
    [473] = BK_HEADER_CACHE_CONTROL,
    [476] = BK_HEADER_EXPECT,
    [481] = BK_HEADER_PROXY,
    [487] = BK_HEADER_X_REQUESTED_WITH,
    [488] = BK_HEADER_ORIGIN,
    [493] = BK_HEADER_TRANSFER_ENCODING,
    [499] = BK_HEADER_RANGE,
    [502] = BK_HEADER_CDN_LOOP,
    [507] = BK_HEADER_TE,
};
// end of tools/header_hash.py's output

struct known {
    uint8_t len;
    char name[NAME_MAX_LEN];
};
static const struct known known[BK_HEADER_COUNT] = {
    {0, ""},
#define X(id, name) {sizeof(name) - 1, name},
    BK_HEADERS(X)
#undef X
};

#define X(id, name) _Static_assert(sizeof(name) - 1 >= 2 && sizeof(name) - 1 < NAME_MAX_LEN, "NAME_MAX_LEN is too small");
BK_HEADERS(X)
#undef X

static inline uint32_t
load_32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t
load_64(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

#define EVERY(byte) (UINT64_C(0x0101010101010101) * (byte))

// 0x20 in each byte of `word` that is a letter in upper or lower case, 0 in the others.
static inline uint64_t
letters(uint64_t word)
{
    uint64_t low = word & EVERY(0x7f) & ~EVERY(0x20);  // as upper case
    uint64_t letter = (low + EVERY(0x80 - 'A')) & ~(low + EVERY(0x7f - 'Z')) & ~word & EVERY(0x80);
    return letter >> 2;
}

static inline bool
same_word(const char *name, const char *ours)
{
    uint64_t ours_word = load_64(ours);
    return ((load_64(name) ^ ours_word) & ~letters(ours_word)) == 0;
}

static inline bool
same_name(const char *name, const char *ours, size_t len)
{
    if (len < 8)
        return bk_str_equal_nocase((struct bk_str){name, len}, (struct bk_str){ours, len});
    for (size_t i = 0; i + 8 < len; i += 8)
        if (!same_word(name + i, ours + i))
            return false;
    return same_word(name + len - 8, ours + len - 8);
}

enum bk_header
bk_header_id(const char *name, size_t len)
{
    uint32_t first, last;
    if (bk_likely(len >= 4)) {
        first = load_32(name) | 0x20202020;
        last = load_32(name + len - 4) | 0x20202020;
    } else if (len >= 2) {
        char padded[4] = {name[0], name[1], len == 3 ? name[2] : ' ', 0};
        last = first = load_32(padded) | 0x20202020;
    } else {
        return BK_HEADER_OTHER;
    }
    uint64_t key = ((uint64_t)first << 32 | last) ^ len;
    unsigned id = slots[key * FACTOR >> (64 - HASH_BITS)];
    if (known[id].len != len || !same_name(name, known[id].name, len))
        return BK_HEADER_OTHER;
    return (enum bk_header)id;
}

struct bk_str
bk_header_name(enum bk_header id)
{
    if ((unsigned)id >= BK_HEADER_COUNT)
        id = BK_HEADER_OTHER;
    return (struct bk_str){known[id].name, known[id].len};
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
