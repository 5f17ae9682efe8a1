// A request head and a response head as every protocol delivers or takes them. No I/O, no Python.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum bk_method {
    BK_METHOD_OTHER, BK_METHOD_GET, BK_METHOD_HEAD, BK_METHOD_POST, BK_METHOD_PUT, BK_METHOD_DELETE,
    BK_METHOD_OPTIONS, BK_METHOD_PATCH, BK_METHOD_CONNECT, BK_METHOD_TRACE,
};

// One field line. Offsets count from bk_head.base, so the buffer may move while the head is still arriving.
struct bk_field {
    uint32_t name, value;
    uint32_t value_len;
    uint16_t name_len;
    uint8_t id;     // enum bk_header, BK_HEADER_OTHER when not a known name
    uint8_t flags;  // BK_FIELD_*
};
enum {
    BK_FIELD_UNDERSCORE = 1,  // '_' in the name: a policy decides, it must never be taken for its '-' twin
    BK_FIELD_HIGH = 2,        // the value has bytes >= 0x80
};

enum {
    BK_HEAD_KEEP_ALIVE = 1 << 0,   // the peer allows another request on this connection
    BK_HEAD_HAS_LENGTH = 1 << 1,   // Content-Length was sent
    BK_HEAD_CHUNKED = 1 << 2,      // Transfer-Encoding: chunked
    BK_HEAD_EXPECT = 1 << 3,       // Expect: 100-continue on HTTP/1.1 and a body announced
    BK_HEAD_UPGRADE = 1 << 4,      // Connection: upgrade and an Upgrade field
    BK_HEAD_ABSOLUTE = 1 << 5,     // absolute-form target: `authority` replaces Host
    BK_HEAD_SAY_KEEP = 1 << 6,     // HTTP/1.0 with keep-alive: the answer must say Connection: keep-alive
    BK_HEAD_TRAILERS_OK = 1 << 7,  // TE: trailers
};

#define BK_FIELDS_MAX 256  // hard ceiling; --limit-request-fields is checked below it

struct bk_head {
    const char *base;         // borrows the buffer the head was received into, until the exchange ends
    uint32_t len;             // bytes from base to the end of the empty line
    uint32_t block, block_len;  // the field lines, first name to before the empty line: equal bytes = equal fields
    uint32_t flags;           // BK_HEAD_*
    uint8_t method_id;        // enum bk_method
    uint8_t minor;            // HTTP/1.minor (0 or 1)
    uint16_t field_count;
    uint32_t method, method_len;
    uint32_t target, target_len;  // as sent
    uint32_t path, path_len;      // still percent-encoded, inside target; "*" for OPTIONS *
    uint32_t query, query_len;    // after '?', may be empty
    uint32_t authority, authority_len;  // of an absolute-form target
    uint64_t content_length;
    struct bk_field *fields;  // borrows: room for limits.fields entries, given by the caller
};

static inline struct bk_str
bk_head_str(const struct bk_head *head, uint32_t at, uint32_t len)
{
    return (struct bk_str){head->base + at, len};
}

// First field with this id, or NULL. Linear; heads are short.
const struct bk_field *bk_head_find(const struct bk_head *head, unsigned id);
// What the client called the server: the target's authority (RFC 9112 §3.2.2), else Host. Either may be empty; an IPv6
// address keeps its brackets. Both borrow the head.
void bk_head_server(const struct bk_head *head, struct bk_str *ret_name, struct bk_str *ret_port);

enum bk_method bk_method_of(struct bk_str name);

// "OK" for 200, "" when unknown.
const char *bk_status_reason(int status);
// 1xx, 204 and 304 never have a body (RFC 9110 §6.4.1).
static inline bool
bk_status_bodiless(int status)
{
    return (status >= 100 && status < 200) || status == 204 || status == 304;
}
