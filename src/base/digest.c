// SHA-1 and base64, for the WebSocket handshake. Written for size, not for speed: once per session.
#include "base/digest.h"

#include "base/banned.h"

#define BLOCK 64

static void take_block(uint32_t state[5], const uint8_t *block);

static void
store_32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

void
bk_digest_sha1(uint8_t out[BK_SHA1_SIZE], struct bk_str data)
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const uint8_t *at = (const uint8_t *)data.at;
    size_t left = data.len;
    for (; left >= BLOCK; left -= BLOCK, at += BLOCK)
        take_block(state, at);
    // What is left, a one bit, zeros, and the length in bits in the last eight bytes.
    uint8_t tail[2 * BLOCK] = {0};
    size_t size = left + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
    if (left)
        memcpy(tail, at, left);
    tail[left] = 0x80;
    store_32(tail + size - 8, (uint32_t)((uint64_t)data.len >> 29));
    store_32(tail + size - 4, (uint32_t)(data.len << 3));
    for (at = tail; at < tail + size; at += BLOCK)
        take_block(state, at);
    for (int i = 0; i < 5; i++)
        store_32(out + 4 * i, state[i]);
}

static uint32_t
rotate(uint32_t value, int bits)
{
    return value << bits | value >> (32 - bits);
}

static void
take_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t words[80];
    for (int i = 0; i < 16; i++, block += 4)
        words[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
                   block[3];
    for (int i = 16; i < 80; i++)
        words[i] = rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t mixed = i < 20   ? (d ^ (b & (c ^ d))) + 0x5a827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                         : i < 60 ? ((b & c) | (d & (b | c))) + 0x8f1bbcdc
                                  : (b ^ c ^ d) + 0xca62c1d6;
        uint32_t next = rotate(a, 5) + mixed + e + words[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

size_t
bk_digest_base64(char *out, const void *data, size_t len)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = data;
    char *start = out;
    for (size_t i = 0; i < len; i += 3) {
        size_t have = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)at[i] << 16 | (have > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                        (have > 2 ? at[i + 2] : 0);
        out[0] = letters[bits >> 18];
        out[1] = letters[bits >> 12 & 63];
        out[2] = have > 1 ? letters[bits >> 6 & 63] : '=';
        out[3] = have > 2 ? letters[bits & 63] : '=';
        out += 4;
    }
    return (size_t)(out - start);
}
