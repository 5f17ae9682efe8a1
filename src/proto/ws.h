// The WebSocket handshake (RFC 6455 §4.2): is a request one, is it a right one, and what the 101
// says.
#pragma once

#include "base/err.h"
#include "proto/message.h"
#include "proto/ws_deflate.h"

#define BK_WS_ACCEPT_SIZE 28  // bytes of Sec-WebSocket-Accept

// A GET or not: asks for the protocol "websocket" on an HTTP/1.1 connection that may change.
bool bk_ws_asked(const struct bk_head *head);
// Checks a request for which bk_ws_asked: 0, or -EPROTO with *fault (400; 426 for a version other
// than 13: the answer must then carry Sec-WebSocket-Version: 13). *ret_deflate: the extension as it
// can be granted; off when not offered.
int bk_ws_check(const struct bk_head *head, struct bk_ws_deflate *ret_deflate,
                struct bk_fault *fault) BK_MUST_CHECK;
// Value of Sec-WebSocket-Accept for a checked request.
void bk_ws_accept_value(const struct bk_head *head, char out[BK_WS_ACCEPT_SIZE]);
// The subprotocols offered, in order, over all lines; fills at most `room`, returns how many there
// are.
unsigned bk_ws_offered(const struct bk_head *head, struct bk_str *into, unsigned room);
