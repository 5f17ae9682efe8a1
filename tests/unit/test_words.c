// Numbers as people say them.
#include "master/words.h"

#include <errno.h>
#include <signal.h>

#include "check.h"

TEST(durations)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } rows[] = {
        {0, "0 ms"},
        {64 * BK_MSEC, "64 ms"},
        {999 * BK_MSEC, "999 ms"},
        {BK_SEC, "1.0 s"},
        {1890 * BK_MSEC, "1.8 s"},
        {41 * BK_SEC, "41 s"},
        {119 * BK_SEC, "119 s"},
        {12 * 60 * BK_SEC, "12 min"},
        {3 * 3600 * BK_SEC, "3 h"},
        {47 * 3600 * BK_SEC, "47 h"},
        {UINT64_C(5) * 86400 * BK_SEC, "5 d"},
    };
    char text[BK_WORDS_ROOM];
    for (unsigned i = 0; i < BK_COUNT(rows); i++)
        CHECK_STR(bk_words_duration(rows[i].ns, text), rows[i].text);
}

TEST(sizes)
{
    char text[BK_WORDS_ROOM];
    CHECK_STR(bk_words_size(0, text), "0 KiB");
    CHECK_STR(bk_words_size(740 << 10, text), "740 KiB");
    CHECK_STR(bk_words_size(UINT64_C(51) << 20, text), "51.0 MiB");
    CHECK_STR(bk_words_size(UINT64_C(1946) << 20, text), "1.9 GiB");
    CHECK_STR(bk_words_size(UINT64_MAX, text), "16777216 TiB");
}

TEST(errors_signals_and_owners)
{
    char text[BK_WORDS_ROOM];
    CHECK_STR(bk_words_error(EACCES, text), "permission denied");
    CHECK_STR(bk_words_error(-ENOENT, text), "no such file or directory");
    CHECK_STR(bk_words_signal(SIGKILL, text), "signal 9 (SIGKILL)");
    CHECK_STR(bk_words_signal(SIGSEGV, text), "signal 11 (SIGSEGV)");
    CHECK_STR(bk_words_signal(40, text), "signal 40");
    CHECK_STR(bk_words_user(0, text), "root");
    CHECK_STR(bk_words_user(3999999999u, text), "3999999999");
    CHECK_STR(bk_words_owner(0, 0, text), "root:root");
    CHECK_STR(bk_words_owner(3999999999u, 3999999998u, text), "3999999999:3999999998");
}
