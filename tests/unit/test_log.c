// Log records, the standard-error form, levels and the once-a-minute rule; and the last words of a
// failed assert.
#include "base/log.h"

#include <sys/socket.h>

#include "base/clock.h"
#include "base/panic.h"
#include "check.h"

static struct bk_log_record last;
static char last_text[8192];
static unsigned records;

static void
keep(void *self, const struct bk_log_record *record)
{
    CHECK(self == &records);
    last = *record;
    if (record->text.len > 0)
        memcpy(last_text, record->text.at, record->text.len);
    last.text.at = last_text;
    records++;
}

// Sends standard error through a pipe; what was written since, as text.
static int captured[2];

static void
capture(void)
{
    CHECK(pipe(captured) == 0);
    CHECK(dup2(captured[1], 2) == 2);
    close(captured[1]);
}

static const char *
captured_text(void)
{
    static char text[65536];
    size_t len = 0;
    close(2);
    for (ssize_t n; (n = read(captured[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

TEST(stderr_form)
{
    capture();
    bk_log(BK_LOG_ERROR, "bind-in-use", "http://127.0.0.1:%d is taken", 8000);
    bk_log(BK_LOG_INFO, NULL, "no key");
    bk_log(BK_LOG_DEBUG, NULL, "not at level info");
    CHECK_STR(captured_text(), "barkeep: error: http://127.0.0.1:8000 is taken [bind-in-use]\n"
                               "barkeep: info: no key\n");
}

TEST(details_are_indented)
{
    capture();
    struct bk_str detail = BK_STR("File \"a.py\"\n\n  x\nKeyError: 'A'\n");
    bk_log_detail(BK_LOG_CRITICAL, "app-import", detail, "'a' raised");
    CHECK_STR(captured_text(), "barkeep: critical: 'a' raised [app-import]\n"
                               "  File \"a.py\"\n  \n    x\n  KeyError: 'A'\n");
}

TEST(access_record_is_a_bare_line)
{
    struct bk_log_record record = {.access = true, .text = BK_STR("200 GET / 3 B 0.2 ms")};
    capture();
    bk_log_set_level(BK_LOG_CRITICAL);
    bk_log_record(&record);
    CHECK_STR(captured_text(), "200 GET / 3 B 0.2 ms\n");
}

TEST(long_details_arrive_whole)
{
    static char detail[20000];
    memset(detail, 'd', sizeof detail);
    for (size_t i = 99; i < sizeof detail; i += 100)
        detail[i] = '\n';
    capture();
    bk_log_detail(BK_LOG_ERROR, NULL, (struct bk_str){detail, sizeof detail}, "long");
    const char *text = captured_text();
    size_t first_line = sizeof "barkeep: error: long\n" - 1;
    CHECK_INT(strlen(text), first_line + sizeof detail + 2 * sizeof detail / 100);
    for (const char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1)
        CHECK(memcmp(line, "  ddd", 5) == 0 && line[101] == '\n');
}

TEST(each_write_is_whole_lines)
{
    static char detail[50000], packet[20000];
    int pair[2];
    unsigned packets = 0;
    memset(detail, 'd', sizeof detail);
    for (size_t i = 99; i < sizeof detail; i += 100)
        detail[i] = '\n';
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    CHECK(dup2(pair[1], 2) == 2);
    close(pair[1]);
    bk_log_detail(BK_LOG_ERROR, NULL, (struct bk_str){detail, sizeof detail}, "long");
    close(2);
    for (ssize_t n; (n = read(pair[0], packet, sizeof packet)) > 0; packets++)
        CHECK_INT(packet[n - 1], '\n');
    CHECK(packets > 1 && packets < 20);
}

TEST(text_is_cut_at_its_limit)
{
    static char text[10000];
    memset(text, 'x', sizeof text - 1);
    bk_log_to(keep, &records);
    bk_log(BK_LOG_ERROR, "key", "%s", text);
    CHECK_INT(last.text.len, 4096);
}

TEST(record_is_filled_in)
{
    bk_log_to(keep, &records);
    bk_log_set_worker(3);
    uint64_t before = bk_clock_wall();
    bk_log(BK_LOG_WARNING, "slow", "%s", "hm");
    CHECK_INT(records, 1);
    CHECK_INT(last.level, BK_LOG_WARNING);
    CHECK_INT(last.pid, getpid());
    CHECK_INT(last.worker, 3);
    CHECK(last.wall_ns >= before && last.wall_ns <= bk_clock_wall());
    CHECK_TEXT(last.key, "slow");
    CHECK_TEXT(last.text, "hm");
    CHECK_INT(last.detail.len, 0);
    struct bk_log_record own = {.level = BK_LOG_ERROR, .pid = 5, .worker = 6, .wall_ns = 7};
    bk_log_record(&own);
    CHECK(last.pid == 5 && last.worker == 6 && last.wall_ns == 7);
}

TEST(levels)
{
    enum bk_log_level level = BK_LOG_INFO;
    bk_log_to(keep, &records);
    CHECK(bk_log_on(BK_LOG_INFO) && !bk_log_on(BK_LOG_DEBUG));
    bk_log_set_level(BK_LOG_ERROR);
    bk_log(BK_LOG_WARNING, NULL, "no");
    bk_log_detail(BK_LOG_WARNING, NULL, BK_STR("d"), "no");
    CHECK_INT(records, 0);
    bk_log(BK_LOG_ERROR, NULL, "yes");
    CHECK_INT(records, 1);
    CHECK_INT(bk_log_get_level(), BK_LOG_ERROR);
    for (int i = BK_LOG_DEBUG; i <= BK_LOG_CRITICAL; i++) {
        const char *name = bk_log_level_name((enum bk_log_level)i);
        CHECK_INT(bk_log_level_parse(bk_str_of(name), &level), 0);
        CHECK_INT(level, i);
    }
    CHECK_INT(bk_log_level_parse(BK_STR("loud"), &level), -EINVAL);
    CHECK_INT(bk_log_level_parse(BK_STR(""), &level), -EINVAL);
    CHECK_INT(bk_log_level_parse(BK_STR("info "), &level), -EINVAL);
}

TEST(errno_survives)
{
    capture();
    errno = EBADF;
    bk_log(BK_LOG_ERROR, NULL, "%s", "x");
    CHECK_INT(errno, EBADF);
    bk_log_to(NULL, NULL);
    close(2);
    bk_log(BK_LOG_ERROR, NULL, "%s", "nobody listens");
    CHECK_INT(errno, EBADF);
}

TEST(repeated_warning_once_a_minute)
{
    struct bk_log_limit limit = {0};
    unsigned held = 99;
    CHECK(bk_log_limited(&limit, 5 * BK_SEC, &held));
    CHECK_INT(held, 0);
    for (unsigned i = 0; i < 7; i++)
        CHECK(!bk_log_limited(&limit, (5 + i * 8) * BK_SEC, &held));
    CHECK(bk_log_limited(&limit, 65 * BK_SEC, &held));
    CHECK_INT(held, 7);
    CHECK(!bk_log_limited(&limit, 66 * BK_SEC, &held));
    CHECK(bk_log_limited(&limit, 125 * BK_SEC, &held));
    CHECK_INT(held, 1);
}

TEST(failed_assert_says_where)
{
    int status = 0;
    capture();
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        bk_panic_context("worker 2, step body");
        BK_ASSERT(1 + 1 == 2);
        BK_ASSERT(pid == 1);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    const char *text = captured_text();
    CHECK(strncmp(text, "barkeep: critical: assertion failed: pid == 1 at ", 49) == 0);
    CHECK(strstr(text, "test_log.c:") != NULL);
    CHECK(strstr(text, " [panic]\n  worker 2, step body\n") != NULL);
}
