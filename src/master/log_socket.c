// Syslog and journal datagrams. Never blocks longer than a tenth of a second for a daemon that does
// not read.
#include "master/log_socket.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#include "base/banned.h"

#define RETRY (1 * BK_SEC)
#define WAIT_MS 100
#define DATAGRAM_MAX 8192  // what rsyslog takes by default; the journal takes more
#define JOURNAL_MAX 131072

static int connect_unix(struct bk_log_target *target);
static int connect_udp(const char *to, int *ret_fd);
static bool transmit(struct bk_log_target *target, const char *at, size_t len);
static bool send_once(int fd, const char *at, size_t len);
static void send_syslog(struct bk_log_target *target, const struct bk_log_record *record);
static void send_journal(struct bk_log_target *target, const struct bk_log_record *record);
static int add_field(struct bk_page *page, const char *name, struct bk_str value);

int
bk_log_socket_open(struct bk_log_target *target, enum bk_log_target_kind kind, const char *to)
{
    int rc = 0;

    if (!to)
        to = kind == BK_LOG_SYSLOG ? "unix:/dev/log" : "unix:/run/systemd/journal/socket";
    target->kind = kind;
    target->shape = BK_SHAPE_PLAIN;
    target->udp = strncmp(to, "udp://", 6) == 0;
    if (!target->udp && (strncmp(to, "unix:", 5) != 0 || !to[5] || strlen(to) > 5 + 100))
        return -EINVAL;
    target->path = strdup(to + (target->udp ? 6 : 5));
    if (!target->path)
        return -ENOMEM;
    if (target->udp) {
        if (gethostname(target->hostname, sizeof target->hostname - 1) < 0 || !target->hostname[0])
            snprintf(target->hostname, sizeof target->hostname, "-");
        rc = connect_udp(target->path, &target->fd);
    } else {
        (void)connect_unix(target);
    }
    if (rc < 0)
        bk_log_target_release(target);
    return rc;
}

void
bk_log_socket_send(struct bk_log_target *target, const struct bk_log_record *record)
{
    if (target->kind == BK_LOG_JOURNAL)
        send_journal(target, record);
    else
        send_syslog(target, record);
}

int
bk_log_socket_facility(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } facilities[] = {{"user", 1},    {"daemon", 3},  {"local0", 16}, {"local1", 17},
                      {"local2", 18}, {"local3", 19}, {"local4", 20}, {"local5", 21},
                      {"local6", 22}, {"local7", 23}};

    for (unsigned i = 0; i < BK_COUNT(facilities); i++)
        if (strcmp(name, facilities[i].name) == 0)
            return facilities[i].number;
    return -EINVAL;
}

size_t
bk_log_socket_head(const struct bk_log_target *target, const struct bk_log_record *record,
                   char *out, size_t room)
{
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int priority = target->facility * 8 + bk_log_line_severity(record), len;
    char iso[25];
    struct tm local;
    time_t seconds = (time_t)(record->wall_ns / BK_SEC);

    if (target->udp) {
        bk_clock_iso(iso, record->wall_ns);
        len = snprintf(out, room, "<%d>1 %s %s %s %d - - ", priority, iso, target->hostname,
                       target->tag, (int)record->pid);
    } else {
        localtime_r(&seconds, &local);
        len = snprintf(out, room, "<%d>%s %2d %02d:%02d:%02d %s[%d]: ", priority,
                       months[local.tm_mon], local.tm_mday, local.tm_hour, local.tm_min,
                       local.tm_sec, target->tag, (int)record->pid);
    }
    return len < 0 ? 0 : (size_t)len < room ? (size_t)len : room - 1;
}

int
bk_log_socket_journal(struct bk_page *page, const struct bk_log_record *record)
{
    struct bk_page message = {0};
    char head[64];

    if (bk_log_line_add(&message, BK_SHAPE_PLAIN, false, record) < 0)
        return -ENOMEM;
    int rc = add_field(page, "MESSAGE", (struct bk_str){message.at, message.len - 1});
    bk_page_release(&message);
    if (rc == 0 && record->key.len > 0)
        rc = add_field(page, "BARKEEP_KEY", record->key);
    if (rc < 0)
        return rc;
    // The pid is the worker's; the journal itself sees only the master as the sender.
    int len = snprintf(head, sizeof head, "PRIORITY=%d\nSYSLOG_IDENTIFIER=barkeep\nSYSLOG_PID=%d\n",
                       bk_log_line_severity(record), (int)record->pid);
    return bk_page_add(page, head, (size_t)len);
}

static int
connect_unix(struct bk_log_target *target)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    uint64_t now = bk_clock_mono();

    if (target->checked && now - target->checked < RETRY)
        return -EAGAIN;
    target->checked = now;
    if (target->fd >= 0)
        close(target->fd);
    target->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (target->fd < 0)
        return -errno;
    snprintf(to.sun_path, sizeof to.sun_path, "%s", target->path);
    if (connect(target->fd, (struct sockaddr *)&to, sizeof to) == 0)
        return 0;
    int rc = -errno;
    close(target->fd);
    target->fd = -1;
    return rc;
}

static int
connect_udp(const char *to, int *ret_fd)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_DGRAM}, *found = NULL;
    char host[256];
    const char *colon = strrchr(to, ':');
    size_t len = colon ? (size_t)(colon - to) : strlen(to);
    const char *port = colon ? colon + 1 : "514";
    int rc = -ENOENT;

    if (len > 1 && to[0] == '[' && to[len - 1] == ']') {
        to++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof host || !*port)
        return -EINVAL;
    memcpy(host, to, len);
    host[len] = '\0';
    if (getaddrinfo(host, port, &wanted, &found) != 0)
        return -ENOENT;
    for (struct addrinfo *one = found; one && rc < 0; one = one->ai_next) {
        int fd = socket(one->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        rc = connect(fd, one->ai_addr, one->ai_addrlen) < 0 ? -errno : 0;
        if (rc == 0)
            *ret_fd = fd;
        else
            close(fd);
    }
    freeaddrinfo(found);
    return rc;
}

// A daemon that was restarted has a new socket: connect again, once, then give this record up.
static bool
transmit(struct bk_log_target *target, const char *at, size_t len)
{
    if (target->fd >= 0 && send_once(target->fd, at, len))
        return true;
    if (target->udp)
        return errno == ECONNREFUSED &&
               send_once(target->fd, at, len);  // an answer to an earlier datagram
    if (target->fd >= 0 && errno == EAGAIN)
        return false;
    return connect_unix(target) == 0 && send_once(target->fd, at, len);
}

static bool
send_once(int fd, const char *at, size_t len)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};

    if (send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return true;
    if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
        return false;
    if (poll(&wait, 1, WAIT_MS) <= 0) {
        errno = EAGAIN;
        return false;
    }
    return send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void
send_syslog(struct bk_log_target *target, const struct bk_log_record *record)
{
    struct bk_page lines = {0};
    char datagram[DATAGRAM_MAX];
    size_t head = bk_log_socket_head(target, record, datagram, sizeof datagram);

    if (bk_log_line_add(&lines, target->shape, false, record) < 0) {
        target->lost++;
        return;
    }
    for (const char *at = lines.at, *end = at + lines.len; at < end;) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)(eol - at);
        size_t fits = len < sizeof datagram - head ? len : sizeof datagram - head;
        memcpy(datagram + head, at, fits);
        if (!transmit(target, datagram, head + fits))
            target->lost++;
        at = eol + 1;
    }
    bk_page_release(&lines);
}

static void
send_journal(struct bk_log_target *target, const struct bk_log_record *record)
{
    struct bk_page datagram = {0};

    if (bk_log_socket_journal(&datagram, record) < 0 || datagram.len > JOURNAL_MAX ||
        !transmit(target, datagram.at, datagram.len))
        target->lost++;
    bk_page_release(&datagram);
}

// "NAME=value\n", or for values with newlines the name, a 64-bit little-endian length and the
// bytes.
static int
add_field(struct bk_page *page, const char *name, struct bk_str value)
{
    size_t before = page->len;
    unsigned char length[8];
    int rc = bk_page_add(page, name, strlen(name));

    if (rc == 0 && value.len > 0 && memchr(value.at, '\n', value.len)) {
        for (unsigned i = 0; i < 8; i++)
            length[i] = (unsigned char)((uint64_t)value.len >> (8 * i));
        rc = bk_page_add(page, "\n", 1);
        if (rc == 0)
            rc = bk_page_add(page, (const char *)length, sizeof length);
    } else if (rc == 0) {
        rc = bk_page_add(page, "=", 1);
    }
    if (rc == 0)
        rc = bk_page_add(page, value.at, value.len);
    if (rc == 0)
        rc = bk_page_add(page, "\n", 1);
    if (rc < 0)
        page->len = before;
    return rc;
}
