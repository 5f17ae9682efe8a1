// permessage-deflate (RFC 7692): negotiation, and raw deflate of whole messages. The only user of
// zlib here.
#pragma once

#include "base/buf.h"
#include "base/str.h"

// Window of what we send, and of what clients send that let us choose: 4 KiB compresses messages
// nearly as well as the 32 KiB that zlib takes by default, at 40 KiB instead of 300 a session.
#define BK_WS_WINDOW_BITS 12

struct bk_ws_deflate {
    bool on;
    bool server_no_takeover, client_no_takeover;
    bool say_server_bits, say_client_bits;  // these parameters are part of the answer
    uint8_t server_bits, client_bits;
};

// Reads the value of one Sec-WebSocket-Extensions line and takes the first offer of
// permessage-deflate that can be accepted: 1, *ret filled. 0: none in this line. -EPROTO: not a
// list of extensions (RFC 6455 §9.1).
int bk_ws_deflate_negotiate(struct bk_str line, struct bk_ws_deflate *ret) BK_MUST_CHECK;
// "permessage-deflate; ..." for the answer; returns bytes written.
#define BK_WS_DEFLATE_ANSWER_MAX 160
size_t bk_ws_deflate_answer(char out[BK_WS_DEFLATE_ANSWER_MAX],
                            const struct bk_ws_deflate *deflate);

struct bk_ws_inflater;  // what the client sends
struct bk_ws_deflater;  // what we send

int bk_ws_inflater_new(const struct bk_ws_deflate *deflate,
                       struct bk_ws_inflater **ret) BK_MUST_CHECK;
void bk_ws_inflater_free(struct bk_ws_inflater *inflater);
// Inflates the next bytes of a message behind `into`; `last`: the message ends with them.
// -EMSGSIZE: the message would be longer than `most` (checked while it grows: a bomb costs no
// more); -EPROTO: this is no deflate; -ENOMEM.
int bk_ws_inflate(struct bk_ws_inflater *inflater, struct bk_str in, bool last, struct bk_buf *into,
                  size_t most) BK_MUST_CHECK;

int bk_ws_deflater_new(const struct bk_ws_deflate *deflate,
                       struct bk_ws_deflater **ret) BK_MUST_CHECK;
void bk_ws_deflater_free(struct bk_ws_deflater *deflater);
// Compresses one whole message behind `into`. After an error the session cannot go on: the client's
// window would differ.
int bk_ws_deflate(struct bk_ws_deflater *deflater, struct bk_str in,
                  struct bk_buf *into) BK_MUST_CHECK;
