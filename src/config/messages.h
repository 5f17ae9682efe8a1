// The table of all keys a user can see (messages.def). The master, the engine and, through the extension module, the
// Python side look here for the level and the exit code that belong to a key.
#pragma once

#include "base/log.h"

#define X(name, ...) BK_KEY_##name,
#define GROUP(title)
enum bk_key {
#include "config/messages.def"
    BK_KEY_COUNT
};
#undef X
#undef GROUP

struct bk_message_info {
    const char *key;   // "app-missing"
    int exit_code;     // what the program ends with when it ends because of this, 0 when it goes on
    enum bk_log_level level;
    const char *text;  // for the documentation
};

// All rows in the table's order, indexed by enum bk_key.
const struct bk_message_info *bk_messages(unsigned *ret_count);
// By key; NULL when there is none.
const struct bk_message_info *bk_message_find(struct bk_str key);

static inline const struct bk_message_info *
bk_message(enum bk_key key)
{
    return &bk_messages(&(unsigned){0})[key];
}
