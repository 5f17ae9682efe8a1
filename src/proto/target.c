// Request targets: which of the four forms, where path, query and authority lie; Host values;
// percent decoding. h1_parse calls split for every request, to_app and the hosts decode.
#include "proto/target.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "proto/chars.h"

#include "base/banned.h"

static int split_absolute(struct bk_head *head, struct bk_fault *fault);
static int split_authority(struct bk_head *head, struct bk_fault *fault);
static void split_query(struct bk_head *head, uint32_t at, uint32_t end);
static bool is_ip_literal(struct bk_str inner);
static bool is_reg_name(struct bk_str name);
static bool is_port(const char *at, const char *end);

int
bk_target_split(struct bk_head *head, struct bk_fault *fault)
{
    const char *target = head->base + head->target;
    head->authority = head->authority_len = 0;
    head->flags &= ~(uint32_t)BK_HEAD_ABSOLUTE;
    if (head->target_len == 0)
        return bk_fault_set(fault, 400, "empty request target");
    if (bk_unlikely(head->method_id == BK_METHOD_CONNECT))
        return split_authority(head, fault);
    if (bk_likely(target[0] == '/')) {  // also "//x": a path, never an authority
        split_query(head, head->target, head->target + head->target_len);
        return 0;
    }
    if (target[0] == '*' && head->target_len == 1 && head->method_id == BK_METHOD_OPTIONS) {
        split_query(head, head->target, head->target + 1);
        return 0;
    }
    return split_absolute(head, fault);
}

static void
split_query(struct bk_head *head, uint32_t at, uint32_t end)
{
    const char *mark = memchr(head->base + at, '?', end - at);
    uint32_t stop = mark ? (uint32_t)(mark - head->base) : end;
    head->path = at;
    head->path_len = stop - at;
    head->query = mark ? stop + 1 : end;
    head->query_len = end - head->query;
}

// http://authority/path?query. RFC 9110 §4.2.1: no empty host; §4.2.4: no userinfo.
static int
split_absolute(struct bk_head *head, struct bk_fault *fault)
{
    struct bk_str target = bk_head_str(head, head->target, head->target_len);
    size_t scheme =
        target.len > 7 && bk_str_equal_nocase((struct bk_str){target.at, 7}, BK_STR("http://")) ? 7
        : target.len > 8 && bk_str_equal_nocase((struct bk_str){target.at, 8}, BK_STR("https://"))
            ? 8
            : 0;
    if (scheme == 0)
        return bk_fault_set(fault, 400, "request target in none of the four forms");
    size_t end = scheme;
    while (end < target.len && target.at[end] != '/' && target.at[end] != '?')
        end++;
    struct bk_str authority = {target.at + scheme, end - scheme};
    if (authority.len == 0 || authority.at[0] == ':')
        return bk_fault_set(fault, 400, "absolute target without a host");
    if (!bk_target_host_valid(authority))
        return bk_fault_set(fault, 400, "bad authority in the request target");
    head->authority = head->target + (uint32_t)scheme;
    head->authority_len = (uint32_t)authority.len;
    head->flags |= BK_HEAD_ABSOLUTE;
    split_query(head, head->target + (uint32_t)end, head->target + (uint32_t)target.len);
    if (head->path_len == 0) {  // "http://a", "http://a?q": the path is "/", as is the scheme's end
        head->path = head->target + (uint32_t)scheme - 1;
        head->path_len = 1;
    }
    return 0;
}

// CONNECT host:port, both there (RFC 9110 §9.3.6). There is no path then.
static int
split_authority(struct bk_head *head, struct bk_fault *fault)
{
    struct bk_str target = bk_head_str(head, head->target, head->target_len);
    size_t port = target.len;
    while (port && target.at[port - 1] != ':')
        port--;
    if (port < 2 || port == target.len || !bk_target_host_valid(target))
        return bk_fault_set(fault, 400, "CONNECT without host:port");
    head->authority = head->target;
    head->authority_len = head->target_len;
    head->path = head->query = head->target + head->target_len;
    head->path_len = head->query_len = 0;
    return 0;
}

bool
bk_target_host_valid(struct bk_str host)
{
    const char *at = host.at, *end = host.at + host.len;
    while (at < end && bk__char_is(*at, BK__CHAR_HOST))
        at++;
    if (at < end && *at == '%') {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        at = colon ? colon : end;
        if (!is_reg_name((struct bk_str){host.at, (size_t)(at - host.at)}))
            return false;
    } else if (at == host.at && at < end && *at == '[') {
        const char *close = memchr(at, ']', host.len);
        if (!close || !is_ip_literal((struct bk_str){at + 1, (size_t)(close - at) - 1}))
            return false;
        at = close + 1;
    }
    return at == end || (*at == ':' && is_port(at + 1, end));
}

static bool
is_reg_name(struct bk_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (bk__char_is(name.at[i], BK__CHAR_HOST))
            continue;
        if (name.at[i] != '%' || name.len - i < 3 || !bk__char_is(name.at[i + 1], BK__CHAR_HEX) ||
            !bk__char_is(name.at[i + 2], BK__CHAR_HEX))
            return false;
        i += 2;
    }
    return true;
}

// Empty is fine (RFC 3986 §3.2.3), more than 65535 is nothing one could connect to.
static bool
is_port(const char *at, const char *end)
{
    unsigned number = 0;
    for (; at < end; at++) {
        if (!bk__char_is(*at, BK__CHAR_DIGIT))
            return false;
        number = number * 10 + (unsigned)(*at - '0');
        if (number > 65535)
            return false;
    }
    return true;
}

// IPv6address, or IPvFuture: "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" ).
static bool
is_ip_literal(struct bk_str inner)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (inner.len && (inner.at[0] == 'v' || inner.at[0] == 'V')) {
        size_t at = 1;
        while (at < inner.len && bk__char_is(inner.at[at], BK__CHAR_HEX))
            at++;
        if (at == 1 || at + 1 >= inner.len || inner.at[at] != '.')
            return false;
        for (at++; at < inner.len; at++)
            if (inner.at[at] != ':' && !bk__char_is(inner.at[at], BK__CHAR_HOST))
                return false;
        return true;
    }
    if (inner.len == 0 || inner.len >= sizeof text || memchr(inner.at, 0, inner.len))
        return false;
    memcpy(text, inner.at, inner.len);
    text[inner.len] = 0;
    return inet_pton(AF_INET6, text, &address) == 1;
}

static inline int
hex_value(char c)
{
    if (!bk__char_is(c, BK__CHAR_HEX))
        return -1;
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

size_t
bk_target_decode(char *out, struct bk_str s, bool *ret_plain)
{
    size_t len = 0;
    bool plain = true;
    for (size_t i = 0; i < s.len; i++) {
        char byte = s.at[i];
        if (bk_unlikely(byte == '%') && s.len - i >= 3) {
            int high = hex_value(s.at[i + 1]), low = hex_value(s.at[i + 2]);
            if (high >= 0 && low >= 0) {
                byte = (char)(high << 4 | low);
                i += 2;
                plain = false;
            }
        }
        plain &= !((unsigned char)byte & 0x80);
        out[len++] = byte;
    }
    *ret_plain = plain;
    return len;
}
