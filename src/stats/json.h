// Writes JSON into a buffer. Commas come by themselves; the first error stays and everything after
// it does nothing.
#pragma once

#include "base/buf.h"

struct bk_json {
    struct bk_buf *out; // borrows
    size_t most;
    int error;  // 0, -ENOMEM, -EMSGSIZE
    bool comma; // before the next thing
};

// `key` NULL: inside an array, or the whole.
void bk_json_open(struct bk_json *json, const char *key, char bracket);
void bk_json_close(struct bk_json *json, char bracket);
// Any bytes: what is no UTF-8 is taken for Latin-1, so that the text is always valid.
void bk_json_str(struct bk_json *json, const char *key, struct bk_str value);
void bk_json_text(struct bk_json *json, const char *key, const char *value);
void bk_json_u64(struct bk_json *json, const char *key, uint64_t value);
void bk_json_bool(struct bk_json *json, const char *key, bool value);
void bk_json_null(struct bk_json *json, const char *key);
// Nanoseconds as seconds: 1.500000250.
void bk_json_seconds(struct bk_json *json, const char *key, uint64_t ns);
