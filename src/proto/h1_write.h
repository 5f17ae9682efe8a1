// HTTP/1.1 response heads and chunk framing into a buffer (RFC 9112 §4, §7.1).
#pragma once

#include "proto/message.h"

enum bk_framing {
    BK_FRAMING_NONE,     // no body and no length field (1xx, 204)
    BK_FRAMING_LENGTH,   // content_length is written, unless the app's own field is among `fields`
    BK_FRAMING_CHUNKED,
    BK_FRAMING_CLOSE,    // until close (HTTP/1.0 peers)
};

struct bk_h1_answer {
    int status;
    struct bk_str reason;      // as the app gave it; may be empty
    struct bk_str fields;      // finished "Name: value\r\n" lines, validated already
    struct bk_str common;      // finished Server and Date lines of this second
    bool add_length;           // write Content-Length: content_length
    uint64_t content_length;
    enum bk_framing framing;
    bool close;                // write Connection: close
    bool say_keep;             // write Connection: keep-alive (HTTP/1.0 peers)
};

// Upper bound of the bytes bk_h1_write_head needs for this answer.
size_t bk_h1_write_bound(const struct bk_h1_answer *answer);
// Writes the head with its empty line; `out` has room for bk_h1_write_bound bytes. Returns bytes written.
size_t bk_h1_write_head(char *out, const struct bk_h1_answer *answer);

// "1f4\r\n" for a chunk of `len` bytes, at most 18 bytes; returns bytes written.
#define BK_H1_CHUNK_MAX 18
size_t bk_h1_write_chunk_size(char *out, uint64_t len);
// An interim answer (100, 103) complete with its empty line. Returns bytes written or 0 when it does not fit.
size_t bk_h1_write_interim(char *out, size_t room, int status, struct bk_str fields);
