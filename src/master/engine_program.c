// One question to barkeep-engine. Short and seldom: at the start, and when certificates change.
#include "master/engine_program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/child.h"

#include "base/banned.h"

#define TIME_LIMIT (20 * BK_SEC)
#define NAME "barkeep-engine"
#define ARGUMENTS_MAX 6

static int find(char path[PATH_MAX]);

int
bk_engine_program_run(const char *const *arguments, char *const *envp, int keep_fd, char *out,
                      size_t room)
{
    const char *argv[ARGUMENTS_MAX + 2] = {NAME};
    char path[PATH_MAX];
    int ends[2], status = 0, error = find(path);

    out[0] = '\0';
    for (unsigned i = 0; i < ARGUMENTS_MAX && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    if (error < 0)
        return error;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        bk_child_reset_signals(false);
        if (dup2(ends[1], STDOUT_FILENO) < 0 || (keep_fd >= 0 && !bk_child_keep(keep_fd)))
            _exit(126);
        execve(path, (char *const *)(uintptr_t)argv, envp);
        _exit(127);
    }
    error = pid < 0 ? -errno : 0;
    close(ends[1]);
    bool in_time = error == 0 && bk_child_collect(ends[0], out, room, TIME_LIMIT);
    close(ends[0]);
    if (error < 0)
        return error;
    if (!in_time)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        return -ETIME;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EIO;
}

// Beside this program, by the name it was really started from.
static int
find(char path[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (len < 0)
        return -errno;
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash + 1 - path) + sizeof NAME > PATH_MAX)
        return -ENOENT;
    memcpy(slash + 1, NAME, sizeof NAME);
    return access(path, X_OK) < 0 ? -ENOENT : 0;
}
