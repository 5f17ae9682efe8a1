// Byte classification three times over: tables, SSE4.2 (16 bytes), AVX2 (32 bytes). h1_parse.c
// picks one per process. Tokens are found by two 16-entry tables (low and high half of a byte):
// each of the six rows of ASCII that hold token bytes owns one bit, the low table says which rows
// are fine for a column.
#include "proto/h1_scan.h"

#include <errno.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/compiler.h"
#include "proto/chars.h"
#include "proto/h1_parse.h"

#include "base/banned.h"

// Bits of a word that lie behind `len` bytes; 0 for 64 or more.
static inline uint64_t
behind(size_t len)
{
    return len < 64 ? ~UINT64_C(0) << len : 0;
}

static inline const char *
scan_table(const char *at, const char *end, unsigned class)
{
    while (at < end && bk__char_is(*at, class))
        at++;
    return at;
}

static const char *
plain_token(const char *at, const char *end)
{
    return scan_table(at, end, BK__CHAR_TOKEN);
}

static const char *
plain_target(const char *at, const char *end)
{
    return scan_table(at, end, BK__CHAR_TARGET);
}

static const char *
plain_value(const char *at, const char *end)
{
    return scan_table(at, end, BK__CHAR_VALUE);
}

static bool
plain_classify(const char *at, size_t len, struct bk__scan_marks *marks)
{
    unsigned high = 0;
    for (size_t word = 0; word * 64 < len; word++) {
        size_t here = len - word * 64 < 64 ? len - word * 64 : 64;
        uint64_t names = behind(here), values = names;
        for (size_t i = 0; i < here; i++) {
            unsigned char byte = (unsigned char)at[word * 64 + i];
            unsigned class = bk__chars[byte];
            names |= (uint64_t)(~class & BK__CHAR_TOKEN) << i;
            values |= (uint64_t)((~class & BK__CHAR_VALUE) / BK__CHAR_VALUE) << i;
            high |= byte;
        }
        marks->names[word] = names;
        marks->values[word] = values;
    }
    return high & 0x80;
}

const struct bk__scan bk__scan_plain = {"plain", plain_classify, plain_token, plain_target,
                                        plain_value};

#if defined(__x86_64__)

// Rows 2 to 7 of ASCII own the bits 0 to 5. Index: low half of the byte, then high half.
#define TOKEN_COLUMNS 0x3a, 0x3f, 0x3e, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3e, 0x3e, 0x3d, 0x15, 0x34, 0x15, 0x3d, 0x1c
#define TOKEN_ROWS 0, 0, 1, 2, 4, 8, 16, 32, 0, 0, 0, 0, 0, 0, 0, 0

// Fewer than 64 bytes with zeros behind.
static inline const char *
pad_block(const char *at, size_t len, char block[64])
{
    memset(block, 0, 64);
    memcpy(block, at, len);
    return block;
}

// ---- SSE4.2 -------------------------------------------------------------------------------------

#define SSE42 __attribute__((target("sse4.2")))

SSE42 static inline __m128i
load_16(const char *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

// 0xff where the byte cannot be in a token.
SSE42 static inline __m128i
no_token_16(__m128i bytes)
{
    __m128i columns = _mm_shuffle_epi8(_mm_setr_epi8(TOKEN_COLUMNS), bytes);
    __m128i half = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    __m128i rows = _mm_shuffle_epi8(_mm_setr_epi8(TOKEN_ROWS), half);
    return _mm_cmpeq_epi8(_mm_and_si128(columns, rows), _mm_setzero_si128());
}

SSE42 static inline __m128i
at_most_16(__m128i bytes, char most)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(most)), bytes);
}

SSE42 static inline __m128i
no_value_16(__m128i bytes)
{
    __m128i control =
        _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), at_most_16(bytes, 0x1f));
    return _mm_or_si128(control, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
}

SSE42 static inline __m128i
no_target_16(__m128i bytes)
{
    __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)),
                               _mm_cmpeq_epi8(bytes, _mm_set1_epi8('#')));
    return _mm_or_si128(odd, at_most_16(bytes, 0x20));
}

#define SPAN_16(function, class, plain) \
    SSE42 static const char * \
    function(const char *at, const char *end) \
    { \
        for (; end - at >= 16; at += 16) { \
            unsigned marks = (unsigned)_mm_movemask_epi8(class(load_16(at))); \
            if (marks) \
                return at + __builtin_ctz(marks); \
        } \
        return plain(at, end); \
    }

SPAN_16(sse42_token, no_token_16, plain_token)
SPAN_16(sse42_target, no_target_16, plain_target)
SPAN_16(sse42_value, no_value_16, plain_value)

SSE42 static inline __m128i
block_64_by_16(const char *at, uint64_t *ret_names, uint64_t *ret_values)
{
    uint64_t names = 0, values = 0;
    __m128i all = _mm_setzero_si128();
    for (unsigned i = 0; i < 4; i++) {
        __m128i bytes = load_16(at + 16 * i);
        names |= (uint64_t)(unsigned)_mm_movemask_epi8(no_token_16(bytes)) << (16 * i);
        values |= (uint64_t)(unsigned)_mm_movemask_epi8(no_value_16(bytes)) << (16 * i);
        all = _mm_or_si128(all, bytes);
    }
    *ret_names = names;
    *ret_values = values;
    return all;
}

SSE42 static bool
sse42_classify(const char *at, size_t len, struct bk__scan_marks *marks)
{
    char padded[64];
    __m128i all = _mm_setzero_si128();
    uint64_t names, values;
    size_t word = 0, left = len;
    for (; left >= 64; left -= 64, word++)
        all = _mm_or_si128(
            all, block_64_by_16(at + 64 * word, &marks->names[word], &marks->values[word]));
    if (left == 0)
        return _mm_movemask_epi8(all);
    // The rest: as the upper end of the last 64 bytes where there are so many.
    const char *from = len >= 64 ? at + len - 64 : pad_block(at, len, padded);
    unsigned shift = len >= 64 ? 64 - (unsigned)left : 0;
    all = _mm_or_si128(all, block_64_by_16(from, &names, &values));
    marks->names[word] = names >> shift | behind(left);
    marks->values[word] = values >> shift | behind(left);
    return _mm_movemask_epi8(all);
}

const struct bk__scan bk__scan_sse42 = {"sse4.2", sse42_classify, sse42_token, sse42_target,
                                        sse42_value};

// ---- AVX2 ---------------------------------------------------------------------------------------

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i
load_32(const char *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

AVX2 static inline __m256i
no_token_32(__m256i bytes)
{
    __m256i columns = _mm256_shuffle_epi8(_mm256_setr_epi8(TOKEN_COLUMNS, TOKEN_COLUMNS), bytes);
    __m256i half = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
    __m256i rows = _mm256_shuffle_epi8(_mm256_setr_epi8(TOKEN_ROWS, TOKEN_ROWS), half);
    return _mm256_cmpeq_epi8(_mm256_and_si256(columns, rows), _mm256_setzero_si256());
}

AVX2 static inline __m256i
at_most_32(__m256i bytes, char most)
{
    return _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(most)), bytes);
}

AVX2 static inline __m256i
no_value_32(__m256i bytes)
{
    __m256i control = _mm256_andnot_si256(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\t')),
                                          at_most_32(bytes, 0x1f));
    return _mm256_or_si256(control, _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f)));
}

AVX2 static inline __m256i
no_target_32(__m256i bytes)
{
    __m256i odd = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f)),
                                  _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('#')));
    return _mm256_or_si256(odd, at_most_32(bytes, 0x20));
}

#define SPAN_32(function, class, shorter) \
    AVX2 static const char * \
    function(const char *at, const char *end) \
    { \
        for (; end - at >= 32; at += 32) { \
            unsigned marks = (unsigned)_mm256_movemask_epi8(class(load_32(at))); \
            if (marks) \
                return at + __builtin_ctz(marks); \
        } \
        return shorter(at, end); \
    }

SPAN_32(avx2_token, no_token_32, sse42_token)
SPAN_32(avx2_target, no_target_32, sse42_target)
SPAN_32(avx2_value, no_value_32, sse42_value)

AVX2 static inline __m256i
block_64_by_32(const char *at, uint64_t *ret_names, uint64_t *ret_values)
{
    __m256i low = load_32(at), high = load_32(at + 32);
    *ret_names = (uint64_t)(unsigned)_mm256_movemask_epi8(no_token_32(low)) |
                 (uint64_t)(unsigned)_mm256_movemask_epi8(no_token_32(high)) << 32;
    *ret_values = (uint64_t)(unsigned)_mm256_movemask_epi8(no_value_32(low)) |
                  (uint64_t)(unsigned)_mm256_movemask_epi8(no_value_32(high)) << 32;
    return _mm256_or_si256(low, high);
}

// 32 to 63 bytes, a common length of small heads: two blocks that overlap.
AVX2 static inline bool
classify_short(const char *at, size_t len, struct bk__scan_marks *marks)
{
    __m256i low = load_32(at), high = load_32(at + len - 32);
    marks->names[0] = (uint64_t)(unsigned)_mm256_movemask_epi8(no_token_32(low)) |
                      (uint64_t)(unsigned)_mm256_movemask_epi8(no_token_32(high)) << (len - 32) |
                      behind(len);
    marks->values[0] = (uint64_t)(unsigned)_mm256_movemask_epi8(no_value_32(low)) |
                       (uint64_t)(unsigned)_mm256_movemask_epi8(no_value_32(high)) << (len - 32) |
                       behind(len);
    return _mm256_movemask_epi8(_mm256_or_si256(low, high));
}

AVX2 static bool
avx2_classify(const char *at, size_t len, struct bk__scan_marks *marks)
{
    char padded[64];
    __m256i all = _mm256_setzero_si256();
    uint64_t names, values;
    size_t word = 0, left = len;
    if (len < 64 && len >= 32)
        return classify_short(at, len, marks);
    for (; left >= 64; left -= 64, word++)
        all = _mm256_or_si256(
            all, block_64_by_32(at + 64 * word, &marks->names[word], &marks->values[word]));
    if (left == 0)
        return _mm256_movemask_epi8(all);
    const char *from = len >= 64 ? at + len - 64 : pad_block(at, len, padded);
    unsigned shift = len >= 64 ? 64 - (unsigned)left : 0;
    all = _mm256_or_si256(all, block_64_by_32(from, &names, &values));
    marks->names[word] = names >> shift | behind(left);
    marks->values[word] = values >> shift | behind(left);
    return _mm256_movemask_epi8(all);
}

const struct bk__scan bk__scan_avx2 = {"avx2", avx2_classify, avx2_token, avx2_target, avx2_value};
#endif

// ---- which code ---------------------------------------------------------------------------------

const struct bk__scan *bk__scan = &bk__scan_plain;

__attribute__((constructor)) static void
choose(void)
{
    static const char *const wanted[] = {"avx2", "sse4.2"};
    for (unsigned i = 0; i < BK_COUNT(wanted); i++)
        if (bk_h1_scan_force(wanted[i]) == 0)
            return;
}

const char *
bk_h1_scan_name(void)
{
    return bk__scan->name;
}

int
bk_h1_scan_force(const char *name)
{
    const struct bk__scan *found = strcmp(name, "plain") == 0 ? &bk__scan_plain : NULL;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (strcmp(name, "sse4.2") == 0 && __builtin_cpu_supports("sse4.2"))
        found = &bk__scan_sse42;
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2"))
        found = &bk__scan_avx2;
#endif
    if (!found)
        return -ENOTSUP;
    bk__scan = found;
    return 0;
}
