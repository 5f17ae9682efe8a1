// Classes of bytes in HTTP, one table for all of them (RFC 9110 §5.5, §5.6; RFC 3986 §2, §3.2.2). Used inside proto
// only.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    BK__CHAR_TOKEN = 1,    // tchar: methods, field names, chunk extensions
    BK__CHAR_VALUE = 2,    // HTAB, SP, VCHAR, obs-text
    BK__CHAR_TARGET = 4,   // what a request target may hold: all but controls, SP, DEL and '#'
    BK__CHAR_HOST = 8,     // unreserved and sub-delims of RFC 3986, '%' handled apart
    BK__CHAR_HEX = 16,
    BK__CHAR_DIGIT = 32,
    BK__CHAR_QUOTED = 64,  // qdtext: HTAB, SP, VCHAR but '"' and '\', obs-text
};

extern const uint8_t bk__chars[256];

static inline bool
bk__char_is(char c, unsigned classes)
{
    return bk__chars[(unsigned char)c] & classes;
}
