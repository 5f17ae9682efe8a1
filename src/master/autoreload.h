// Files that change, and what follows: --reload, --reload-extra-file, --touch-reload. Workers tell which
// files they have imported; the master watches them and begins a reload (reload.h). Called from the loop.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/str.h"

struct bk_autoreload;
struct bk_master_pool;
struct bk_member;

// When the settings ask for it. False: there is no memory.
bool bk_autoreload_open(struct bk_master_pool *pool) BK_MUST_CHECK;
void bk_autoreload_close(struct bk_master_pool *pool);
// Files a member has imported, or has looked for in vain: one a line.
void bk_autoreload_files(struct bk_member *member, struct bk_str names);
// A member is ready: files that only older versions had are not watched any longer.
void bk_autoreload_ready(struct bk_member *member);
// The first import has failed with this exit code, and nothing has ever served. True: with --reload the program waits
// for a file to change; that has been said.
bool bk_autoreload_waits(struct bk_master_pool *pool, int code);
// "; watching 41 files", or nothing.
void bk_autoreload_describe(const struct bk_master_pool *pool, char *out, size_t room);
