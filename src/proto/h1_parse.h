// HTTP/1.x request head, incremental and strict (RFC 9112; verdicts of reference/conformance.md §1).
#pragma once

#include "base/err.h"
#include "proto/headers.h"
#include "proto/message.h"

struct bk_h1_limits {
    uint32_t line;    // request line without CRLF: 414 above
    uint32_t field;   // one field line: 431
    uint32_t head;    // whole head: 431
    uint16_t fields;  // 431; <= BK_FIELDS_MAX
};

struct bk_h1_parser {
    uint32_t at;      // next byte to look at, from the start of the buffer
    uint32_t line;    // start of the line in progress
    uint16_t fields;  // field lines begun
    uint8_t state;
    uint8_t empty_lines;  // CRLFs skipped before the request line (at most 8)
};

void bk_h1_parse_reset(struct bk_h1_parser *parser);

// Looks at buf[0..len), the bytes received so far for this head (the same start each call; the buffer may have moved).
// > 0: the head is complete, so many bytes belong to it, *head is filled (head->fields gives the room).
// 0: more bytes are needed. -EPROTO: *fault says why; it is raised at the first byte that decides it, so every way of
// splitting the input gives the same verdict. Work is O(len) over all calls.
// "Decides": faults of form and of the request line at their byte; what fields mean (Host, lengths, codings, repeated
// fields) is judged when the head is complete. Of a refused head base, method and target are set as far as they can be
// told, for the log; its fields are not to be used.
ssize_t bk_h1_parse_head(struct bk_h1_parser *parser, const char *buf, size_t len, const struct bk_h1_limits *limits,
                         struct bk_head *head, struct bk_fault *fault) BK_MUST_CHECK;

// Name of the scanning code chosen at run time: "avx2", "sse4.2", "plain". bk_h1_scan_force(name) is for tests:
// -ENOTSUP when this machine lacks it.
const char *bk_h1_scan_name(void);
int bk_h1_scan_force(const char *name);
