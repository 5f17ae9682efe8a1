// Request targets (RFC 9112 §3.2) and percent decoding (RFC 3986 §2.1).
#pragma once

#include "base/err.h"
#include "proto/message.h"

// Splits head->target into path, query and authority by its form and checks it against the method.
// -EPROTO with *fault on anything that is not exactly one of the four forms.
int bk_target_split(struct bk_head *head, struct bk_fault *fault) BK_MUST_CHECK;

// Is `host` a valid Host value or authority (RFC 3986 §3.2.2 host, optional :port)? Empty is valid.
bool bk_target_host_valid(struct bk_str host);

// Decodes %XX once into `out` (room for s.len bytes); "%zz" stays literal. Returns bytes written.
// *ret_plain is true when nothing needed decoding and all bytes are ASCII (the caller may then use s itself).
size_t bk_target_decode(char *out, struct bk_str s, bool *ret_plain);
