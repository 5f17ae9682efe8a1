// Lists of trusted networks (declared in net/addr.h). Called by the settings check (parse) and by
// serve/guard, which believes forwarded headers only from peers in the list.
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static bool next_element(struct bk_str *rest, struct bk_str *ret);
static int parse_net(struct bk_str text, struct bk_net *ret);
static int parse_ip(struct bk_str text, struct bk_net *ret);
static bool contains(const struct bk_nets *nets, const struct bk_net *ip);
static bool strip_port(struct bk_str *text);

static const unsigned char mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int
bk_nets_parse(struct bk_str text, struct bk_nets *ret, struct bk_str *ret_bad)
{
    struct bk_nets nets = {0};
    struct bk_str rest = text, element;
    unsigned count = 0;
    while (next_element(&rest, &element))
        count++;
    if (count > 0) {
        nets.items = calloc(count, sizeof *nets.items);
        if (!nets.items) {
            *ret_bad = text;
            return -ENOMEM;
        }
    }
    while (next_element(&text, &element)) {
        if (bk_str_equal(element, BK_STR("*"))) {
            nets.all = true;
        } else if (parse_net(element, &nets.items[nets.count]) == 0) {
            nets.count++;
        } else {
            free(nets.items);
            *ret_bad = element;
            return -EINVAL;
        }
    }
    *ret = nets;
    return 0;
}

void
bk_nets_release(struct bk_nets *nets)
{
    free(nets->items);
    *nets = (struct bk_nets){0};
}

bool
bk_nets_contain(const struct bk_nets *nets, const struct bk_addr *addr)
{
    struct bk_net ip = {0};
    if (addr->sa.sa_family == AF_UNIX || nets->all)
        return true;
    if (addr->sa.sa_family == AF_INET) {
        memcpy(ip.bytes, &addr->in.sin_addr, 4);
    } else if (addr->sa.sa_family == AF_INET6) {
        const unsigned char *bytes = addr->in6.sin6_addr.s6_addr;
        ip.v6 = memcmp(bytes, mapped_prefix, sizeof mapped_prefix) != 0;
        memcpy(ip.bytes, ip.v6 ? bytes : bytes + 12, ip.v6 ? 16 : 4);
    } else {
        return false;
    }
    return contains(nets, &ip);
}

bool
bk_nets_contain_text(const struct bk_nets *nets, struct bk_str text)
{
    struct bk_net ip;
    if (!strip_port(&text) || parse_ip(text, &ip) < 0)
        return false;
    return nets->all || contains(nets, &ip);
}

static bool
contains(const struct bk_nets *nets, const struct bk_net *ip)
{
    for (unsigned i = 0; i < nets->count; i++) {
        const struct bk_net *net = &nets->items[i];
        unsigned whole = net->bits / 8u, rest = net->bits % 8u;
        if (net->v6 != ip->v6 || memcmp(net->bytes, ip->bytes, whole) != 0)
            continue;
        if (rest == 0 || (net->bytes[whole] ^ ip->bytes[whole]) >> (8 - rest) == 0)
            return true;
    }
    return false;
}

// Elements between commas and white space; false at the end.
static bool
next_element(struct bk_str *rest, struct bk_str *ret)
{
    static const char separators[] = ", \t\r\n";
    while (rest->len > 0 && memchr(separators, rest->at[0], sizeof separators - 1)) {
        rest->at++;
        rest->len--;
    }
    *ret = (struct bk_str){rest->at, 0};
    while (rest->len > 0 && !memchr(separators, rest->at[0], sizeof separators - 1)) {
        rest->at++;
        rest->len--;
        ret->len++;
    }
    return ret->len > 0;
}

// "10.0.0.0/8", "::1". Bits behind the prefix may be set, they do not matter.
static int
parse_net(struct bk_str text, struct bk_net *ret)
{
    const char *slash = memchr(text.at, '/', text.len);
    struct bk_str ip = {text.at, slash ? (size_t)(slash - text.at) : text.len};
    unsigned bits = 0, most;
    bool mapped = memchr(ip.at, ':', ip.len) != NULL;
    if (parse_ip(ip, ret) < 0)
        return -EINVAL;
    if (!slash)
        return 0;
    mapped = mapped && !ret->v6;
    most = ret->v6 || mapped ? 128 : 32;
    text.len -= ip.len + 1;
    if (text.len < 1 || text.len > 3)
        return -EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        if (slash[1 + i] < '0' || slash[1 + i] > '9')
            return -EINVAL;
        bits = bits * 10 + (unsigned)(slash[1 + i] - '0');
    }
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8; a shorter prefix would reach beyond what IPv4 peers are
    // kept as.
    if (bits > most || (mapped && bits < 96))
        return -EINVAL;
    ret->bits = (unsigned char)(mapped ? bits - 96 : bits);
    return 0;
}

// An address alone, as a network of one. Addresses mapped into IPv6 become IPv4.
static int
parse_ip(struct bk_str text, struct bk_net *ret)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.at, '\0', text.len))
        return -EINVAL;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    *ret = (struct bk_net){.bits = 32};
    if (inet_pton(AF_INET, copy, ret->bytes) == 1)
        return 0;
    if (inet_pton(AF_INET6, copy, ret->bytes) != 1)
        return -EINVAL;
    if (memcmp(ret->bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
        memmove(ret->bytes, ret->bytes + 12, 4);
        memset(ret->bytes + 4, 0, 12);
        return 0;
    }
    ret->v6 = true;
    ret->bits = 128;
    return 0;
}

// "1.2.3.4:80" -> "1.2.3.4", "[::1]:80" and "[::1]" -> "::1"; false when what is around the address
// makes no sense.
static bool
strip_port(struct bk_str *text)
{
    const char *end, *port;
    size_t len = 0;
    if (text->len == 0)
        return false;
    if (text->at[0] == '[') {
        end = memchr(text->at, ']', text->len);
        if (!end || !memchr(text->at, ':', (size_t)(end - text->at)))
            return false;
        port = end + 1;
        len = text->len - (size_t)(port - text->at);
        *text = (struct bk_str){text->at + 1, (size_t)(end - text->at) - 1};
        if (len == 0)
            return true;
        if (port[0] != ':')
            return false;
        port++;
        len--;
    } else {
        end = memchr(text->at, ':', text->len);
        if (!end || memchr(end + 1, ':', text->len - (size_t)(end - text->at) - 1))
            return true;  // no port, or a bare IPv6 address
        port = end + 1;
        len = text->len - (size_t)(port - text->at);
        text->len = (size_t)(end - text->at);
    }
    if (len < 1 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++)
        if (port[i] < '0' || port[i] > '9')
            return false;
    return true;
}
