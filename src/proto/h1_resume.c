// The long way through a request head, byte by byte where the short way of h1_parse.c did not see a
// whole and clean one: it goes on where the last call stopped and names every fault of form at the
// byte that decides it.
#include "proto/chars.h"
#include "proto/h1_internal.h"
#include "proto/h1_scan.h"

#include "base/banned.h"

enum state {
    IN_START, IN_START_LF, IN_METHOD, IN_TARGET_FIRST, IN_TARGET,
    IN_VERSION, IN_VERSION_END = IN_VERSION + 8, IN_LINE_LF,
    IN_FIELD, IN_NAME, IN_VALUE, IN_VALUE_LF, IN_END_LF,
};

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

int
bk__h1_resume(struct bk_h1_parser *parser, const char *buf, size_t len,
              const struct bk_h1_limits *limits, struct bk_fault *fault)
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
            return refuse(in, parser->at - parser->line, 400,
                          "more than one space behind the method");
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
        if (parser->empty_lines == BK__H1_EMPTY_LINES_MAX)
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
    const char *stop = bk__scan->token(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    if (offset > BK__H1_METHOD_MAX)
        return refuse(in, BK__H1_METHOD_MAX, 501, "method too long");
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (offset == 0)
        return refuse(in, 0, 400,
                      *stop == '\n' ? "bare LF before the request line" : "not a method");
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
    const char *stop = bk__scan->target(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (*stop != ' ')
        return refuse(in, offset, 400,
                      *stop == '\r' || *stop == '\n' ? "no HTTP version"
                                                     : "bad byte in the request target");
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
        return refuse(in, offset, 400,
                      c == '\n' ? "bare LF in the request line" : "malformed HTTP version");
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
    struct bk_head head = {
        .base = in->buf, .method = parser->line, .method_len = (uint32_t)(space - line)};
    head.target = parser->line + head.method_len + 1;
    head.target_len = (uint32_t)(end - space) - 1 - 11;
    parser->state = IN_FIELD;
    return bk__h1_judge_line(end - 5, &head, in->fault);
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
        return bk_fault_set(in->fault, 400,
                            parser->fields ? "folded field line"
                                           : "white space before the first field");
    if (c == '\n' || c == ':')
        return bk_fault_set(in->fault, 400,
                            c == ':' ? "empty field name" : "bare LF behind the fields");
    parser->fields++;
    parser->state = IN_NAME;
    return 0;
}

static int
step_name(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    const char *stop = bk__scan->token(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    if (offset > BK__H1_NAME_MAX)
        return refuse(in, BK__H1_NAME_MAX, 431, "field name too long");
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (*stop == ' ' || *stop == '\t')
        return refuse(in, offset, 400, "white space in or behind a field name");
    if (*stop != ':')
        return refuse(in, offset, 400,
                      *stop == '\r' || *stop == '\n' ? "field line without a colon"
                                                     : "bad byte in a field name");
    parser->at++;
    parser->state = IN_VALUE;
    return 0;
}

static int
step_value(struct input *in)
{
    struct bk_h1_parser *parser = in->parser;
    const char *stop = bk__scan->value(in->buf + parser->at, in->buf + in->len);
    size_t offset = (size_t)(stop - in->buf) - parser->line;
    parser->at = (uint32_t)(stop - in->buf);
    if (parser->at == in->len)
        return 0;
    if (*stop != '\r')
        return refuse(in, offset, 400,
                      *stop == '\n' ? "bare LF in a field" : "control byte in a field value");
    if (offset > in->limits->field)
        return refuse(in, offset, 0, NULL);
    parser->at++;
    parser->state = IN_VALUE_LF;
    return 0;
}

int
bk__h1_refuse_big(const struct bk_h1_parser *parser, struct bk_fault *fault)
{
    return bk_fault_set(fault, parser->state < IN_FIELD ? 414 : 431, "request head too long");
}

void
bk__h1_describe(const struct bk_h1_parser *parser, const char *buf, size_t len,
                const struct bk_h1_limits *limits, struct bk_head *head)
{
    struct bk_fault ignored;
    const char *method = buf + 2 * parser->empty_lines, *end = buf + len;
    if ((size_t)(end - method) > limits->line)
        end = method + limits->line;  // the same part of the line, however much came
    const char *space = bk__scan->token(method, end);
    *head = (struct bk_head){.base = buf, .fields = head->fields};
    head->method = (uint32_t)(method - buf);
    if (space - method > BK__H1_METHOD_MAX)
        space = method + BK__H1_METHOD_MAX;
    head->method_len = (uint32_t)(space - method);
    if (parser->state < IN_TARGET_FIRST)
        return;
    const char *target = space + 1, *stop = bk__scan->target(target, end);
    head->target = (uint32_t)(target - buf);
    head->target_len = (uint32_t)(stop - target);
    if (parser->state >= IN_FIELD && bk__h1_judge_line(stop + 6, head, &ignored) < 0)
        head->path_len = head->query_len = head->authority_len = 0;
}
