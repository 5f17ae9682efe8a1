// The directory and the environment of the start, kept for the workers.
#include "master/surroundings.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

static void restore_terminal(const struct bk_surroundings *surroundings);
static char *working_directory(void);
static bool same_directory(const char *a, const char *b);
static int build_environment(struct bk_surroundings *surroundings, const struct bk_config *config,
                             const struct bk_privileges *privileges);
static int name_user(char **envp, size_t *count, const struct bk_privileges *privileges);
static bool is_private(const char *entry);
static int set_entry(char **envp, size_t *count, char *entry);
static char *join(const char *directory, const char *path);
static bool ignored(int number);

int
bk_surroundings_init(struct bk_surroundings *surroundings, const struct bk_config *config,
                     const struct bk_privileges *privileges)
{
    *surroundings = (struct bk_surroundings){.privileges = privileges, .terminal_fd = -1};
    for (int fd = STDERR_FILENO; fd >= 0 && surroundings->terminal_fd < 0; fd -= 2)
        if (isatty(fd))
            surroundings->terminal_fd = fd;
    surroundings->terminal = surroundings->terminal_fd >= 0;
    surroundings->has_modes =
        surroundings->terminal &&
        tcgetattr(surroundings->terminal_fd, &surroundings->terminal_modes) == 0;
    surroundings->hangup_ignored = ignored(SIGHUP);
    surroundings->interrupt_ignored = ignored(SIGINT);
    surroundings->cwd = working_directory();
    if (!surroundings->cwd)
        return -errno;
    surroundings->worker_cwd =
        bk_surroundings_absolute(surroundings, config->chdir ? config->chdir : ".");
    if (!surroundings->worker_cwd)
        return -ENOMEM;
    return build_environment(surroundings, config, privileges);
}

void
bk_surroundings_release(struct bk_surroundings *surroundings)
{
    restore_terminal(surroundings);
    for (char **entry = surroundings->envp; entry && *entry; entry++)
        free(*entry);
    free(surroundings->envp);
    free(surroundings->cwd);
    free(surroundings->worker_cwd);
    *surroundings = (struct bk_surroundings){.terminal_fd = -1};
}

// A worker that was ended at the prompt of a debugger leaves a terminal without echo. Only in the
// foreground: otherwise the modes are another program's.
static void
restore_terminal(const struct bk_surroundings *surroundings)
{
    int fd = surroundings->terminal_fd;

    if (surroundings->has_modes && tcgetpgrp(fd) == getpgrp())
        tcsetattr(fd, TCSANOW, &surroundings->terminal_modes);
}

char *
bk_surroundings_absolute(const struct bk_surroundings *surroundings, const char *path)
{
    if (path[0] == '/')
        return strdup(path);
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    if (!path[0] || strcmp(path, ".") == 0)
        return strdup(surroundings->cwd);
    return join(surroundings->cwd, path);
}

const char *
bk_surroundings_shorten(const struct bk_surroundings *surroundings, const char *path)
{
    size_t len = strlen(surroundings->cwd);

    if (len > 1 && strncmp(path, surroundings->cwd, len) == 0 && path[len] == '/' && path[len + 1])
        return path + len + 1;
    return path;
}

// The shell's name for the directory keeps symlinks; it counts only while it is true.
static char *
working_directory(void)
{
    const char *pwd = getenv("PWD");
    char buffer[PATH_MAX];

    if (pwd && pwd[0] == '/' && same_directory(pwd, "."))
        return strdup(pwd);
    return getcwd(buffer, sizeof buffer) ? strdup(buffer) : NULL;
}

static bool
same_directory(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// Ours without what was meant for us alone, then --env, then what we promise.
static int
build_environment(struct bk_surroundings *surroundings, const struct bk_config *config,
                  const struct bk_privileges *privileges)
{
    extern char **environ;
    size_t count = 0, have = 0;

    while (environ[have])
        have++;
    char **envp = surroundings->envp = calloc(have + config->env.count + 6, sizeof *envp);
    if (!envp)
        return -ENOMEM;
    for (size_t i = 0; i < have; i++) {
        if (is_private(environ[i]))
            continue;
        envp[count] = strdup(environ[i]);
        if (!envp[count++])
            return -ENOMEM;
    }
    if (config->chdir) {
        char *pwd = NULL;
        if (asprintf(&pwd, "PWD=%s", surroundings->worker_cwd) < 0 ||
            set_entry(envp, &count, pwd) < 0)
            return -ENOMEM;
    }
    bool named = privileges && privileges->drop && privileges->name;
    if (named && name_user(envp, &count, privileges) < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < config->env.count; i++)
        if (set_entry(envp, &count, strdup(config->env.items[i])) < 0)
            return -ENOMEM;
    return set_entry(envp, &count, strdup("SERVER_SOFTWARE=barkeep/" BK_VERSION));
}

// Root's HOME in the hands of another user is where tools look for files they may not read.
static int
name_user(char **envp, size_t *count, const struct bk_privileges *privileges)
{
    const char *const names[] = {"HOME", "USER", "LOGNAME"};

    for (unsigned i = 0; i < BK_COUNT(names); i++) {
        char *entry = NULL;
        if (asprintf(&entry, "%s=%s", names[i], i ? privileges->name : privileges->home) < 0 ||
            set_entry(envp, count, entry) < 0)
            return -ENOMEM;
    }
    return 0;
}

// A worker that finds these would talk to the service manager in our name (sd_listen_fds,
// sd_notify).
static bool
is_private(const char *entry)
{
    static const char *const names[] = {
        "LISTEN_PID=",    "LISTEN_FDS=",   "LISTEN_FDNAMES=", "LISTEN_PIDFDID=",
        "NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC="};

    for (unsigned i = 0; i < BK_COUNT(names); i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

// Takes over `entry`, in place of an older one of the same name. The array has room.
static int
set_entry(char **envp, size_t *count, char *entry)
{
    if (!entry)
        return -ENOMEM;
    const char *equals = strchr(entry, '=');
    size_t name = equals ? (size_t)(equals - entry) + 1 : strlen(entry);
    for (size_t i = 0; i < *count; i++) {
        if (strncmp(envp[i], entry, name) == 0) {
            free(envp[i]);
            envp[i] = entry;
            return 0;
        }
    }
    envp[(*count)++] = entry;
    return 0;
}

static char *
join(const char *directory, const char *path)
{
    char *joined = NULL;

    return asprintf(&joined, "%s/%s", strcmp(directory, "/") ? directory : "", path) < 0 ? NULL
                                                                                         : joined;
}

static bool
ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}
