// Request bodies of HTTP/1.x: a length, or chunks with extensions and trailers that are checked and
// dropped. A state machine that holds no bytes: body bytes are handed on where they lie, everything
// else is looked at once and forgotten.
#include "proto/h1_body.h"

#include <errno.h>

#include "proto/chars.h"
#include "proto/headers.h"

#include "base/banned.h"

// The other limits are options; these are not: nothing is kept of these lines, so they cost no
// memory, and what is honest stays far below.
#define LINE_MAX_LEN 256       // a size line with its extensions
#define TRAILER_LINE_MAX 4096  // one trailer line
#define TINY 16                // a chunk of fewer bytes is a tiny one

enum state {
    IN_NOTHING,  // complete
    IN_LENGTH,
    IN_SIZE,  // chunk size digits
    IN_EXT_START,  // behind ';', blanks allowed
    IN_EXT_NAME,
    IN_EXT_NAME_END,
    IN_EXT_VALUE_START,
    IN_EXT_VALUE,
    IN_EXT_QUOTED,
    IN_EXT_ESCAPE,
    IN_EXT_VALUE_END,
    IN_EXT_BLANK,  // blanks behind a value: only another extension may follow
    IN_SIZE_LF,
    IN_DATA,
    IN_DATA_CR,
    IN_DATA_LF,
    IN_TRAILER,  // start of a trailer line or of the last empty line
    IN_TRAILER_NAME,
    IN_TRAILER_VALUE,
    IN_TRAILER_LF,
    IN_LAST_LF,
};

static size_t take_data(struct bk_h1_body *body, struct bk_str in, struct bk_str *ret_data);
static int step_size(struct bk_h1_body *body, char c, struct bk_fault *fault);
static int step_extension(struct bk_h1_body *body, char c, struct bk_fault *fault);
static int step_frame(struct bk_h1_body *body, char c, struct bk_fault *fault);
static int step_trailer(struct bk_h1_body *body, char c, struct bk_fault *fault);

int
bk_h1_body_begin(struct bk_h1_body *body, const struct bk_head *head,
                 const struct bk_h1_body_limits *limits, struct bk_fault *fault)
{
    *body = (struct bk_h1_body){.limits = limits};
    if (head->flags & BK_HEAD_CHUNKED) {
        body->state = IN_SIZE;
        return 0;
    }
    if (!(head->flags & BK_HEAD_HAS_LENGTH))
        return 0;
    if (head->content_length > limits->bytes)
        return bk_fault_set(fault, 413, "Content-Length above the limit");
    body->left = head->content_length;
    body->state = body->left ? IN_LENGTH : IN_NOTHING;
    return 0;
}

int
bk_h1_body_feed(struct bk_h1_body *body, struct bk_str in, size_t *ret_used,
                struct bk_str *ret_data, struct bk_fault *fault)
{
    size_t at = 0;
    *ret_data = (struct bk_str){in.at, 0};
    while (body->state != IN_NOTHING && at < in.len) {
        int error;
        if (body->state == IN_DATA || body->state == IN_LENGTH) {
            at += take_data(body, (struct bk_str){in.at + at, in.len - at}, ret_data);
            break;
        }
        if (body->state == IN_SIZE)
            error = step_size(body, in.at[at], fault);
        else if (body->state < IN_SIZE_LF)
            error = step_extension(body, in.at[at], fault);
        else if (body->state < IN_TRAILER)
            error = step_frame(body, in.at[at], fault);
        else
            error = step_trailer(body, in.at[at], fault);
        if (bk_unlikely(error < 0))
            return error;
        at++;
    }
    *ret_used = at;
    return body->state == IN_NOTHING;
}

static size_t
take_data(struct bk_h1_body *body, struct bk_str in, struct bk_str *ret_data)
{
    size_t len = in.len < body->left ? in.len : (size_t)body->left;
    *ret_data = (struct bk_str){in.at, len};
    body->left -= len;
    body->total += len;
    if (body->left == 0)
        body->state = body->state == IN_LENGTH ? IN_NOTHING : IN_DATA_CR;
    return len;
}

static int begin_chunk(struct bk_h1_body *body, struct bk_fault *fault);
static int count_extension(struct bk_h1_body *body, struct bk_fault *fault);

static inline unsigned
hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

// chunk-size = 1*HEXDIG (RFC 9112 §7.1), nothing around it.
static int
step_size(struct bk_h1_body *body, char c, struct bk_fault *fault)
{
    if (bk__char_is(c, BK__CHAR_HEX)) {
        if (body->digits == 16)
            return bk_fault_set(fault, 400, "chunk size of more than 16 digits");
        body->digits++;
        body->left = body->left << 4 | hex_digit(c);
        return 0;
    }
    if (body->digits == 0)
        return bk_fault_set(fault, 400, "chunk without a size");
    if (c != '\r' && c != ';')
        return bk_fault_set(fault, 400,
                            c == '\n' ? "bare LF behind a chunk size" : "bad byte in a chunk size");
    body->line_len = body->digits;
    body->state = c == ';' ? IN_EXT_START : IN_SIZE_LF;
    return c == ';' ? count_extension(body, fault) : 0;
}

static int
count_extension(struct bk_h1_body *body, struct bk_fault *fault)
{
    if (++body->line_len > LINE_MAX_LEN || ++body->extra > body->limits->extensions)
        return bk_fault_set(fault, 413, "chunk extensions too long");
    return 0;
}

static int next_extension_state(unsigned state, char c);

// chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ), RFC 9112 §7.1.1, but
// no BWS behind the size.
static int
step_extension(struct bk_h1_body *body, char c, struct bk_fault *fault)
{
    int next = next_extension_state(body->state, c);
    if (c != '\r' && count_extension(body, fault) < 0)
        return -EPROTO;
    if (next < 0)
        return bk_fault_set(
            fault, 400, c == '\n' ? "bare LF in a chunk extension" : "malformed chunk extension");
    body->state = (uint8_t)next;
    return 0;
}

// -1: the byte is not allowed here.
static int
next_extension_state(unsigned state, char c)
{
    bool blank = c == ' ' || c == '\t', token = bk__char_is(c, BK__CHAR_TOKEN);
    bool ends = c == '\r' || c == ';';  // what may follow a whole extension
    int end = c == '\r' ? IN_SIZE_LF : IN_EXT_START;
    switch (state) {
    case IN_EXT_START:
        return blank ? IN_EXT_START : token ? IN_EXT_NAME : -1;
    case IN_EXT_NAME:
        return token      ? IN_EXT_NAME
               : blank    ? IN_EXT_NAME_END
               : c == '=' ? IN_EXT_VALUE_START
               : ends     ? end
                          : -1;
    case IN_EXT_NAME_END:
        return blank      ? IN_EXT_NAME_END
               : c == '=' ? IN_EXT_VALUE_START
               : c == ';' ? IN_EXT_START
                          : -1;
    case IN_EXT_VALUE_START:
        return blank ? IN_EXT_VALUE_START : token ? IN_EXT_VALUE : c == '"' ? IN_EXT_QUOTED : -1;
    case IN_EXT_VALUE:
        return token ? IN_EXT_VALUE : blank ? IN_EXT_BLANK : ends ? end : -1;
    case IN_EXT_QUOTED:
        return bk__char_is(c, BK__CHAR_QUOTED) ? IN_EXT_QUOTED
               : c == '"'                      ? IN_EXT_VALUE_END
               : c == '\\'                     ? IN_EXT_ESCAPE
                                               : -1;
    case IN_EXT_ESCAPE:
        return bk__char_is(c, BK__CHAR_VALUE) ? IN_EXT_QUOTED : -1;
    case IN_EXT_VALUE_END:
        return blank ? IN_EXT_BLANK : ends ? end : -1;
    case IN_EXT_BLANK:
        return blank ? IN_EXT_BLANK : c == ';' ? IN_EXT_START : -1;
    default:
        return -1;
    }
}

// The CR LF around data: exactly these two bytes.
static int
step_frame(struct bk_h1_body *body, char c, struct bk_fault *fault)
{
    if (body->state == IN_SIZE_LF) {
        if (c != '\n')
            return bk_fault_set(fault, 400, "bare CR in a chunk size line");
        return begin_chunk(body, fault);
    }
    if (c != (body->state == IN_DATA_CR ? '\r' : '\n'))
        return bk_fault_set(fault, 400, "chunk data not followed by CR LF");
    if (body->state == IN_DATA_CR) {
        body->state = IN_DATA_LF;
        return 0;
    }
    body->state = IN_SIZE;
    body->digits = 0;
    return 0;
}

static int
begin_chunk(struct bk_h1_body *body, struct bk_fault *fault)
{
    if (body->left == 0) {
        body->state = IN_TRAILER;
        body->extra = body->line_len = 0;
        return 0;
    }
    if (body->left > body->limits->bytes - body->total || body->left > INT64_MAX - body->total)
        return bk_fault_set(fault, 413, "chunked body above the limit");
    body->tiny = body->left < TINY ? body->tiny + 1 : 0;
    if (body->tiny > body->limits->tiny)
        return bk_fault_set(fault, 413, "too many tiny chunks");
    body->state = IN_DATA;
    return 0;
}

// ---- trailers -----------------------------------------------------------------------------------

static int end_trailer_name(struct bk_h1_body *body, struct bk_fault *fault);

static int
step_trailer(struct bk_h1_body *body, char c, struct bk_fault *fault)
{
    if (body->state == IN_LAST_LF || body->state == IN_TRAILER_LF) {
        if (c != '\n')
            return bk_fault_set(fault, 400, "bare CR in the trailers");
        body->state = body->state == IN_LAST_LF ? IN_NOTHING : IN_TRAILER;
        return 0;
    }
    if (body->state == IN_TRAILER && c == '\r') {
        body->state = IN_LAST_LF;
        return 0;
    }
    if (body->state == IN_TRAILER) {
        body->line_len = 0;
        body->state = IN_TRAILER_NAME;
    }
    if (body->state == IN_TRAILER_VALUE && c == '\r') {
        body->state = IN_TRAILER_LF;
        return 0;
    }
    if (++body->extra > body->limits->trailers || body->line_len == TRAILER_LINE_MAX)
        return bk_fault_set(fault, 431, "trailers too long");
    if (body->state == IN_TRAILER_NAME) {
        if (c == ':')
            return end_trailer_name(body, fault);
        if (!bk__char_is(c, BK__CHAR_TOKEN))
            return bk_fault_set(fault, 400, "malformed trailer");
        if (body->line_len < sizeof body->trailer)
            body->trailer[body->line_len] = c;
    } else if (!bk__char_is(c, BK__CHAR_VALUE)) {
        return bk_fault_set(fault, 400, "control byte in a trailer");
    }
    body->line_len++;
    return 0;
}

// Trailers are dropped; one that would mean something for framing, routing or authentication (RFC
// 9110 §6.5.1) is an attempt.
static int
end_trailer_name(struct bk_h1_body *body, struct bk_fault *fault)
{
    static const uint8_t forbidden[] = {
        BK_HEADER_AUTHORIZATION,
        BK_HEADER_CONNECTION,
        BK_HEADER_CONTENT_ENCODING,
        BK_HEADER_CONTENT_LENGTH,
        BK_HEADER_CONTENT_RANGE,
        BK_HEADER_CONTENT_TYPE,
        BK_HEADER_COOKIE,
        BK_HEADER_EXPECT,
        BK_HEADER_HOST,
        BK_HEADER_KEEP_ALIVE,
        BK_HEADER_MAX_FORWARDS,
        BK_HEADER_PROXY_AUTHORIZATION,
        BK_HEADER_TE,
        BK_HEADER_TRAILER,
        BK_HEADER_TRANSFER_ENCODING,
        BK_HEADER_UPGRADE,
    };
    if (body->line_len == 0)
        return bk_fault_set(fault, 400, "empty trailer name");
    enum bk_header id = body->line_len <= sizeof body->trailer
                            ? bk_header_id(body->trailer, body->line_len)
                            : BK_HEADER_OTHER;
    for (unsigned i = 0; id != BK_HEADER_OTHER && i < sizeof forbidden; i++)
        if (forbidden[i] == id)
            return bk_fault_set(fault, 400, "forbidden trailer");
    body->line_len++;
    body->state = IN_TRAILER_VALUE;
    return 0;
}
