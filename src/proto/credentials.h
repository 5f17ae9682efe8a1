// The user's name in an Authorization field, for the access log. Who the user is, the application decides.
#pragma once

#include "base/str.h"

// Decodes the name of Basic credentials (RFC 7617 §2: base64 of name ":" password) into `out`: at most `room` bytes, a
// longer one is cut; not escaped. Nothing behind the colon is decoded. Returns the length; 0 for another scheme, broken
// base64 before the colon, an empty name, or no colon (then all of the text may be secret).
size_t bk_credentials_user(struct bk_str authorization, char *out, size_t room);
