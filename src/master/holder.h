// Who holds an address that we could not bind: read from /proc, as far as this user may look. Used by bind.c.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "net/addr.h"

struct bk_holder {
    bool listening;    // the kernel's tables show a listening socket there
    pid_t pid;         // oldest process that has it open, 0: none we may see
    char name[64];     // its command
    unsigned uid;
    uint64_t age_ns;   // how long that process has been running, 0: unknown
};

// Never fails: what cannot be found out stays empty.
void bk_holder_find(const struct bk_bind *bind, const struct bk_addr *addr, struct bk_holder *ret);
