// Reads LISTEN_*, NOTIFY_SOCKET and WATCHDOG_*; sends datagrams of NAME=VALUE lines.
#include "master/systemd.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/state.h"

#include "base/banned.h"

#define PASSED_MAX 256
#define MARGIN (10 * BK_SEC)  // asked for beyond our own limits

static bool meant_for_us(const char *name);
static bool read_address(struct bk_systemd *systemd, const char *text);
static void read_watchdog(struct bk_systemd *systemd);
static void beat(struct bk_timer *timer);
static void tell(struct bk_master *master, const char *format, ...) BK_PRINTF(2, 3);

unsigned
bk_systemd_passed(void)
{
    const char *count = getenv("LISTEN_FDS");
    uint64_t number;

    if (!count || !meant_for_us("LISTEN_PID") ||
        bk_str_parse_u64(bk_str_of(count), PASSED_MAX, &number) < 0)
        return 0;
    return (unsigned)number;
}

const char *
bk_systemd_name(unsigned n, char room[256])
{
    const char *names = getenv("LISTEN_FDNAMES");
    struct bk_str rest = bk_str_of(names ? names : ""), name = {"", 0};

    for (unsigned i = 0; i <= n; i++)
        if (!bk_str_next_item(&rest, ':', &name))
            name = (struct bk_str){"", 0};
    snprintf(room, 256, "%.*s", (int)name.len, name.at);
    return room;
}

static bool
meant_for_us(const char *name)
{
    const char *text = getenv(name);
    uint64_t pid;

    return text && bk_str_parse_u64(bk_str_of(text), INT32_MAX, &pid) == 0 &&
           (pid_t)pid == getpid();
}

void
bk_systemd_open(struct bk_master *master)
{
    struct bk_systemd *systemd = &master->systemd;
    const char *address = getenv("NOTIFY_SOCKET");

    if (!address || !read_address(systemd, address))
        return;
    systemd->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (systemd->fd < 0)
        return;
    read_watchdog(systemd);
    bk_timer_init(&systemd->beat, beat);
    if (systemd->watchdog)
        bk_timer_set(&master->loop.wheel, &systemd->beat, bk_clock_mono() + systemd->watchdog);
    if (master->start->config->startup_timeout)
        tell(master, "EXTEND_TIMEOUT_USEC=%llu",
             (unsigned long long)(master->start->config->startup_timeout + MARGIN) / 1000);
}

// A path or, with an @ in front, an abstract name. Others (vsock:) are for virtual machines.
static bool
read_address(struct bk_systemd *systemd, const char *text)
{
    size_t len = strlen(text);

    if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof systemd->addr.sun_path)
        return false;
    systemd->addr.sun_family = AF_UNIX;
    memcpy(systemd->addr.sun_path, text, len);
    if (text[0] == '@')
        systemd->addr.sun_path[0] = '\0';
    systemd->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return true;
}

// A sign of life twice as often as asked for.
static void
read_watchdog(struct bk_systemd *systemd)
{
    const char *text = getenv("WATCHDOG_USEC");
    uint64_t us;

    if (!text || (getenv("WATCHDOG_PID") && !meant_for_us("WATCHDOG_PID")) ||
        bk_str_parse_u64(bk_str_of(text), UINT64_MAX / 1000, &us) < 0)
        return;
    systemd->watchdog = us * 1000 / 2;
}

static void
beat(struct bk_timer *timer)
{
    struct bk_systemd *systemd = BK_OUTER(timer, struct bk_systemd, beat);
    struct bk_master *master = BK_OUTER(systemd, struct bk_master, systemd);

    tell(master, "WATCHDOG=1");
    bk_timer_set(&master->loop.wheel, timer, bk_clock_mono() + systemd->watchdog);
}

void
bk_systemd_close(struct bk_master *master)
{
    if (master->systemd.fd >= 0)
        close(master->systemd.fd);
    master->systemd.fd = -1;
}

void
bk_systemd_ready(struct bk_master *master, const char *status)
{
    tell(master, "READY=1\nMAINPID=%d\nSTATUS=%s", (int)getpid(), status);
}

void
bk_systemd_reloading(struct bk_master *master)
{
    tell(master, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading",
         (unsigned long long)(bk_clock_mono() / 1000));
}

void
bk_systemd_stopping(struct bk_master *master)
{
    tell(master, "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=%llu",
         (unsigned long long)(master->start->config->graceful_timeout + MARGIN) / 1000);
}

// A manager that does not read loses what it is told: it is never waited for.
static void
tell(struct bk_master *master, const char *format, ...)
{
    struct bk_systemd *systemd = &master->systemd;
    char text[1024];
    va_list args;

    if (systemd->fd < 0)
        return;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len >= (int)sizeof text)
        len = sizeof text - 1;
    (void)!sendto(systemd->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT,
                  (struct sockaddr *)&systemd->addr, systemd->addr_len);
}
