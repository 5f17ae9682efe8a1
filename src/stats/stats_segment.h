// The scoreboard: shared memory, one slot per running worker (two slots per worker number, so that
// a replacement never shares one with its predecessor). Each slot has one writing process; readers
// tolerate torn text (seqlock).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/str.h"

#define BK_STATS_MAGIC 0x626b7374u
#define BK_STATS_LAYOUT 1

enum bk_slot_state { BK_SLOT_FREE, BK_SLOT_BOOTING, BK_SLOT_IDLE, BK_SLOT_BUSY, BK_SLOT_DRAINING };

struct bk_counters {
#define X(name, help) _Atomic uint64_t name;
#include "stats/counters.def"
#undef X
};

struct bk_slot {
    _Alignas(64) _Atomic uint32_t state;  // enum bk_slot_state
    _Atomic uint32_t worker;              // number (1..), 0 = free
    _Atomic int32_t pid;
    _Atomic uint32_t connections;         // open now
    _Atomic uint32_t step_back;           // 1: is going to be replaced, others take new connections
    _Atomic uint32_t armed;               // 1: the listeners are in this worker's epoll set
    _Atomic uint32_t waiting;             // 1: blocked in epoll_wait, ready for whatever comes
    _Atomic uint64_t turned;              // monotonic ns of the last loop turn
    _Atomic uint64_t progressed;          // monotonic ns when Python last came back to the engine
    _Atomic uint64_t beat;                // monotonic ns when the process was last seen moving
    _Atomic uint64_t in_app_since;        // monotonic ns, 0 = no request in the application
    _Atomic uint32_t others;              // requests in the application besides that one
    _Atomic uint32_t request_lock;        // odd while `request` is being written
    _Atomic uint32_t request_len;
    union {
        // "GET /path" of the request in the application or the last one.
        char request[232];
        _Atomic uint64_t request_words[29];
    };
    struct bk_counters counters;
};

struct bk_segment {
    uint32_t magic, layout;
    uint32_t slot_size, slot_count;
    _Atomic uint64_t generation;
    _Atomic uint32_t used;  // slots from here on were never a worker's
    _Alignas(64) struct bk_slot slots[];
};

// Master: creates it in a memfd (CLOEXEC, its size sealed). Worker: maps an inherited one,
// -EPROTONOSUPPORT when the layout differs. The caller owns the fd; the mapping does not need it.
// Workers can write to all of it: the master goes by the slot count it asked for, not by the one in
// the segment.
int bk_segment_new(unsigned slot_count, struct bk_segment **ret, int *ret_fd) BK_MUST_CHECK;
int bk_segment_open(int fd, struct bk_segment **ret) BK_MUST_CHECK;
void bk_segment_free(struct bk_segment *segment);

// One writer, no lock prefix: plain relaxed add.
static inline void
bk_count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

// "METHOD path" of the current request under the seqlock; the query is left out, the rest cut to
// fit. Bytes as they came: who prints them escapes them.
void bk_slot_set_request(struct bk_slot *slot, struct bk_str method, struct bk_str target);
// Copies it (NUL-terminated); false when the slot is being written for longer than a few tries (a
// dead writer).
bool bk_slot_get_request(const struct bk_slot *slot, char *out, size_t room);
