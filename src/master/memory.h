// Memory of the workers, and of the cgroup we are in: --max-worker-memory, and whether the kernel killed somebody
// for it. Called by watchdog.c and reap.c.
#pragma once

#include "master/state.h"

// How often a pool's memory wants to be looked at, ns; UINT64_MAX: never.
uint64_t bk_memory_tick(const struct bk_master_pool *pool);
// Recycles or kills who has too much.
void bk_memory_look(struct bk_master_pool *pool, uint64_t now);

// Notes the cgroup's count of processes that were killed for memory, at start.
void bk_memory_begin(struct bk_master *master);
// Was one killed since the last call? *ret_before and *ret_after are the counts.
bool bk_memory_killed(struct bk_master *master, uint64_t *ret_before, uint64_t *ret_after);

// Of the group in `cpus` (memory_at, memory_own), 0 when unknown: bytes in use without file pages that can be had
// back at once; how many processes were killed.
uint64_t bk_memory_used(const struct bk_cpus *cpus);
uint64_t bk_memory_kills(const struct bk_cpus *cpus);
// Resident bytes of a process, 0 when it is gone.
uint64_t bk_memory_resident(pid_t pid);
