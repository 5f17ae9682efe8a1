// Where and in what environment the master was started, and from that where and in what environment workers
// start. Paths are kept as the user wrote them: `current -> releases/42` must mean the new release at the next
// spawn. Used by interpreter.c and spawn.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

#include "base/compiler.h"
#include "config/config.h"
#include "master/privileges.h"

struct bk_surroundings {
    const struct bk_privileges *privileges;  // borrows: what children give up; NULL: nothing
    char *cwd;         // owns: $PWD when it names the current directory, else getcwd()
    char *worker_cwd;  // owns: cwd with --chdir applied, absolute, not resolved
    char **envp;       // owns: the workers' environment
    bool terminal;     // started on one: standard error (or input) is a terminal
    int terminal_fd;   // borrows: which of 0..2, -1: none
    struct termios terminal_modes;  // as they were at the start
    bool has_modes;
    bool hangup_ignored;     // SIGHUP was ignored when we came (nohup)
    bool interrupt_ignored;  // so was SIGINT (a background job of a shell without job control)
};

// HOME, USER and LOGNAME of the environment are those of `privileges`, when it drops any; NULL: none.
int bk_surroundings_init(struct bk_surroundings *surroundings, const struct bk_config *config,
                         const struct bk_privileges *privileges) BK_MUST_CHECK;
void bk_surroundings_release(struct bk_surroundings *surroundings);
// `path` made absolute against the directory of the start, symlinks untouched. NULL when out of memory; to be freed.
char *bk_surroundings_absolute(const struct bk_surroundings *surroundings, const char *path) BK_MUST_CHECK;
// The path as a person in that directory would write it: relative when it lies inside. Borrows `path`.
const char *bk_surroundings_shorten(const struct bk_surroundings *surroundings, const char *path);
