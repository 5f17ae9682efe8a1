#include "check.h"

#include "base/utf8.h"

static bool
valid(const char *bytes, size_t len)
{
    bool whole = bk_utf8_valid((struct bk_str){bytes, len});
    // Every cut into two, and one byte at a time, must say the same.
    for (size_t cut = 0; cut <= len; cut++) {
        struct bk_utf8 state = {0};
        bool cut_valid = bk_utf8_feed(&state, (struct bk_str){bytes, cut}) &&
                         bk_utf8_feed(&state, (struct bk_str){bytes + cut, len - cut}) &&
                         bk_utf8_whole(&state);
        CHECK_INT(cut_valid, whole);
    }
    return whole;
}

#define VALID(text) CHECK(valid((text), sizeof(text) - 1))
#define INVALID(text) CHECK(!valid((text), sizeof(text) - 1))

TEST(what_is_text)
{
    VALID("");
    VALID("plain ASCII of more than eight bytes \x7f");
    VALID("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5");
    VALID("12345678\xc2\x80");
    VALID("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf");
    VALID("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
    VALID("nul \0 is text");
}

TEST(what_is_not)
{
    INVALID("\x80");
    INVALID("\xbf");
    INVALID("\xc0\x80");
    INVALID("\xc1\xbf");
    INVALID("\xe0\x9f\xbf");
    INVALID("\xf0\x8f\xbf\xbf");
    INVALID("\xed\xa0\x80");
    INVALID("\xed\xbf\xbf");
    INVALID("\xf4\x90\x80\x80");
    INVALID("\xf5\x80\x80\x80");
    INVALID("\xff");
    INVALID("abcdefgh\xfe");
    INVALID("\xc2");
    INVALID("\xe2\x82");
    INVALID("\xf0\x9f\x98");
    INVALID("\xe2\x28\xa1");
    INVALID("\xf0\x9f\x98z");
}

// Against a decoder of its own, for all two-byte starts and a few thirds and fourths.
static bool
slow(const unsigned char *at, size_t len)
{
    for (size_t i = 0; i < len;) {
        unsigned more = at[i] < 0x80       ? 0
                        : at[i] >> 5 == 6  ? 1
                        : at[i] >> 4 == 14 ? 2
                        : at[i] >> 3 == 30 ? 3
                                           : 9;
        if (more == 9 || i + more >= len)
            return false;
        uint32_t point = more == 0 ? at[i] : at[i] & (0x3f >> more);
        for (unsigned k = 1; k <= more; k++) {
            if (at[i + k] >> 6 != 2)
                return false;
            point = point << 6 | (at[i + k] & 0x3f);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
            return false;
        i += more + 1;
    }
    return true;
}

TEST(agrees_with_a_slow_decoder)
{
    static const unsigned char tails[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc2};
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            for (unsigned tail = 0; tail < BK_COUNT(tails); tail++) {
                unsigned char bytes[4] = {(unsigned char)first, (unsigned char)second, tails[tail],
                                          0x80};
                for (size_t len = 1; len <= 4; len++)
                    CHECK_INT(bk_utf8_valid((struct bk_str){(char *)bytes, len}), slow(bytes, len));
            }
        }
    }
}
