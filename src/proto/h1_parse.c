// HTTP/1.x request heads. Called by the codec with all bytes that came since the head began.
//
// A head that is here as a whole takes the short way: one pass of wide instructions marks the bytes
// that end names and values, then each line is cut at its marks, without a branch per byte. The
// short way only says "clean and complete" or "something else". Something else goes the long way
// (h1_resume.c): a state machine that looks at each byte once over all calls and is the only one to
// name faults of form. So whole and split input cannot get different verdicts. Faults of meaning
// (Host, lengths, codings: h1_head.c) are judged when the head is complete without faults of form.
#include "proto/h1_parse.h"

#include "base/panic.h"
#include "proto/chars.h"
#include "proto/h1_internal.h"
#include "proto/headers_find.h"
#include "proto/h1_scan.h"
#include "proto/target.h"

#include "base/banned.h"

static ssize_t parse_whole(const char *buf, size_t len, const struct bk_h1_limits *limits,
                           struct bk_head *head, struct bk__h1_found *found);

void
bk_h1_parse_reset(struct bk_h1_parser *parser)
{
    *parser = (struct bk_h1_parser){0};
}

ssize_t
bk_h1_parse_head(struct bk_h1_parser *parser, const char *buf, size_t len,
                 const struct bk_h1_limits *limits, struct bk_head *head, struct bk_fault *fault)
{
    size_t seen = len < limits->head ? len : limits->head;
    struct bk__h1_found found;
    ssize_t size = parser->at == 0 ? parse_whole(buf, seen, limits, head, &found) : 0;
    if (bk_unlikely(size == 0)) {
        int done = bk__h1_resume(parser, buf, seen, limits, fault);
        if (done == 0 && len >= limits->head)
            done = bk__h1_refuse_big(parser, fault);
        if (done < 0)
            bk__h1_describe(parser, buf, seen, limits, head);
        if (done <= 0)
            return done;
        size = parse_whole(buf, seen, limits, head, &found);
        BK_ASSERT(size > 0);
    }
    int error = bk__h1_judge(head, &found, fault);
    return error < 0 ? error : size;
}

// ---- the short way ------------------------------------------------------------------------------

// Some bytes of the head with their marks, and where the walk along the line ends is. A line end is
// the first mark of a run in marks.values: CR LF is two marks, so a clean head has one run per line
// (the last line: CR LF CR LF).
struct window {
    const char *buf;
    size_t len;   // of buf
    size_t from;  // first byte of the window
    size_t stop;  // a mark there or behind says nothing: end of the window, or the last byte of buf
    bool high;    // a byte >= 0x80 in any window so far
    struct bk__scan_marks marks;
};

// Ends are walked word by word, clearing bits: one cycle a line, and the walk does not wait for the
// colons in between.
struct walk {
    uint64_t ends;  // line ends of the word not used yet
    size_t word;
    size_t base;    // position of the word's first byte
};

#define NONE SIZE_MAX
#define SENTINEL UINT64_C(0xaaaaaaaaaaaaaaaa)  // runs of one, so that both kinds of search end in it

static void
load_window(struct window *window, struct walk *walk, size_t from)
{
    size_t left = window->len - from, len = left < BK__SCAN_WINDOW ? left : BK__SCAN_WINDOW,
           words = (len + 63) / 64;
    struct bk__scan_marks *marks = &window->marks;
    window->high |= bk__scan->classify(window->buf + from, len, marks);
    marks->names[words] = marks->values[words] = SENTINEL;
    window->from = walk->base = from;
    window->stop = len == left ? window->len - 1 : from + len;
    walk->word = 0;
    walk->ends = marks->values[0] & ~(marks->values[0] << 1);
}

static size_t find_far_colon(struct window *window, struct walk *walk, size_t at);
static size_t find_far_end(struct window *window, struct walk *walk);

// The first byte at or behind `at` that is not of a token, at least one byte before the end of buf;
// else NONE.
static inline size_t
next_colon(struct window *window, struct walk *walk, size_t at)
{
    size_t word = (at - window->from) / 64;
    uint64_t bits = window->marks.names[word] >> (at - window->from) % 64;
    size_t colon;
    if (bk_likely(bits)) {
        colon = at + (unsigned)__builtin_ctzll(bits);
    } else {
        while ((bits = window->marks.names[++word]) == 0)
            continue;
        colon = window->from + word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    if (bk_likely(colon < window->stop))
        return colon;
    struct walk moved = *walk;
    colon = find_far_colon(window, &moved, at);
    *walk = moved;
    return colon;
}

// The next line end, at least one byte before the end of buf; else NONE.
static inline size_t
next_end(struct window *window, struct walk *walk)
{
    while (bk_unlikely(walk->ends == 0)) {
        uint64_t before = window->marks.values[walk->word] >> 63,
                 bits = window->marks.values[++walk->word];
        walk->ends = bits & ~(bits << 1 | before);
        walk->base += 64;
    }
    size_t end = walk->base + (unsigned)__builtin_ctzll(walk->ends);
    walk->ends &= walk->ends - 1;
    if (bk_likely(end < window->stop))
        return end;
    struct walk moved = *walk;
    end = find_far_end(window, &moved);
    *walk = moved;
    return end;
}

// A new window from this line on; a name longer than a window is found without marks.
static size_t
find_far_colon(struct window *window, struct walk *walk, size_t at)
{
    if (window->stop == window->len - 1)
        return NONE;
    load_window(window, walk, at);
    size_t colon =
        (size_t)(bk__scan->token(window->buf + at, window->buf + window->len) - window->buf);
    return colon + 1 < window->len ? colon : NONE;
}

static size_t
find_far_end(struct window *window, struct walk *walk)
{
    while (window->stop < window->len - 1) {
        load_window(window, walk, window->stop);
        size_t end = next_end(window, walk);
        if (end < window->stop)
            return end;
    }
    return NONE;
}

static size_t cut_request_line(struct window *window, struct walk *walk, size_t at,
                               const struct bk_h1_limits *limits, struct bk_head *head);
static inline struct bk_field read_field(const struct window *window, size_t at, size_t colon,
                                         size_t end);

static inline bool
is_crlf(const char *at)
{
    return memcmp(at, "\r\n", 2) == 0;
}

// Cuts a complete and clean head: its length. 0: not complete, or not clean.
static ssize_t
parse_whole(const char *buf, size_t len, const struct bk_h1_limits *limits, struct bk_head *head,
            struct bk__h1_found *found)
{
    struct window window;  // not cleared, it is big
    struct walk walk;
    struct bk_field *field = head->fields, *last = field + limits->fields;
    size_t at = 0, longest = limits->field < BK__H1_NAME_MAX ? limits->field : BK__H1_NAME_MAX;
    while (bk_unlikely(len - at >= 2 && is_crlf(buf + at) && at < 2 * BK__H1_EMPTY_LINES_MAX))
        at += 2;
    if (at >= len)
        return 0;
    window.buf = buf;
    window.len = len;
    window.high = false;
    load_window(&window, &walk, at);
    head->base = buf;
    at = cut_request_line(&window, &walk, at, limits, head);
    if (bk_unlikely(at == 0))
        return 0;
    memset(found->lines, 0, sizeof found->lines);
    found->twice = 0;
    head->block = (uint32_t)at;
    for (;; field++) {
        size_t colon = next_colon(&window, &walk, at);
        if (bk_unlikely(colon == NONE))
            return 0;
        if (buf[colon] != ':')
            break;
        size_t end = next_end(&window, &walk);
        if (bk_unlikely(end == NONE || !is_crlf(buf + end) || colon == at || field == last))
            return 0;
        if (bk_unlikely(end - at > longest) &&
            (end - at > limits->field || colon - at > BK__H1_NAME_MAX))
            return 0;
        *field = read_field(&window, at, colon, end);
        bk__h1_note(found, field->id, (unsigned)(field - head->fields));
        at = end + 2;
    }
    if (bk_unlikely(!is_crlf(buf + at)))  // also a name that ends in something else than a colon
        return 0;
    head->field_count = (uint16_t)(field - head->fields);
    head->block_len = (uint32_t)at - head->block;
    head->len = (uint32_t)at + 2;
    return (ssize_t)at + 2;
}

static inline bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static unsigned rare_flags(const struct window *window, struct bk_str name, struct bk_str value,
                           unsigned id);

// The line [at, end) with its colon: trims the value and finds out what there is to know.
static inline struct bk_field
read_field(const struct window *window, size_t at, size_t colon, size_t end)
{
    const char *buf = window->buf;
    size_t from = colon + 1;
    from += buf[from] == ' ';
    if (bk_unlikely((unsigned char)buf[from] <= ' ' ||
                    (unsigned char)buf[end - 1] <= ' ')) {  // blank, or nothing there
        while (is_blank(buf[from]))  // stops at the CR
            from++;
        while (end > from && is_blank(buf[end - 1]))
            end--;
    }
    unsigned id = bk__header_of_token(buf + at, colon - at), flags = 0;
    if (bk_unlikely(id == BK_HEADER_OTHER || window->high))
        flags = rare_flags(window, (struct bk_str){buf + at, colon - at},
                           (struct bk_str){buf + from, end - from}, id);
    return (struct bk_field){
        .name = (uint32_t)at,
        .value = (uint32_t)from,
        .value_len = (uint32_t)(end - from),
        .name_len = (uint16_t)(colon - at),
        .id = (uint8_t)id,
        .flags = (uint8_t)flags,
    };
}

// No known name has an underscore.
static unsigned
rare_flags(const struct window *window, struct bk_str name, struct bk_str value, unsigned id)
{
    unsigned flags =
        id == BK_HEADER_OTHER && memchr(name.at, '_', name.len) ? BK_FIELD_UNDERSCORE : 0;
    unsigned char all = 0;
    for (size_t i = 0; window->high && i < value.len; i++)
        all |= (unsigned char)value.at[i];
    return flags | (all & 0x80 ? BK_FIELD_HIGH : 0);
}

static inline bool
is_version(const char *at)
{
    return memcmp(at, "HTTP/1.1", 8) == 0 ||
           (memcmp(at, "HTTP/", 5) == 0 && bk__char_is(at[5], BK__CHAR_DIGIT) && at[6] == '.' &&
            bk__char_is(at[7], BK__CHAR_DIGIT));
}

// Returns where the fields begin, 0 when the line is not whole, not clean, or refused.
static size_t
cut_request_line(struct window *window, struct walk *walk, size_t at,
                 const struct bk_h1_limits *limits, struct bk_head *head)
{
    const char *buf = window->buf;
    size_t space = next_colon(window, walk, at), end = next_end(window, walk);
    if (space == NONE || end == NONE || !is_crlf(buf + end) || end - at > limits->line)
        return 0;
    if (space == at || space - at > BK__H1_METHOD_MAX || buf[space] != ' ' || end - space < 11)
        return 0;
    const char *target = buf + space + 1, *version = buf + end - 8;
    if (bk__scan->target(target, buf + window->len) != version - 1 || version[-1] != ' ' ||
        !is_version(version))
        return 0;
    struct bk_fault ignored;
    head->method = (uint32_t)at;
    head->method_len = (uint32_t)(space - at);
    head->target = (uint32_t)space + 1;
    head->target_len = (uint32_t)(version - 1 - target);
    if (bk__h1_judge_line(version + 5, head, &ignored) < 0)
        return 0;
    return end + 2;
}

int
bk__h1_judge_line(const char *version, struct bk_head *head, struct bk_fault *fault)
{
    if (version[0] != '1')
        return bk_fault_set(fault, 505, "not HTTP/1");
    head->minor = version[2] != '0';  // 1.2 to 1.9 are spoken as 1.1 (RFC 9110 §2.5)
    head->flags = 0;
    head->content_length = 0;
    head->method_id = (uint8_t)bk_method_of(bk_head_str(head, head->method, head->method_len));
    int error = bk_target_split(head, fault);
    if (error == 0 && bk_unlikely(head->method_id == BK_METHOD_CONNECT))
        error = bk_fault_set(fault, 501, "CONNECT: this is not a proxy");
    return error;
}
