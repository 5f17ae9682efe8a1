// Addresses as a user writes them, and as the kernel wants them.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "base/str.h"

enum bk_scheme {
    BK_SCHEME_DEFAULT,
    BK_SCHEME_HTTP,
    BK_SCHEME_HTTPS,
    BK_SCHEME_UWSGI,
    BK_SCHEME_SCGI
};

struct bk_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
};

// What a --bind value says:
//     [http|https|uwsgi|scgi://] host:port | host | :port | [v6]:port | [v6] |
//                                unix:PATH | unix:@name | fd://N | fd://NAME
// Without a port it is 8000. ":8000" means every IPv4 interface (0.0.0.0), as Gunicorn users know
// it; "[::]:8000" is every IPv6 one and, unless net.ipv6.bindv6only says otherwise, IPv4 too. A
// port with a service name is refused.
struct bk_bind {
    enum bk_scheme scheme;
    enum { BK_BIND_TCP, BK_BIND_UNIX, BK_BIND_ABSTRACT, BK_BIND_FD } kind;
    // TCP: host as written without brackets ("" = all interfaces); UNIX: path; ABSTRACT: name
    // without '@'. FD: the name of a socket the service manager passed, "" when `fd` is known.
    char host[256];
    int port;  // TCP; 0 = any
    int fd;    // FD; -1: `host` names it
};

// Parses one value. On -EINVAL *ret_why borrows a literal that completes "--bind 'x': ..." ("a port
// is 0 to 65535").
int bk_bind_parse(struct bk_str text, struct bk_bind *ret, const char **ret_why) BK_MUST_CHECK;

// Resolves host names too (getaddrinfo, blocking); of several addresses the first IPv4 one.
// Negative errno: -ENOENT when the name is unknown, -EAGAIN when no name server answers, -EINVAL
// for fd://N.
int bk_bind_resolve(const struct bk_bind *bind, struct bk_addr *ret) BK_MUST_CHECK;

// "http://127.0.0.1:8000", "http://[::1]:8000", "unix:run/web.sock", "unix:@name": the clickable
// text of a *bound* socket (real port after :0). Plain http on unix sockets has no scheme prefix.
// NUL-terminated, cut at room.
void bk_addr_text(char *out, size_t room, enum bk_scheme scheme, const struct bk_addr *addr);

// Host part alone ("127.0.0.1", "::1", "" for unix) and port (0 for unix), for REMOTE_ADDR and
// SERVER_NAME. Returns bytes written (no NUL), at most INET6_ADDRSTRLEN. v4-mapped v6 addresses are
// given as v4.
size_t bk_addr_host(char out[INET6_ADDRSTRLEN], const struct bk_addr *addr, unsigned *ret_port);
// Four bytes as "127.0.0.1", NUL-terminated; returns the length. inet_ntop prints through the C
// library's formatter, ten times the work.
size_t bk_addr_v4_text(char out[INET6_ADDRSTRLEN], const unsigned char bytes[4]);

// A list of networks, for --forwarded-allow-ips: "127.0.0.1,::1,10.0.0.0/8,*".
struct bk_nets {
    bool all;
    unsigned count;
    struct bk_net {
        bool v6;
        unsigned char bits;
        unsigned char bytes[16];
    } *items;  // owns
};
// Elements are separated by commas, spaces or newlines. -EINVAL with the offending element in
// *ret_bad. The bk_nets calls are in net/nets.c.
int bk_nets_parse(struct bk_str text, struct bk_nets *ret, struct bk_str *ret_bad) BK_MUST_CHECK;
void bk_nets_release(struct bk_nets *nets);
// Unix peers are always inside (DESIGN: whoever can open the socket was let in by its mode).
bool bk_nets_contain(const struct bk_nets *nets, const struct bk_addr *addr);
// The same for an address in text (an X-Forwarded-For element, with or without port and brackets);
// false when unparsable.
bool bk_nets_contain_text(const struct bk_nets *nets, struct bk_str text);
