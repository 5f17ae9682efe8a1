// Writing, holding and removing the file of --pid.
#include "master/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define TRIES 10

static int lock(struct bk_pidfile *file);
static pid_t number_in(int fd);
static int write_number(int fd);

int
bk_pidfile_open(struct bk_pidfile *file, const char *path, pid_t *ret_pid)
{
    *file = (struct bk_pidfile){.fd = -1, .path = path};
    *ret_pid = 0;
    if (!path)
        return 0;
    int rc = -ESTALE;
    for (int i = 0; i < TRIES && rc == -ESTALE; i++)
        rc = lock(file);
    if (rc == 0)
        rc = write_number(file->fd);
    if (rc == -EWOULDBLOCK && file->fd >= 0)
        *ret_pid = number_in(file->fd);
    if (rc < 0 && file->fd >= 0) {
        close(file->fd);
        file->fd = -1;
    }
    return rc;
}

// -ESTALE: the file went away between open and lock, because its last holder ended; once more.
static int
lock(struct bk_pidfile *file)
{
    struct stat ours, there;

    if (file->fd >= 0)
        close(file->fd);
    file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
    if (file->fd < 0)
        return -errno;
    if (flock(file->fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    if (fstat(file->fd, &ours) < 0)
        return -errno;
    if (stat(file->path, &there) < 0 || there.st_dev != ours.st_dev || there.st_ino != ours.st_ino)
        return -ESTALE;
    file->dev = ours.st_dev;
    file->ino = ours.st_ino;
    return 0;
}

static pid_t
number_in(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    long number = strtol(text, NULL, 10);
    return number > 0 && number <= INT32_MAX ? (pid_t)number : 0;
}

static int
write_number(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%d\n", (int)getpid());

    if (ftruncate(fd, 0) < 0)
        return -errno;
    ssize_t n = pwrite(fd, text, (size_t)len, 0);
    return n == len ? 0 : n < 0 ? -errno : -ENOSPC;
}

void
bk_pidfile_close(struct bk_pidfile *file)
{
    struct stat there;

    if (file->fd < 0)
        return;
    if (stat(file->path, &there) == 0 && there.st_dev == file->dev && there.st_ino == file->ino)
        unlink(file->path);
    close(file->fd);
    file->fd = -1;
}
