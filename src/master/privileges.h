// Whose the workers are and what they may use: user, groups, umask, limits, niceness, CPUs. The settings are
// turned into numbers once, by the master, which stays who it is: it reads what only root may read and opens the
// logs for everybody. Each child applies them between fork and exec (pitfalls 14). Used by cli_check.c, master.c,
// bind.c, ask.c and spawn.c.
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "config/config.h"
#include "config/messages.h"

#define BK_PRIVILEGES_LIMITS 16

struct bk_privileges {
    bool drop;                // become the user and group below; else they are ours already
    uid_t uid;
    gid_t gid;
    gid_t *groups;            // owns: supplementary groups, set when `drop`
    unsigned group_count;
    char *name, *home;        // owns: of the user; NULL: not asked for, or an id without an entry
    uid_t socket_uid;         // owner of unix sockets, (uid_t)-1: as created
    gid_t socket_gid;         // (gid_t)-1: as created
    unsigned socket_mode;
    int umask;                // -1: inherited
    int nice;                 // added to ours
    bool no_new_privileges;
    cpu_set_t cpus;           // those we may use
    unsigned cpus_each;       // how many each worker is bound to, in turn; 0: none is bound
    unsigned limit_count;
    struct {
        int resource;         // RLIMIT_*
        struct rlimit value;
    } limits[BK_PRIVILEGES_LIMITS];
};

struct bk_privileges_error {
    enum bk_key key;
    char text[300];
    char detail[300];
};

// Looks up names (NSS, which may block). -EINVAL with *error filled in, -ENOMEM.
int bk_privileges_init(struct bk_privileges *privileges, const struct bk_config *config,
                       struct bk_privileges_error *error) BK_MUST_CHECK;
void bk_privileges_release(struct bk_privileges *privileges);
// In a forked child, async-signal-safe, for worker `number` from 1 (0: a helper, which is bound to no CPU). NULL, or
// what could not be done, with errno.
const char *bk_privileges_apply(const struct bk_privileges *privileges, unsigned number) BK_MUST_CHECK;
// Whether that user may run `python`, read `boot` and enter `directory` (absolute paths): 0, or -EINVAL with *error
// naming the directory that keeps it out. Forks and waits; only when there is something to drop.
int bk_privileges_check(const struct bk_privileges *privileges, const char *python, const char *boot,
                        const char *directory, struct bk_privileges_error *error) BK_MUST_CHECK;
