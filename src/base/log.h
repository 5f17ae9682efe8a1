// One way to log: a record goes to the process's sink. In a worker the sink writes the shared ring,
// in the master the log thread's queue, before either exists (and in tests) stderr. Text is
// complete, escaped, without a trailing newline.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/str.h"

enum bk_log_level { BK_LOG_DEBUG, BK_LOG_INFO, BK_LOG_WARNING, BK_LOG_ERROR, BK_LOG_CRITICAL };

struct bk_log_record {
    enum bk_log_level level;
    bool access;           // goes to the access log; text is then the whole line
    uint64_t wall_ns;
    pid_t pid;
    unsigned worker;       // 0 = master
    struct bk_str key;     // stable word of messages.def, may be empty
    struct bk_str text;    // one line
    struct bk_str detail;  // further lines (traceback, evidence), '\n' between them, may be empty
};

typedef void (*bk_log_sink_fn)(void *self, const struct bk_log_record *record);

// Process-wide sink and level; `self` is handed to the sink and must outlive it. Before the first
// call: stderr, info. A NULL sink is stderr again. The sink is set while no other thread logs; the
// level may change at any time.
void bk_log_to(bk_log_sink_fn sink, void *self);
void bk_log_set_level(enum bk_log_level level);
enum bk_log_level bk_log_get_level(void);
// Worker number put into each record (0 = master). The process id is remembered from here on; bk_log_to
// forgets it, so it comes first, and is called in a child.
void bk_log_set_worker(unsigned worker);

static inline bool
bk_log_on(enum bk_log_level level)
{
    extern _Atomic int bk__log_level;
    return (int)level >= atomic_load_explicit(&bk__log_level, memory_order_relaxed);
}

// "debug".."critical" and back; parse returns -EINVAL for an unknown word.
const char *bk_log_level_name(enum bk_log_level level);
int bk_log_level_parse(struct bk_str name, enum bk_log_level *ret);

// One line with an optional [key] (NULL: none). Cut at 4 KiB.
void bk_log(enum bk_log_level level, const char *key, const char *format, ...) BK_PRINTF(3, 4);
// The same with further lines behind it.
void bk_log_detail(enum bk_log_level level, const char *key, struct bk_str detail,
                   const char *format, ...) BK_PRINTF(4, 5);
// A finished record; fields pid, worker and wall_ns are filled in when 0 (pid costs a system call:
// on the hot path the caller fills it in). Dropped when its level is off; an access record is never
// filtered by level.
void bk_log_record(struct bk_log_record *record);

// A repeated warning is said once a minute with a count: true when the caller should log now,
// *ret_count is then how often it was held back since the last time. One zeroed state per message
// site and thread.
struct bk_log_limit {
    uint64_t next_ns;
    unsigned held;
};
bool bk_log_limited(struct bk_log_limit *state, uint64_t now_mono, unsigned *ret_count);
