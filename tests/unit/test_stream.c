// The plain stream over a socket pair: partial writes, ends, resets without SIGPIPE, files.
#include "net/stream.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "check.h"

static struct bk_stream stream;
static int peer;

static void
start(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    stream = (struct bk_stream){.ops = &bk_stream_plain, .fd = pair[0]};
    peer = pair[1];
}

static void
stop(void)
{
    stream.ops->close(&stream);
    CHECK_INT(stream.fd, -1);
    stream.ops->close(&stream);  // safe twice
    close(peer);
}

TEST(reading)
{
    char text[16];
    start();
    CHECK_INT(stream.ops->read(&stream, text, sizeof text), -EAGAIN);
    CHECK(write(peer, "hello", 5) == 5);
    CHECK_INT(stream.ops->read(&stream, text, 3), 3);
    CHECK_INT(stream.ops->read(&stream, text, sizeof text), 2);
    CHECK(memcmp(text, "lo", 2) == 0);
    CHECK_INT(stream.ops->pending(&stream), 0);
    CHECK(shutdown(peer, SHUT_WR) == 0);
    CHECK_INT(stream.ops->read(&stream, text, sizeof text), 0);
    CHECK_INT(stream.ops->write(&stream, "still open", 10), 10);
    stop();
}

TEST(writing_until_full)
{
    static char block[65536];
    size_t total = 0, got = 0;
    ssize_t n;
    start();
    while ((n = stream.ops->write(&stream, block, sizeof block)) > 0)
        total += (size_t)n;
    CHECK_INT(n, -EAGAIN);
    CHECK(total > 0);
    while ((n = read(peer, block, sizeof block)) > 0)
        got += (size_t)n;
    CHECK_INT(got, total);
    stop();
}

TEST(writing_parts)
{
    char text[16];
    struct iovec parts[] = {{"he", 2}, {"", 0}, {"llo", 3}};
    start();
    CHECK_INT(stream.ops->writev(&stream, parts, 3), 5);
    CHECK_INT(read(peer, text, sizeof text), 5);
    CHECK(memcmp(text, "hello", 5) == 0);
    stop();
}

TEST(half_close)
{
    char text[16];
    start();
    CHECK_INT(stream.ops->shut_write(&stream), 0);
    CHECK_INT(read(peer, text, sizeof text), 0);
    CHECK(write(peer, "x", 1) == 1);
    CHECK_INT(stream.ops->read(&stream, text, sizeof text), 1);
    stop();
}

static int
make_file(size_t size)
{
    static char block[10000];
    int fd = memfd_create("file", MFD_CLOEXEC);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)('a' + i % 26);
    CHECK(size <= sizeof block && write(fd, block, size) == (ssize_t)size);
    return fd;
}

TEST(sending_files)
{
    char text[10000];
    off_t offset = 26;
    start();
    int file = make_file(1000);
    CHECK_INT(stream.ops->send_file(&stream, file, &offset, 4), 4);
    CHECK_INT(offset, 30);
    CHECK_INT(read(peer, text, sizeof text), 4);
    CHECK(memcmp(text, "abcd", 4) == 0);
    CHECK_INT(stream.ops->send_file(&stream, file, &offset, SIZE_MAX), 970);
    CHECK_INT(stream.ops->send_file(&stream, file, &offset, 1), 0);  // ended early
    CHECK_INT(read(peer, text, sizeof text), 970);
    CHECK_INT(text[0], 'e');
    close(file);
    CHECK_INT(stream.ops->send_file(&stream, file, &offset, 1), -EBADF);
    stop();
}

static volatile sig_atomic_t pipes;

static void
count_pipe(int number)
{
    pipes = pipes + 1;
}

TEST(gone_peer_is_an_error_and_no_signal)
{
    struct iovec part = {"x", 1};
    sigset_t mask, pending;
    off_t offset = 0;
    signal(SIGPIPE, count_pipe);
    start();
    int file = make_file(1000);
    close(peer);
    CHECK_INT(stream.ops->write(&stream, "x", 1), -EPIPE);
    CHECK_INT(stream.ops->writev(&stream, &part, 1), -EPIPE);
    CHECK_INT(stream.ops->send_file(&stream, file, &offset, 1000), -EPIPE);
    CHECK_INT(pipes, 0);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGPIPE) == 0);
    CHECK(raise(SIGPIPE) == 0);
    CHECK_INT(pipes, 1);  // the test can see one
    close(file);
    stop();
}

TEST(file_to_gone_peer_with_the_signal_ignored)
{
    off_t offset = 0;
    sigset_t pending;
    signal(SIGPIPE, SIG_IGN);
    start();
    int file = make_file(1000);
    close(peer);
    CHECK_INT(stream.ops->send_file(&stream, file, &offset, 1000), -EPIPE);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
    signal(SIGPIPE, SIG_DFL);
    CHECK_INT(stream.ops->send_file(&stream, file, &offset, 1000), -EPIPE);  // and lived
    close(file);
    stop();
}
