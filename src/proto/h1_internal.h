// Between h1_parse.c, which cuts whole heads, h1_resume.c, which reads the others, and h1_head.c, which says what the
// fields mean for the connection.
#pragma once

#include "proto/h1_parse.h"

#define BK__H1_METHOD_MAX 64      // RFC 9112 §3: longer than any method there is: 501
#define BK__H1_EMPTY_LINES_MAX 8  // RFC 9112 §2.2
#define BK__H1_NAME_MAX UINT16_MAX

// Goes on reading: 1: a complete head without a fault of form; 0: more bytes are needed; -EPROTO.
int bk__h1_resume(struct bk_h1_parser *parser, const char *buf, size_t len, const struct bk_h1_limits *limits,
                  struct bk_fault *fault) BK_MUST_CHECK;
// The fault of a head that has reached its limit without an end.
int bk__h1_refuse_big(const struct bk_h1_parser *parser, struct bk_fault *fault);
// Of a head that is refused: sets base, method and target as far as they can be told, path and query when the whole
// line is good; everything else is cleared but `fields`.
void bk__h1_describe(const struct bk_h1_parser *parser, const char *buf, size_t len, const struct bk_h1_limits *limits,
                     struct bk_head *head);

// A request line of good form: judges its version ("1.1"), target and method and starts the head (base, method and
// target are set).
int bk__h1_judge_line(const char *version, struct bk_head *head, struct bk_fault *fault) BK_MUST_CHECK;

// Which known fields a head has, kept while its lines are cut.
struct bk__h1_found {
    uint8_t lines[BK_HEADER_COUNT];  // 0: none, 1: one line, more: several
    uint8_t where[BK_HEADER_COUNT];  // index of the last such line; valid when there is one
    uint8_t twice;                   // 1: one of bk__h1_single came a second time
};

extern const uint8_t bk__h1_single[BK_HEADER_COUNT];  // 1: two lines of this field are refused

static inline void
bk__h1_note(struct bk__h1_found *found, unsigned id, unsigned index)
{
    unsigned before = found->lines[id];
    found->twice |= (uint8_t)(before & bk__h1_single[id]);
    found->lines[id] = (uint8_t)(before << 1 | 1);  // 1, 3, 7 ... 255: never back to 0
    found->where[id] = (uint8_t)index;
}

// Fills head->flags and content_length from the fields and checks what RFC 9112 §3.2, §6 and RFC 9110 §5.3, §10.1.1 say
// about them together. The faults come in a fixed order, so they do not depend on the order of the lines.
int bk__h1_judge(struct bk_head *head, const struct bk__h1_found *found, struct bk_fault *fault) BK_MUST_CHECK;
