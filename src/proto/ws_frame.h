// WebSocket frames (RFC 6455 §5): bytes from a client into pieces of messages and control frames,
// and frame heads for what the server sends. Incremental: any cut of the input gives the same
// pieces but for where DATA is cut. No memory of its own.
#pragma once

#include "base/str.h"

enum bk_ws_opcode {
    BK_WS_OP_CONTINUATION = 0,
    BK_WS_OP_TEXT = 1,
    BK_WS_OP_BINARY = 2,
    BK_WS_OP_CLOSE = 8,
    BK_WS_OP_PING = 9,
    BK_WS_OP_PONG = 10,
};

// Codes of RFC 6455 §7.4.1 the server itself uses.
enum {
    BK_WS_NORMAL = 1000,
    BK_WS_GOING_AWAY = 1001,
    BK_WS_PROTOCOL = 1002,
    BK_WS_NO_CODE = 1005,  // never on the wire: a close frame without a code
    BK_WS_LOST = 1006,     // never on the wire: no close frame at all
    BK_WS_BAD_DATA = 1007,
    BK_WS_POLICY = 1008,
    BK_WS_TOO_BIG = 1009,
    BK_WS_INTERNAL = 1011,
    BK_WS_RESTART = 1012,
};

#define BK_WS_CONTROL_MAX 125  // payload of a control frame
#define BK_WS_REASON_MAX 123   // reason of a close frame
#define BK_WS_HEAD_MAX 10      // head of a frame that the server sends

// What the peer did wrong: the close code to send and a literal for the log.
struct bk_ws_fault {
    unsigned code;
    const char *why;
};

struct bk_ws_frames {
    uint64_t max;                // most payload bytes of a message; set by the owner
    bool deflate;                // RSV1 was negotiated; set by the owner
    uint64_t left;               // payload bytes of the current frame still to come
    uint64_t announced;          // payload bytes of the current message, as far as its frames said
    uint32_t empty;              // empty fragments of the current message
    uint8_t head[14], head_len;  // a frame head still incomplete
    uint8_t mask[4], mask_at;
    uint8_t opcode;  // of the current frame
    uint8_t kind;    // of the current message: TEXT or BINARY, 0 between messages
    bool fin, compressed, in_payload;
    uint8_t control_len;
    char control[BK_WS_CONTROL_MAX];
};

enum bk_ws_item {
    BK_WS_MORE,  // nothing whole: read on
    BK_WS_DATA,  // bytes of a message, unmasked where they lie in the input
    BK_WS_PING,
    BK_WS_PONG,
    BK_WS_CLOSE,
};

struct bk_ws_piece {
    struct bk_str
        data;  // DATA: borrows the input; control frames: borrows the parser until the next call
    uint8_t kind;     // DATA: TEXT or BINARY
    bool compressed;  // DATA: of a compressed message
    bool last;        // DATA: the message ends behind these bytes
    uint64_t left;    // DATA: payload bytes of this frame still to come
};

// Takes the next item out of `in`, whose bytes are unmasked where they lie. *ret_used bytes were
// taken; with MORE that is all of them. Returns the item or -EPROTO with *fault: then the
// connection is failed, no further call.
int bk_ws_frames_next(struct bk_ws_frames *frames, char *in, size_t len, size_t *ret_used,
                      struct bk_ws_piece *ret, struct bk_ws_fault *fault) BK_MUST_CHECK;

// The code and reason in a close frame's payload; 1005 when it is empty. -EPROTO with *fault for
// one that is not allowed.
int bk_ws_close_parse(struct bk_str payload, unsigned *ret_code, struct bk_str *ret_reason,
                      struct bk_ws_fault *fault) BK_MUST_CHECK;
// May this code be in a close frame (RFC 6455 §7.4, and 1012 to 1014 as registered since)?
bool bk_ws_code_valid(unsigned code);
// Payload of a close frame: the code and as many whole characters of the reason as fit. Returns
// bytes written.
size_t bk_ws_close_write(char out[BK_WS_CONTROL_MAX], unsigned code, struct bk_str reason);

// Head of an unmasked, final frame; returns bytes written.
size_t bk_ws_frame_head(char out[BK_WS_HEAD_MAX], enum bk_ws_opcode opcode, bool compressed,
                        uint64_t len);

// data[i] ^= mask[(i + at) % 4]
void bk_ws_unmask(char *data, size_t len, const uint8_t mask[4], unsigned at);
