#include "check.h"

#include "base/err.h"

TEST(compares_without_case_in_ascii_only)
{
    CHECK(bk_str_equal_nocase(BK_STR("Content-LENGTH"), BK_STR("content-length")));
    CHECK(bk_str_equal_nocase(BK_STR(""), (struct bk_str){NULL, 0}));
    CHECK(!bk_str_equal_nocase(BK_STR("abc"), BK_STR("abcd")));
    CHECK(!bk_str_equal_nocase(BK_STR("abc"), BK_STR("abd")));
    CHECK(!bk_str_equal_nocase(BK_STR("@[`{"), BK_STR("`{@[")));  // 0x20 apart and no letters
    CHECK(!bk_str_equal_nocase(BK_STR("\311"), BK_STR("\351")));
}

TEST(every_pair_of_bytes_compares_as_ascii)
{
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            char x = (char)a, y = (char)b;
            int lower_a = a >= 'A' && a <= 'Z' ? a + 32 : a,
                lower_b = b >= 'A' && b <= 'Z' ? b + 32 : b;
            CHECK_INT(bk_str_equal_nocase((struct bk_str){&x, 1}, (struct bk_str){&y, 1}),
                      lower_a == lower_b);
        }
}

TEST(starts)
{
    CHECK(bk_str_starts(BK_STR("unix:x"), BK_STR("unix:")));
    CHECK(bk_str_starts(BK_STR("a"), BK_STR("")));
    CHECK(!bk_str_starts(BK_STR("uni"), BK_STR("unix:")));
    CHECK(!bk_str_starts(BK_STR("UNIX:"), BK_STR("unix:")));
}

TEST(trims_blanks_and_nothing_else)
{
    CHECK_TEXT(bk_str_trim(BK_STR(" \t a b \t")), "a b");
    CHECK_TEXT(bk_str_trim(BK_STR("\v a\r\n")), "\v a\r\n");
    CHECK_TEXT(bk_str_trim(BK_STR("\240a\205")), "\240a\205");
    CHECK_INT(bk_str_trim(BK_STR(" \t ")).len, 0);
    CHECK_INT(bk_str_trim((struct bk_str){NULL, 0}).len, 0);
}

TEST(cuts_lists)
{
    static const char *const wanted[] = {"a", "b c", "", "d", ""};
    struct bk_str rest = BK_STR("a,\tb c ,, d ,"), item;
    for (unsigned i = 0; i < BK_COUNT(wanted); i++) {
        CHECK(bk_str_next_item(&rest, ',', &item));
        CHECK_TEXT(item, wanted[i]);
    }
    CHECK(!bk_str_next_item(&rest, ',', &item));
    CHECK(!bk_str_next_item(&rest, ',', &item));
}

TEST(an_empty_text_is_one_empty_item_and_null_is_none)
{
    struct bk_str rest = BK_STR(""), item = BK_STR("x");
    CHECK(bk_str_next_item(&rest, ',', &item));
    CHECK_INT(item.len, 0);
    CHECK(!bk_str_next_item(&rest, ',', &item));
    rest = (struct bk_str){NULL, 0};
    CHECK(!bk_str_next_item(&rest, ',', &item));
}

static int
parsed(const char *text, uint64_t max)
{
    uint64_t number = 77;
    int error = bk_str_parse_u64(bk_str_of(text), max, &number);
    CHECK(error == 0 || number == 77);  // untouched on failure
    return error ? error : (int)number;
}

TEST(parses_numbers)
{
    CHECK_INT(parsed("0", 10), 0);
    CHECK_INT(parsed("10", 10), 10);
    CHECK_INT(parsed("0000000000000000000000000000010", 10), 10);
    CHECK_INT(parsed("11", 10), -ERANGE);
    CHECK_INT(parsed("18446744073709551616", UINT64_MAX), -ERANGE);
    CHECK_INT(parsed("99999999999999999999999", UINT64_MAX), -ERANGE);
    CHECK_INT(parsed("184467440737095516160", UINT64_MAX), -ERANGE);
    static const char *const bad[] = {"",         " 1",  "1 ",  "+1",  "-1",
                                      "0x1",      "1_0", "1.0", "1e1", "a",
                                      "\331\245", "1,",  ":",   "/",   "99999999999999999999999x"};
    for (unsigned i = 0; i < BK_COUNT(bad); i++)
        CHECK_INT(parsed(bad[i], UINT64_MAX), -EINVAL);
    uint64_t number = 0;
    CHECK_INT(bk_str_parse_u64(BK_STR("18446744073709551615"), UINT64_MAX, &number), 0);
    CHECK(number == UINT64_MAX);
}

TEST(formats_numbers)
{
    static const uint64_t numbers[] = {
        0, 1, 9, 10, 99, 100, 4294967295u, UINT64_MAX, UINT64_MAX / 10};
    for (unsigned i = 0; i < BK_COUNT(numbers); i++) {
        char ours[20], theirs[32];
        size_t len = bk_str_format_u64(ours, numbers[i]);
        snprintf(theirs, sizeof theirs, "%llu", (unsigned long long)numbers[i]);
        CHECK_TEXT(((struct bk_str){ours, len}), theirs);
    }
}

TEST(escapes_for_logs)
{
    char out[64];
    size_t len = bk_str_escape(out, sizeof out, BK_STR("a b\"\\\n\0\033\177\200\377"));
    CHECK_TEXT(((struct bk_str){out, len}), "a b\\x22\\x5c\\x0a\\x00\\x1b\\x7f\\x80\\xff");
}

// Bytes are looked at eight at a time: every byte at every place of two such steps.
TEST(escapes_at_every_place)
{
    for (unsigned c = 0; c < 256; c++) {
        for (unsigned at = 0; at < 17; at++) {
            char in[17], out[64], expected[64];
            memset(in, 'a', sizeof in);
            in[at] = (char)c;
            bool odd = c < 0x20 || c >= 0x7f || c == '"' || c == '\\';
            snprintf(expected, sizeof expected, odd ? "%.*s\\x%02x%.*s" : "%.*s%c%.*s", (int)at,
                     "aaaaaaaaaaaaaaaa", c, (int)(16 - at), "aaaaaaaaaaaaaaaa");
            size_t len = bk_str_escape(out, sizeof out, (struct bk_str){in, sizeof in});
            CHECK_TEXT(((struct bk_str){out, len}), expected);
        }
    }
}

TEST(escapes_never_half)
{
    for (size_t room = 0; room <= 12; room++) {
        char out[16];
        memset(out, '#', sizeof out);
        size_t len = bk_str_escape(out, room, BK_STR("ab\n\nc"));
        CHECK_INT(len, room < 2 ? room : room < 6 ? 2 : room < 10 ? 6 : room < 11 ? 10 : 11);
        CHECK(out[len] == '#');
    }
}

static unsigned
near(const char *a, const char *b, unsigned limit)
{
    unsigned distance = bk_str_distance(bk_str_of(a), bk_str_of(b), limit);
    CHECK_INT(distance, bk_str_distance(bk_str_of(b), bk_str_of(a), limit));
    return distance;
}

TEST(measures_distance)
{
    CHECK_INT(near("", "", 3), 0);
    CHECK_INT(near("workers", "workers", 3), 0);
    CHECK_INT(near("wokers", "workers", 3), 1);
    CHECK_INT(near("gevemt", "gevent", 3), 1);
    CHECK_INT(near("GEVENT", "gevent", 3), 0);
    CHECK_INT(near("gevetn", "gevent", 3), 1);  // a swap
    CHECK_INT(near("aplication", "application", 3), 1);
    CHECK_INT(near("kitten", "sitting", 9), 3);
    CHECK_INT(near("", "abc", 9), 3);
    CHECK_INT(near("kitten", "sitting", 2), 3);  // capped
    CHECK_INT(near("abcdefgh", "stuvwxyz", 2), 3);
    CHECK_INT(near("a", "abcdefgh", 3), 4);
    char big[200];
    memset(big, 'a', sizeof big);
    CHECK_INT(bk_str_distance((struct bk_str){big, 200}, (struct bk_str){big, 199}, 5), 6);
}

TEST(names_errors)
{
    CHECK_STR(bk_err_name(ECONNRESET), "ECONNRESET");
    CHECK_STR(bk_err_name(EPROTO), "EPROTO");
    CHECK_STR(bk_err_name(999999), "E?");
    CHECK_STR(bk_err_name(-ECONNRESET), "ECONNRESET");
    struct bk_fault fault = {0, NULL};
    CHECK_INT(bk_fault_set(&fault, 414, "long"), -EPROTO);
    CHECK_INT(fault.status, 414);
    CHECK_STR(fault.why, "long");
}
