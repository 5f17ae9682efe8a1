// SHA-1 (RFC 3174), which RFC 6455 §4.2.2 asks for in the WebSocket handshake. It protects nothing
// there; do not use it for anything that must not be forged. Why it is written here:
// docs/decisions/.
#pragma once

#include "base/str.h"

#define BK_SHA1_SIZE 20

void bk_digest_sha1(uint8_t out[BK_SHA1_SIZE], struct bk_str data);
// Base64 with padding (RFC 4648 §4), no NUL; `out` has room for BK_BASE64_SIZE(len). Returns bytes
// written.
#define BK_BASE64_SIZE(len) (((len) + 2) / 3 * 4)
size_t bk_digest_base64(char *out, const void *data, size_t len);
