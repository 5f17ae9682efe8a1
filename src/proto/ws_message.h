// Bytes of a WebSocket client into whole messages: frames, unmasking, inflating, UTF-8 and the
// limits in one place. What is wrong is seen with the first byte that is (RFC 6455 §8.1), not at
// the end of the message.
#pragma once

#include "base/buf.h"
#include "base/utf8.h"
#include "proto/ws_deflate.h"
#include "proto/ws_frame.h"

struct bk_ws_reader {
    struct bk_ws_frames frames;
    struct bk_ws_deflate deflate;
    struct bk_ws_inflater *inflater;  // owns, NULL until the first compressed message
    struct bk_utf8 utf8;
    struct bk_buf message;  // owns: the message so far
};

// `max`: most bytes of a message after inflating. `deflate` may be NULL: no extension.
void bk_ws_reader_init(struct bk_ws_reader *reader, uint64_t max,
                       const struct bk_ws_deflate *deflate);
void bk_ws_reader_release(struct bk_ws_reader *reader);

struct bk_ws_event {
    uint8_t kind;   // DATA: TEXT or BINARY
    unsigned code;  // CLOSE: 1005 when it had none
    struct bk_str
        data;  // PING, PONG: payload; CLOSE: reason. Borrows the reader until the next call
};

// Takes the next item out of `in` (whose bytes are changed). DATA: a whole message is in
// reader->message; the caller takes that buffer away or empties it before the next call. MORE: all
// of `in` was taken. -EPROTO with *fault: the session is failed with fault->code; -ENOMEM.
int bk_ws_reader_next(struct bk_ws_reader *reader, char *in, size_t len, size_t *ret_used,
                      struct bk_ws_event *ret, struct bk_ws_fault *fault) BK_MUST_CHECK;
