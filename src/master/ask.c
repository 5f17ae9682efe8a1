// One question to an interpreter. It runs with the workers' environment, so that what it sees is
// what they will see.
#include "master/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/child.h"
#include "master/words.h"

#include "base/banned.h"

#define TIME_LIMIT (20 * BK_SEC)
#define MARK "barkeep-answer|"

// The empty entry that -c puts on sys.path goes first: a barkeep.py in the current directory is not
// meant.
static const char question[] =
    "import sys\n"
    "sys.path[:] = [d for d in sys.path if d]\n"
    "place = version = ''\n"
    "try:\n"
    "    import barkeep\n"
    "    if getattr(barkeep, '__file__', None):\n"
    "        import os\n"
    "        place, version = os.path.dirname(os.path.abspath(barkeep.__file__)), barkeep.__version__\n"
    "except Exception:\n"
    "    pass\n"
    "sys.stdout.write('\\n" MARK
    "%d.%d.%d|%s|%s\\n' % (tuple(sys.version_info[:3]) + (place, version)))\n";

static pid_t launch(const char *python, const char *const *flags, unsigned flag_count,
                    const struct bk_surroundings *surroundings, int *ret_fd);
static bool read_answer(char *output, struct bk_answer *ret);
static void read_complaint(const char *output, bool in_time, int status, struct bk_answer *ret);

int
bk_ask_interpreter(const char *python, const char *const *flags, unsigned flag_count,
                   const struct bk_surroundings *surroundings, struct bk_answer *ret)
{
    char output[8192];
    int fd = -1, status = 0;

    *ret = (struct bk_answer){0};
    pid_t pid = launch(python, flags, flag_count, surroundings, &fd);
    if (pid < 0) {
        char why[BK_WORDS_ROOM];
        snprintf(ret->complaint, sizeof ret->complaint, "no child process: %s",
                 bk_words_error((int)pid, why));
        return -ENOEXEC;
    }
    bool in_time = bk_child_collect(fd, output, sizeof output, TIME_LIMIT);
    close(fd);
    if (!in_time)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    char copy[sizeof output];
    memcpy(copy, output, sizeof copy);
    if (read_answer(copy, ret))
        return 0;
    read_complaint(output, in_time, status, ret);
    return -ENOEXEC;
}

static pid_t
launch(const char *python, const char *const *flags, unsigned flag_count,
       const struct bk_surroundings *surroundings, int *ret_fd)
{
    int ends[2];
    unsigned n = 0;
    const char **argv = calloc(flag_count + 4, sizeof *argv);

    if (!argv)
        return -ENOMEM;
    argv[n++] = python;
    for (unsigned i = 0; i < flag_count; i++)
        argv[n++] = flags[i];
    argv[n++] = "-c";
    argv[n++] = question;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        free(argv);
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        bk_child_reset_signals(surroundings->hangup_ignored);
        int null = open("/dev/null", O_RDONLY);
        const struct bk_privileges *privileges = surroundings->privileges;
        if ((privileges && bk_privileges_apply(privileges, 0)) ||
            chdir(surroundings->worker_cwd) < 0 || dup2(null, 0) < 0 || dup2(ends[1], 1) < 0 ||
            dup2(ends[1], 2) < 0)
            _exit(126);
        execve(python, (char *const *)(uintptr_t)argv, surroundings->envp);
        dprintf(2, "%s\n",
                errno == ENOENT    ? "no such file"
                : errno == ENOEXEC ? "not a program"
                                   : "cannot be executed");
        _exit(127);
    }
    int rc = pid < 0 ? -errno : 0;
    close(ends[1]);
    free(argv);
    if (rc < 0) {
        close(ends[0]);
        return rc;
    }
    *ret_fd = ends[0];
    return pid;
}

static bool
read_answer(char *output, struct bk_answer *ret)
{
    char *at = strstr(output, "\n" MARK);
    if (!at)
        return false;
    at += sizeof "\n" MARK - 1;
    at[strcspn(at, "\n")] = '\0';
    char *version = strsep(&at, "|"), *package = strsep(&at, "|");
    if (!at || !package)
        return false;
    snprintf(ret->python_version, sizeof ret->python_version, "%s", version);
    snprintf(ret->package_version, sizeof ret->package_version, "%s", at);
    return (size_t)snprintf(ret->package, sizeof ret->package, "%s", package) < sizeof ret->package;
}

// The last line it wrote says most.
static void
read_complaint(const char *output, bool in_time, int status, struct bk_answer *ret)
{
    char how[BK_WORDS_ROOM];
    size_t len = strlen(output);

    while (len > 0 && output[len - 1] == '\n')
        len--;
    size_t start = len;
    while (start > 0 && output[start - 1] != '\n')
        start--;
    size_t n = bk_str_escape(ret->complaint, sizeof ret->complaint - 1,
                             (struct bk_str){output + start, len - start});
    ret->complaint[n] = '\0';
    if (!in_time)
        snprintf(ret->complaint, sizeof ret->complaint, "no answer within %u s",
                 (unsigned)(TIME_LIMIT / BK_SEC));
    else if (n == 0 && WIFSIGNALED(status))
        snprintf(ret->complaint, sizeof ret->complaint, "ended by %s",
                 bk_words_signal(WTERMSIG(status), how));
    else if (n == 0)
        snprintf(ret->complaint, sizeof ret->complaint, "ended with exit code %d and no answer",
                 WEXITSTATUS(status));
}
