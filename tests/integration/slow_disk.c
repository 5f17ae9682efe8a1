// Preloaded by test_slow_disk.py: a disk that takes its time. Every write to a spill file and every
// sendfile sleeps for $SLOW_DISK_MS, and no file is in the page cache.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>

static void
be_slow(void)
{
    const char *text = getenv("SLOW_DISK_MS");
    long ms = text ? strtol(text, NULL, 10) : 0;
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

ssize_t
pwrite(int fd, const void *from, size_t len, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    be_slow();
    return real(fd, from, len, offset);
}

ssize_t
sendfile(int to, int from, off_t *offset, size_t len)
{
    ssize_t (*real)(int, int, off_t *, size_t) = dlsym(RTLD_NEXT, "sendfile");
    be_slow();
    return real(to, from, offset, len);
}

ssize_t
preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    (void)fd, (void)parts, (void)count, (void)offset, (void)flags;
    errno = EAGAIN;
    return -1;
}

// The names that programs built with 64-bit file offsets ask for.
ssize_t pwrite64(int fd, const void *from, size_t len, off_t offset)
    __attribute__((alias("pwrite")));
ssize_t sendfile64(int to, int from, off_t *offset, size_t len)
    __attribute__((alias("sendfile")));
ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
    __attribute__((alias("preadv2")));
