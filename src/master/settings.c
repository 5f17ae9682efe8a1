// The config process, from the question to the last record of its answer.
#include "master/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/child.h"

#include "base/banned.h"

#define READ_SIZE ((size_t)16 << 10)

// Fields of each kind of record, the kind included; python/barkeep/config/records.py has the same.
static const struct {
    const char *kind;
    unsigned fields;
} kinds[] = {
    {"setting", 5}, {"app", 3},   {"hooks", 3}, {"unknown", 4},
    {"warning", 4}, {"error", 4}, {"read", 2},  {"end", 1},
};

static int write_question(struct bk_str question, int *ret_fd);
static const char **build_argv(const struct bk_interpreter *interpreter, const char *const *flags,
                               unsigned flag_count, char numbers[2][16]);
static void become(const char *const *argv, int question, int answer) BK_NORETURN;
static int look_for_end(struct bk_settings_run *run);
static int next_record(struct bk_str answer, size_t *at, struct bk_str *fields,
                       unsigned *ret_count);

int
bk_settings_ask(struct bk_buf *question, const struct bk_str *fields, unsigned count)
{
    int error = 0;

    for (unsigned i = 0; i < count && error == 0; i++) {
        error = bk_buf_append(question, fields[i], BK_SETTINGS_MAX);
        if (error == 0)
            error = bk_buf_append(question, (struct bk_str){"", 1}, BK_SETTINGS_MAX);
    }
    return error;
}

int
bk_settings_start(struct bk_settings_run *run, const struct bk_interpreter *interpreter,
                  const char *const *flags, unsigned flag_count, struct bk_str question)
{
    int ends[2] = {-1, -1}, question_fd = -1;
    char numbers[2][16];

    *run = (struct bk_settings_run){.fd = -1};
    int error = write_question(question, &question_fd);
    if (error < 0)
        return error;
    const char **argv = NULL;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        error = -errno;
        goto out;
    }
    snprintf(numbers[0], sizeof numbers[0], "%d", question_fd);
    snprintf(numbers[1], sizeof numbers[1], "%d", ends[1]);
    argv = build_argv(interpreter, flags, flag_count, numbers);
    pid_t pid = argv ? fork() : -1;
    if (pid == 0)
        become(argv, question_fd, ends[1]);
    if (pid < 0) {
        error = argv ? -errno : -ENOMEM;
        close(ends[0]);
        goto out;
    }
    setpgid(pid, pid); // here too: we may want to kill the group before the child has made it
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    run->pid = pid;
    run->fd = ends[0];
out:
    free(argv);
    if (ends[1] >= 0)
        close(ends[1]);
    close(question_fd);
    return error;
}

static int
write_question(struct bk_str question, int *ret_fd)
{
    int fd = memfd_create("barkeep-question", MFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    while (question.len > 0) {
        ssize_t n = write(fd, question.at, question.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = -errno;
            close(fd);
            return error;
        }
        question.at += n;
        question.len -= (size_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    *ret_fd = fd;
    return 0;
}

// PYTHON [flags] PACKAGE/_boot/boot.py config QUESTION ANSWER
static const char **
build_argv(const struct bk_interpreter *interpreter, const char *const *flags, unsigned flag_count,
           char numbers[2][16])
{
    const char **argv = calloc(flag_count + 6, sizeof *argv);
    unsigned n = 0;

    if (!argv)
        return NULL;
    argv[n++] = interpreter->python;
    for (unsigned i = 0; i < flag_count; i++)
        argv[n++] = flags[i];
    argv[n++] = interpreter->boot;
    argv[n++] = "config";
    argv[n++] = numbers[0];
    argv[n++] = numbers[1];
    return argv;
}

// Async-signal-safe: while serving the log thread may have held any lock at the moment of the fork.
static void
become(const char *const *argv, int question, int answer)
{
    extern char **environ;

    setpgid(0, 0);
    bk_child_reset_signals(false);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    bk_child_close_on_exec();
    bk_child_keep(question);
    bk_child_keep(answer);
    execve(argv[0], (char *const *)(uintptr_t)argv, environ);
    _exit(127);
}

int
bk_settings_more(struct bk_settings_run *run)
{
    for (;;) {
        int error = bk_buf_reserve(&run->answer, READ_SIZE, BK_SETTINGS_MAX);
        if (error < 0)
            return error;
        ssize_t n = read(run->fd, run->answer.at + run->answer.len, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -EPIPE;
        if (n == 0)
            return -EPIPE;
        run->answer.len += (size_t)n;
        error = look_for_end(run);
        if (error)
            return error;
    }
}

static int
look_for_end(struct bk_settings_run *run)
{
    struct bk_str answer = {run->answer.at, run->answer.len}, fields[BK_SETTINGS_FIELDS];
    unsigned count;
    int found;

    while ((found = next_record(answer, &run->at, fields, &count)) > 0) {
        if (!bk_str_equal(fields[0], BK_STR("end")))
            continue;
        run->whole = true;
        return 1;
    }
    return found;
}

// 1: a record; 0: it is not all there; -EPROTO. *at moves behind it.
static int
next_record(struct bk_str answer, size_t *at, struct bk_str *fields, unsigned *ret_count)
{
    size_t here = *at;
    unsigned want = 1;

    for (unsigned n = 0; n < want; n++) {
        const char *nul =
            here < answer.len ? memchr(answer.at + here, '\0', answer.len - here) : NULL;
        if (!nul)
            return 0;
        fields[n] = (struct bk_str){answer.at + here, (size_t)(nul - answer.at) - here};
        here += fields[n].len + 1;
        for (unsigned i = 0; n == 0 && i < BK_COUNT(kinds); i++)
            if (bk_str_equal(fields[0], bk_str_of(kinds[i].kind)))
                *ret_count = want = kinds[i].fields;
        if (n == 0 && want == 1 && !bk_str_equal(fields[0], BK_STR("end")))
            return -EPROTO;
    }
    *at = here;
    return 1;
}

int
bk_settings_wait(struct bk_settings_run *run, uint64_t limit)
{
    uint64_t until = bk_clock_mono() + limit;

    for (;;) {
        struct pollfd wait = {.fd = run->fd, .events = POLLIN};
        uint64_t now = bk_clock_mono();
        if (now >= until)
            return -ETIMEDOUT;
        if (poll(&wait, 1, (int)((until - now) / BK_MSEC) + 1) <= 0)
            continue;
        int rc = bk_settings_more(run);
        if (rc)
            return rc;
    }
}

void
bk_settings_end(struct bk_settings_run *run, bool reap, int *ret_status)
{
    int status = 0;

    if (ret_status)
        *ret_status = 0;
    if (run->fd >= 0)
        close(run->fd);
    run->fd = -1;
    if (run->pid <= 0)
        return;
    // Whoever has answered has nothing left to do; what its file started on purpose may live on.
    // One that has ended by itself does not notice: its status stays what it was.
    kill(run->whole ? run->pid : -run->pid, SIGKILL);
    while (reap && waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
        ;
    run->pid = 0;
    if (ret_status)
        *ret_status = status;
}

bool
bk_settings_next(const struct bk_settings_run *run, size_t *at,
                 struct bk_str fields[BK_SETTINGS_FIELDS], unsigned *ret_count)
{
    struct bk_str answer = {run->answer.at, run->answer.len};

    return next_record(answer, at, fields, ret_count) > 0 &&
           !bk_str_equal(fields[0], BK_STR("end"));
}

void
bk_settings_release(struct bk_settings_run *run)
{
    bk_buf_release(&run->answer);
}
