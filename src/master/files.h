// A set of files and what they looked like when they were last looked at: which ones have changed since? Knows
// neither the loop nor inotify (notify.h): autoreload.c says when to look.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/str.h"

#define BK_FILES_MAX 20000  // of one set

enum bk_file_kind {
    BK_FILE_MODULE,  // a worker has imported it (or tried to, or looked for it: it need not exist)
    BK_FILE_PLACE,   // a directory by its name: changed when the name stands for another one
    BK_FILE_EXTRA,   // a file, a directory with all below it, or a pattern (* ? [): --reload-extra-file
    BK_FILE_TOUCH,   // the same: --touch-reload
};

struct bk_file_stamp {
    bool exists, is_directory;
    dev_t device;
    ino_t inode;
    off_t size;
    uint64_t modified;  // ns since 1970
};

struct bk_file {
    char *path;  // owns: absolute, as the user or the worker wrote it, symlinks untouched
    enum bk_file_kind kind;
    unsigned generation;  // MODULE: the newest version of the application that imported it
    struct bk_file_stamp stamp;
    uint64_t missed;   // monotonic ns: found to be gone then; not reported yet
    bool found;        // inside a directory or by a pattern: goes when its file is gone
    bool suspected;    // was written while it was imported; that is believed once
    uint64_t digest;   // of a suspected one's content: it may be written anew at each import
    bool watched;      // for notify.c's user: somebody tells when it changes
};

struct bk_files {
    struct bk_file *items;  // owns
    unsigned count, room;
    unsigned *buckets;  // owns: index + 1 by hash of the path, open addressing
    unsigned bucket_count;
    char **roots;       // owns: EXTRA and TOUCH as they were given
    enum bk_file_kind *root_kinds;  // owns
    unsigned root_count;
    bool full;          // BK_FILES_MAX was reached
};

// What a look found. Zeroed by the caller, nothing to release.
struct bk_files_news {
    unsigned changed, touched;  // files of --reload, and of --touch-reload
    unsigned removed;           // of `changed`: those that are gone
    char first[512], second[512];  // names of the first two
    bool again;                 // a file is gone, perhaps for a moment: look again in BK_FILES_GRACE
};

#define BK_FILES_GRACE (300 * BK_MSEC)  // editors remove a file and write it anew

void bk_files_release(struct bk_files *files);
// A file a worker of `generation` imported; `born` is the wall clock when that worker was started (ns), after
// which nobody knows which of two contents it has read. 1: new, 0: known, -ENOMEM, -ENOSPC (said by `full`).
int bk_files_add(struct bk_files *files, enum bk_file_kind kind, struct bk_str path, unsigned generation,
                 uint64_t born);
// EXTRA or TOUCH, absolute. What is there now is known, not changed.
int bk_files_add_root(struct bk_files *files, enum bk_file_kind kind, const char *path) BK_MUST_CHECK;
// Forgets modules that only versions older than `generation` imported.
void bk_files_forget(struct bk_files *files, unsigned generation);
// Looks at everything. `now` is the monotonic clock.
void bk_files_look(struct bk_files *files, uint64_t now, struct bk_files_news *news);
// Names that say nothing about the application: bytecode, swap and backup files of editors. In directories given by the
// user hidden files and the like are passed over as well.
bool bk_files_is_noise(const char *name);
