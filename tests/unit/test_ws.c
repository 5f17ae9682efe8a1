#include "check.h"

#include "proto/h1_parse.h"
#include "proto/headers.h"
#include "proto/ws.h"

static struct bk_field fields[BK_FIELDS_MAX];
static struct bk_head head;
static struct bk_ws_deflate deflate;
static struct bk_fault fault;

#define START                                                                                      \
    "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static void
parse(const char *text)
{
    static const struct bk_h1_limits limits = {8190, 32768, 65536, 100};
    static char copy[8192];
    struct bk_h1_parser parser;
    size_t len = (size_t)snprintf(copy, sizeof copy, "%s\r\n", text);
    bk_h1_parse_reset(&parser);
    head = (struct bk_head){.fields = fields};
    CHECK_INT(bk_h1_parse_head(&parser, copy, len, &limits, &head, &fault), len);
}

// The status of the refusal, 0 when it is a right handshake, -1 when it is none.
static int
check(const char *text)
{
    parse(text);
    fault = (struct bk_fault){0};
    if (!bk_ws_asked(&head))
        return -1;
    int error = bk_ws_check(&head, &deflate, &fault);
    CHECK_INT(error, fault.status ? -EPROTO : 0);
    return fault.status;
}

TEST(the_sample_of_the_standard)
{
    CHECK_INT(check(START KEY VERSION), 0);
    char accept[BK_WS_ACCEPT_SIZE];
    bk_ws_accept_value(&head, accept);
    CHECK_TEXT(((struct bk_str){accept, sizeof accept}), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK(!deflate.on);
}

TEST(what_asks_for_it)
{
    CHECK_INT(check("GET / HTTP/1.1\r\nHost: a\r\n" KEY VERSION), -1);
    CHECK_INT(check("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n" KEY VERSION), -1);
    CHECK_INT(check("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n" KEY VERSION), -1);
    CHECK_INT(
        check("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" KEY VERSION),
        -1);
    CHECK_INT(check("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" KEY
                        VERSION),
              -1);
    CHECK_INT(check("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: "
                    "WebSocket\r\n" KEY VERSION),
              0);
    CHECK_INT(
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nconnection: UPGRADE\r\nupgrade: foo/1, WEBSOCKET\r\n" KEY
                VERSION),
        0);
}

TEST(what_is_wrong)
{
    CHECK_INT(check(START VERSION), 400);
    CHECK_INT(check(START KEY), 426);
    CHECK_INT(check(START KEY "Sec-WebSocket-Version: 8\r\n"), 426);
    CHECK_INT(check(START KEY "Sec-WebSocket-Version: 013\r\n"), 426);
    CHECK_INT(check(START KEY "Sec-WebSocket-Version: 13, 8\r\n"), 426);
    CHECK_INT(check(START KEY VERSION VERSION), 400);
    CHECK_INT(check(START VERSION "Sec-WebSocket-Key: \r\n"), 400);
    CHECK_INT(check(START VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n"), 400);
    CHECK_INT(check(START VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n"), 400);
    CHECK_INT(check(START VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ-==\r\n"), 400);
    CHECK_INT(check(START KEY VERSION "Sec-WebSocket-Protocol: a b\r\n"), 400);
    CHECK_INT(check(START KEY VERSION "Sec-WebSocket-Extensions: ;\r\n"), 400);
    CHECK_INT(check(START KEY VERSION "Content-Length: 1\r\n"), 400);
    CHECK_INT(check(START KEY VERSION "Transfer-Encoding: chunked\r\n"), 400);
    CHECK_INT(check(START KEY VERSION "Content-Length: 0\r\n"), 0);
    CHECK_INT(
        check("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" KEY
                  VERSION),
        400);
}

TEST(subprotocols_over_several_lines)
{
    struct bk_str names[3];
    CHECK_INT(check(START KEY VERSION
                    "Sec-WebSocket-Protocol: a, b\r\nX: y\r\nSec-WebSocket-Protocol: ,c\r\n"),
              0);
    CHECK_INT(bk_ws_offered(&head, names, 3), 3);
    CHECK_TEXT(names[0], "a");
    CHECK_TEXT(names[1], "b");
    CHECK_TEXT(names[2], "c");
    CHECK_INT(bk_ws_offered(&head, names, 1), 3);
    CHECK_INT(check(START KEY VERSION), 0);
    CHECK_INT(bk_ws_offered(&head, names, 3), 0);
}

TEST(extensions_over_several_lines)
{
    CHECK_INT(
        check(START KEY VERSION
              "Sec-WebSocket-Extensions: foo\r\nSec-WebSocket-Extensions: permessage-deflate; "
              "server_max_window_bits=10\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
        0);
    CHECK(deflate.on);
    CHECK_INT(deflate.server_bits, 10);
}
