// UTF-8, incrementally. Runs of ASCII go by eight bytes at once; the rest by what the first byte of
// a character allows for its second (RFC 3629 §4).
#include "base/utf8.h"

#include "base/banned.h"

static bool begin(struct bk_utf8 *state, uint8_t byte);

bool
bk_utf8_feed(struct bk_utf8 *state, struct bk_str bytes)
{
    if (!bytes.len)
        return true;
    const uint8_t *at = (const uint8_t *)bytes.at, *end = at + bytes.len;
    while (at < end) {
        if (state->left) {
            if (*at < state->low || *at > state->high)
                return false;
            state->low = 0x80;
            state->high = 0xbf;
            state->left--;
            at++;
            continue;
        }
        uint64_t word;
        while (end - at >= 8 &&
               (memcpy(&word, at, sizeof word), (word & UINT64_C(0x8080808080808080)) == 0))
            at += 8;
        while (at < end && *at < 0x80)
            at++;
        if (at < end && !begin(state, *at++))
            return false;
    }
    return true;
}

static bool
begin(struct bk_utf8 *state, uint8_t byte)
{
    if (byte < 0xc2 || byte > 0xf4)  // a continuation byte, an overlong form, beyond U+10FFFF
        return false;
    state->left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    state->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    state->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    return true;
}
