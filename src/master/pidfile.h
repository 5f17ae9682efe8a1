// The file of --pid. A lock on it decides whether its process lives, not the number in it, which may be another's by
// now. Used by master.c.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"

struct bk_pidfile {
    int fd;           // owns: holds the lock; -1: none
    const char *path; // borrows
    dev_t dev;
    ino_t ino;        // the file is ours while these match
};

// Creates it (mode 0644, or takes a stale one over), locks it and writes our number. Negative errno; -EWOULDBLOCK: a
// living process holds it, and *ret_pid is the number it wrote (0: none). A NULL path: nothing is done.
int bk_pidfile_open(struct bk_pidfile *file, const char *path, pid_t *ret_pid) BK_MUST_CHECK;
// Removes the file if it is still ours.
void bk_pidfile_close(struct bk_pidfile *file);
