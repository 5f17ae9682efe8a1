// The log thread with real rings and targets: files, pipes that are not read, killed writers,
// syslog and the journal.
#include "master/journal.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "check.h"
#include "master/log_socket.h"
#include "master/log_target.h"

#define RINGS 5

static char directory[] = "/tmp/bk-journal-XXXXXX";
static char path[100];
static struct bk_logrings *rings;
static struct bk_config *config;
static struct bk_journal *journal;

static void
set(const char *key, const char *value)
{
    const char *why = "";
    CHECK_INT(bk_config_set(config, bk_str_of(key), bk_str_of(value), "test", &why), 0);
}

static void
prepare(void)
{
    CHECK(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/log", directory);
    CHECK_INT(bk_logrings_new(RINGS, &rings), 0);
    CHECK_INT(bk_config_new(&config), 0);
}

static void
start(void)
{
    const char *name;
    CHECK_INT(bk_journal_start(config, rings, RINGS, &journal, &name), 0);
}

static void
finish(void)
{
    char command[128];
    bk_journal_stop(journal);
    bk_logrings_free(rings);
    bk_config_free(config);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    CHECK_INT(system(command), 0);
}

// The whole file, NUL-terminated.
static const char *
contents(const char *name)
{
    static char text[1 << 22];
    int fd = open(name, O_RDONLY);
    CHECK(fd >= 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    CHECK(n >= 0);
    text[n] = '\0';
    close(fd);
    return text;
}

static unsigned
count_lines(const char *text, const char *needle)
{
    unsigned count = 0;
    for (; (text = strstr(text, needle)); text++)
        count++;
    return count;
}

static void
put(unsigned ring, uint64_t wall_ns, bool access, const char *text)
{
    struct bk_log_record record = {.level = BK_LOG_INFO,
                                   .access = access,
                                   .wall_ns = wall_ns,
                                   .pid = 100 + (int)ring,
                                   .worker = ring,
                                   .text = bk_str_of(text)};
    CHECK_INT(bk_logring_put(rings, ring, &record), 0);
}

TEST(everything_put_before_the_end_is_written)
{
    prepare();
    set("error_logfile", path);
    start();
    for (unsigned i = 0; i < 5000; i++) {
        if (i % 500 == 0)
            bk_log(BK_LOG_INFO, "some-key", "own line %u", i);
        while (true) {
            struct bk_log_record record = {.level = BK_LOG_WARNING,
                                           .wall_ns = i,
                                           .worker = 1 + i % 4,
                                           .pid = 9,
                                           .text = BK_STR("worker line")};
            if (bk_logring_put(rings, 1 + i % 4, &record) == 0)
                break;
            sched_yield();
        }
    }
    bk_journal_stop(journal);
    journal = NULL;
    const char *text = contents(path);
    CHECK_INT(count_lines(text, "] warning: worker line\n"), 5000);
    CHECK_INT(count_lines(text, "own line"), 10);
    CHECK_INT(count_lines(text, " [some-key]\n"), 10);
    finish();
}

TEST(records_are_merged_by_time)
{
    prepare();
    set("error_logfile", path);
    put(3, 30, false, "third");
    put(1, 10, false, "first");
    put(1, 40, false, "fourth");
    put(2, 20, false, "second");
    start();
    bk_journal_stop(journal);
    journal = NULL;
    const char *text = contents(path);
    const char *first = strstr(text, "first"), *second = strstr(text, "second");
    const char *third = strstr(text, "third"), *fourth = strstr(text, "fourth");
    CHECK(first && first < second && second < third && third < fourth);
    finish();
}

TEST(access_lines_go_to_their_own_file)
{
    char other[160];
    prepare();
    snprintf(other, sizeof other, "%s.access", path);
    set("error_logfile", path);
    set("access_logfile", other);
    put(1, 1, true, "GET /");
    put(1, 2, false, "a record");
    start();
    bk_journal_stop(journal);
    journal = NULL;
    CHECK_STR(contents(other), "GET /\n");
    CHECK_INT(count_lines(contents(path), "GET"), 0);
    CHECK_INT(count_lines(contents(path), "info: a record"), 1);
    finish();
}

TEST(access_lines_without_an_access_log_are_records)
{
    prepare();
    set("error_logfile", path);
    set("access_logfile", "off");
    put(1, 1, true, "500 GET /");
    start();
    bk_journal_stop(journal);
    journal = NULL;
    CHECK_STR(contents(path), "1970-01-01T00:00:00.000Z barkeep[101] info: 500 GET /\n");
    finish();
}

TEST(both_logs_in_one_file_keep_their_order)
{
    prepare();
    set("error_logfile", path);
    set("access_logfile", path);
    put(1, 1, true, "one");
    put(2, 2, false, "two");
    put(1, 3, true, "three");
    start();
    bk_journal_stop(journal);
    journal = NULL;
    CHECK_STR(contents(path), "one\n1970-01-01T00:00:00.000Z barkeep[102] info: two\nthree\n");
    finish();
}

TEST(finished_records_of_a_killed_writer_are_written)
{
    prepare();
    set("error_logfile", path);
    start();
    pid_t pid = fork();
    if (pid == 0) {
        struct bk_log_record record = {.level = BK_LOG_INFO,
                                       .wall_ns = 1,
                                       .pid = 1,
                                       .worker = 1,
                                       .text = BK_STR("last words, whole")};
        for (unsigned i = 0; i < 300; i++)
            CHECK_INT(bk_logring_put(rings, 1, &record), 0);
        kill(getpid(), SIGKILL);
    }
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    bk_journal_stop(journal);
    journal = NULL;
    CHECK_INT(count_lines(contents(path), "last words, whole\n"), 300);
    finish();
}

TEST(a_pipe_nobody_reads_blocks_nobody_and_drops_are_counted)
{
    int ends[2], flags;
    prepare();
    CHECK_INT(pipe(ends), 0);
    CHECK(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    start();
    flags = fcntl(STDERR_FILENO, F_GETFL);
    uint64_t before = bk_clock_mono();
    for (unsigned i = 0; i < 20000; i++)
        bk_log(BK_LOG_INFO, NULL, "line %05u of a talkative master, which nobody reads for now", i);
    CHECK(bk_clock_mono() - before < 20 * BK_SEC);  // it would be for ever
    CHECK_INT(flags & O_NONBLOCK, 0);
    // Somebody begins to read: the lines come whole, and the loss is told.
    static char text[1 << 22];
    size_t len = 0;
    while (!memmem(text, len, "log lines were dropped", 22)) {
        ssize_t n = read(ends[0], text + len, sizeof text - len - 1);
        CHECK(n > 0);
        len += (size_t)n;
    }
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);  // for the rest, which nobody checks
    text[len] = '\0';
    for (char *line = text, *eol; (eol = strchr(line, '\n')); line = eol + 1) {
        *eol = '\0';
        CHECK(strstr(line, "which nobody reads for now") || strstr(line, "log lines were dropped"));
    }
    close(ends[1]);
    finish();
    dup2(saved, STDERR_FILENO);
}

TEST(the_end_does_not_wait_for_a_dead_reader)
{
    int ends[2];
    prepare();
    CHECK_INT(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    start();
    for (unsigned i = 0; i < 5000; i++)
        bk_log(BK_LOG_INFO, NULL, "line %u, more than the pipe takes of them", i);
    uint64_t before = bk_clock_mono();
    bk_journal_stop(journal);
    journal = NULL;
    CHECK(bk_clock_mono() - before < 30 * BK_SEC);
    finish();
    dup2(saved, STDERR_FILENO);
}

TEST(reopen_and_renames)
{
    char old[160];
    struct stat facts;
    prepare();
    set("error_logfile", path);
    start();
    bk_log(BK_LOG_INFO, NULL, "before");
    while (stat(path, &facts) < 0 || facts.st_size == 0)
        sched_yield();
    snprintf(old, sizeof old, "%s.1", path);
    CHECK_INT(rename(path, old), 0);
    bk_journal_reopen(journal);
    while (stat(path, &facts) < 0)
        sched_yield();
    bk_log(BK_LOG_INFO, NULL, "after");
    bk_journal_stop(journal);
    journal = NULL;
    CHECK_INT(count_lines(contents(old), "before"), 1);
    CHECK_INT(count_lines(contents(path), "before"), 0);
    CHECK_INT(count_lines(contents(path), "after"), 1);
    finish();
}

TEST(targets_that_cannot_be_opened)
{
    const char *name = NULL;
    prepare();
    set("error_logfile", "/nonexistent/dir/log");
    CHECK_INT(bk_journal_start(config, rings, RINGS, &journal, &name), -ENOENT);
    CHECK_STR(name, "/nonexistent/dir/log");
    set("error_logfile", "syslog");
    set("log_syslog_to", "udp://127.0.0.1:1x");
    CHECK(bk_journal_start(config, rings, RINGS, &journal, &name) < 0);
    journal = NULL;
    finish();
}

static bool
no_patience(void *self)
{
    return false;
}

TEST(standard_descriptors_by_name_and_fifos)
{
    struct bk_log_target target;
    struct bk_log_record record = {
        .level = BK_LOG_INFO, .wall_ns = 1, .pid = 7, .text = BK_STR("hello")};
    char text[200];
    prepare();
    CHECK_INT(bk_log_target_open(&target, "/dev/stderr", STDOUT_FILENO, NULL), 0);
    CHECK_INT(target.kind, BK_LOG_FD);
    CHECK_INT(target.fd, STDERR_FILENO);
    bk_log_target_release(&target);
    CHECK_INT(mkfifo(path, 0600), 0);
    CHECK_INT(bk_log_target_open(&target, path, STDOUT_FILENO, NULL),
              -ENXIO);  // nobody reads; and no waiting for one
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    CHECK_INT(bk_log_target_open(&target, path, STDOUT_FILENO, NULL), 0);
    bk_log_target_add(&target, &record, no_patience, NULL);
    bk_log_target_flush(&target, no_patience, NULL);
    ssize_t n = read(reader, text, sizeof text);
    CHECK(n > 0);
    CHECK_TEXT(((struct bk_str){text, (size_t)n}),
               "1970-01-01T00:00:00.000Z barkeep[7] info: hello\n");
    // The reader stops reading: what does not fit is counted.
    for (unsigned i = 0; i < 5000; i++)
        bk_log_target_add(&target, &record, no_patience, NULL);
    bk_log_target_flush(&target, no_patience, NULL);
    CHECK(bk_log_target_lost(&target) > 1000);
    CHECK_INT(bk_log_target_lost(&target), 0);
    bk_log_target_release(&target);
    close(reader);
    finish();
}

static int
daemon_socket(const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK(strlen(name) < sizeof to.sun_path);
    memcpy(to.sun_path, name, strlen(name));
    CHECK_INT(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static struct bk_str
datagram(int fd)
{
    static char text[9000];
    ssize_t n = recv(fd, text, sizeof text, 0);
    CHECK(n > 0);
    return (struct bk_str){text, (size_t)n};
}

TEST(syslog_on_a_unix_socket)
{
    char address[160];
    prepare();
    setenv("TZ", "UTC0", 1);
    int fd = daemon_socket(path);
    snprintf(address, sizeof address, "unix:%s", path);
    set("error_logfile", "syslog");
    set("log_syslog_to", address);
    set("log_syslog_facility", "local3");
    set("log_syslog_prefix", "shop");
    start();
    struct bk_log_record record = {.level = BK_LOG_ERROR,
                                   .wall_ns = UINT64_C(1795252562) * BK_SEC,
                                   .pid = 77,
                                   .worker = 1,
                                   .key = BK_STR("app-raised"),
                                   .text = BK_STR("it broke"),
                                   .detail = BK_STR("one\ntwo")};
    CHECK_INT(bk_logring_put(rings, 1, &record), 0);
    CHECK_TEXT(datagram(fd), "<155>Nov 21 09:16:02 shop[77]: error: it broke [app-raised]");
    CHECK_TEXT(datagram(fd), "<155>Nov 21 09:16:02 shop[77]:   one");
    CHECK_TEXT(datagram(fd), "<155>Nov 21 09:16:02 shop[77]:   two");
    close(fd);
    finish();
}

TEST(syslog_daemon_restarts)
{
    char address[160];
    prepare();
    int fd = daemon_socket(path);
    snprintf(address, sizeof address, "unix:%s", path);
    struct bk_log_target target;
    struct bk_log_record record = {
        .level = BK_LOG_INFO, .wall_ns = 1, .pid = 77, .text = BK_STR("hello")};
    CHECK_INT(bk_log_target_open(&target, "syslog", 2, address), 0);
    target.tag = "x";
    bk_log_socket_send(&target, &record);
    CHECK(datagram(fd).len > 0);
    close(fd);
    unlink(path);
    bk_log_socket_send(&target, &record);
    CHECK_INT(bk_log_target_lost(&target), 1);
    fd = daemon_socket(path);
    target.checked = 0;  // a second later
    bk_log_socket_send(&target, &record);
    CHECK_INT(bk_log_target_lost(&target), 0);
    CHECK(datagram(fd).len > 0);
    bk_log_target_release(&target);
    close(fd);
    finish();
}

TEST(syslog_over_udp_is_rfc_5424)
{
    struct bk_log_target target = {
        .kind = BK_LOG_SYSLOG, .udp = true, .facility = 1, .tag = "barkeep", .hostname = "web1"};
    struct bk_log_record record = {
        .level = BK_LOG_WARNING, .wall_ns = UINT64_C(1795252562) * BK_SEC, .pid = 77};
    char head[200];
    head[bk_log_socket_head(&target, &record, head, sizeof head)] = '\0';
    CHECK_STR(head, "<12>1 2026-11-21T09:16:02.000Z web1 barkeep 77 - - ");
    CHECK_INT(bk_log_socket_head(&target, &record, head, 10), 9);
}

TEST(journal_datagrams)
{
    struct bk_log_record record = {
        .level = BK_LOG_ERROR, .pid = 77, .key = BK_STR("k"), .text = BK_STR("one line")};
    struct bk_page page = {0};
    CHECK_INT(bk_log_socket_journal(&page, &record), 0);
    CHECK_TEXT(
        ((struct bk_str){page.at, page.len}),
        "MESSAGE=error: one line [k]\nBARKEEP_KEY=k\nPRIORITY=3\nSYSLOG_IDENTIFIER=barkeep\nSYSLOG_PID=77\n");
    page.len = 0;
    record.level = BK_LOG_INFO;
    record.key = (struct bk_str){NULL, 0};
    record.detail = BK_STR("more");
    CHECK_INT(bk_log_socket_journal(&page, &record), 0);
    static const char expected[] =
        "MESSAGE\n\x0f\0\0\0\0\0\0\0one line\n  more\nPRIORITY=6\nSYSLOG_IDENTIFIER=barkeep\nSYSLOG_PID=77\n";
    CHECK_INT(page.len, sizeof expected - 1);
    CHECK_INT(memcmp(page.at, expected, page.len), 0);
    bk_page_release(&page);
}

TEST(facilities)
{
    CHECK_INT(bk_log_socket_facility("user"), 1);
    CHECK_INT(bk_log_socket_facility("local7"), 23);
    CHECK_INT(bk_log_socket_facility("mail"), -EINVAL);
}
