// A copy of what only the main thread knows: who sits where. Taken when the desk asks, a few times
// a second at most.
#pragma once

#include "stats/report.h"

struct bk_master;

struct bk_roster_member {
    unsigned number, slot, generation;
    pid_t pid;
    bool seated; // else it is leaving, or a successor that still boots
    bool booting, leaving;
    uint64_t born, ready; // monotonic ns
};

struct bk_roster {
    struct bk_report *report; // owns: the head is filled in, and the listeners; workers are not
    struct bk_roster_member *members; // owns
    unsigned member_count;
};

// Main thread. NULL when out of memory.
struct bk_roster *bk_roster_take(const struct bk_master *master);
void bk_roster_free(struct bk_roster *roster);
