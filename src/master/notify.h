// Directories watched through inotify: something in one of them has changed. What that was is found out by looking
// (files.h), so an event that was lost or coalesced does no harm. Directories and not files, because editors put new
// files in the place of old ones.
#pragma once

#include "loop/loop.h"

#define BK_NOTIFY_MAX 4096  // directories

struct bk_notify_directory {
    char *path;  // owns
    int wd;      // two names of one directory have the same
};

struct bk_notify {
    struct bk_watch watch;  // .fd owns the inotify descriptor, -1: none
    struct bk_loop *loop;   // borrows
    struct bk_notify_directory *directories;  // owns
    unsigned count, room;
    void (*stirred)(struct bk_notify *notify);  // something has changed; not for noise (bk_files_is_noise)
    void (*lost)(struct bk_notify *notify);     // a directory is watched no longer: it was moved or removed
};

// `stirred` and `lost` are set by the caller before. Negative errno: there is no inotify to be had; nothing
// is left open.
int bk_notify_open(struct bk_notify *notify, struct bk_loop *loop) BK_MUST_CHECK;
void bk_notify_close(struct bk_notify *notify);
// Watches the directory `file` is in, under all the names on the way to it: where a component is a symbolic link, also
// the directory that holds the link. Negative errno when one of them cannot be watched: -ENOENT, -EACCES, -ENOSPC (no
// watches left).
int bk_notify_file(struct bk_notify *notify, const char *file);
// Only the second half of that: the directories of links among the directories of `file`.
int bk_notify_links(struct bk_notify *notify, const char *file);
// Watches a directory for what comes into it.
int bk_notify_directory(struct bk_notify *notify, const char *path);
