// Between fork and exec, and the output of a child that answers a question.
#include "master/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"

#include "base/banned.h"

#define DESCRIPTORS_MAX (1u << 20)
#define CLOSE_ON_EXEC (1u << 2)  // CLOSE_RANGE_CLOEXEC, Linux 5.11

void
bk_child_reset_signals(bool hangup_ignored)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP && !(number == SIGHUP && hangup_ignored))
            sigaction(number, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void
bk_child_raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    rlim_t most = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    if (limit.rlim_cur < most) {
        limit.rlim_cur = most;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void
bk_child_close_on_exec(void)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_ON_EXEC) == 0)
        return;
#endif
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        long fd = strtol(entry->d_name, NULL, 10);
        if (fd >= 3)
            fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    }
    if (directory)
        closedir(directory);
}

bool
bk_child_keep(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    return flags >= 0 && fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) == 0;
}

bool
bk_child_collect(int fd, char *out, size_t room, uint64_t limit)
{
    uint64_t until = bk_clock_mono() + limit;
    char rest[1024];
    size_t len = 0;

    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        uint64_t now = bk_clock_mono();
        out[len] = '\0';
        if (now >= until)
            return false;
        if (poll(&wait, 1, (int)((until - now) / BK_MSEC) + 1) <= 0)
            continue;
        bool full = len >= room - 1;
        ssize_t n = read(fd, full ? rest : out + len, full ? sizeof rest : room - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true;
        if (!full)
            len += (size_t)n;
    }
}
