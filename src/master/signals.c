// What each signal means.
#include "master/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/certificates.h"
#include "master/reap.h"
#include "master/reload.h"
#include "master/scale.h"
#include "master/stop.h"

#include "base/banned.h"

// `timeout` and some supervisors signal the process and then its whole group: the same wish, said
// twice.
#define ONE_WISH (50 * BK_MSEC)

static const int read_here[] = {SIGTERM, SIGINT,  SIGQUIT, SIGHUP,  SIGCHLD,
                                SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH};

static void signals_ready(struct bk_watch *watch, uint32_t events);
static void obey(struct bk_master *master, const struct signalfd_siginfo *info);
static void stop_asked(struct bk_master *master, const struct signalfd_siginfo *info);
static void hangup(struct bk_master *master, const struct signalfd_siginfo *info);
static bool terminal_gone(const struct bk_surroundings *surroundings);
static void scale_all(struct bk_master *master, int by, const char *name);

int
bk_signals_open(struct bk_master *master)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t set;

    // A parent's SIG_IGN for SIGCHLD would have the kernel reap our children behind our back.
    sigaction(SIGCHLD, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigemptyset(&set);
    for (unsigned i = 0; i < BK_COUNT(read_here); i++)
        sigaddset(&set, read_here[i]);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        return -errno;
    master->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return master->signals.fd < 0 ? -errno : 0;
}

int
bk_signals_watch(struct bk_master *master)
{
    master->signals.ready = signals_ready;
    return bk_loop_add(&master->loop, &master->signals, EPOLLIN);
}

void
bk_signals_close(struct bk_master *master)
{
    if (master->signals.fd >= 0)
        close(master->signals.fd);
    master->signals.fd = -1;
}

static void
signals_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_master *master = BK_OUTER(watch, struct bk_master, signals);
    struct signalfd_siginfo info;

    while (read(watch->fd, &info, sizeof info) == (ssize_t)sizeof info)
        obey(master, &info);
}

static void
obey(struct bk_master *master, const struct signalfd_siginfo *info)
{
    switch (info->ssi_signo) {
    case SIGCHLD:
        bk_reap(master);
        break;
    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
        stop_asked(master, info);
        break;
    case SIGHUP:
        hangup(master, info);
        break;
    case SIGTTIN:
        scale_all(master, 1, "SIGTTIN");
        break;
    case SIGTTOU:
        scale_all(master, -1, "SIGTTOU");
        break;
    case SIGUSR1:
        bk_journal_reopen(master->journal);
        bk_log(BK_LOG_INFO, NULL, "SIGUSR1: log files reopened");
        break;
    case SIGUSR2:
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(RELOAD_LATER),
               "SIGUSR2: upgrading in place comes with a later version; nothing was changed");
        break;
    case SIGWINCH:
        // A terminal window that is resized sends it too.
        if (!master->surroundings.terminal)
            bk_log(
                BK_LOG_WARNING, BK_MASTER_KEY(RELOAD_LATER),
                "SIGWINCH: stopping workers alone comes with a later version; nothing was changed");
        break;
    default:
        break;
    }
}

static void
stop_asked(struct bk_master *master, const struct signalfd_siginfo *info)
{
    bool from_terminal = info->ssi_code == SI_KERNEL;

    if (from_terminal && info->ssi_signo != SIGTERM && master->surroundings.interrupt_ignored)
        return;  // Ctrl-C in a shell that had put us in the background
    if (master->phase == BK_MASTER_RUNNING) {
        bk_stop(master, info->ssi_signo == SIGTERM ? BK_MASTER_DRAINING : BK_MASTER_QUITTING);
        return;
    }
    if (bk_clock_mono() - master->phase_since >= ONE_WISH)
        bk_stop(master, BK_MASTER_KILLING);
}

// The same signal for "the terminal is gone" and, sent by a person, "reload".
static void
hangup(struct bk_master *master, const struct signalfd_siginfo *info)
{
    if (info->ssi_code == SI_KERNEL || terminal_gone(&master->surroundings)) {
        if (!master->surroundings.hangup_ignored && master->phase == BK_MASTER_RUNNING) {
            bk_log(BK_LOG_INFO, NULL, "the terminal is gone: stopping");
            bk_stop(master, BK_MASTER_DRAINING);
        }
        return;
    }
    for (unsigned i = 0; i < master->pool_count; i++) {
        bk_certificates_refresh(&master->pools[i], true);
        bk_reload_begin(&master->pools[i], "SIGHUP", false);
    }
}

// A shell that is hung up passes the signal on to its jobs with kill().
static bool
terminal_gone(const struct bk_surroundings *surroundings)
{
    struct termios modes;

    return surroundings->terminal && tcgetattr(surroundings->terminal_fd, &modes) < 0 &&
           errno == EIO;
}

static void
scale_all(struct bk_master *master, int by, const char *name)
{
    for (unsigned i = 0; i < master->pool_count && master->phase == BK_MASTER_RUNNING; i++)
        bk_scale_by(&master->pools[i], by, name);
}
