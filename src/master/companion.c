// The process that calls the master's hooks.
#include "master/companion.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/child.h"
#include "master/settings.h"
#include "master/state.h"
#include "master/words.h"

#include "base/banned.h"

#define LAST_WORDS (5 * BK_SEC)  // for on_exit
#define QUEUE_BYTES (256 * 1024) // of events it has not taken

static int launch(struct bk_companion *companion);
static int describe(const struct bk_master *master, int *ret_fd);
static void become(const struct bk_master *master, const char *const *argv, int question,
                   int channel) BK_NORETURN;
static void channel_ready(struct bk_watch *watch, uint32_t events);
static bool receive_one(struct bk_companion *companion);
static void take(struct bk_companion *companion, int type, struct bk_str text);
static bool await_called(struct bk_companion *companion, uint64_t limit);
static void disconnect(struct bk_companion *companion);
static void pause_over(struct bk_timer *timer);

bool
bk_companion_open(struct bk_master *master)
{
    struct bk_companion *companion = &master->companion;
    const char *hooks = master->start->master_hooks;
    uint64_t limit = master->start->config->startup_timeout;

    companion->channel.fd = -1;
    if (!hooks || !*hooks)
        return true;
    companion->master = master;
    int rc = launch(companion);
    if (rc < 0) {
        char why[BK_WORDS_ROOM];
        bk_master_fail(master, BK_KEY_HOOK_FAILED, "", "cannot start the process for hooks: %s",
                       bk_words_error(rc, why));
        return false;
    }
    bk_companion_tell(master, "nworkers_changed", "new=%u", master->pools[0].wanted);
    bk_companion_tell(master, "on_starting", "%s", "");
    if (await_called(companion, limit ? limit : UINT64_MAX / 2))
        return true;
    if (!master->exit_code && companion->channel.fd < 0)
        bk_master_fail(master, BK_KEY_HOOK_FAILED, "",
                       "the process for hooks ended before on_starting was over");
    else if (!master->exit_code && companion->sent != companion->called)
        bk_master_fail(master, BK_KEY_HOOK_FAILED, "",
                       "on_starting was not over within --startup-timeout");
    return false;
}

static int
launch(struct bk_companion *companion)
{
    struct bk_master *master = companion->master;
    const struct bk_interpreter *interpreter = &master->pools[0].interpreter;
    int ends[2], question = -1, size = QUEUE_BYTES;
    char numbers[2][16];

    int rc = describe(master, &question);
    if (rc < 0)
        return rc;
    rc = bk_channel_pair(ends);
    if (rc < 0) {
        close(question);
        return rc;
    }
    snprintf(numbers[0], sizeof numbers[0], "%d", question);
    snprintf(numbers[1], sizeof numbers[1], "%d", ends[1]);
    const char *const argv[] = {interpreter->python, interpreter->boot, "companion",
                                numbers[0],          numbers[1],        NULL};
    pid_t pid = fork();
    if (pid == 0)
        become(master, argv, question, ends[1]);
    rc = pid < 0 ? -errno : 0;
    close(ends[1]);
    close(question);
    if (rc < 0) {
        close(ends[0]);
        return rc;
    }
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    companion->pid = pid;
    companion->born = bk_clock_mono();
    companion->sent = companion->called = 0;
    companion->stopping = false;
    companion->channel.fd = ends[0];
    companion->channel.ready = channel_ready;
    return bk_loop_add(&master->loop, &companion->channel, EPOLLIN | EPOLLRDHUP);
}

// What it has to know, in the form of a question to the config process.
static int
describe(const struct bk_master *master, int *ret_fd)
{
    const struct bk_config *config = master->start->config;
    struct bk_buf text = {0};
    struct bk_str fields[3] = {BK_STR("value"), BK_STR("app"), bk_str_of(config->app)};
    struct bk_str argument[2] = {BK_STR("argument"), bk_str_of(master->start->program)};
    struct bk_str end = BK_STR("end");
    const char *origin;

    int error = bk_settings_ask(&text, argument, 2);
    for (unsigned i = 0; i < master->start->argument_count && error == 0; i++) {
        argument[1] = bk_str_of(master->start->arguments[i]);
        error = bk_settings_ask(&text, argument, 2);
    }
    if (error == 0)
        error = bk_settings_ask(&text, fields, 3);
    for (unsigned n = 0; error == 0 && bk_config_get(config, n, &fields[1], &fields[2], &origin);
         n++)
        error = bk_settings_ask(&text, fields, 3);
    if (error == 0)
        error = bk_settings_ask(&text, &end, 1);
    int fd = error ? -1 : memfd_create("barkeep-companion", MFD_CLOEXEC);
    if (error == 0 && (fd < 0 || write(fd, text.at, text.len) != (ssize_t)text.len))
        error = fd < 0 ? -errno : -EIO;
    if (error && fd >= 0)
        close(fd);
    else if (!error)
        lseek(fd, 0, SEEK_SET);
    bk_buf_release(&text);
    *ret_fd = fd;
    return error;
}

// Async-signal-safe. A group of its own: Ctrl-C is not meant for it, on_exit comes after it.
static void
become(const struct bk_master *master, const char *const *argv, int question, int channel)
{
    setpgid(0, 0);
    bk_child_reset_signals(false);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    if (chdir(master->surroundings.worker_cwd) < 0)
        _exit(126);
    bk_child_keep(question);
    bk_child_keep(channel);
    execve(argv[0], (char *const *)(uintptr_t)argv, master->surroundings.envp);
    _exit(127);
}

// ---- events -------------------------------------------------------------------------------------

void
bk_companion_tell(struct bk_master *master, const char *name, const char *format, ...)
{
    struct bk_companion *companion = &master->companion;
    char text[512];
    unsigned count;

    if (!companion->master)
        return;
    size_t len = (size_t)snprintf(text, sizeof text, "hook=%s\n", name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + len, sizeof text - len, format, arguments);
    va_end(arguments);
    int rc = companion->channel.fd < 0
                 ? -EPIPE
                 : bk_channel_send(companion->channel.fd, BK_MESSAGE_HOOK, bk_str_of(text));
    if (rc >= 0)
        companion->sent++;
    else if (bk_log_limited(&companion->dropped, bk_clock_mono(), &count))
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(HOOK_DROPPED),
               "%s was not called: the process for hooks %s", name,
               rc == -EAGAIN ? "has not taken the events before it" : "is not there");
}

static void
channel_ready(struct bk_watch *watch, uint32_t events)
{
    struct bk_companion *companion = BK_OUTER(watch, struct bk_companion, channel);

    // A few at a time: it may talk without end.
    for (unsigned i = 0; i < 16 && companion->channel.fd >= 0; i++)
        if (!receive_one(companion))
            return;
}

// False when there is nothing more for now.
static bool
receive_one(struct bk_companion *companion)
{
    static char buffer[BK_CHANNEL_MAX + 1]; // the main thread's only
    struct bk_str text;
    int rc = bk_channel_receive(companion->channel.fd, buffer, sizeof buffer, &text);

    if (rc > 0)
        take(companion, rc, text);
    else if (rc != -EAGAIN && rc != -EPROTO)
        disconnect(companion);
    return rc > 0;
}

static void
take(struct bk_companion *companion, int type, struct bk_str text)
{
    struct bk_str rest = bk_channel_field(text, "text"), first = rest, key = BK_STR("");
    enum bk_log_level level = BK_LOG_INFO;
    const char *eol = rest.len ? memchr(rest.at, '\n', rest.len) : NULL;

    if (type == BK_MESSAGE_CALLED)
        companion->called++;
    if (type != BK_MESSAGE_SAID)
        return;
    if (eol)
        first.len = (size_t)(eol - rest.at);
    rest = eol ? (struct bk_str){eol + 1, rest.len - first.len - 1} : BK_STR("");
    bool fatal = bk_channel_field(text, "fatal").len > 0;
    if (bk_channel_field(text, "raised").len > 0)
        key = bk_str_of(BK_MASTER_KEY(HOOK_FAILED));
    if (fatal && !companion->master->pools[0].served) {
        char line[1000], detail[8000];
        snprintf(line, sizeof line, "%.*s", (int)first.len, first.at);
        snprintf(detail, sizeof detail, "%.*s", (int)rest.len, rest.at);
        bk_master_fail(companion->master, BK_KEY_HOOK_FAILED, detail, "%s", line);
        return;
    }
    (void)bk_log_level_parse(bk_channel_field(text, "level"), &level);
    struct bk_log_record record = {.level = level, .key = key, .text = first, .detail = rest};
    record.pid = companion->pid;
    bk_log_record(&record);
}

// Until all events were called; at start and at the end, when nothing else is to be done. A signal
// that asks for the end is left for the loop.
static bool
await_called(struct bk_companion *companion, uint64_t limit)
{
    struct bk_master *master = companion->master;
    uint64_t until = bk_clock_mono() + limit;
    bool starting = master->phase == BK_MASTER_RUNNING;

    while (companion->channel.fd >= 0 && companion->called != companion->sent) {
        struct pollfd wait[2] = {{.fd = companion->channel.fd, .events = POLLIN},
                                 {.fd = starting ? master->signals.fd : -1, .events = POLLIN}};
        uint64_t now = bk_clock_mono();
        if (now >= until || master->exit_code)
            return false;
        uint64_t ms = (until - now) / BK_MSEC + 1;
        if (poll(wait, 2, ms > 1000 ? 1000 : (int)ms) <= 0)
            continue;
        if (wait[0].revents)
            receive_one(companion);
        else if (wait[1].revents)
            master->signals.ready(&master->signals, EPOLLIN);
        if (starting && master->phase != BK_MASTER_RUNNING)
            return false;
    }
    return companion->called == companion->sent && !master->exit_code;
}

// ---- its end ------------------------------------------------------------------------------------

static void
disconnect(struct bk_companion *companion)
{
    if (companion->channel.fd < 0)
        return;
    bk_loop_remove(&companion->master->loop, &companion->channel);
    close(companion->channel.fd);
    companion->channel.fd = -1;
}

bool
bk_companion_gone(struct bk_master *master, pid_t pid, int status)
{
    struct bk_companion *companion = &master->companion;
    char pause_text[BK_WORDS_ROOM], how[BK_WORDS_ROOM + 16];
    uint64_t now = bk_clock_mono();

    if (!companion->master || pid != companion->pid)
        return false;
    while (companion->channel.fd >= 0 && receive_one(companion))
        ;
    disconnect(companion);
    companion->pid = 0;
    if (master->phase != BK_MASTER_RUNNING || !master->pools[0].served || companion->stopping)
        return true;
    if (WIFSIGNALED(status))
        bk_words_signal(WTERMSIG(status), how);
    else
        snprintf(how, sizeof how, "exit code %d", WEXITSTATUS(status));
    uint64_t pause = bk_backoff_died(&companion->backoff, now - companion->born);
    bk_log(BK_LOG_ERROR, BK_MASTER_KEY(HOOK_FAILED),
           "the process for hooks (pid %d) ended: %s; the next one starts in %s", (int)pid, how,
           bk_words_duration(pause, pause_text));
    bk_timer_init(&companion->again, pause_over);
    bk_timer_set(&master->loop.wheel, &companion->again, now + pause);
    return true;
}

static void
pause_over(struct bk_timer *timer)
{
    struct bk_companion *companion = BK_OUTER(timer, struct bk_companion, again);
    char why[BK_WORDS_ROOM];

    if (companion->pid || companion->master->phase != BK_MASTER_RUNNING)
        return;
    int rc = launch(companion);
    if (rc < 0)
        bk_log(BK_LOG_ERROR, BK_MASTER_KEY(HOOK_FAILED), "cannot start the process for hooks: %s",
               bk_words_error(rc, why));
}

// The old one reads to the end of its channel, and is reaped like any orphan.
void
bk_companion_renew(struct bk_master *master)
{
    struct bk_companion *companion = &master->companion;

    if (!companion->master)
        return;
    disconnect(companion);
    companion->pid = 0;
    pause_over(&companion->again);
}

void
bk_companion_close(struct bk_master *master)
{
    struct bk_companion *companion = &master->companion;

    if (!companion->master)
        return;
    bk_timer_cancel(&master->loop.wheel, &companion->again);
    companion->stopping = true;
    if (companion->channel.fd >= 0) {
        if (master->announced)
            bk_companion_tell(master, "on_exit", "%s", "");
        if (!await_called(companion, LAST_WORDS) && companion->channel.fd >= 0)
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(HOOK_DROPPED), "hooks were not over within %u s",
                   (unsigned)(LAST_WORDS / BK_SEC));
    }
    disconnect(companion);
    if (companion->pid > 0) {
        kill(-companion->pid, SIGKILL);
        while (waitpid(companion->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    companion->pid = 0;
}
