// WebSocket frames in and out. Called by ws_message.c, which makes messages of the pieces.
#include "proto/ws_frame.h"

#include <errno.h>

#include "base/utf8.h"

#include "base/banned.h"

// A message of empty fragments would cost the peer six bytes each and never end.
#define EMPTY_FRAGMENTS_MAX 1024

static int fail(struct bk_ws_fault *fault, unsigned code, const char *why);
static int take_head(struct bk_ws_frames *frames, const char *in, size_t len, size_t *ret_used,
                     struct bk_ws_fault *fault);
static int judge_start(const struct bk_ws_frames *frames, struct bk_ws_fault *fault);
static int judge_frame(struct bk_ws_frames *frames, struct bk_ws_fault *fault);
static int take_control(struct bk_ws_frames *frames, const char *in, size_t len,
                        struct bk_ws_piece *ret, size_t *ret_used);

int
bk_ws_frames_next(struct bk_ws_frames *frames, char *in, size_t len, size_t *ret_used,
                  struct bk_ws_piece *ret, struct bk_ws_fault *fault)
{
    size_t used = 0;
    if (!frames->in_payload) {
        int got = take_head(frames, in, len, &used, fault);
        *ret_used = used;
        if (got <= 0)
            return got;
    }
    if (frames->opcode >= BK_WS_OP_CLOSE) {
        int item = take_control(frames, in + used, len - used, ret, ret_used);
        *ret_used += used;
        return item;
    }
    size_t rest = len - used;
    size_t piece = rest < frames->left ? rest : (size_t)frames->left;
    *ret_used = used + piece;
    if (piece == 0 && frames->left)
        return BK_WS_MORE;
    if (piece)
        bk_ws_unmask(in + used, piece, frames->mask, frames->mask_at);
    frames->mask_at = (uint8_t)((frames->mask_at + piece) & 3);
    frames->left -= piece;
    *ret = (struct bk_ws_piece){.data = {in + used, piece},
                                .kind = frames->kind,
                                .compressed = frames->compressed,
                                .last = frames->fin && frames->left == 0,
                                .left = frames->left};
    frames->in_payload = frames->left > 0;
    if (ret->last)
        frames->kind = 0;
    return BK_WS_DATA;
}

static int
fail(struct bk_ws_fault *fault, unsigned code, const char *why)
{
    *fault = (struct bk_ws_fault){code, why};
    return -EPROTO;
}

// 1: the head of a frame is complete and allowed. Collected byte by byte: frames are cut anywhere,
// and a head is at most 14 bytes.
static int
take_head(struct bk_ws_frames *frames, const char *in, size_t len, size_t *ret_used,
          struct bk_ws_fault *fault)
{
    uint8_t *head = frames->head;
    for (size_t i = 0; i < len; i++) {
        head[frames->head_len++] = (uint8_t)in[i];
        if (frames->head_len < 2)
            continue;
        if (frames->head_len == 2 && judge_start(frames, fault) < 0)
            return -EPROTO;
        unsigned short_len = head[1] & 127;
        unsigned wide = short_len == 126 ? 2 : short_len == 127 ? 8 : 0;
        if (frames->head_len < 2 + wide + 4)
            continue;
        uint64_t length = wide ? 0 : short_len;
        for (unsigned k = 0; k < wide; k++)
            length = length << 8 | head[2 + k];
        if ((wide == 2 && length < 126) || (wide == 8 && (length <= 0xffff || length >> 63)))
            return fail(fault, BK_WS_PROTOCOL, "a frame length not in its shortest form");
        memcpy(frames->mask, head + 2 + wide, 4);
        frames->mask_at = 0;
        frames->left = length;
        frames->head_len = 0;
        *ret_used = i + 1;
        return judge_frame(frames, fault) < 0 ? -EPROTO : 1;
    }
    *ret_used = len;
    return BK_WS_MORE;
}

// The first two bytes are enough for most of what can be wrong (RFC 6455 §5.2, §5.4, §5.5).
static int
judge_start(const struct bk_ws_frames *frames, struct bk_ws_fault *fault)
{
    uint8_t first = frames->head[0], second = frames->head[1];
    unsigned opcode = first & 15;
    bool rsv1 = first & 0x40;
    if (first & 0x30 || (rsv1 && !frames->deflate))
        return fail(fault, BK_WS_PROTOCOL, "a reserved bit is set");
    if (!(second & 0x80))
        return fail(fault, BK_WS_PROTOCOL, "a frame is not masked");
    if (opcode >= BK_WS_OP_CLOSE) {
        if (opcode > BK_WS_OP_PONG)
            return fail(fault, BK_WS_PROTOCOL, "unknown opcode");
        if (rsv1)
            return fail(fault, BK_WS_PROTOCOL, "a compressed control frame");
        if (!(first & 0x80))
            return fail(fault, BK_WS_PROTOCOL, "a control frame in fragments");
        if ((second & 127) > BK_WS_CONTROL_MAX)
            return fail(fault, BK_WS_PROTOCOL, "a control frame of more than 125 bytes");
        return 0;
    }
    if (opcode > BK_WS_OP_BINARY)
        return fail(fault, BK_WS_PROTOCOL, "unknown opcode");
    if (opcode == BK_WS_OP_CONTINUATION) {
        if (!frames->kind)
            return fail(fault, BK_WS_PROTOCOL, "a continuation of no message");
        if (rsv1)
            return fail(fault, BK_WS_PROTOCOL, "a compression bit inside a message");
    } else if (frames->kind) {
        return fail(fault, BK_WS_PROTOCOL, "a new message inside another");
    }
    return 0;
}

static int
judge_frame(struct bk_ws_frames *frames, struct bk_ws_fault *fault)
{
    frames->opcode = frames->head[0] & 15;
    frames->in_payload = true;
    if (frames->opcode >= BK_WS_OP_CLOSE) {
        frames->control_len = 0;
        return 0;
    }
    frames->fin = frames->head[0] & 0x80;
    if (frames->opcode != BK_WS_OP_CONTINUATION) {
        frames->kind = frames->opcode;
        frames->compressed = frames->head[0] & 0x40;
        frames->announced = 0;
        frames->empty = 0;
    }
    // Deflate makes what it cannot compress a little longer. Its output has the real limit.
    uint64_t max = frames->max;
    if (frames->compressed)
        max += max / 4 + 64;
    if (frames->left > max || frames->announced > max - frames->left)
        return fail(fault, BK_WS_TOO_BIG, "message too big");
    frames->announced += frames->left;
    if (frames->left == 0 && !frames->fin && ++frames->empty > EMPTY_FRAGMENTS_MAX)
        return fail(fault, BK_WS_POLICY, "too many empty fragments");
    return 0;
}

static int
take_control(struct bk_ws_frames *frames, const char *in, size_t len, struct bk_ws_piece *ret,
             size_t *ret_used)
{
    size_t piece = len < frames->left ? len : (size_t)frames->left;
    char *at = frames->control + frames->control_len;
    if (piece) {
        memcpy(at, in, piece);
        bk_ws_unmask(at, piece, frames->mask, frames->mask_at);
    }
    frames->mask_at = (uint8_t)((frames->mask_at + piece) & 3);
    frames->control_len = (uint8_t)(frames->control_len + piece);
    frames->left -= piece;
    *ret_used = piece;
    if (frames->left)
        return BK_WS_MORE;
    frames->in_payload = false;
    *ret = (struct bk_ws_piece){.data = {frames->control, frames->control_len}};
    return frames->opcode == BK_WS_OP_CLOSE  ? BK_WS_CLOSE
           : frames->opcode == BK_WS_OP_PING ? BK_WS_PING
                                             : BK_WS_PONG;
}

void
bk_ws_unmask(char *data, size_t len, const uint8_t mask[4], unsigned at)
{
    uint8_t turned[8];
    for (unsigned i = 0; i < 8; i++)
        turned[i] = mask[(at + i) & 3];
    uint64_t word, key;
    memcpy(&key, turned, sizeof key);
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {  // compilers make vector code of this
        memcpy(&word, data + i, sizeof word);
        word ^= key;
        memcpy(data + i, &word, sizeof word);
    }
    for (; i < len; i++)
        data[i] = (char)((uint8_t)data[i] ^ turned[i & 7]);
}

bool
bk_ws_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

int
bk_ws_close_parse(struct bk_str payload, unsigned *ret_code, struct bk_str *ret_reason,
                  struct bk_ws_fault *fault)
{
    *ret_code = BK_WS_NO_CODE;
    *ret_reason = (struct bk_str){NULL, 0};
    if (payload.len == 0)
        return 0;
    if (payload.len == 1)
        return fail(fault, BK_WS_PROTOCOL, "a close frame of one byte");
    unsigned code = (unsigned)(uint8_t)payload.at[0] << 8 | (uint8_t)payload.at[1];
    if (!bk_ws_code_valid(code))
        return fail(fault, BK_WS_PROTOCOL, "a close code that may not be sent");
    *ret_reason = (struct bk_str){payload.at + 2, payload.len - 2};
    if (!bk_utf8_valid(*ret_reason))
        return fail(fault, BK_WS_BAD_DATA, "a close reason that is not UTF-8");
    *ret_code = code;
    return 0;
}

size_t
bk_ws_close_write(char out[BK_WS_CONTROL_MAX], unsigned code, struct bk_str reason)
{
    out[0] = (char)(code >> 8);
    out[1] = (char)code;
    if (reason.len > BK_WS_REASON_MAX) {
        reason.len = BK_WS_REASON_MAX;
        while (reason.len && ((uint8_t)reason.at[reason.len] & 0xc0) == 0x80)
            reason.len--;
    }
    if (reason.len)
        memcpy(out + 2, reason.at, reason.len);
    return reason.len + 2;
}

size_t
bk_ws_frame_head(char out[BK_WS_HEAD_MAX], enum bk_ws_opcode opcode, bool compressed, uint64_t len)
{
    out[0] = (char)(0x80 | (compressed ? 0x40 : 0) | (unsigned)opcode);
    unsigned wide = len < 126 ? 0 : len <= 0xffff ? 2 : 8;
    out[1] = (char)(wide == 0 ? len : wide == 2 ? 126 : 127);
    for (unsigned i = 0; i < wide; i++)
        out[2 + i] = (char)(len >> 8 * (wide - 1 - i));
    return 2 + wide;
}
