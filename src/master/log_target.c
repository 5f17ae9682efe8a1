// Writes lines to files, pipes, terminals and sockets. Descriptors we inherited are never made
// non-blocking: the flag would hit the application's print() and the user's shell as well. So a
// write is made only after poll() has said that it will not block, and is not larger than what
// poll() promised.
#include "master/log_target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/log_socket.h"

#include "base/banned.h"

#define PAGE_FULL 65536
#define RENAME_CHECK (1 * BK_SEC)
#define SLICE_MS 100  // between two looks at the patience

static int open_fd(struct bk_log_target *target, int fd);
static int open_file(struct bk_log_target *target, const char *path);
static void follow_rename(struct bk_log_target *target);
static void write_file(struct bk_log_target *target);
static void write_fd(struct bk_log_target *target, bk_log_patience_fn patience, void *self);
static size_t piece(const struct bk_log_target *target, const char *at, size_t len);
static ssize_t write_piece(const struct bk_log_target *target, const char *at, size_t len);
static void count_lost(struct bk_log_target *target, const char *at, size_t len);

int
bk_log_target_open(struct bk_log_target *target, const char *name, int standard_fd,
                   const char *syslog_to)
{
    *target = (struct bk_log_target){.fd = -1, .shape = BK_SHAPE_ISO};
    if (strcmp(name, "-") == 0)
        return open_fd(target, standard_fd);
    // Opened by name they would fail where they are sockets, and be somebody else's file position
    // where they are files.
    if (strcmp(name, "/dev/stdout") == 0)
        return open_fd(target, STDOUT_FILENO);
    if (strcmp(name, "/dev/stderr") == 0)
        return open_fd(target, STDERR_FILENO);
    if (strcmp(name, "syslog") == 0)
        return bk_log_socket_open(target, BK_LOG_SYSLOG, syslog_to);
    if (strcmp(name, "journald") == 0)
        return bk_log_socket_open(target, BK_LOG_JOURNAL, NULL);
    return open_file(target, name);
}

void
bk_log_target_release(struct bk_log_target *target)
{
    if (target->kind != BK_LOG_FD && target->kind != BK_LOG_NOWHERE && target->fd >= 0)
        close(target->fd);
    free(target->path);
    bk_page_release(&target->page);
    *target = (struct bk_log_target){.fd = -1};
}

void
bk_log_target_add(struct bk_log_target *target, const struct bk_log_record *record,
                  bk_log_patience_fn patience, void *self)
{
    if (target->kind == BK_LOG_NOWHERE)
        return;
    if (target->kind == BK_LOG_SYSLOG || target->kind == BK_LOG_JOURNAL) {
        bk_log_socket_send(target, record);
        return;
    }
    if (bk_log_line_add(&target->page, target->shape, target->kind == BK_LOG_FD, record) < 0) {
        target->lost++;
        return;
    }
    if (target->page.len >= PAGE_FULL)
        bk_log_target_flush(target, patience, self);
}

void
bk_log_target_flush(struct bk_log_target *target, bk_log_patience_fn patience, void *self)
{
    if (target->page.len == 0)
        return;
    if (target->kind == BK_LOG_FILE && target->type == S_IFREG)
        write_file(target);
    else
        write_fd(target, patience, self);
    target->page.len = 0;
    if (target->page.room > 2 * PAGE_FULL)
        bk_page_release(&target->page);
}

int
bk_log_target_reopen(struct bk_log_target *target)
{
    struct stat facts;

    if (target->kind != BK_LOG_FILE)
        return 0;
    // Without O_NONBLOCK a FIFO nobody reads would hold us here. The description is ours alone.
    int fd =
        open(target->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &facts) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    if (target->fd >= 0)
        close(target->fd);
    target->fd = fd;
    target->type = facts.st_mode & S_IFMT;
    return 0;
}

uint64_t
bk_log_target_lost(struct bk_log_target *target)
{
    uint64_t lost = target->lost;
    target->lost = 0;
    return lost;
}

static int
open_fd(struct bk_log_target *target, int fd)
{
    struct stat facts;

    if (fstat(fd, &facts) < 0)
        return -errno;
    target->kind = BK_LOG_FD;
    target->fd = fd;
    target->type = facts.st_mode & S_IFMT;
    return 0;
}

static int
open_file(struct bk_log_target *target, const char *path)
{
    target->path = strdup(path);
    if (!target->path)
        return -ENOMEM;
    target->kind = BK_LOG_FILE;
    int rc = bk_log_target_reopen(target);
    if (rc < 0)
        bk_log_target_release(target);
    return rc;
}

// logrotate renames first and tells later, or never: look at the path once a second.
static void
follow_rename(struct bk_log_target *target)
{
    struct stat named, opened;
    uint64_t now = bk_clock_mono();

    if (now - target->checked < RENAME_CHECK)
        return;
    target->checked = now;
    if (target->fd >= 0 && stat(target->path, &named) == 0 && fstat(target->fd, &opened) == 0 &&
        named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
        return;
    (void)bk_log_target_reopen(target);
}

// A full disk loses lines and counts them; regular files do not block for long enough to matter
// here.
static void
write_file(struct bk_log_target *target)
{
    const char *at = target->page.at, *end = at + target->page.len;

    follow_rename(target);
    while (at < end) {
        ssize_t n = target->fd < 0 ? -1 : write(target->fd, at, (size_t)(end - at));
        if (n < 0 && target->fd >= 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            count_lost(target, at, (size_t)(end - at));
            return;
        }
        at += n;
    }
}

static void
write_fd(struct bk_log_target *target, bk_log_patience_fn patience, void *self)
{
    const char *at = target->page.at, *end = at + target->page.len;

    while (at < end) {
        struct pollfd wait = {.fd = target->fd, .events = POLLOUT};
        if (target->type != S_IFREG && poll(&wait, 1, SLICE_MS) == 0) {
            if (patience(self))
                continue;
            break;
        }
        ssize_t n = write_piece(target, at, piece(target, at, (size_t)(end - at)));
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            // EAGAIN: somebody else made the descriptor non-blocking and took the room before us.
            if (errno == EAGAIN && !patience(self))
                break;
            continue;
        }
        if (n <= 0)
            break;
        at += n;
    }
    if (at < end)
        count_lost(target, at, (size_t)(end - at));
}

// On a pipe: as many whole lines as a single atomic write takes; a longer line goes in pieces.
static size_t
piece(const struct bk_log_target *target, const char *at, size_t len)
{
    if (target->type == S_IFREG || len <= PIPE_BUF)
        return len;
    const char *eol = memrchr(at, '\n', PIPE_BUF);
    return eol ? (size_t)(eol - at) + 1 : PIPE_BUF;
}

// A socket can take a single call without blocking even if we may not change its flags.
static ssize_t
write_piece(const struct bk_log_target *target, const char *at, size_t len)
{
    if (target->type == S_IFSOCK)
        return send(target->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return write(target->fd, at, len);
}

static void
count_lost(struct bk_log_target *target, const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        target->lost += at[i] == '\n';
}

// systemd.exec(5): JOURNAL_STREAM is "device:inode" of the stream it connected to stdout or stderr.
bool
bk_log_target_is_journal(int fd)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat facts;

    return text && sscanf(text, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &facts) == 0 &&
           facts.st_dev == device && facts.st_ino == inode;
}
