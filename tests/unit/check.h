// The unit tests' runner. One test program is one file tests/unit/test_<file>.c that includes this
// header once:
//
//     TEST(adds_two_numbers)
//     {
//         CHECK_INT(1 + 1, 2);
//     }
//
// Each test runs in a process of its own with a time limit, so it may crash, hang or leave
// descriptors open. The first failed check ends its test. `test_foo NAME...` runs only tests whose
// name contains one of the words.
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"

#define CHECK_SECONDS 60  // sanitizer builds on a busy machine are slow; only a hung test gets here

typedef void (*check_fn)(void);
struct check_test {
    const char *name;
    check_fn run;
    struct check_test *next;
};
static struct check_test *check_first, **check_last = &check_first;

#define TEST(test_name) \
    static void test_##test_name(void); \
    __attribute__((constructor)) static void check_register_##test_name(void) \
    { \
        static struct check_test entry = {#test_name, test_##test_name, NULL}; \
        *check_last = &entry; \
        check_last = &entry.next; \
    } \
    static void test_##test_name(void)

#define CHECK(condition) \
    do { \
        if (!(condition)) \
            check_fail(__FILE__, __LINE__, #condition, "is false"); \
    } while (0)
// Integers of any type up to 64 bits.
#define CHECK_INT(got, expected) \
    check_int(__FILE__, __LINE__, #got, (long long)(got), (long long)(expected))
// NUL-terminated texts.
#define CHECK_STR(got, expected) \
    check_text(__FILE__, __LINE__, #got, bk_str_of(got), bk_str_of(expected))
// A struct bk_str against a literal.
#define CHECK_TEXT(got, expected) check_text(__FILE__, __LINE__, #got, (got), bk_str_of(expected))

__attribute__((noreturn, unused)) static void
check_fail(const char *file, int line, const char *what, const char *how)
{
    printf("  %s:%d: %s %s\n", file, line, what, how);
    fflush(stdout);
    _exit(1);
}

__attribute__((unused)) static void
check_int(const char *file, int line, const char *what, long long got, long long expected)
{
    char how[64];
    if (got == expected)
        return;
    snprintf(how, sizeof how, "is %lld, not %lld", got, expected);
    check_fail(file, line, what, how);
}

__attribute__((unused)) static void
check_text(const char *file, int line, const char *what, struct bk_str got, struct bk_str expected)
{
    static char how[4096];
    if (bk_str_equal(got, expected))
        return;
    snprintf(how, sizeof how, "is \"%.*s\" (%zu), not \"%.*s\" (%zu)", (int)got.len,
             got.len ? got.at : "", got.len, (int)expected.len, expected.len ? expected.at : "",
             expected.len);
    check_fail(file, line, what, how);
}

static bool
check_run(const struct check_test *test)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(CHECK_SECONDS);
        test->run();
        fflush(stdout);
        exit(0);  // not _exit: the leak checker works at exit
    }
    if (pid < 0) {
        printf("FAIL %s: cannot fork: %s\n", test->name, strerror(errno));
        return false;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        printf("FAIL %s: ran into the time limit\n", test->name);
    else if (WIFSIGNALED(status))
        printf("FAIL %s: %s\n", test->name, strsignal(WTERMSIG(status)));
    else
        printf("FAIL %s: exit status %d\n", test->name, WEXITSTATUS(status));
    return false;
}

static bool
check_wanted(const struct check_test *test, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(test->name, argv[i]))
            return true;
    return argc < 2;
}

int
main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const struct check_test *test = check_first; test; test = test->next) {
        if (!check_wanted(test, argc, argv))
            continue;
        if (check_run(test))
            passed++;
        else
            failed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
