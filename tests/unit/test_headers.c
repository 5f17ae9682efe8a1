#include "check.h"

#include "proto/chars.h"
#include "proto/headers.h"
#include "proto/message.h"

static const struct {
    const char *name;
    enum bk_header id;
} rows[] = {
#define X(id, name) {name, BK_HEADER_##id},
    BK_HEADERS(X)
#undef X
};

static enum bk_header
id_of(const char *name)
{
    return bk_header_id(name, strlen(name));
}

TEST(every_name_is_found_in_any_case)
{
    CHECK_INT(BK_COUNT(rows), BK_HEADER_COUNT - 1);
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        char upper[64] = {0}, lower[64] = {0}, mixed[64] = {0};
        for (size_t k = 0; rows[i].name[k]; k++) {
            char c = rows[i].name[k];
            bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
            upper[k] = letter ? (char)(c & ~0x20) : c;
            lower[k] = letter ? (char)(c | 0x20) : c;
            mixed[k] = k % 2 ? upper[k] : lower[k];
        }
        CHECK_INT(id_of(rows[i].name), rows[i].id);
        CHECK_INT(id_of(upper), rows[i].id);
        CHECK_INT(id_of(lower), rows[i].id);
        CHECK_INT(id_of(mixed), rows[i].id);
        CHECK_TEXT(bk_header_name(rows[i].id), rows[i].name);
    }
}

// What bk_header_id must say, by comparing with every name.
static enum bk_header
slow_id(const char *name, size_t len)
{
    for (unsigned i = 0; i < BK_COUNT(rows); i++)
        if (bk_str_equal_nocase((struct bk_str){name, len}, bk_str_of(rows[i].name)))
            return rows[i].id;
    return BK_HEADER_OTHER;
}

TEST(every_other_byte_at_every_place_makes_another_name)
{
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        size_t len = strlen(rows[i].name);
        char *name = malloc(len);  // the exact size: a read behind it is a bug
        memcpy(name, rows[i].name, len);
        for (size_t k = 0; k < len; k++) {
            for (int byte = 0; byte < 256; byte++) {
                name[k] = (char)byte;
                CHECK_INT(bk_header_id(name, len), slow_id(name, len));
            }
            name[k] = rows[i].name[k];
        }
        free(name);
    }
}

TEST(shorter_and_longer_names_are_others)
{
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        size_t len = strlen(rows[i].name);
        for (size_t cut = 0; cut < len; cut++) {
            char *part = malloc(len - cut + 1);
            memcpy(part, rows[i].name + cut, len - cut);
            CHECK_INT(bk_header_id(part, len - cut), slow_id(part, len - cut));
            free(part);
            part = malloc(cut + 1);
            memcpy(part, rows[i].name, cut);
            CHECK_INT(bk_header_id(part, cut), slow_id(part, cut));
            free(part);
        }
        char longer[80];
        int size = snprintf(longer, sizeof longer, "%s%s", rows[i].name, rows[i].name);
        for (int k = (int)len + 1; k <= size; k++)
            CHECK_INT(bk_header_id(longer, (size_t)k), BK_HEADER_OTHER);
    }
}

TEST(underscore_twins_are_others)
{
    CHECK_INT(id_of("Content_Length"), BK_HEADER_OTHER);
    CHECK_INT(id_of("transfer_encoding"), BK_HEADER_OTHER);
    CHECK_INT(id_of("X_Forwarded_For"), BK_HEADER_OTHER);
    CHECK_INT(id_of("Content\rLength"), BK_HEADER_OTHER);  // 0x0d | 0x20 is '-'
    CHECK_INT(id_of(""), BK_HEADER_OTHER);
    CHECK_INT(id_of("X"), BK_HEADER_OTHER);
    CHECK_INT(bk_header_name(BK_HEADER_OTHER).len, 0);
    CHECK_INT(bk_header_name((enum bk_header)200).len, 0);
}

// The grammar of RFC 9110 §5 and RFC 3986, spelled out.
TEST(classes_of_bytes)
{
    for (int c = 0; c < 256; c++) {
        bool digit = c >= '0' && c <= '9', letter = (c | 32) >= 'a' && (c | 32) <= 'z' && c < 128;
        bool graphic = c > 0x20 && c < 0x7f, high = c >= 0x80, blank = c == ' ' || c == '\t';
        bool token = digit || letter || (c && high == false && strchr("!#$%&'*+-.^_`|~", c));
        bool host = digit || letter || (c && high == false && strchr("-._~!$&'()*+,;=", c));
        char byte = (char)c;
        CHECK_INT(bk__char_is(byte, BK__CHAR_TOKEN), token);
        CHECK_INT(bk__char_is(byte, BK__CHAR_VALUE), graphic || high || blank);
        CHECK_INT(bk__char_is(byte, BK__CHAR_TARGET), (graphic && c != '#') || high);
        CHECK_INT(bk__char_is(byte, BK__CHAR_HOST), host);
        CHECK_INT(bk__char_is(byte, BK__CHAR_HEX), digit || (letter && (c | 32) <= 'f'));
        CHECK_INT(bk__char_is(byte, BK__CHAR_DIGIT), digit);
        CHECK_INT(bk__char_is(byte, BK__CHAR_QUOTED),
                  blank || high || (graphic && c != '"' && c != '\\'));
        CHECK_INT(bk_token_valid((struct bk_str){&byte, 1}), token);
        CHECK_INT(bk_value_valid((struct bk_str){&byte, 1}), graphic || high || blank);
    }
}

TEST(tokens_and_values)
{
    CHECK(bk_token_valid(BK_STR("X-Request-ID")));
    CHECK(!bk_token_valid(BK_STR("")));
    CHECK(!bk_token_valid(BK_STR("X Request")));
    CHECK(!bk_token_valid(BK_STR("X\0Y")));
    CHECK(bk_value_valid(BK_STR("")));
    CHECK(bk_value_valid(BK_STR("a b\tc\351")));
    CHECK(!bk_value_valid(BK_STR("a\r\nX: y")));
    CHECK(!bk_value_valid(BK_STR("a\0")));
}

TEST(lists)
{
    CHECK(bk_value_lists(BK_STR("keep-alive, Upgrade"), BK_STR("upgrade")));
    CHECK(bk_value_lists(BK_STR("CLOSE"), BK_STR("close")));
    CHECK(bk_value_lists(BK_STR(",, close\t,"), BK_STR("close")));
    CHECK(!bk_value_lists(BK_STR("closed, xclose, clo se"), BK_STR("close")));
    CHECK(!bk_value_lists(BK_STR(""), BK_STR("close")));
    CHECK(!bk_value_lists(BK_STR("close;q=1"), BK_STR("close")));
}

TEST(methods)
{
    static const struct {
        const char *text;
        enum bk_method method;
    } methods[] = {
        {"GET", BK_METHOD_GET},     {"HEAD", BK_METHOD_HEAD},       {"POST", BK_METHOD_POST},
        {"PUT", BK_METHOD_PUT},     {"DELETE", BK_METHOD_DELETE},   {"OPTIONS", BK_METHOD_OPTIONS},
        {"PATCH", BK_METHOD_PATCH}, {"CONNECT", BK_METHOD_CONNECT}, {"TRACE", BK_METHOD_TRACE},
        {"get", BK_METHOD_OTHER},   {"", BK_METHOD_OTHER},          {"GETS", BK_METHOD_OTHER},
        {"GE", BK_METHOD_OTHER},    {"PROPFIND", BK_METHOD_OTHER},  {"OPTION", BK_METHOD_OTHER},
    };
    for (unsigned i = 0; i < BK_COUNT(methods); i++)
        CHECK_INT(bk_method_of(bk_str_of(methods[i].text)), methods[i].method);
}

TEST(reasons)
{
    CHECK_STR(bk_status_reason(200), "OK");
    CHECK_STR(bk_status_reason(404), "Not Found");
    CHECK_STR(bk_status_reason(431), "Request Header Fields Too Large");
    CHECK_STR(bk_status_reason(299), "");
    CHECK_STR(bk_status_reason(-1), "");
    CHECK(bk_status_bodiless(100) && bk_status_bodiless(204) && bk_status_bodiless(304));
    CHECK(!bk_status_bodiless(200) && !bk_status_bodiless(205) && !bk_status_bodiless(404));
}

TEST(finds_the_first_field)
{
    struct bk_field fields[] = {{.id = BK_HEADER_HOST},
                                {.id = BK_HEADER_COOKIE, .name = 1},
                                {.id = BK_HEADER_COOKIE, .name = 2}};
    struct bk_head head = {.fields = fields, .field_count = 3};
    CHECK(bk_head_find(&head, BK_HEADER_COOKIE) == &fields[1]);
    CHECK(bk_head_find(&head, BK_HEADER_HOST) == &fields[0]);
    CHECK(bk_head_find(&head, BK_HEADER_RANGE) == NULL);
}
