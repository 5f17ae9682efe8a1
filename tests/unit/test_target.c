#include "check.h"

#include "proto/target.h"

static struct bk_head head;
static struct bk_fault fault;

// Splits `target` under `method`; 0 or the fault's status.
static int
split(const char *method, const char *target)
{
    static char text[512];
    memset(&head, 0x5a, sizeof head);
    head.flags = BK_HEAD_KEEP_ALIVE;
    snprintf(text, sizeof text, "%s %s", method, target);
    head.base = text;
    head.method_id = (uint8_t)bk_method_of(bk_str_of(method));
    head.target = (uint32_t)strlen(method) + 1;
    head.target_len = (uint32_t)strlen(target);
    fault = (struct bk_fault){0, NULL};
    return bk_target_split(&head, &fault) < 0 ? fault.status : 0;
}

#define CHECK_SPLIT(method, target, want_path, want_query, want_authority) \
    do { \
        CHECK_INT(split(method, target), 0); \
        CHECK_TEXT(bk_head_str(&head, head.path, head.path_len), want_path); \
        CHECK_TEXT(bk_head_str(&head, head.query, head.query_len), want_query); \
        CHECK_TEXT(bk_head_str(&head, head.authority, head.authority_len), want_authority); \
    } while (0)

TEST(origin_form)
{
    CHECK_SPLIT("GET", "/", "/", "", "");
    CHECK_SPLIT("GET", "/a/b?c=d?e", "/a/b", "c=d?e", "");
    CHECK_SPLIT("GET", "/?", "/", "", "");
    CHECK_SPLIT("GET", "//evil/x", "//evil/x", "", "");
    CHECK_SPLIT("OPTIONS", "/x", "/x", "", "");
    CHECK(!(head.flags & BK_HEAD_ABSOLUTE));
    CHECK(head.flags & BK_HEAD_KEEP_ALIVE);
}

TEST(absolute_form)
{
    CHECK_SPLIT("GET", "http://a/x?y", "/x", "y", "a");
    CHECK(head.flags & BK_HEAD_ABSOLUTE && head.flags & BK_HEAD_KEEP_ALIVE);
    CHECK_SPLIT("GET", "HtTp://a:81", "/", "", "a:81");
    CHECK_SPLIT("GET", "http://a?q", "/", "q", "a");
    CHECK_SPLIT("GET", "http://a/", "/", "", "a");
    CHECK_SPLIT("GET", "https://[::1]:80/x", "/x", "", "[::1]:80");
    CHECK_SPLIT("POST", "https://a?", "/", "", "a");
    CHECK_SPLIT("GET", "http://a//b", "//b", "", "a");
}

TEST(other_forms)
{
    CHECK_SPLIT("OPTIONS", "*", "*", "", "");
    CHECK_SPLIT("CONNECT", "a:443", "", "", "a:443");
    CHECK_SPLIT("CONNECT", "[::1]:443", "", "", "[::1]:443");
}

TEST(refuses_what_is_no_form)
{
    static const char *const bad[] = {"",
                                      "a",
                                      "*",
                                      "a:80",
                                      "?q",
                                      "ftp://a/",
                                      "http:",
                                      "http:/",
                                      "http://",
                                      "http:///",
                                      "http://:80/",
                                      "http://?q",
                                      "http://me@a/",
                                      "http://a b/",
                                      "http://[::1/",
                                      "http://a:x/",
                                      "http://a:80:80/",
                                      "https://",
                                      "https:///x",
                                      "\\x",
                                      ".",
                                      "http//a",
                                      "httpx://a/",
                                      "http://a\\b/",
                                      "http://%zz/"};
    for (unsigned i = 0; i < BK_COUNT(bad); i++)
        CHECK_INT(split("GET", bad[i]), 400);
    CHECK_INT(split("OPTIONS", "*x"), 400);
    CHECK_INT(split("OPTIONS", "**"), 400);
    CHECK_INT(split("CONNECT", "/"), 400);
    CHECK_INT(split("CONNECT", "a"), 400);
    CHECK_INT(split("CONNECT", "a:"), 400);
    CHECK_INT(split("CONNECT", ":80"), 400);
    CHECK_INT(split("CONNECT", "a:80/x"), 400);
    CHECK_INT(split("CONNECT", "http://a:80"), 400);
}

static bool
host_valid(const char *text)
{
    size_t len = strlen(text);
    char *exact = malloc(len ? len : 1);
    memcpy(exact, text, len);
    bool valid = bk_target_host_valid((struct bk_str){exact, len});
    free(exact);
    return valid;
}

TEST(hosts)
{
    static const char *const good[] = {"",
                                       "a",
                                       "a:",
                                       "a:0",
                                       "a:65535",
                                       "a:00080",
                                       ":80",
                                       "example.com.",
                                       "a_b",
                                       "192.0.2.1",
                                       "[::]",
                                       "[::1]:80",
                                       "[::1]:",
                                       "[2001:db8::8a2e:370:7334]",
                                       "[::ffff:192.0.2.1]",
                                       "[1:2:3:4:5:6:7:8]",
                                       "[v1.a]",
                                       "[vF.a:b]",
                                       "a%20b",
                                       "%41",
                                       "%41:80",
                                       "a!$&'()*+,;=~"};
    static const char *const bad[] = {"a b",
                                      "a/b",
                                      "a?b",
                                      "a#b",
                                      "me@a",
                                      "a\\b",
                                      "a\"b",
                                      "a<b",
                                      "a>b",
                                      "a{b",
                                      "a}b",
                                      "a|b",
                                      "a^b",
                                      "a`b",
                                      "a\tb",
                                      "caf\351",
                                      "a%",
                                      "a%4",
                                      "a%zz",
                                      "a%4:80",
                                      "a:8x",
                                      "a:80:80",
                                      "a:-1",
                                      "a:65536",
                                      "a:99999999999999",
                                      "a: ",
                                      "[",
                                      "[]",
                                      "[::1",
                                      "::1",
                                      "[::g]",
                                      "[1.2.3.4]",
                                      "[1:2:3]",
                                      "[::1]x",
                                      "[::1]80",
                                      "[::1%25e0]",
                                      "[v.a]",
                                      "[v1.]",
                                      "[v1a]",
                                      "[v1]",
                                      "[1:2:3:4:5:6:7:8:9]",
                                      "a[::1]",
                                      "a]",
                                      "]",
                                      "%41 ",
                                      "%41/",
                                      "[::1 ]",
                                      "[0000000000000000000000000000000000000000000000000001::]"};
    for (unsigned i = 0; i < BK_COUNT(good); i++)
        if (!host_valid(good[i]))
            check_fail(__FILE__, __LINE__, good[i], "is refused");
    for (unsigned i = 0; i < BK_COUNT(bad); i++)
        if (host_valid(bad[i]))
            check_fail(__FILE__, __LINE__, bad[i], "is taken");
    CHECK(!bk_target_host_valid(BK_STR("a\0b")));
    CHECK(!bk_target_host_valid(BK_STR("[::1\0]")));
    CHECK(!bk_target_host_valid(BK_STR("a:8\0")));
}

static bool plain;

static struct bk_str
decoded(struct bk_str s)
{
    static char out[64];
    memset(out, '#', sizeof out);
    size_t len = bk_target_decode(out, s, &plain);
    CHECK(len <= s.len && out[len] == '#');
    return (struct bk_str){out, len};
}

TEST(decodes_once)
{
    CHECK_TEXT(decoded(BK_STR("/a%20b%2Fc")), "/a b/c");
    CHECK(!plain);
    CHECK_TEXT(decoded(BK_STR("/a%2520")), "/a%20");
    CHECK_TEXT(decoded(BK_STR("/plain?x+y")), "/plain?x+y");
    CHECK(plain);
    CHECK_TEXT(decoded(BK_STR("%e9%C3")), "\351\303");
    CHECK(!plain);
    CHECK_TEXT(decoded(BK_STR("caf\351")), "caf\351");
    CHECK(!plain);
    CHECK(bk_str_equal(decoded(BK_STR("a%00b")), BK_STR("a\0b")));
    CHECK(!plain);
    CHECK_INT(decoded(BK_STR("")).len, 0);
    CHECK(plain);
}

TEST(bad_escapes_stay_literal)
{
    static const char *const literal[] = {"%",  "%4", "%zz", "%4z", "%z4",
                                          "a%", "%%", "%-1", "% 1", "%0"};
    for (unsigned i = 0; i < BK_COUNT(literal); i++) {
        CHECK_TEXT(decoded(bk_str_of(literal[i])), literal[i]);
        CHECK(plain);  // nothing was decoded
    }
    CHECK_TEXT(decoded(BK_STR("%%41%4")), "%A%4");
}

TEST(decodes_every_byte)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4], back;
        snprintf(text, sizeof text, byte & 1 ? "%%%02x" : "%%%02X", byte);
        struct bk_str s = decoded((struct bk_str){text, 3});
        CHECK_INT(s.len, 1);
        back = s.at[0];
        CHECK_INT((unsigned char)back, byte);
    }
}
