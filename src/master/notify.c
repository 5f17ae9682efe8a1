// inotify.
#include "master/notify.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/files.h"

#include "base/banned.h"

// Not IN_MODIFY: a file that is being written is not ready to be read.
#define EVENTS                                                                                     \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |            \
     IN_DELETE_SELF | IN_MOVE_SELF)

static void events_ready(struct bk_watch *watch, uint32_t events);
static bool take(struct bk_notify *notify, const struct inotify_event *event);
static void forget(struct bk_notify *notify, int wd);
static int watch_parent(struct bk_notify *notify, const char *file);

int
bk_notify_open(struct bk_notify *notify, struct bk_loop *loop)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), rc;

    notify->watch = (struct bk_watch){.fd = -1};
    if (fd < 0)
        return -errno;
    notify->loop = loop;
    notify->watch = (struct bk_watch){.ready = events_ready, .fd = fd};
    rc = bk_loop_add(loop, &notify->watch, EPOLLIN);
    if (rc < 0) {
        close(fd);
        notify->watch.fd = -1;
    }
    return rc;
}

void
bk_notify_close(struct bk_notify *notify)
{
    for (unsigned i = 0; i < notify->count; i++)
        free(notify->directories[i].path);
    free(notify->directories);
    notify->directories = NULL;
    notify->count = notify->room = 0;
    if (notify->watch.fd < 0)
        return;
    bk_loop_remove(notify->loop, &notify->watch);
    close(notify->watch.fd);
    notify->watch.fd = -1;
}

int
bk_notify_directory(struct bk_notify *notify, const char *path)
{
    for (unsigned i = 0; i < notify->count; i++)
        if (strcmp(notify->directories[i].path, path) == 0)
            return 0;
    if (notify->count == BK_NOTIFY_MAX)
        return -ENOSPC;
    if (notify->count == notify->room) {
        unsigned room = notify->room ? 2 * notify->room : 64;
        struct bk_notify_directory *more = realloc(notify->directories, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        notify->directories = more;
        notify->room = room;
    }
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int wd = inotify_add_watch(notify->watch.fd, path, EVENTS | IN_ONLYDIR);
    if (wd < 0) {
        int error = errno;
        free(copy);
        return -error;
    }
    notify->directories[notify->count++] = (struct bk_notify_directory){copy, wd};
    return 0;
}

int
bk_notify_file(struct bk_notify *notify, const char *file)
{
    char real[PATH_MAX];
    int rc = watch_parent(notify, file);

    if (rc < 0)
        return rc;
    if (!realpath(file, real) || strcmp(real, file) == 0)
        return 0;
    rc = bk_notify_links(notify, file);
    return rc < 0 ? rc : watch_parent(notify, real);
}

int
bk_notify_links(struct bk_notify *notify, const char *file)
{
    char path[PATH_MAX];
    struct stat status;
    int rc = 0;

    for (const char *slash = strchr(file + 1, '/'); slash && rc >= 0;
         slash = strchr(slash + 1, '/')) {
        snprintf(path, sizeof path, "%.*s", (int)(slash - file), file);
        if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode))
            rc = watch_parent(notify, path);
    }
    return rc;
}

static int
watch_parent(struct bk_notify *notify, const char *file)
{
    char path[PATH_MAX];
    const char *slash = strrchr(file, '/');

    if (!slash || slash - file >= (ptrdiff_t)sizeof path)
        return -EINVAL;
    snprintf(path, sizeof path, "%.*s", slash == file ? 1 : (int)(slash - file), file);
    return bk_notify_directory(notify, path);
}

static void
events_ready(struct bk_watch *watch, uint32_t ready)
{
    struct bk_notify *notify = BK_OUTER(watch, struct bk_notify, watch);
    _Alignas(struct inotify_event) char buffer[8192];
    bool stirred = false;
    ssize_t n;

    while ((n = read(watch->fd, buffer, sizeof buffer)) > 0) {
        for (char *at = buffer; at < buffer + n;) {
            const struct inotify_event *event = (const void *)at;
            at += sizeof *event + event->len;
            if (take(notify, event))
                stirred = true;
        }
    }
    if (stirred)
        notify->stirred(notify);
}

static bool
take(struct bk_notify *notify, const struct inotify_event *event)
{
    if (event->mask & IN_MOVE_SELF)  // the name may stand for another one now
        inotify_rm_watch(notify->watch.fd, event->wd);
    if (event->mask & (IN_IGNORED | IN_MOVE_SELF)) {
        forget(notify, event->wd);
        notify->lost(notify);
        return true;
    }
    return event->len == 0 || !bk_files_is_noise(event->name);
}

static void
forget(struct bk_notify *notify, int wd)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < notify->count; i++) {
        if (notify->directories[i].wd == wd)
            free(notify->directories[i].path);
        else
            notify->directories[kept++] = notify->directories[i];
    }
    notify->count = kept;
}
