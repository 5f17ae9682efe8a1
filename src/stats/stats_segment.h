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
#include "stats/histogram.h"

#define BK_STATS_MAGIC 0x626b7374u
#define BK_STATS_LAYOUT 2
#define BK_STATS_ROWS 64     // requests in the application that are shown
#define BK_STATS_THREADS 64  // threads that are shown; those above share the last one's numbers
#define BK_STATS_TEXT 184    // bytes of "GET /path"
#define BK_STATS_STATUSES 500

enum bk_slot_state { BK_SLOT_FREE, BK_SLOT_BOOTING, BK_SLOT_IDLE, BK_SLOT_BUSY, BK_SLOT_DRAINING };

struct bk_counters {
#define X(name, help) _Atomic uint64_t name;
#include "stats/counters.def"
#undef X
};

// What a request in the application waits for.
enum bk_row_step { BK_ROW_APP, BK_ROW_BODY, BK_ROW_SEND, BK_ROW_SOCKET };

#define BK_ROW_FORWARDED 0xffff
// Who asks: the peer's address, or what a trusted one said in X-Forwarded-For.
struct bk_row_peer {
    uint16_t family;  // AF_INET, AF_INET6, AF_UNIX (nothing more is known), BK_ROW_FORWARDED
    uint16_t port;    // FORWARDED: bytes of text, its last element
    unsigned char bytes[44];
};

// One request in the application.
struct bk_row {
    _Atomic uint64_t since;   // monotonic ns, 0: nobody; the text stays: it is the last request's
    _Atomic uint32_t lock;    // odd while the words are being written
    _Atomic uint32_t len;     // of the text
    _Atomic uint16_t thread;  // number (1..), 0: not known
    _Atomic uint8_t step;     // enum bk_row_step
    _Atomic uint64_t words[(sizeof(struct bk_row_peer) + BK_STATS_TEXT) / 8];  // peer, "GET /path"
};

// One thread's share since the worker started.
struct bk_thread_row {
    _Atomic uint64_t requests, errors, bytes_out;
    _Atomic uint64_t busy;  // ns in the application
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
    _Atomic uint64_t in_app_since;        // monotonic ns: the oldest one's call, 0 = no request in the application
    _Atomic uint32_t queued;              // requests that wait for a thread
    _Atomic uint32_t running;             // requests in the application
    _Atomic uint32_t threads;             // threads that run the application
    struct bk_counters counters;
    struct bk_thread_row thread_rows[BK_STATS_THREADS];
    struct bk_histogram latency;     // from "ready for the application" to the end of its answer
    struct bk_histogram queue_wait;  // from "ready for the application" to its call
    struct bk_histogram proxy_wait;  // before us, by a trusted proxy's X-Request-Start
    _Atomic uint64_t statuses[BK_STATS_STATUSES];  // answers by status, from 100 on
    struct bk_row rows[BK_STATS_ROWS];
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

// A request went to the application: fills a row that is free. `text` is "GET /path" without the query, cut to
// fit; seven bytes behind it may be read too. Bytes as they came: who prints them escapes them.
void bk_row_begin(struct bk_row *row, uint64_t since, unsigned thread, const struct bk_row_peer *peer,
                  struct bk_str text);
static inline void
bk_row_end(struct bk_row *row)
{
    atomic_store_explicit(&row->since, 0, memory_order_relaxed);
}

// A copy of a row.
struct bk_row_copy {
    uint64_t since;
    unsigned thread;
    enum bk_row_step step;
    struct bk_row_peer peer;
    char text[BK_STATS_TEXT + 1];  // "GET /path", NUL-terminated; may hold any byte but NUL after that
    size_t len;
};
// False when it is being written for longer than a few tries (a dead writer).
bool bk_row_read(const struct bk_row *row, struct bk_row_copy *ret);
// The oldest request in the application, else the last one that was there (since is 0 then). False:
// unreadable; text is "" when there was none yet.
bool bk_slot_oldest(const struct bk_slot *slot, struct bk_row_copy *ret);
// Everything back to nothing, for the next worker. Master.
void bk_slot_clear(struct bk_slot *slot);
