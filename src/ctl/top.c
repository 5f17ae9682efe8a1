// barkeepctl top: looks, compares, draws, until somebody presses q.
#include "ctl/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#include "base/banned.h"

// The other screen of the terminal, without a cursor; and back.
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"

static struct termios usual;
static bool raw;
static volatile sig_atomic_t over;

static int once(const struct bk_ctl_server *server, const struct bk_ctl_options *options);
static int live(const struct bk_ctl_server *server, const struct bk_ctl_options *options);
static int lines_of_json(const struct bk_ctl_server *server, const struct bk_ctl_options *options);
static int look_again(const struct bk_ctl_server *server, struct bk_tree *earlier,
                      struct bk_top *top);
static void remember(struct bk_top *top);
static int gone(const struct bk_ctl_server *server, int error);
static void nap(double seconds);
static void enter_screen(void);
static void leave_screen(void);
static void interrupted(int number);
static bool wait_for_key(double seconds);
static int show(const struct bk_top *top, bool ascii);

int
bk_ctl_top(const struct bk_ctl_server *server, const struct bk_ctl_options *options)
{
    if (options->once)
        return once(server, options);
    if (options->json)
        return lines_of_json(server, options);
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return bk_ctl_fail(2, "control-command",
                           "top needs a terminal\n  try: barkeepctl top --once");
    return live(server, options);
}

// Two looks, one frame.
static int
once(const struct bk_ctl_server *server, const struct bk_ctl_options *options)
{
    struct bk_top top = {0};
    struct bk_tree earlier = {0};
    struct bk_buf out = {0};
    int rc = look_again(server, &earlier, &top);

    if (rc == 0) {
        nap(options->interval);
        rc = look_again(server, &earlier, &top);
    }
    if (rc == 0)
        rc = options->json ? bk_top_json(&top, &out)
                           : bk_top_draw(&top, 1000, 400, options->ascii, "\n", &out);
    if (rc == 0)
        fwrite(out.at, 1, out.len, stdout);
    bk_buf_release(&out);
    bk_top_release(&top);
    bk_tree_release(&earlier);
    return rc < 0 ? gone(server, rc) : fflush(stdout) == 0 ? 0 : 1;
}

static int
lines_of_json(const struct bk_ctl_server *server, const struct bk_ctl_options *options)
{
    struct bk_top top = {0};
    struct bk_tree earlier = {0};
    int rc = look_again(server, &earlier, &top);

    while (rc == 0) {
        struct bk_buf out = {0};
        nap(options->interval);
        rc = look_again(server, &earlier, &top);
        if (rc == 0)
            rc = bk_top_json(&top, &out);
        if (rc == 0 && (fwrite(out.at, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
            rc = -EPIPE;
        bk_buf_release(&out);
    }
    bk_top_release(&top);
    bk_tree_release(&earlier);
    return gone(server, rc);
}

static int
live(const struct bk_ctl_server *server, const struct bk_ctl_options *options)
{
    struct bk_top top = {0};
    struct bk_tree earlier = {0};
    int rc = look_again(server, &earlier, &top);

    if (rc < 0)
        return gone(server, rc);
    enter_screen();
    do {
        rc = show(&top, options->ascii);
        if (rc < 0 || wait_for_key(options->interval))
            break;
        rc = look_again(server, &earlier, &top);
    } while (rc == 0 && !over);
    leave_screen();
    bk_top_release(&top);
    bk_tree_release(&earlier);
    return rc < 0 ? gone(server, rc) : 0;
}

static int
look_again(const struct bk_ctl_server *server, struct bk_tree *earlier, struct bk_top *top)
{
    struct bk_tree later;
    int rc = bk_ctl_look(server, &later);

    if (rc < 0)
        return rc;
    bk_top_release(top);
    rc = bk_top_compare(earlier, &later, top);
    if (top->seconds > 0)
        remember(top);
    bk_tree_release(earlier);
    *earlier = later;
    return rc;
}

static void
remember(struct bk_top *top)
{
    if (top->history_count == BK_TOP_HISTORY)
        memmove(top->history, top->history + 1, (BK_TOP_HISTORY - 1) * sizeof top->history[0]);
    else
        top->history_count++;
    top->history[top->history_count - 1] = top->rate;
}

static int
gone(const struct bk_ctl_server *server, int error)
{
    return bk_ctl_fail(1, "control-answer", "the server with pid %d does not answer any more: %s",
                       (int)server->pid, strerrordesc_np(-error));
}

static void
nap(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        ;
}

// ---- the terminal ----

static void
enter_screen(void)
{
    struct sigaction action = {.sa_handler = interrupted};
    struct termios modes;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGWINCH, &action, NULL);
    if (tcgetattr(STDIN_FILENO, &usual) == 0) {
        modes = usual;
        modes.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw = tcsetattr(STDIN_FILENO, TCSANOW, &modes) == 0;
    }
    (void)!write(STDOUT_FILENO, ENTER, sizeof ENTER - 1);
}

static void
leave_screen(void)
{
    if (raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &usual);
    (void)!write(STDOUT_FILENO, LEAVE, sizeof LEAVE - 1);
}

static void
interrupted(int number)
{
    if (number != SIGWINCH)
        over = 1;
}

// True: it is over. A window that changes its size gets a frame at once.
static bool
wait_for_key(double seconds)
{
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t until = bk_clock_mono() + (uint64_t)(seconds * 1e9);

    while (!over) {
        uint64_t now = bk_clock_mono();
        int ms = now < until ? (int)((until - now) / BK_MSEC) + 1 : 0;
        int rc = poll(&wait, 1, ms);
        char key;
        if (rc <= 0)
            return over;
        if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == 3)
            return true;
    }
    return true;
}

static int
show(const struct bk_top *top, bool ascii)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    struct bk_buf out = {0};
    size_t sent = 0;

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    if (size.ws_row < 5 || size.ws_col < 20)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    int rc = bk_buf_append(&out, BK_STR("\033[H"), 16);
    // The last line stays free: its end would scroll the screen.
    if (rc == 0)
        rc = bk_top_draw(top, size.ws_row - 1U, size.ws_col, ascii, "\033[K\r\n", &out);
    if (rc == 0)
        rc = bk_buf_append(&out, BK_STR("\033[J"), 2 * 1024 * 1024);
    while (rc == 0 && sent < out.len) {
        ssize_t n = write(STDOUT_FILENO, out.at + sent, out.len - sent);
        if (n > 0)
            sent += (size_t)n;
        else if (errno != EINTR)
            rc = -errno;
    }
    bk_buf_release(&out);
    return rc;
}
