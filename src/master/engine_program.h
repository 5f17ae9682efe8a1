// Runs barkeep-engine, the program beside ours, and reads what it prints.
#pragma once

#include <stddef.h>

#include "base/compiler.h"

// Its output, NUL-terminated, at most room - 1 bytes. `keep_fd` is inherited by it, -1: none. 0
// when it ended with 0 in time; else -ENOENT (no such program), -ETIME, -EIO, or another negative
// errno.
int bk_engine_program_run(const char *const *arguments, char *const *envp, int keep_fd, char *out,
                          size_t room) BK_MUST_CHECK;
