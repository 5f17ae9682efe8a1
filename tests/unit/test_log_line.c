// Each shape of a log line, byte for byte.
#include "master/log_line.h"

#include <errno.h>

#include "check.h"

#define WALL (UINT64_C(1795252562) * BK_SEC + 114 * BK_MSEC)  // 2026-11-21T09:16:02.114Z

static struct bk_log_record
record_of(enum bk_log_level level, const char *key, const char *text, const char *detail)
{
    return (struct bk_log_record){.level = level,
                                  .wall_ns = WALL,
                                  .pid = 4711,
                                  .key = bk_str_of(key),
                                  .text = bk_str_of(text),
                                  .detail = bk_str_of(detail)};
}

static void
check_line(enum bk_log_shape shape, bool console, const struct bk_log_record *record,
           const char *expected)
{
    struct bk_page page = {0};
    CHECK_INT(bk_log_line_add(&page, shape, console, record), 0);
    CHECK_TEXT(((struct bk_str){page.at, page.len}), expected);
    bk_page_release(&page);
}

TEST(short_lines)
{
    struct bk_log_record info = record_of(BK_LOG_INFO, NULL, "stopped: 2 requests, 0 errors", NULL);
    struct bk_log_record warning = record_of(BK_LOG_WARNING, "request-slow", "it took long", NULL);
    struct bk_log_record start =
        record_of(BK_LOG_INFO, NULL, "barkeep serving", "python 3.11.7, 1 worker");
    check_line(BK_SHAPE_SHORT, true, &info, "stopped: 2 requests, 0 errors\n");
    check_line(BK_SHAPE_SHORT, true, &warning, "warning: it took long [request-slow]\n");
    check_line(BK_SHAPE_SHORT, true, &start, "barkeep serving\n  python 3.11.7, 1 worker\n");
}

TEST(iso_lines)
{
    struct bk_log_record info = record_of(BK_LOG_INFO, NULL, "hello", NULL);
    struct bk_log_record error =
        record_of(BK_LOG_ERROR, "app-raised", "ValueError in the application, worker 2",
                  "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError\n");
    error.worker = 2;
    check_line(BK_SHAPE_ISO, true, &info, "2026-11-21T09:16:02.114Z barkeep[4711] info: hello\n");
    check_line(
        BK_SHAPE_ISO, true, &error,
        "2026-11-21T09:16:02.114Z barkeep[4711] error: ValueError in the application, worker 2 [app-raised]\n"
        "  Traceback (most recent call last):\n  File \"a.py\", line 1\n  ValueError\n");
}

TEST(fatal_errors)
{
    struct bk_log_record fatal =
        record_of(BK_LOG_CRITICAL, "bind-in-use", "http://127.0.0.1:8000 is taken", "try: another");
    const char *console =
        "barkeep: error: http://127.0.0.1:8000 is taken [bind-in-use]\n  try: another\n";
    check_line(BK_SHAPE_SHORT, true, &fatal, console);
    check_line(BK_SHAPE_ISO, true, &fatal, console);
    check_line(
        BK_SHAPE_ISO, false, &fatal,
        "2026-11-21T09:16:02.114Z barkeep[4711] error: http://127.0.0.1:8000 is taken [bind-in-use]\n  try: another\n");
    check_line(BK_SHAPE_JOURNALD, true, &fatal,
               "<3>http://127.0.0.1:8000 is taken [bind-in-use]\n<3>  try: another\n");
    fatal.worker =
        1;  // the application's logger may say "critical" too; nothing ends because of it
    check_line(BK_SHAPE_SHORT, true, &fatal,
               "critical: http://127.0.0.1:8000 is taken [bind-in-use]\n  try: another\n");
    CHECK_INT(bk_log_line_severity(&fatal), 2);
}

TEST(journald_priorities)
{
    static const char *const heads[] = {"<7>", "<6>", "<4>", "<3>", "<2>"};
    for (int level = BK_LOG_DEBUG; level <= BK_LOG_CRITICAL; level++) {
        struct bk_log_record record = record_of((enum bk_log_level)level, NULL, "x", "more");
        char expected[64];
        record.worker = 1;
        snprintf(expected, sizeof expected, "%sx\n%s  more\n", heads[level], heads[level]);
        check_line(BK_SHAPE_JOURNALD, true, &record, expected);
    }
}

TEST(json_lines)
{
    struct bk_log_record info = record_of(BK_LOG_INFO, NULL, "a \"b\" \\ \x01 \xc3\xa4 \xff", NULL);
    struct bk_log_record error = record_of(BK_LOG_ERROR, "app-raised", "it broke", "one\n  two\n");
    error.worker = 3;
    check_line(BK_SHAPE_JSON, true, &info,
               "{\"time\":\"2026-11-21T09:16:02.114Z\",\"level\":\"info\",\"pid\":4711,"
               "\"message\":\"a \\\"b\\\" \\\\ \\u0001 \xc3\xa4 \\ufffd\"}\n");
    check_line(
        BK_SHAPE_JSON, true, &error,
        "{\"time\":\"2026-11-21T09:16:02.114Z\",\"level\":\"error\",\"pid\":4711,\"worker\":3,"
        "\"key\":\"app-raised\",\"message\":\"it broke\",\"detail\":\"one\\n  two\\n\"}\n");
}

TEST(json_takes_only_well_formed_text)
{
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc3",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80"};
    static const char *const good[] = {"\xc2\x80",     "\xe0\xa0\x80",     "\xed\x9f\xbf",
                                       "\xef\xbf\xbd", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    for (unsigned i = 0; i < BK_COUNT(bad) + BK_COUNT(good); i++) {
        const char *text = i < BK_COUNT(bad) ? bad[i] : good[i - BK_COUNT(bad)];
        struct bk_log_record record = record_of(BK_LOG_INFO, NULL, text, NULL);
        struct bk_page page = {0};
        CHECK_INT(bk_log_line_add(&page, BK_SHAPE_JSON, true, &record), 0);
        CHECK_INT(memmem(page.at, page.len, "\\ufffd", 6) != NULL, i < BK_COUNT(bad));
        CHECK_INT(memmem(page.at, page.len, text, strlen(text)) != NULL, i >= BK_COUNT(bad));
        bk_page_release(&page);
    }
}

TEST(access_lines)
{
    struct bk_log_record bare = record_of(BK_LOG_INFO, NULL, "200 GET / 3 B 0.2 ms", NULL);
    struct bk_log_record object = record_of(BK_LOG_INFO, NULL, "{\"status\":200}", NULL);
    bare.access = object.access = true;
    check_line(BK_SHAPE_SHORT, true, &bare, "200 GET / 3 B 0.2 ms\n");
    check_line(BK_SHAPE_ISO, true, &bare, "200 GET / 3 B 0.2 ms\n");
    check_line(BK_SHAPE_JOURNALD, true, &bare, "<6>200 GET / 3 B 0.2 ms\n");
    check_line(BK_SHAPE_JSON, true, &object, "{\"status\":200}\n");
    check_line(
        BK_SHAPE_JSON, true, &bare,
        "{\"time\":\"2026-11-21T09:16:02.114Z\",\"level\":\"info\",\"pid\":4711,\"log\":\"access\","
        "\"message\":\"200 GET / 3 B 0.2 ms\"}\n");
}

TEST(a_text_is_always_one_line)
{
    struct bk_log_record record = record_of(BK_LOG_INFO, NULL, "one\ntwo\n", "\n\nlast");
    check_line(BK_SHAPE_SHORT, true, &record, "one two \n\n\n  last\n");
}

TEST(too_much_leaves_the_page_alone)
{
    static char big[5 << 20];
    struct bk_log_record small = record_of(BK_LOG_INFO, NULL, "small", NULL);
    struct bk_log_record large = record_of(BK_LOG_INFO, NULL, "large", NULL);
    struct bk_page page = {0};
    memset(big, 'x', sizeof big);
    large.detail = (struct bk_str){big, sizeof big};
    CHECK_INT(bk_log_line_add(&page, BK_SHAPE_SHORT, true, &small), 0);
    CHECK_INT(bk_log_line_add(&page, BK_SHAPE_SHORT, true, &large), 0);
    size_t len = page.len;
    CHECK_INT(bk_log_line_add(&page, BK_SHAPE_SHORT, true, &large), -ENOMEM);
    CHECK_INT(page.len, len);
    CHECK_INT(bk_log_line_add(&page, BK_SHAPE_SHORT, true, &small), 0);
    CHECK_INT(page.len, len + 6);
    bk_page_release(&page);
}

TEST(words_for_shapes)
{
    enum bk_log_shape shape;
    CHECK_INT(bk_log_shape_parse(BK_STR("json"), &shape), 0);
    CHECK_INT(shape, BK_SHAPE_JSON);
    CHECK_INT(bk_log_shape_parse(BK_STR("iso"), &shape), 0);
    CHECK_INT(shape, BK_SHAPE_ISO);
    CHECK_INT(bk_log_shape_parse(BK_STR("auto"), &shape), -EINVAL);
}
