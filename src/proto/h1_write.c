// HTTP/1.1 answer heads and chunk framing. serve/transmit calls it once per answer, straight into
 // the output buffer.
#include "proto/h1_write.h"

#include "base/banned.h"

// Longest status line without the reason, Content-Length line, Transfer-Encoding line, Connection
// line, empty line.
#define FIXED_MAX (13 + 2 + 38 + 28 + 24 + 2)

static inline char *
put(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

static inline char *
put_str(char *out, struct bk_str s)
{
    return s.len ? put(out, s.at, s.len) : out;
}

size_t
bk_h1_write_bound(const struct bk_h1_answer *answer)
{
    return FIXED_MAX + answer->reason.len + answer->common.len + answer->fields.len;
}

static char *
put_status(char *out, int status)
{
    out = PUT(out, "HTTP/1.1 ");
    unsigned code = (unsigned)status % 1000;
    out[0] = (char)('0' + code / 100);
    out[1] = (char)('0' + code / 10 % 10);
    out[2] = (char)('0' + code % 10);
    out[3] = ' ';
    return out + 4;
}

size_t
bk_h1_write_head(char *start, const struct bk_h1_answer *answer)
{
    char *out = start;
    // RFC 9110 §8.6 and RFC 9112 §6.1: never a length or a coding on 1xx and 204, whatever the
    // caller asks.
    bool framed = answer->status >= 200 && answer->status != 204;
    if (bk_likely(answer->status == 200 && bk_str_equal(answer->reason, BK_STR("OK"))))
        out = PUT(out, "HTTP/1.1 200 OK\r\n");
    else
        out = PUT(put_str(put_status(out, answer->status), answer->reason), "\r\n");
    out = put_str(out, answer->common);
    out = put_str(out, answer->fields);
    if (framed && answer->add_length) {
        out = PUT(out, "Content-Length: ");
        out += bk_str_format_u64(out, answer->content_length);
        out = PUT(out, "\r\n");
    }
    if (framed && answer->framing == BK_FRAMING_CHUNKED)
        out = PUT(out, "Transfer-Encoding: chunked\r\n");
    if (answer->close)
        out = PUT(out, "Connection: close\r\n");
    else if (answer->say_keep)
        out = PUT(out, "Connection: keep-alive\r\n");
    return (size_t)(PUT(out, "\r\n") - start);
}

size_t
bk_h1_write_chunk_size(char *out, uint64_t len)
{
    static const char hex[] = "0123456789abcdef";
    unsigned digits = len ? (67 - (unsigned)__builtin_clzll(len)) / 4 : 1;
    for (unsigned i = digits; i-- > 0; len >>= 4)
        out[i] = hex[len & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}

size_t
bk_h1_write_interim(char *out, size_t room, int status, struct bk_str fields)
{
    struct bk_str reason = bk_str_of(bk_status_reason(status));
    size_t len = 13 + reason.len + 2 + fields.len + 2;
    if (len > room)
        return 0;
    out = put_str(put_status(out, status), reason);
    PUT(put_str(PUT(out, "\r\n"), fields), "\r\n");
    return len;
}
