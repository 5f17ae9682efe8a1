// Experiment: the life of exec'ed workers. A master without HTTP: listener, channels, heritage, template, upgrade in
// place. `make run` drives it through the matrix (matrix.py). Findings: docs/decisions/002.
// Arguments: python=PATH package=DIR workers=N template=0|1 user=NAME; LAYOUT comes from the compiler.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX 8

struct worker {
    pid_t pid;       // 0: not started, -1: asked of the template
    int channel;     // -1: none
    bool ready;
    uint64_t again;  // when to start it, 0: running
};

static const char *python = "python3", *package, *user;
static char **arguments;
static int workers = 2, listener = -1, scoreboard = -1, signals = -1, upgrades, skews;
static bool use_template, draining;
static uint64_t drain_until;
static struct worker all[MAX];
static struct worker template = {.channel = -1};
static struct { pid_t pid; int status; } strangers[16];  // reaped before they were introduced
static unsigned stranger_count;

static void upgrade(void);
static void version_skew(void);

static uint64_t
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static void
say(const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[n++] = '\n';
    if (write(2, line, (size_t)n) < 0)
        _exit(9);
}

static void
cloexec(int fd, bool on)
{
    if (fd >= 0 && fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0)
        abort();
}

static int
sealed(const char *text)
{
    int fd = memfd_create("heritage", MFD_ALLOW_SEALING | 0x0008u);  // MFD_NOEXEC_SEAL
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("heritage", MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET))
        abort();
    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    return fd;
}

// ---- starting ----------------------------------------------------------------------------------------------------

// fork and exec of `python boot.py HERITAGE`; also the template.
static pid_t
start_interpreter(int slot, int channel, bool as_template)
{
    char text[512], boot[512], number[16];
    snprintf(text, sizeof text, "layout %d\nmaster %d\nslot %d\nchannel %d\nlistener %d\nscoreboard %d\ntemplate %d\n",
             LAYOUT, (int)getpid(), slot, channel, listener, scoreboard, as_template);
    int heritage = sealed(text);
    snprintf(boot, sizeof boot, "%s/boot.py", package);
    snprintf(number, sizeof number, "%d", heritage);
    // Everything that allocates or reads files is done before the fork: other threads may hold locks.
    struct passwd *who = user ? getpwnam(user) : NULL;
    gid_t groups[64];
    int group_count = 64;
    if (who)
        getgrouplist(user, who->pw_gid, groups, &group_count);
    char home[256];
    snprintf(home, sizeof home, "HOME=%s", who ? who->pw_dir : "/");
    char *child_env[] = {home, "PATH=/usr/bin:/bin", NULL};
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);  // the mask crosses exec, our handlers do not
        cloexec(heritage, false);
        cloexec(channel, false);
        cloexec(listener, false);
        cloexec(scoreboard, false);
        if (who && (setgroups((size_t)group_count, groups) || setgid(who->pw_gid) || setuid(who->pw_uid)))
            _exit(71);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (chdir("/"))
            _exit(71);
        execve(python, (char *[]){(char *)python, boot, number, NULL}, child_env);
        _exit(errno == ENOENT ? 127 : 126);
    }
    close(heritage);
    return pid;
}

static void
start_template(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        abort();
    template = (struct worker){.channel = pair[0]};
    template.pid = start_interpreter(0, pair[1], true);
    close(pair[1]);
    say("template pid %d", (int)template.pid);
}

static bool
order_from_template(int slot, int channel)
{
    char text[32];
    struct iovec part = {text, (size_t)snprintf(text, sizeof text, "spawn %d", slot)};
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), &channel, sizeof channel);
    return sendmsg(template.channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

static void
start_worker(int slot)
{
    struct worker *w = &all[slot];
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        abort();
    *w = (struct worker){.channel = pair[0], .pid = -1};
    if (!use_template)
        w->pid = start_interpreter(slot, pair[1], false);
    else if (!template.pid || !order_from_template(slot, pair[1]))
        w->again = now_ms() + 50;
    close(pair[1]);  // the template has its own copy now; ours would keep EOF away
    if (w->again) {
        close(pair[0]);
        w->channel = -1;
    }
}

// ---- ending --------------------------------------------------------------------------------------------------------

static void
worker_gone(int slot, int status)
{
    struct worker *w = &all[slot];
    say("worker %d pid %d ended status %d signal %d", slot, (int)w->pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    if (w->channel >= 0)
        close(w->channel);
    bool skew = WIFEXITED(status) && WEXITSTATUS(status) == 78;
    *w = (struct worker){.channel = -1, .again = now_ms() + (skew ? 1000 : 50)};
    if (skew)
        version_skew();
}

// Once for each image of the master: an upgrade that changed nothing must not be tried again and again.
static void
version_skew(void)
{
    if (skews++ == 0 && !draining)
        upgrade();
}

static void
reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        int slot;
        for (slot = 0; slot < workers && all[slot].pid != pid; slot++)
            ;
        if (slot < workers) {
            worker_gone(slot, status);
        } else if (pid == template.pid) {
            say("template ended");
            if (template.channel >= 0)
                close(template.channel);
            template = (struct worker){.channel = -1, .again = now_ms() + 50};
            if (WIFEXITED(status) && WEXITSTATUS(status) == 78) {
                template.again += 950;
                version_skew();
            }
        } else {
            strangers[stranger_count % 16].pid = pid;
            strangers[stranger_count++ % 16].status = status;
            say("stranger %d reaped", (int)pid);
        }
    }
}

// Its channel is closed but nobody reaped it under its name: reaped by the image before an upgrade, or before its hello.
static void
look_for_lost(int slot)
{
    int status = 0;
    pid_t pid = waitpid(all[slot].pid, &status, WNOHANG);
    if (pid == all[slot].pid || (pid < 0 && errno == ECHILD))
        worker_gone(slot, status);
}

static void
hear(int slot)
{
    char text[1024];
    struct worker *w = slot < 0 ? &template : &all[slot];
    ssize_t n;
    do
        n = recv(w->channel, text, sizeof text - 1, MSG_DONTWAIT);
    while (n < 0 && errno == ECONNRESET);  // our message was unread: theirs come after this error
    if (n < 0)
        return;
    if (n == 0) {
        close(w->channel);
        w->channel = -1;
        if (slot >= 0 && w->pid == -1) {  // the order died with the template
            say("order for worker %d lost", slot);
            *w = (struct worker){.channel = -1, .again = now_ms() + 50};
        }
        return;
    }
    text[n] = '\0';
    say("heard %d: %s", slot, text);
    int pid;
    if (slot >= 0 && sscanf(text, "hello %d", &pid) == 1) {
        w->pid = pid;
        for (unsigned i = 0; i < 16; i++)
            if (strangers[i].pid == pid) {  // it died before we knew it
                strangers[i].pid = 0;
                worker_gone(slot, strangers[i].status);
                return;
            }
    } else if (!strncmp(text, "ready", 5)) {
        w->ready = true;
    }
}

// ---- upgrade in place ------------------------------------------------------------------------------------------------

static void
keep_open(bool open)
{
    cloexec(listener, !open);
    cloexec(scoreboard, !open);
    cloexec(template.channel, !open);
    for (int i = 0; i < workers; i++)
        cloexec(all[i].channel, !open);
}

static void
upgrade(void)
{
    char text[1024], path[512], number[32];
    int n = snprintf(text, sizeof text, "state %d %d %d %d %d %d\n", LAYOUT, listener, scoreboard, (int)template.pid, template.channel, upgrades + 1);
    for (int i = 0; i < workers; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "worker %d %d %d\n", (int)all[i].pid, all[i].channel, all[i].ready);
    int state = sealed(text), status;
    snprintf(path, sizeof path, "%s/master", package);
    snprintf(number, sizeof number, "check=%d", state);
    pid_t pid = fork();
    if (pid == 0) {
        execv(path, (char *[]){path, number, NULL});
        _exit(126);
    }
    if (waitpid(pid, &status, 0) != pid || status) {
        say("upgrade refused: status %d; the old goes on", status);
        close(state);
        return;
    }
    snprintf(number, sizeof number, "adopt=%d", state);
    keep_open(true);
    char *argv[16];
    int argc = 0;
    argv[argc++] = path;
    for (char **a = arguments + 1; *a; a++)
        if (strncmp(*a, "adopt=", 6))
            argv[argc++] = *a;
    argv[argc++] = number;
    argv[argc] = NULL;
    execv(path, argv);
    keep_open(false);
    say("upgrade failed: %s", strerror(errno));
    close(state);
}

static int
state_read(int fd, bool take)
{
    char text[1024];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    int layout, values[5];
    if (sscanf(text, "state %d %d %d %d %d %d", &layout, values, values + 1, values + 2, values + 3, values + 4) != 6 || layout > LAYOUT)
        return -1;
    if (!take)
        return 0;
    listener = values[0], scoreboard = values[1], template.pid = values[2], template.channel = values[3], upgrades = values[4];
    template.again = use_template && !template.pid;
    const char *at = text;
    for (int i = 0; i < workers && (at = strstr(at, "worker ")); i++, at++) {
        int pid, channel, ready;
        sscanf(at, "worker %d %d %d", &pid, &channel, &ready);
        all[i] = (struct worker){.pid = pid, .channel = channel, .ready = ready, .again = pid > 0 || channel >= 0 ? 0 : now_ms()};
    }
    close(fd);
    keep_open(false);
    return 0;
}

// ---- the loop --------------------------------------------------------------------------------------------------------

static void
obey_signals(void)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGUSR2)
            upgrade();
        else if (info.ssi_signo == SIGTERM && !draining) {
            draining = true;
            drain_until = now_ms() + 3000;
            for (int i = 0; i < workers; i++)
                if (all[i].channel >= 0)
                    send(all[i].channel, "drain", 5, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (template.channel >= 0)
                close(template.channel), template.channel = -1;
        }
    }
}

static bool
work(void)
{
    int wait = 1000;
    bool left = template.pid > 0;
    uint64_t now = now_ms();
    if (template.again && !draining && now >= template.again)
        start_template();
    if (template.again)
        wait = 20;
    for (int i = 0; i < workers; i++) {
        if (!draining && all[i].again && now >= all[i].again)
            start_worker(i);
        if (all[i].again)
            wait = 20;
        if (all[i].pid > 0 && draining && now > drain_until)
            kill(all[i].pid, SIGKILL), wait = 20;
        left = left || all[i].pid > 0 || all[i].channel >= 0;  // also one the template is about to start
    }
    if (draining && !left)
        return false;
    struct pollfd p[MAX + 2] = {{.fd = signals, .events = POLLIN}, {.fd = template.channel, .events = POLLIN}};
    for (int i = 0; i < workers; i++)
        p[i + 2] = (struct pollfd){.fd = all[i].channel, .events = POLLIN};
    poll(p, (nfds_t)workers + 2, draining && wait > 100 ? 100 : wait);
    for (int i = 0; i < workers; i++)  // what they said first, how they died after
        if (p[i + 2].revents && all[i].channel >= 0)
            hear(i);
    if (p[1].revents && template.channel >= 0)
        hear(-1);
    reap();
    for (int i = 0; i < workers; i++)
        if (all[i].pid > 0 && all[i].channel < 0)
            look_for_lost(i);
    obey_signals();
    return true;
}

int
main(int argc, char **argv)
{
    int adopt = -1;
    arguments = argv;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=') + 1;
        if (!strncmp(argv[i], "check=", 6))
            return state_read(atoi(value), false) ? 1 : 0;
        switch (argv[i][0]) {
        case 'a': adopt = atoi(value); break;
        case 'p': argv[i][1] == 'y' ? (python = value) : (package = value); break;
        case 'w': workers = atoi(value); break;
        case 't': use_template = *value == '1'; break;
        case 'u': user = value; break;
        default: return 2;
        }
    }
    sigset_t mine;  // still blocked from before the execve when adopted: nothing is lost, also as pid 1
    sigemptyset(&mine);
    sigaddset(&mine, SIGTERM), sigaddset(&mine, SIGUSR2), sigaddset(&mine, SIGCHLD);
    sigprocmask(SIG_SETMASK, &mine, NULL);
    signals = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    if (adopt >= 0) {
        if (state_read(adopt, true))
            return 1;
    } else {
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        if (bind(listener, (void *)&a, sizeof a) || listen(listener, 128))
            return 1;
        scoreboard = memfd_create("scoreboard", MFD_CLOEXEC);
        if (ftruncate(scoreboard, 4096))
            return 1;
        for (int i = 0; i < workers; i++)
            all[i] = (struct worker){.channel = -1, .again = 1};
        if (use_template)
            start_template();
    }
    getsockname(listener, (void *)&a, &len);
    say("master pid %d layout %d port %d upgrades %d", (int)getpid(), LAYOUT, ntohs(a.sin_port), upgrades);
    while (work())
        ;
    say("master ends");
    return 0;
}
