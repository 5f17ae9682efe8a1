// Listening sockets. Called by the master (and by barkeep.run) before any worker exists, and at the
// end to close them.
#include "net/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

// How long another barkeep may hold the lock beside a unix socket: it does so for one bind, never
// for longer.
#define LOCK_TRIES 200
#define LOCK_PAUSE_NS 10000000

struct path_lock {
    int fd;
    char path[300];
};

static int open_tcp(const struct bk_listen_options *options, struct bk_listener *listener);
static int open_unix(const struct bk_listen_options *options, struct bk_listener *listener);
static int open_path(const struct bk_listen_options *options, struct bk_listener *listener);
static int bind_path(const struct bk_listen_options *options, struct bk_listener *listener);
static int remove_stale(const struct bk_listener *listener);
static int lock_path(struct path_lock *lock, const char *path);
static void unlock_path(struct path_lock *lock);
static int adopt(struct bk_listener *listener);
static int set_option(int fd, int level, int name);
static int read_name(struct bk_listener *listener);

int
bk_listen_open(const struct bk_bind *bind, const struct bk_listen_options *options,
               struct bk_listener *ret)
{
    struct bk_listener listener = {.fd = -1, .bind = *bind, .scheme = bind->scheme};
    int error = 0;
    if (listener.scheme == BK_SCHEME_DEFAULT)
        listener.scheme = BK_SCHEME_HTTP;
    if (bind->kind == BK_BIND_FD)
        error = adopt(&listener);
    else
        error = bk_bind_resolve(bind, &listener.addr);
    if (error == 0 && bind->kind == BK_BIND_TCP)
        error = open_tcp(options, &listener);
    else if (error == 0 && bind->kind != BK_BIND_FD)
        error = open_unix(options, &listener);
    if (error == 0)
        error = read_name(&listener);
    if (error < 0) {
        if (bind->kind != BK_BIND_FD)
            bk_listen_close(&listener, true);
        return error;
    }
    *ret = listener;
    return 0;
}

static int
open_tcp(const struct bk_listen_options *options, struct bk_listener *listener)
{
    int fd = socket(listener->addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    listener->fd = fd;
    int error = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
    // Connections inherit it: answers are written whole, waiting for an ACK would only delay their
    // last packet.
    if (error == 0)
        error = set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    if (error == 0 && options->reuse_port)
        error = set_option(fd, SOL_SOCKET, SO_REUSEPORT);
    if (error < 0)
        return error;
    if (bind(fd, &listener->addr.sa, listener->addr.len) < 0 || listen(fd, options->backlog) < 0)
        return -errno;
    return 0;
}

static int
open_unix(const struct bk_listen_options *options, struct bk_listener *listener)
{
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return -errno;
    if (listener->bind.kind == BK_BIND_UNIX)
        return open_path(options, listener);
    if (bind(listener->fd, &listener->addr.sa, listener->addr.len) < 0 ||
        listen(listener->fd, options->backlog) < 0)
        return -errno;
    return 0;
}

// The lock covers the test for a stale file and our own bind and listen: a socket that is bound but
// does not listen yet refuses connections just like one whose owner died.
static int
open_path(const struct bk_listen_options *options, struct bk_listener *listener)
{
    struct path_lock lock;
    int error = lock_path(&lock, listener->bind.host);
    if (error < 0)
        return error;
    error = remove_stale(listener);
    if (error == 0)
        error = bind_path(options, listener);
    if (error == 0 && listen(listener->fd, options->backlog) < 0)
        error = -errno;
    unlock_path(&lock);
    return error;
}

static int
bind_path(const struct bk_listen_options *options, struct bk_listener *listener)
{
    const char *path = listener->bind.host;
    mode_t mode = options->unix_mode & 0777;
    struct stat st;
    // Linux gives the file the mode of the socket's inode (less the umask): never open to others,
    // not even for the moment until the chmod, and without touching the process-wide umask.
    if (fchmod(listener->fd, mode) < 0)
        return -errno;
    if (bind(listener->fd, &listener->addr.sa, listener->addr.len) < 0)
        return -errno;
    if (lstat(path, &st) < 0)
        return -errno;
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    if (options->unix_chown && lchown(path, options->unix_uid, options->unix_gid) < 0)
        return -errno;
    if ((st.st_mode & 0777) != mode && chmod(path, mode) < 0)
        return -errno;
    return 0;
}

// Removes a socket file nobody listens on. -EADDRINUSE when somebody does, -ENOTSOCK when it is
// another kind of file.
static int
remove_stale(const struct bk_listener *listener)
{
    const char *path = listener->bind.host;
    struct stat st;
    int fd, error;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    error = connect(fd, &listener->addr.sa, listener->addr.len) < 0 ? errno : 0;
    close(fd);
    if (error == EACCES)
        return -EACCES;
    // EAGAIN: its queue is full. EPROTOTYPE: a datagram socket. Both have an owner.
    if (error != ECONNREFUSED && error != ENOENT)
        return -EADDRINUSE;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

// PATH.lock, which exists only while it is held.
static int
lock_path(struct path_lock *lock, const char *path)
{
    static const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    snprintf(lock->path, sizeof lock->path, "%s.lock", path);
    for (int i = 0; i < LOCK_TRIES; i++) {
        struct stat ours, there;
        lock->fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (lock->fd < 0)
            return -errno;
        // The last holder may have removed the file between our open and flock; then it guards
        // nothing any more.
        if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0 && fstat(lock->fd, &ours) == 0 &&
            lstat(lock->path, &there) == 0 && ours.st_dev == there.st_dev &&
            ours.st_ino == there.st_ino)
            return 0;
        close(lock->fd);
        nanosleep(&pause, NULL);
    }
    return -EADDRINUSE;
}

static void
unlock_path(struct path_lock *lock)
{
    unlink(lock->path);
    close(lock->fd);
}

// fd://N from systemd, circus, a parent. Its queue length stays what its maker chose.
static int
adopt(struct bk_listener *listener)
{
    int fd = listener->bind.fd, value = 0, flags, family;
    socklen_t len = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) < 0)
        return -errno;
    if (value != SOCK_STREAM)
        return -EPROTOTYPE;
    len = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) < 0)
        return -errno;
    if (!value)
        return -EINVAL;
    listener->fd = fd;
    if (read_name(listener) < 0)
        return -EAFNOSUPPORT;
    family = listener->addr.sa.sa_family;
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return -EAFNOSUPPORT;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    if (family != AF_UNIX)
        return set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    return 0;
}

void
bk_listen_close(struct bk_listener *listener, bool unlink_path)
{
    struct stat st;
    // The file goes first: once the socket is closed somebody else may put a new one in its place.
    if (unlink_path && listener->bind.kind == BK_BIND_UNIX && listener->ino != 0 &&
        lstat(listener->bind.host, &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino)
        unlink(listener->bind.host);
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
}

int
bk_listen_probe(const struct bk_bind *bind_to)
{
    struct bk_addr addr;
    int error, fd;
    if (bind_to->kind != BK_BIND_TCP || bind_to->port == 0)
        return 0;
    error = bk_bind_resolve(bind_to, &addr);
    if (error < 0)
        return error;
    fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    error = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
    if (error == 0 && bind(fd, &addr.sa, addr.len) < 0)
        error = -errno;
    close(fd);
    return error;
}

int
bk_listen_somaxconn(void)
{
    int value = 0;
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
    if (!file)
        return 4096;
    if (fscanf(file, "%d", &value) != 1 || value < 1)
        value = 4096;
    fclose(file);
    return value;
}

static int
set_option(int fd, int level, int name)
{
    static const int on = 1;
    return setsockopt(fd, level, name, &on, sizeof on) < 0 ? -errno : 0;
}

// What the kernel says we are bound to: the real port after ":0".
static int
read_name(struct bk_listener *listener)
{
    memset(&listener->addr, 0, sizeof listener->addr);
    listener->addr.len = sizeof listener->addr.storage;
    return getsockname(listener->fd, &listener->addr.sa, &listener->addr.len) < 0 ? -errno : 0;
}
