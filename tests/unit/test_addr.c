// --bind values, their sockaddrs and texts, and the lists of trusted networks.
#include "net/addr.h"

#include <arpa/inet.h>

#include "check.h"

static struct bk_bind bind_to;
static struct bk_addr addr;

static void
good(const char *text, enum bk_scheme scheme, int kind, const char *host, int port)
{
    const char *why = NULL;
    memset(&bind_to, 0xee, sizeof bind_to);
    int error = bk_bind_parse(bk_str_of(text), &bind_to, &why);
    if (error)
        printf("  %s: %s\n", text, why);
    CHECK_INT(error, 0);
    CHECK_INT(bind_to.scheme, scheme);
    CHECK_INT(bind_to.kind, kind);
    CHECK_STR(bind_to.host, host);
    if (kind == BK_BIND_TCP)
        CHECK_INT(bind_to.port, port);
    if (kind == BK_BIND_FD)
        CHECK_INT(bind_to.fd, port);
}

static void
bad(const char *text, const char *expected)
{
    const char *why = NULL;
    bind_to.port = 4711;
    CHECK_INT(bk_bind_parse(bk_str_of(text), &bind_to, &why), -EINVAL);
    CHECK_STR(why, expected);
    CHECK_INT(bind_to.port, 4711);  // untouched on failure
}

TEST(tcp)
{
    good("127.0.0.1:8000", BK_SCHEME_DEFAULT, BK_BIND_TCP, "127.0.0.1", 8000);
    good("localhost:0", BK_SCHEME_DEFAULT, BK_BIND_TCP, "localhost", 0);
    good("example.org", BK_SCHEME_DEFAULT, BK_BIND_TCP, "example.org", 8000);
    good(":65535", BK_SCHEME_DEFAULT, BK_BIND_TCP, "", 65535);
    good("[::1]:80", BK_SCHEME_DEFAULT, BK_BIND_TCP, "::1", 80);
    good("[::]", BK_SCHEME_DEFAULT, BK_BIND_TCP, "::", 8000);
    good("[fe80::1%lo]:80", BK_SCHEME_DEFAULT, BK_BIND_TCP, "fe80::1%lo", 80);
    bad("8000", "a port alone has a colon in front, as in :8000");
    good("unixes:1", BK_SCHEME_DEFAULT, BK_BIND_TCP, "unixes", 1);
}

TEST(schemes)
{
    good("http://127.0.0.1:8000", BK_SCHEME_HTTP, BK_BIND_TCP, "127.0.0.1", 8000);
    good("https://:8443", BK_SCHEME_HTTPS, BK_BIND_TCP, "", 8443);
    good("uwsgi://127.0.0.1:3031", BK_SCHEME_UWSGI, BK_BIND_TCP, "127.0.0.1", 3031);
    good("scgi://unix:run/x", BK_SCHEME_SCGI, BK_BIND_UNIX, "run/x", 0);
    good("http://fd://3", BK_SCHEME_HTTP, BK_BIND_FD, "", 3);
    bad("ftp://host:1", "a scheme is http, https, uwsgi or scgi");
    bad("HTTP://host:1", "a scheme is http, https, uwsgi or scgi");
    bad("http://http://host:1", "a scheme is http, https, uwsgi or scgi");
    bad("://", "a port is 0 to 65535");
}

TEST(unix_and_fd)
{
    char long_path[120] = "unix:";
    good("unix:run/web.sock", BK_SCHEME_DEFAULT, BK_BIND_UNIX, "run/web.sock", 0);
    good("unix:///run/web.sock", BK_SCHEME_DEFAULT, BK_BIND_UNIX, "/run/web.sock", 0);
    good("unix:/My Files/x", BK_SCHEME_DEFAULT, BK_BIND_UNIX, "/My Files/x", 0);
    good("unix:@name", BK_SCHEME_DEFAULT, BK_BIND_ABSTRACT, "name", 0);
    good("unix:.@x", BK_SCHEME_DEFAULT, BK_BIND_UNIX, ".@x", 0);
    good("fd://web", BK_SCHEME_DEFAULT, BK_BIND_FD, "web", -1);
    good("http://fd://a-b.c@1", BK_SCHEME_HTTP, BK_BIND_FD, "a-b.c@1", -1);
    good("fd://0", BK_SCHEME_DEFAULT, BK_BIND_FD, "", 0);
    good("fd://2147483647", BK_SCHEME_DEFAULT, BK_BIND_FD, "", 2147483647);
    bad("unix:", "a path is missing after unix:");
    bad("unix://", "a path is missing after unix:");
    bad("unix:@", "a name is missing after unix:@");
    static const char fd_why[] =
        "after fd:// comes a number, as in fd://3, or a socket's name from systemd";
    bad("fd://", fd_why);
    bad("fd://we b", fd_why);
    bad("fd://3web", fd_why);
    bad("fd://-1", fd_why);
    bad("fd://2147483648", fd_why);
    memset(long_path + 5, 'p', 107);
    good(long_path, BK_SCHEME_DEFAULT, BK_BIND_UNIX, long_path + 5, 0);
    long_path[5 + 107] = 'p';
    bad(long_path, "a unix socket's path has at most 107 bytes");
}

TEST(wrong_values)
{
    char long_host[300];
    bad("127.0.0.1:80000", "a port is 0 to 65535");
    bad("127.0.0.1:65536", "a port is 0 to 65535");
    bad("127.0.0.1:", "a port is 0 to 65535");
    bad("127.0.0.1:-1", "a port is 0 to 65535");
    bad("127.0.0.1:http", "a port is 0 to 65535");
    bad("127.0.0.1:80 ", "a port is 0 to 65535");
    bad("127.0.0.1:99999999999999999999", "a port is 0 to 65535");
    bad("[::1]:99999", "a port is 0 to 65535");
    bad("::1:8000", "an IPv6 address stands in brackets, as in [::1]:8000");
    bad("[::1", "the ']' after the IPv6 address is missing");
    bad("[127.0.0.1]:80", "in the brackets there is no IPv6 address");
    bad("[]:80", "in the brackets there is no IPv6 address");
    bad("[::1]80", "after [v6] comes :port");
    bad("", "an address is host:port, :port, [v6]:port, unix:PATH, unix:@name or fd://N");
    bad("/run/web.sock", "a host has no '/', '@', ']' or space; a socket file is unix:PATH");
    bad("a b:1", "a host has no '/', '@', ']' or space; a socket file is unix:PATH");
    bad("unix:a\nb", "an address has no control characters");
    memset(long_host, 'h', sizeof long_host);
    long_host[299] = '\0';
    bad(long_host, "a host name has at most 255 bytes");
}

TEST(values_that_are_not_terminated)
{
    const char *why;
    char exact[9];
    memcpy(exact, "fd://1234", 9);
    CHECK_INT(bk_bind_parse((struct bk_str){exact, 6}, &bind_to, &why), 0);
    CHECK_INT(bind_to.fd, 1);
    CHECK_INT(bk_bind_parse((struct bk_str){exact, 4}, &bind_to, &why), -EINVAL);
    CHECK_INT(bk_bind_parse((struct bk_str){exact, 1}, &bind_to, &why), 0);
    CHECK_STR(bind_to.host, "f");
    CHECK_INT(bk_bind_parse((struct bk_str){NULL, 0}, &bind_to, &why), -EINVAL);
    // Every beginning of every form: ASan sees a look beyond the end.
    static const char *const forms[] = {"http://[fe80::1%lo]:8000", "unix:@name", "unix:///x/y",
                                        "fd://12", "a.b:1"};
    for (unsigned i = 0; i < BK_COUNT(forms); i++)
        for (size_t len = 0; len <= strlen(forms[i]); len++) {
            char *copy = malloc(len + (len == 0));
            memcpy(copy, forms[i], len);
            int error = bk_bind_parse((struct bk_str){copy, len}, &bind_to, &why);
            CHECK(error == 0 || error == -EINVAL);
            free(copy);
        }
}

static const char *
resolved(const char *text, enum bk_scheme scheme)
{
    static char out[300];
    const char *why;
    CHECK_INT(bk_bind_parse(bk_str_of(text), &bind_to, &why), 0);
    CHECK_INT(bk_bind_resolve(&bind_to, &addr), 0);
    bk_addr_text(out, sizeof out, scheme, &addr);
    return out;
}

TEST(resolve_and_text)
{
    CHECK_STR(resolved("127.0.0.1:8000", BK_SCHEME_HTTP), "http://127.0.0.1:8000");
    CHECK_STR(resolved(":8000", BK_SCHEME_DEFAULT), "http://0.0.0.0:8000");
    CHECK_STR(resolved("[::1]:1", BK_SCHEME_HTTPS), "https://[::1]:1");
    CHECK_INT(addr.len, sizeof addr.in6);
    CHECK_STR(resolved("[::]:2", BK_SCHEME_UWSGI), "uwsgi://[::]:2");
    CHECK_STR(resolved("unix:run/web.sock", BK_SCHEME_HTTP), "unix:run/web.sock");
    CHECK_STR(resolved("unix:@name", BK_SCHEME_DEFAULT), "unix:@name");
    CHECK_STR(resolved("unix:@name", BK_SCHEME_SCGI), "scgi://unix:@name");
    CHECK_STR(resolved("[::ffff:10.0.0.1]:3", BK_SCHEME_HTTP), "http://10.0.0.1:3");
    CHECK_STR(resolved("localhost:4", BK_SCHEME_HTTP), "http://127.0.0.1:4");
}

TEST(resolve_failures)
{
    const char *why;
    CHECK_INT(bk_bind_parse(BK_STR("fd://3"), &bind_to, &why), 0);
    CHECK_INT(bk_bind_resolve(&bind_to, &addr), -EINVAL);
    CHECK_INT(bk_bind_parse(BK_STR("no-such-host.invalid:1"), &bind_to, &why), 0);
    int error = bk_bind_resolve(&bind_to, &addr);
    CHECK(error == -ENOENT || error == -EAGAIN);  // -EAGAIN on a machine without a name server
}

TEST(longest_unix_names)
{
    char text[120] = "unix:@", out[200];
    const char *why;
    memset(text + 6, 'n', 107);
    CHECK_INT(bk_bind_parse(bk_str_of(text), &bind_to, &why), 0);
    CHECK_INT(bk_bind_resolve(&bind_to, &addr), 0);
    CHECK_INT(addr.len, sizeof addr.un);
    bk_addr_text(out, sizeof out, BK_SCHEME_HTTP, &addr);
    CHECK_STR(out, text);
    bk_addr_text(out, 10, BK_SCHEME_HTTP, &addr);
    CHECK_STR(out, "unix:@nnn");
    // What accept() says of a client that did not bind: a family and nothing else.
    addr = (struct bk_addr){.len = sizeof(sa_family_t), .un = {.sun_family = AF_UNIX}};
    bk_addr_text(out, sizeof out, BK_SCHEME_HTTP, &addr);
    CHECK_STR(out, "unix:");
}

TEST(host_and_port)
{
    char host[INET6_ADDRSTRLEN];
    unsigned port = 0;
    resolved("10.1.2.3:65535", BK_SCHEME_HTTP);
    CHECK_TEXT(((struct bk_str){host, bk_addr_host(host, &addr, &port)}), "10.1.2.3");
    CHECK_INT(port, 65535);
    resolved("[2001:db8:1111:2222:3333:4444:5555:6666]:1", BK_SCHEME_HTTP);
    CHECK_TEXT(((struct bk_str){host, bk_addr_host(host, &addr, &port)}),
               "2001:db8:1111:2222:3333:4444:5555:6666");
    resolved("[::ffff:1.2.3.4]:1", BK_SCHEME_HTTP);
    CHECK_TEXT(((struct bk_str){host, bk_addr_host(host, &addr, &port)}), "1.2.3.4");
    resolved("unix:x", BK_SCHEME_HTTP);
    CHECK_INT(bk_addr_host(host, &addr, &port), 0);
    CHECK_INT(port, 0);
}

static bool
inside(const char *list, const char *ip)
{
    struct bk_nets nets;
    struct bk_str wrong;
    char bind_text[100];
    CHECK_INT(bk_nets_parse(bk_str_of(list), &nets, &wrong), 0);
    CHECK(ip != NULL);  // for the compiler: it takes the NULL branch of bk_str_of seriously
    bool v6 = strchr(ip, ':') != NULL;
    snprintf(bind_text, sizeof bind_text, "%s%s%s:1", v6 ? "[" : "", ip, v6 ? "]" : "");
    resolved(bind_text, BK_SCHEME_HTTP);
    bool by_addr = bk_nets_contain(&nets, &addr);
    bool by_text = bk_nets_contain_text(&nets, bk_str_of(ip));
    CHECK_INT(by_addr, by_text);
    bk_nets_release(&nets);
    return by_addr;
}

TEST(networks)
{
    CHECK(inside("127.0.0.1", "127.0.0.1"));
    CHECK(!inside("127.0.0.1", "127.0.0.2"));
    CHECK(inside("127.0.0.1,::1", "::1"));
    CHECK(!inside("127.0.0.1,::1", "::2"));
    CHECK(inside("10.0.0.0/8", "10.255.255.255"));
    CHECK(!inside("10.0.0.0/8", "11.0.0.0"));
    CHECK(inside("192.168.4.0/22", "192.168.7.255"));
    CHECK(!inside("192.168.4.0/22", "192.168.8.0"));
    CHECK(inside("192.168.5.77/22", "192.168.4.1"));  // bits behind the prefix do not matter
    CHECK(inside("0.0.0.0/0", "8.8.8.8"));
    CHECK(!inside("0.0.0.0/0", "::1"));
    CHECK(!inside("::/0", "8.8.8.8"));
    CHECK(inside("2001:db8::/33", "2001:db8:7fff::1"));
    CHECK(!inside("2001:db8::/33", "2001:db8:8000::1"));
    CHECK(inside("1.2.3.4/32", "1.2.3.4"));
    CHECK(inside("*", "8.8.8.8"));
    CHECK(inside(" 1.1.1.1 , 2.2.2.2\n3.3.3.3 ,,", "3.3.3.3"));
    CHECK(!inside("", "127.0.0.1"));
    // Dual-stack sockets give IPv4 peers as mapped addresses: they count as what they are.
    CHECK(inside("10.0.0.0/8", "::ffff:10.1.2.3"));
    CHECK(inside("::ffff:10.0.0.0/104", "10.1.2.3"));
    CHECK(inside("::ffff:10.0.0.1", "10.0.0.1"));
}

TEST(wrong_networks)
{
    static const char *const wrong[] = {
        "10.0.0.0/33", "::1/129",     "10.0.0.0/",     "10.0.0.0/a",         "10.0.0.0/-1",
        "10.0.0",      "localhost",   "10.0.0.1:80",   "10.0.0.0/0000",      "[::1]",
        "**",          "/8",          "010.0.0.256",   "::ffff:10.0.0.0/64", "10.0.0.0/8/8",
        "fe80::1%lo",
    };
    struct bk_nets nets = {.count = 77};
    struct bk_str element;
    for (unsigned i = 0; i < BK_COUNT(wrong); i++) {
        char text[100];
        snprintf(text, sizeof text, "127.0.0.1, %s,::1", wrong[i]);
        CHECK_INT(bk_nets_parse(bk_str_of(text), &nets, &element), -EINVAL);
        CHECK_TEXT(element, wrong[i]);
        CHECK_INT(nets.count, 77);
    }
}

TEST(unix_peers_are_inside)
{
    struct bk_nets nets = {0};
    struct bk_addr peer = {.len = sizeof(sa_family_t), .un = {.sun_family = AF_UNIX}};
    CHECK(bk_nets_contain(&nets, &peer));
}

TEST(forwarded_elements)
{
    struct bk_nets nets, all;
    struct bk_str element;
    CHECK_INT(bk_nets_parse(BK_STR("10.0.0.0/8,::1"), &nets, &element), 0);
    CHECK_INT(bk_nets_parse(BK_STR("*"), &all, &element), 0);
    static const char *const good_ones[] = {
        "10.1.1.1",        "10.1.1.1:80", "::1", "[::1]", "[::1]:65535", "::ffff:10.0.0.1",
        "[::ffff:10.0.0.1]:1",
    };
    static const char *const bad_ones[] = {
        "",     ":",  "10.1.1.1:", "10.1.1.1:http", "10.1.1.1:123456", "[::1",       "[]",
        "[::1]80",    "[10.1.1.1]", "[::1]:",       "unknown",         "_hidden",    "10.1.1.1 ",
        " 10.1.1.1",  "10.1.1",     "10.1.1.1/8",   "10.1.1.1, 10.1.1.1", "[:",      "]",
    };
    for (unsigned i = 0; i < BK_COUNT(good_ones); i++) {
        CHECK(bk_nets_contain_text(&nets, bk_str_of(good_ones[i])));
        CHECK(bk_nets_contain_text(&all, bk_str_of(good_ones[i])));
    }
    for (unsigned i = 0; i < BK_COUNT(bad_ones); i++) {
        struct bk_str text = bk_str_of(bad_ones[i]);
        if (bk_nets_contain_text(&nets, text) || bk_nets_contain_text(&all, text))
            check_fail(__FILE__, __LINE__, bad_ones[i], "was taken for an address");
    }
    CHECK(!bk_nets_contain_text(&nets, ((struct bk_str){"10.1.1.1\0.9", 11})));
    CHECK(!bk_nets_contain_text(&nets, BK_STR("11.1.1.1")));
    bk_nets_release(&nets);
    bk_nets_release(&all);
}
