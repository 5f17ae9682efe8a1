// The settings: a typed snapshot made from (key, value, origin) triples by the table options.def. Both the master and
// each worker build it the same way, so only text crosses the processes.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/str.h"

// Types of options.def and what they become in struct bk_config.
//   BOOL  bool          on/off, true/false, yes/no, 1/0; as a flag alone: on; --no-NAME: off
//   INT   int64_t       with range
//   AUTO  int64_t       a number, or "auto" = -1
//   SIZE  uint64_t      bytes; suffixes K M G (1024); "0" or "off" = 0
//   TIME  uint64_t      nanoseconds; "30", "0.5", "30s", "5m", "1h", "250ms"; "off" = 0
//   TEXT  char *        owns, NULL when not set
//   LIST  bk_text_list  repeatable; also comma-separated where the table says so
//   WORD  char *        one of the words listed in the range column

#define BK_CONFIG_LIST_MAX 1000  // items of one list

struct bk_text_list {
    unsigned count;
    char **items;  // owns
};

// One field per row of options.def.
#define BK__FIELD_BOOL(key) bool key;
#define BK__FIELD_INT(key) int64_t key;
#define BK__FIELD_AUTO(key) int64_t key;
#define BK__FIELD_SIZE(key) uint64_t key;
#define BK__FIELD_TIME(key) uint64_t key;
#define BK__FIELD_TEXT(key) char *key;
#define BK__FIELD_WORD(key) char *key;
#define BK__FIELD_LIST(key) struct bk_text_list key;

struct bk_config {
#define GROUP(title)
#define X(type, key, ...) BK__FIELD_##type(key)
#include "config/options.def"
#undef X
#undef GROUP
    char *app;              // owns: the application as the user named it, NULL when missing
    char *app_origin;       // owns: where that was said, NULL: on the command line
    struct bk_config_origins *origins;  // owns: where each value came from
};

// All defaults.
int bk_config_new(struct bk_config **ret) BK_MUST_CHECK;
void bk_config_free(struct bk_config *config);

// Sets one option by its canonical key ("workers", "keep_alive"). `origin` is what a user reads: "command line",
// "environment WEB_CONCURRENCY", "barkeep.toml line 7", "default". Later calls win over earlier ones. A list option is
// appended to when its present items have the same kind of origin (its first word; never "default"), else replaced.
// A list value may hold several items: one per line, and between commas where the table says so.
// -EINVAL: value refused and *ret_why says what would be right ("a number from 1 to 1024, or auto"; borrows the config
// until the next call); -ENOENT: no such key; -ENOMEM. The setting stays as it was in each of these cases.
int bk_config_set(struct bk_config *config, struct bk_str key, struct bk_str value, const char *origin,
                  const char **ret_why) BK_MUST_CHECK;

// n-th option in the table's order: key, value as text and origin; false past the last one. The text is canonical: what
// bk_config_set made of it, NUL-terminated, can be parsed back ("" = not set). List items are joined by newlines.
// All three borrow the config until that key is set again. Fields written directly are not seen here.
bool bk_config_get(const struct bk_config *config, unsigned n, struct bk_str *ret_key, struct bk_str *ret_value,
                   const char **ret_origin);
// Bytes of a size as --max-worker-memory has it: "512M". 0 for "off", NULL and what is none.
uint64_t bk_config_size_of(const char *text);
// Origin of a key, "" for an unknown one.
const char *bk_config_origin(const struct bk_config *config, const char *key);
// Text of a key as bk_config_get gives it, "" for an unknown one.
const char *bk_config_text(const struct bk_config *config, const char *key);
