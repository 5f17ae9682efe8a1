// Log records from workers to the master's log thread: one single-producer ring per scoreboard slot in shared
// memory (pitfalls 15). A record is published whole; a full ring drops it and counts. The reader is woken
// through an eventfd only when it sleeps. kill -9 of a worker loses no published record.
#pragma once

#include "base/log.h"

#define BK_LOGRING_SIZE (256 * 1024)  // bytes of records per ring, power of two

struct bk_logrings;  // the mapping

// Master: creates `count` rings in a sparse memfd and the eventfd (both CLOEXEC).
int bk_logrings_new(unsigned count, struct bk_logrings **ret) BK_MUST_CHECK;
// Worker: maps an inherited memfd and takes over both descriptors (on failure they stay the caller's).
// -EPROTONOSUPPORT when the layout differs.
int bk_logrings_open(int memory_fd, int wake_fd, struct bk_logrings **ret) BK_MUST_CHECK;
void bk_logrings_free(struct bk_logrings *rings);
int bk_logrings_fd(const struct bk_logrings *rings);
int bk_logrings_wake_fd(const struct bk_logrings *rings);

// Producer. Threads of one process must serialise themselves (the worker's sink holds a mutex). -ENOSPC:
// dropped, counted. Records larger than a quarter of the ring are cut.
int bk_logring_put(struct bk_logrings *rings, unsigned index, const struct bk_log_record *record);

// Consumer (one thread). Copies the oldest record into `buffer` and points *ret into it: 1, or 0 when the ring
// is empty. A ring whose contents make no sense (a torn write of a crashed worker) is emptied and counted as
// dropped.
int bk_logring_take(struct bk_logrings *rings, unsigned index, char *buffer, size_t room, struct bk_log_record *ret);
// Time of the oldest record, which stays where it is; false when the ring is empty.
bool bk_logring_peek(struct bk_logrings *rings, unsigned index, uint64_t *ret_wall_ns);
// Records dropped since the last call.
uint64_t bk_logring_dropped(struct bk_logrings *rings, unsigned index);
// Consumer: about to sleep on the eventfd. False when a record came meanwhile (then do not sleep).
bool bk_logrings_sleep(struct bk_logrings *rings);
void bk_logrings_awake(struct bk_logrings *rings);
