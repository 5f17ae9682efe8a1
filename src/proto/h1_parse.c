// HTTP/1.x request heads. Called by the codec with all bytes that came since the head began.
//
// A head that is here as a whole takes the short way: one pass of wide instructions marks the bytes that end names and
// values, then each line is cut at its marks, without a branch per byte. The short way only says "clean and complete" or
// "something else". Something else goes the long way: a state machine that looks at each byte once over all calls and is
// the only one to name faults of form. So whole and split input cannot get different verdicts. Faults of meaning (Host,
// lengths, codings: h1_head.c) are judged when the head is complete and has no fault of form.
#include "proto/h1_parse.h"

#include "base/panic.h"
#include "proto/chars.h"
#include "proto/h1_internal.h"
#include "proto/h1_scan.h"
#include "proto/target.h"

#include <errno.h>

#include "base/banned.h"

#define METHOD_MAX 64      // RFC 9112 §3: longer than any method there is: 501
#define EMPTY_LINES_MAX 8  // RFC 9112 §2.2
#define NAME_MAX_LEN UINT16_MAX

enum state {
    IN_START, IN_START_LF, IN_METHOD, IN_TARGET_FIRST, IN_TARGET,
    IN_VERSION, IN_VERSION_END = IN_VERSION + 8, IN_LINE_LF,
    IN_FIELD, IN_NAME, IN_VALUE, IN_VALUE_LF, IN_END_LF,
};

static ssize_t parse_whole(const char *buf, size_t len, const struct bk_h1_limits *limits, struct bk_head *head,
                           struct bk__h1_found *found);
static int resume(struct bk_h1_parser *parser, const char *buf, size_t len, const struct bk_h1_limits *limits,
                  struct bk_fault *fault);

static const struct bk__scan *scan = &bk__scan_plain;

__attribute__((constructor)) static void
choose_scan(void)
{
    scan = bk__scan_best();
}

void
bk_h1_parse_reset(struct bk_h1_parser *parser)
{
    *parser = (struct bk_h1_parser){0};
}

ssize_t
bk_h1_parse_head(struct bk_h1_parser *parser, const char *buf, size_t len, const struct bk_h1_limits *limits,
                 struct bk_head *head, struct bk_fault *fault)
{
    size_t seen = len < limits->head ? len : limits->head;
    struct bk__h1_found found;
    ssize_t size = parser->at == 0 ? parse_whole(buf, seen, limits, head, &found) : 0;
    if (bk_unlikely(size == 0)) {
        int done = resume(parser, buf, seen, limits, fault);
        if (done < 0)
            return done;
        if (done == 0 && len >= limits->head)
            return bk_fault_set(fault, parser->state < IN_FIELD ? 414 : 431, "request head too long");
        if (done == 0)
            return 0;
        size = parse_whole(buf, seen, limits, head, &found);
        BK_ASSERT(size > 0);
    }
    int error = bk__h1_judge(head, &found, fault);
    return error < 0 ? error : size;
}

// ---- the short way -----------------------------------------------------------------------------------------------

// The bytes of one window and where its marks count from.
struct window {
    const char *buf;
    size_t len;   // of buf
    size_t from;  // first byte of the window
    size_t words;
    bool high;    // a byte >= 0x80 in any window so far
    struct bk__scan_marks marks;
};

static void
load_window(struct window *window, size_t from)
{
    size_t len = window->len - from < BK__SCAN_WINDOW ? window->len - from : BK__SCAN_WINDOW;
    window->from = from;
    window->words = (len + 63) / 64;
    window->high |= scan->classify(window->buf + from, len, from, &window->marks);
}

// Next mark at or behind `at`; window->len or more when there is none. `kind` is one of window->marks.
static inline size_t
next_mark(struct window *window, const uint64_t *kind, size_t at)
{
    for (;;) {
        size_t word = (at - window->from) / 64;
        if (bk_likely(word < window->words)) {
            uint64_t bits = kind[word] >> ((at - window->from) % 64);
            if (bk_likely(bits))
                return at + (size_t)__builtin_ctzll(bits);
            at += 64 - (at - window->from) % 64;
            continue;
        }
        if (at >= window->len)
            return at;
        load_window(window, at);
    }
}

static size_t cut_request_line(struct window *window, size_t at, const struct bk_h1_limits *limits, struct bk_head *head);
static inline void read_field(struct window *window, struct bk_field *field);

// Cuts a complete and clean head: its length. 0: not complete, or not clean.
static ssize_t
parse_whole(const char *buf, size_t len, const struct bk_h1_limits *limits, struct bk_head *head,
            struct bk__h1_found *found)
{
    struct window window = {.buf = buf, .len = len};
    size_t at = 0;
    while (bk_unlikely(len - at >= 2 && buf[at] == '\r' && buf[at + 1] == '\n' && at < 2 * EMPTY_LINES_MAX))
        at += 2;
    if (at >= len)
        return 0;
    load_window(&window, at);
    head->base = buf;
    at = cut_request_line(&window, at, limits, head);
    if (at == 0)
        return 0;
    found->seen[0] = found->seen[1] = found->again[0] = found->again[1] = 0;
    head->block = (uint32_t)at;
    for (unsigned count = 0;; count++) {
        size_t colon = next_mark(&window, window.marks.names, at);
        if (bk_unlikely(len - at < 2 || colon >= len))
            return 0;
        if (buf[colon] != ':' || colon == at) {
            if (colon != at || buf[at] != '\r' || buf[at + 1] != '\n')
                return 0;
            head->field_count = (uint16_t)count;
            break;
        }
        size_t end = next_mark(&window, window.marks.values, colon + 1);
        if (bk_unlikely(end + 1 >= len || buf[end] != '\r' || buf[end + 1] != '\n'))
            return 0;
        if (bk_unlikely(end - at > limits->field || colon - at > NAME_MAX_LEN || count >= limits->fields))
            return 0;
        struct bk_field *field = &head->fields[count];
        *field = (struct bk_field){.name = (uint32_t)at, .value = (uint32_t)colon + 1,
                                   .value_len = (uint32_t)(end - colon - 1), .name_len = (uint16_t)(colon - at)};
        read_field(&window, field);
        bk__h1_note(found, field->id, count);
        at = end + 2;
    }
    head->block_len = (uint32_t)at - head->block;
    head->len = (uint32_t)at + 2;
    return (ssize_t)at + 2;
}

// Trims the value and finds out what there is to know about the name.
static inline void
read_field(struct window *window, struct bk_field *field)
{
    const char *buf = window->buf, *name = buf + field->name;
    uint32_t from = field->value, to = from + field->value_len;
    while (from < to && (buf[from] == ' ' || buf[from] == '\t'))
        from++;
    while (to > from && (buf[to - 1] == ' ' || buf[to - 1] == '\t'))
        to--;
    field->value = from;
    field->value_len = to - from;
    field->id = (uint8_t)bk_header_id(name, field->name_len);
    if (bk_unlikely(field->id == BK_HEADER_OTHER) && memchr(name, '_', field->name_len))
        field->flags |= BK_FIELD_UNDERSCORE;
    if (bk_unlikely(window->high)) {
        unsigned char all = 0;
        for (uint32_t i = from; i < to; i++)
            all |= (unsigned char)buf[i];
        field->flags |= all & 0x80 ? BK_FIELD_HIGH : 0;
    }
}

static int judge_request_line(const char *version, struct bk_head *head, struct bk_fault *fault);

// Returns where the fields begin, 0 when the line is not whole, not clean, or refused.
static size_t
cut_request_line(struct window *window, size_t at, const struct bk_h1_limits *limits, struct bk_head *head)
{
    const char *buf = window->buf, *end = buf + window->len;
    size_t space = next_mark(window, window->marks.names, at);
    if (space == at || space - at > METHOD_MAX || space >= window->len || buf[space] != ' ')
        return 0;
    const char *target = buf + space + 1, *stop = scan->target(target, end);
    if (stop == target || end - stop < 11 || *stop != ' ' || memcmp(stop + 1, "HTTP/", 5) != 0 ||
        !bk__char_is(stop[6], BK__CHAR_DIGIT) || stop[7] != '.' || !bk__char_is(stop[8], BK__CHAR_DIGIT) ||
        stop[9] != '\r' || stop[10] != '\n' || (size_t)(stop + 9 - buf) - at > limits->line)
        return 0;
    struct bk_fault ignored;
    head->method = (uint32_t)at;
    head->method_len = (uint32_t)(space - at);
    head->target = (uint32_t)space + 1;
    head->target_len = (uint32_t)(stop - target);
    if (judge_request_line(stop + 6, head, &ignored) < 0)
        return 0;
    return (size_t)(stop - buf) + 11;
}

// Version (digit, dot, digit), target form, method; starts head->flags.
static int
judge_request_line(const char *version, struct bk_head *head, struct bk_fault *fault)
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

// ---- the long way ------------------------------------------------------------------------------------------------

struct input {
    struct bk_h1_parser *parser;
    const char *buf;
    size_t len;
    const struct bk_h1_limits *limits;
    struct bk_fault *fault;
};

static int step_line(struct input *in);
static int step_field(struct input *in);
static int check_length(struct input *in);

// 1: a complete head without a fault of form; 0: more bytes are needed; -EPROTO.
static int
resume(struct bk_h1_parser *parser, const char *buf, size_t len, const struct bk_h1_limits *limits, struct bk_fault *fault)
{
    struct input in = {parser, buf, len, limits, fault};
    while (parser->at < len) {
        int done = parser->state < IN_FIELD ? step_line(&in) : step_field(&in);
        if (done)
            return done;
    }
    return check_length(&in);
}

// A fault at byte `offset` of the line, unless the line was too long before it.
static int
refuse(struct input *in, size_t offset, int status, const char *why)
{
    if (in->parser->state < IN_FIELD && offset > in->limits->line)
        return bk_fault_set(in->fault, 414, "request line too long");
    if (in->parser->state >= IN_FIELD && offset > in->limits->field)
        return bk_fault_set(in->fault, 431, "field line too long");
    return bk_fault_set(in->fault, status, why);
}

// All bytes so far are fine; is the line in progress? A CR at its end does not count.
static int
check_length(struct input *in)
{
    const struct bk_h1_parser *parser = in->parser;
    if (parser->state <= IN_START_LF || parser->state == IN_FIELD || parser->state == IN_END_LF)
        return 0;
    bool cr = parser->state == IN_LINE_LF || parser->state == IN_VALUE_LF;
    size_t offset = parser->at - parser->line - cr;
    size_t limit = parser->state < IN_FIELD ? in->limits->line : in->limits->field;
    return offset > limit ? refuse(in, offset, 0, NULL) : 0;
}

static int step_start(struct input *in, char c);
static int step_method(struct input *in);
static int step_target(struct input *in);
static int step_version(struct input *in, char c);
static int end_request_line(struct input *in);

static int
step_line(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    char c = in->buf[parser->at];
    switch (parser->state) {
    case IN_START:
    case IN_START_LF:
        return step_start(in, c);
    case IN_METHOD:
        return step_method(in);
    case IN_TARGET_FIRST:
        if (c == ' ')
            return refuse(in, parser->at - parser->line, 400, "more than one space behind the method");
        parser->state = IN_TARGET;
        return 0;
    case IN_TARGET:
        return step_target(in);
    case IN_LINE_LF:
        if (c != '\n')
            return refuse(in, parser->at - 1 - parser->line, 400, "bare CR in the request line");
        parser->at++;
        return end_request_line(in);
    default:
        return step_version(in, c);
    }
}

static int
step_start(struct input *in, char c)
{
    struct bk_h1_parser *parser = in->parser;
    if (parser->state == IN_START_LF) {
        if (c != '\n')
            return bk_fault_set(in->fault, 400, "bare CR before the request line");
        parser->empty_lines++;
        parser->state = IN_START;
    } else if (c == '\r') {
        if (parser->empty_lines == EMPTY_LINES_MAX)
            return bk_fault_set(in->fault, 400, "too many empty lines before the request line");
        parser->state = IN_START_LF;
    } else {
        parser->line = parser->at;
        parser->state = IN_METHOD;
        return 0;
    }
    parser->at++;
    return 0;
}

static int
step_method(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    const char *stop = scan->token(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    if (offset > METHOD_MAX)
        return refuse(in, METHOD_MAX, 501, "method too long");
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (offset == 0)
        return refuse(in, 0, 400, *stop == '\n' ? "bare LF before the request line" : "not a method");
    if (*stop != ' ')
        return refuse(in, offset, 400, "bad byte in the method");
    parser->at++;
    parser->state = IN_TARGET_FIRST;
    return 0;
}

static int
step_target(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    const char *stop = scan->target(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (*stop != ' ')
        return refuse(in, offset, 400, *stop == '\r' || *stop == '\n' ? "no HTTP version" : "bad byte in the request target");
    parser->at++;
    parser->state = IN_VERSION;
    return 0;
}

// Byte number (state - IN_VERSION) of "HTTP/d.d" CR.
static int
step_version(struct input *in, char c)
{
    static const char form[] = "HTTP/0.0\r";
    struct bk_h1_parser *parser = in->parser;
    char wanted = form[parser->state - IN_VERSION];
    size_t offset = parser->at - parser->line;
    if (wanted == '0' ? !bk__char_is(c, BK__CHAR_DIGIT) : c != wanted)
        return refuse(in, offset, 400, c == '\n' ? "bare LF in the request line" : "malformed HTTP version");
    if (parser->state == IN_VERSION_END && offset > in->limits->line)
        return refuse(in, offset, 0, NULL);
    parser->at++;
    parser->state++;
    return 0;
}

static int
end_request_line(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    const char *line = in->buf + parser->line, *end = in->buf + parser->at;
    const char *space = memchr(line, ' ', (size_t)(end - line));
    struct bk_head head = {.base = in->buf, .method = parser->line, .method_len = (uint32_t)(space - line)};
    head.target = parser->line + head.method_len + 1;
    head.target_len = (uint32_t)(end - space) - 1 - 11;
    parser->state = IN_FIELD;
    return judge_request_line(end - 5, &head, in->fault);
}

static int begin_field(struct input *in, char c);
static int step_name(struct input *in);
static int step_value(struct input *in);

static int
step_field(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    char c = in->buf[parser->at];
    switch (parser->state) {
    case IN_NAME:
        return step_name(in);
    case IN_VALUE:
        return step_value(in);
    case IN_VALUE_LF:
        if (c != '\n')
            return refuse(in, parser->at - 1 - parser->line, 400, "bare CR in a field");
        parser->state = IN_FIELD;
        break;
    case IN_END_LF:
        if (c != '\n')
            return bk_fault_set(in->fault, 400, "bare CR behind the fields");
        parser->at++;
        return 1;
    default:
        return begin_field(in, c);
    }
    parser->at++;
    return 0;
}

static int
begin_field(struct input *in, char c)
{
    struct bk_h1_parser *parser = in->parser;
    parser->line = parser->at;
    if (c == '\r') {
        parser->at++;
        parser->state = IN_END_LF;
        return 0;
    }
    if (parser->fields == in->limits->fields)
        return bk_fault_set(in->fault, 431, "too many fields");
    if (c == ' ' || c == '\t')
        return bk_fault_set(in->fault, 400, parser->fields ? "folded field line" : "white space before the first field");
    if (c == '\n' || c == ':')
        return bk_fault_set(in->fault, 400, c == ':' ? "empty field name" : "bare LF behind the fields");
    parser->fields++;
    parser->state = IN_NAME;
    return 0;
}

static int
step_name(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    const char *stop = scan->token(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    if (offset > NAME_MAX_LEN)
        return refuse(in, NAME_MAX_LEN, 431, "field name too long");
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (*stop == ' ' || *stop == '\t')
        return refuse(in, offset, 400, "white space in or behind a field name");
    if (*stop != ':')
        return refuse(in, offset, 400, *stop == '\r' || *stop == '\n' ? "field line without a colon" : "bad byte in a field name");
    parser->at++;
    parser->state = IN_VALUE;
    return 0;
}

static int
step_value(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    const char *stop = scan->value(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (*stop != '\r')
        return refuse(in, offset, 400, *stop == '\n' ? "bare LF in a field" : "control byte in a field value");
    if (offset > in->limits->field)
        return refuse(in, offset, 0, NULL);
    parser->at++;
    parser->state = IN_VALUE_LF;
    return 0;
}

// ---- which scanning code -----------------------------------------------------------------------------------------

const char *
bk_h1_scan_name(void)
{
    return scan->name;
}

int
bk_h1_scan_force(const char *name)
{
    const struct bk__scan *choices[] = {
        &bk__scan_plain,
#if defined(__x86_64__)
        __builtin_cpu_supports("sse4.2") ? &bk__scan_sse42 : NULL,
        __builtin_cpu_supports("avx2") ? &bk__scan_avx2 : NULL,
#endif
    };
    for (unsigned i = 0; i < BK_COUNT(choices); i++) {
        if (choices[i] && strcmp(choices[i]->name, name) == 0) {
            scan = choices[i];
            return 0;
        }
    }
    return -ENOTSUP;
}
