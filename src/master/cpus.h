// How much machine there is for us: CPUs by affinity and by cgroup quota, memory by cgroup limit. Read at start for
// `--workers auto` and for the number of workers that import at once. Used by master.c.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define BK_CPUS_PATH 8192

struct bk_cpus {
    unsigned affinity;  // CPUs this process may run on
    unsigned quota;     // CPUs the tightest cgroup pays for, rounded up; 0: no quota
    uint64_t memory;    // bytes of the tightest cgroup memory limit; 0: none
    char memory_at[BK_CPUS_PATH];   // directory of the group that has it, "": none
    char memory_own[BK_CPUS_PATH];  // and of our own group, "": not to be read
};

// `root` stands in front of /proc and /sys ("" but in tests). What cannot be read is not there.
void bk_cpus_read(const char *root, struct bk_cpus *ret);
// CPUs that may be busy at once, at least 1.
unsigned bk_cpus_usable(const struct bk_cpus *cpus);
// Workers for `auto`: usable CPUs, at most one per 256 MiB of memory limit, at most 8 without a quota.
unsigned bk_cpus_workers(const struct bk_cpus *cpus);
// "auto: 8 CPUs, memory limit 1 GiB" for the start line.
void bk_cpus_explain(const struct bk_cpus *cpus, char *out, size_t room);
