// The access log: a format compiled once, a line per answer into the log.
#pragma once

#include "base/str.h"
#include "config/config.h"

struct bk_exchange;
struct bk_access_op;

enum bk_access_mode { BK_ACCESS_OFF, BK_ACCESS_ALL };

struct bk_access_log {
    enum bk_access_mode mode;
    struct bk_access_op *ops;  // owns: the format compiled
    unsigned op_count;
    char *format;                  // owns: text the ops point into
    struct bk_str *environ_names;  // owns: names of %({..}e)s in order
    unsigned environ_count;
    uint64_t slow;  // ns, 0 = off
    bool json;
    uint64_t clf_second;  // the wall second whose text is in clf
    char clf[32];
};

// -EINVAL with *ret_why for a format with an unknown atom.
int bk_access_log_init(struct bk_access_log *log, const struct bk_config *config,
                       const char **ret_why) BK_MUST_CHECK;
void bk_access_log_release(struct bk_access_log *log);
// Writes the line of a finished exchange if its mode or the answer asks for one.
void bk__access_log_write(struct bk_exchange *x);
