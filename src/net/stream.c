// The plain byte stream: a socket without TLS. Called by serve through the vtable.
#include "net/stream.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

// The kernel moves at most this much per call anyway; keeping to it avoids an overflow of ssize_t
// arithmetic.
#define SEND_FILE_MAX ((size_t)0x7ffff000)

static ssize_t
plain_read(struct bk_stream *stream, void *into, size_t room)
{
    ssize_t n;
    do
        n = recv(stream->fd, into, room, 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t
plain_write(struct bk_stream *stream, const void *from, size_t len)
{
    ssize_t n;
    do
        n = send(stream->fd, from, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

// sendmsg instead of writev: only it can be told not to raise SIGPIPE.
static ssize_t
plain_writev(struct bk_stream *stream, const struct iovec *parts, int count)
{
    struct msghdr message = {.msg_iovlen = (size_t)count};
    ssize_t n;
    // The kernel only reads them; the C library's type forgot const.
    memcpy(&message.msg_iov, &parts, sizeof parts);
    do
        n = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

// sendfile has no MSG_NOSIGNAL, and the application may have given SIGPIPE its default action back:
// so the signal is held off for the call, and taken away when the call raised it. It goes to the
// calling thread only.
static ssize_t
plain_send_file(struct bk_stream *stream, int file_fd, off_t *offset, size_t len)
{
    static const struct timespec at_once = {0};
    sigset_t pipe_signal, old;
    ssize_t n;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
    do
        n = sendfile(stream->fd, file_fd, offset, len < SEND_FILE_MAX ? len : SEND_FILE_MAX);
    while (n < 0 && errno == EINTR);
    n = n < 0 ? -errno : n;
    if (n == -EPIPE)
        sigtimedwait(&pipe_signal, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return n;
}

static int
plain_shut_write(struct bk_stream *stream)
{
    return shutdown(stream->fd, SHUT_WR) < 0 ? -errno : 0;
}

static size_t
plain_pending(const struct bk_stream *stream)
{
    return 0;
}

static void
plain_close(struct bk_stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
}

const struct bk_stream_ops bk_stream_plain = {
    .name = "plain",
    .read = plain_read,
    .write = plain_write,
    .writev = plain_writev,
    .send_file = plain_send_file,
    .shut_write = plain_shut_write,
    .pending = plain_pending,
    .close = plain_close,
};
