// Request body framing of HTTP/1.x: Content-Length and chunked, trailers read and dropped (RFC 9112 §6, §7).
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "proto/message.h"

struct bk_h1_body_limits {
    uint64_t bytes;       // --limit-request-body: 413 when crossed; UINT64_MAX = none
    uint32_t extensions;  // --limit-chunk-extensions, bytes of all of a message: 413
    uint32_t trailers;    // --limit-trailers, bytes of all trailer lines of a message: 431
    uint32_t tiny;        // --limit-tiny-chunks, in a row: 413
};

struct bk_h1_body {
    const struct bk_h1_body_limits *limits;  // borrows: outlives the body
    uint64_t left;      // bytes of the body or of the chunk still to come
    uint64_t total;     // body bytes delivered so far
    uint32_t line_len;  // bytes of the size line, extension or trailer line in progress
    uint32_t extra;     // bytes of extensions and trailers so far (bounded)
    uint32_t tiny;      // small chunks in a row: they cost more to frame than to carry
    uint8_t state;
    uint8_t digits;
    char trailer[32];   // name of the trailer line in progress, for the forbidden list
};

// Prepares for the body `head` announces. A Content-Length above the limit is found here: -EPROTO with 413.
int bk_h1_body_begin(struct bk_h1_body *body, const struct bk_head *head, const struct bk_h1_body_limits *limits,
                     struct bk_fault *fault) BK_MUST_CHECK;

// Eats from in: *ret_used bytes, of which *ret_data (inside `in`, may be empty) is body. Call again with the rest while
// it returns 0 and *ret_used > 0. 1: the body is complete (trailers included). -EPROTO: *fault.
int bk_h1_body_feed(struct bk_h1_body *body, struct bk_str in, size_t *ret_used, struct bk_str *ret_data,
                    struct bk_fault *fault) BK_MUST_CHECK;
