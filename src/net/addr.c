// Socket addresses: from a --bind value to the kernel's form and back to text. Called by the
// settings check (parse), the listeners (resolve), and by serve for REMOTE_ADDR.
#include "net/addr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define DEFAULT_PORT 8000

static bool take_prefix(struct bk_str *text, const char *prefix);
static int parse_scheme(struct bk_str *text, struct bk_bind *ret, const char **ret_why);
static int parse_unix(struct bk_str text, struct bk_bind *ret, const char **ret_why);
static bool is_socket_name(struct bk_str text);
static int parse_fd(struct bk_str text, struct bk_bind *ret, const char **ret_why);
static int parse_tcp(struct bk_str text, struct bk_bind *ret, const char **ret_why);
static int parse_brackets(struct bk_str *text, struct bk_bind *ret, const char **ret_why);
static int parse_port(struct bk_str text, struct bk_bind *ret, const char **ret_why);
static int number(struct bk_str text, int max, int *ret);
static int copy_text(char *into, size_t room, struct bk_str text);
static void set_port(struct bk_addr *addr, int port);

static const struct {
    const char *prefix;
    enum bk_scheme scheme;
} schemes[] = {
    {"http://", BK_SCHEME_HTTP},
    {"https://", BK_SCHEME_HTTPS},
    {"uwsgi://", BK_SCHEME_UWSGI},
    {"scgi://", BK_SCHEME_SCGI},
};

int
bk_bind_parse(struct bk_str text, struct bk_bind *ret, const char **ret_why)
{
    struct bk_bind bind = {.scheme = BK_SCHEME_DEFAULT, .fd = -1};
    int error = parse_scheme(&text, &bind, ret_why);
    if (error < 0)
        return error;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c < ' ' || c == 0x7f) {
            *ret_why = "an address has no control characters";
            return -EINVAL;
        }
    }
    if (take_prefix(&text, "unix:"))
        error = parse_unix(text, &bind, ret_why);
    else if (take_prefix(&text, "fd://"))
        error = parse_fd(text, &bind, ret_why);
    else
        error = parse_tcp(text, &bind, ret_why);
    if (error == 0)
        *ret = bind;
    return error;
}

static int
parse_scheme(struct bk_str *text, struct bk_bind *ret, const char **ret_why)
{
    const char *mark = NULL;
    for (size_t i = 0; i < BK_COUNT(schemes); i++) {
        if (take_prefix(text, schemes[i].prefix)) {
            ret->scheme = schemes[i].scheme;
            break;
        }
    }
    if (text->at && text->len > 3)
        mark = memmem(text->at, text->len, "://", 3);
    if (mark && strncmp(text->at, "fd:", 3) != 0 && strncmp(text->at, "unix:", 5) != 0) {
        *ret_why = "a scheme is http, https, uwsgi or scgi";
        return -EINVAL;
    }
    return 0;
}

// unix:PATH, unix:@name; as in Gunicorn unix://run/x is the relative path and unix:///run/x the
// absolute one.
static int
parse_unix(struct bk_str text, struct bk_bind *ret, const char **ret_why)
{
    struct sockaddr_un un;
    bool abstract = !take_prefix(&text, "//") && take_prefix(&text, "@");
    ret->kind = abstract ? BK_BIND_ABSTRACT : BK_BIND_UNIX;
    if (text.len == 0) {
        *ret_why = abstract ? "a name is missing after unix:@" : "a path is missing after unix:";
        return -EINVAL;
    }
    // Both need one byte of sun_path besides the text: the NUL behind a path, the one before an
    // abstract name.
    if (text.len >= sizeof un.sun_path || copy_text(ret->host, sizeof ret->host, text) < 0) {
        *ret_why = abstract ? "an abstract socket's name has at most 107 bytes"
                            : "a unix socket's path has at most 107 bytes";
        return -EINVAL;
    }
    return 0;
}

static int
parse_fd(struct bk_str text, struct bk_bind *ret, const char **ret_why)
{
    ret->kind = BK_BIND_FD;
    ret->fd = -1;
    if (is_socket_name(text) && copy_text(ret->host, sizeof ret->host, text) == 0)
        return 0;
    if (number(text, INT_MAX, &ret->fd) < 0) {
        *ret_why = "after fd:// comes a number, as in fd://3, or a socket's name from systemd";
        return -EINVAL;
    }
    return 0;
}

// What a number is not: begins with a letter and has nothing that another kind of address has.
static bool
is_socket_name(struct bk_str text)
{
    if (text.len == 0 || !isalpha((unsigned char)text.at[0]))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!isalnum((unsigned char)text.at[i]) && !strchr("._-@", text.at[i]))
            return false;
    return true;
}

static int
parse_tcp(struct bk_str text, struct bk_bind *ret, const char **ret_why)
{
    const char *colon;
    struct bk_str host = text;
    ret->kind = BK_BIND_TCP;
    ret->port = DEFAULT_PORT;
    if (text.len == 0) {
        *ret_why = "an address is host:port, :port, [v6]:port, unix:PATH, unix:@name or fd://N";
        return -EINVAL;
    }
    if (text.at[0] == '[') {
        int error = parse_brackets(&text, ret, ret_why);
        if (error < 0 || text.len == 0)
            return error;
        if (text.at[0] != ':') {
            *ret_why = "after [v6] comes :port";
            return -EINVAL;
        }
        return parse_port((struct bk_str){text.at + 1, text.len - 1}, ret, ret_why);
    }
    colon = memchr(text.at, ':', text.len);
    if (colon) {
        host.len = (size_t)(colon - text.at);
        text.at = colon + 1;
        text.len -= host.len + 1;
        if (memchr(text.at, ':', text.len)) {
            *ret_why = "an IPv6 address stands in brackets, as in [::1]:8000";
            return -EINVAL;
        }
    } else if (number(text, INT_MAX, &(int){0}) == 0) {  // 8000 as a host would be 0.0.31.64
        *ret_why = "a port alone has a colon in front, as in :8000";
        return -EINVAL;
    }
    for (size_t i = 0; i < host.len; i++) {
        if (host.at[i] == '/' || host.at[i] == ' ' || host.at[i] == ']' || host.at[i] == '@') {
            *ret_why = "a host has no '/', '@', ']' or space; a socket file is unix:PATH";
            return -EINVAL;
        }
    }
    if (copy_text(ret->host, sizeof ret->host, host) < 0) {
        *ret_why = "a host name has at most 255 bytes";
        return -EINVAL;
    }
    return colon ? parse_port(text, ret, ret_why) : 0;
}

// Takes "[v6]" off the front; a zone (fe80::1%eth0) is checked when it is resolved, interfaces come
// and go.
static int
parse_brackets(struct bk_str *text, struct bk_bind *ret, const char **ret_why)
{
    struct in6_addr ignored;
    char plain[INET6_ADDRSTRLEN];
    const char *end = memchr(text->at, ']', text->len), *zone;
    struct bk_str inside;
    size_t len;
    if (!end) {
        *ret_why = "the ']' after the IPv6 address is missing";
        return -EINVAL;
    }
    inside = (struct bk_str){text->at + 1, (size_t)(end - text->at) - 1};
    zone = memchr(inside.at, '%', inside.len);
    len = zone ? (size_t)(zone - inside.at) : inside.len;
    if (copy_text(plain, sizeof plain, (struct bk_str){inside.at, len}) < 0 ||
        inet_pton(AF_INET6, plain, &ignored) != 1 ||
        copy_text(ret->host, sizeof ret->host, inside) < 0) {
        *ret_why = "in the brackets there is no IPv6 address";
        return -EINVAL;
    }
    text->at = end + 1;
    text->len -= inside.len + 2;
    return 0;
}

static int
parse_port(struct bk_str text, struct bk_bind *ret, const char **ret_why)
{
    if (number(text, 65535, &ret->port) < 0) {
        *ret_why = "a port is 0 to 65535";
        return -EINVAL;
    }
    return 0;
}

int
bk_bind_resolve(const struct bk_bind *bind, struct bk_addr *ret)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    size_t len = strlen(bind->host);
    int error;
    memset(ret, 0, sizeof *ret);
    if (bind->kind == BK_BIND_FD)
        return -EINVAL;
    if (bind->kind != BK_BIND_TCP) {
        bool abstract = bind->kind == BK_BIND_ABSTRACT;
        if (len == 0 || len >= sizeof ret->un.sun_path)
            return -ENAMETOOLONG;
        ret->un.sun_family = AF_UNIX;
        memcpy(ret->un.sun_path + abstract, bind->host, len);
        // An abstract name is as long as the address says, a path ends with a NUL.
        ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
        return 0;
    }
    if (len == 0) {
        ret->in.sin_family = AF_INET;
        ret->len = sizeof ret->in;
        set_port(ret, bind->port);
        return 0;
    }
    error = getaddrinfo(bind->host, NULL, &hints, &found);
    if (error == EAI_MEMORY)
        return -ENOMEM;
    if (error == EAI_SYSTEM)
        return -errno;
    if (error == EAI_AGAIN)
        return -EAGAIN;
    if (error || !found)
        return -ENOENT;
    // One socket per --bind: of a name with several addresses the first, preferring IPv4 as
    // "localhost" users expect.
    const struct addrinfo *best = found;
    for (const struct addrinfo *at = found; at && best->ai_family != AF_INET; at = at->ai_next)
        if (at->ai_family == AF_INET)
            best = at;
    memcpy(&ret->storage, best->ai_addr, best->ai_addrlen);
    ret->len = best->ai_addrlen;
    set_port(ret, bind->port);
    freeaddrinfo(found);
    return 0;
}

void
bk_addr_text(char *out, size_t room, enum bk_scheme scheme, const struct bk_addr *addr)
{
    char host[INET6_ADDRSTRLEN + 1];
    unsigned port;
    const char *prefix = "http://";
    for (size_t i = 0; i < BK_COUNT(schemes); i++)
        if (schemes[i].scheme == scheme)
            prefix = schemes[i].prefix;
    if (addr->sa.sa_family == AF_UNIX) {
        const char *path = addr->un.sun_path;
        size_t head = offsetof(struct sockaddr_un, sun_path);
        size_t len = addr->len > head ? addr->len - head : 0;
        bool abstract = len > 1 && path[0] == '\0';
        if (scheme == BK_SCHEME_DEFAULT || scheme == BK_SCHEME_HTTP)
            prefix = "";
        len = abstract ? len - 1 : strnlen(path, len);
        path += abstract;
        snprintf(out, room, "%sunix:%s%.*s", prefix, abstract ? "@" : "", (int)len, path);
        return;
    }
    host[bk_addr_host(host, addr, &port)] = '\0';
    snprintf(out, room, strchr(host, ':') ? "%s[%s]:%u" : "%s%s:%u", prefix, host, port);
}

size_t
bk_addr_host(char out[INET6_ADDRSTRLEN], const struct bk_addr *addr, unsigned *ret_port)
{
    char text[INET6_ADDRSTRLEN] = "";
    size_t len;
    *ret_port = 0;
    if (addr->sa.sa_family == AF_INET) {
        *ret_port = ntohs(addr->in.sin_port);
        bk_addr_v4_text(text, (const unsigned char *)&addr->in.sin_addr);
    } else if (addr->sa.sa_family == AF_INET6) {
        *ret_port = ntohs(addr->in6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
            bk_addr_v4_text(text, &addr->in6.sin6_addr.s6_addr[12]);
        else
            inet_ntop(AF_INET6, &addr->in6.sin6_addr, text, sizeof text);
    }
    len = strlen(text);
    memcpy(out, text, len);
    return len;
}

size_t
bk_addr_v4_text(char out[INET6_ADDRSTRLEN], const unsigned char bytes[4])
{
    char *at = out;
    for (int i = 0; i < 4; i++) {
        at += bk_str_format_u64(at, bytes[i]);
        *at++ = i < 3 ? '.' : '\0';
    }
    return (size_t)(at - out) - 1;
}

static void
set_port(struct bk_addr *addr, int port)
{
    if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_port = htons((uint16_t)port);
    else
        addr->in.sin_port = htons((uint16_t)port);
}

static bool
take_prefix(struct bk_str *text, const char *prefix)
{
    size_t len = strlen(prefix);
    if (text->len < len || memcmp(text->at, prefix, len) != 0)
        return false;
    text->at += len;
    text->len -= len;
    return true;
}

static int
number(struct bk_str text, int max, int *ret)
{
    int value = 0;
    if (text.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        int digit = text.at[i] - '0';
        if (digit < 0 || digit > 9 || value > (max - digit) / 10)
            return -EINVAL;
        value = value * 10 + digit;
    }
    *ret = value;
    return 0;
}

static int
copy_text(char *into, size_t room, struct bk_str text)
{
    if (text.len >= room)
        return -ENAMETOOLONG;
    memcpy(into, text.at, text.len);
    into[text.len] = '\0';
    return 0;
}
