// Rules between settings, for when all of them are known. What one value must look like alone, bk_config_set checks.
#pragma once

#include "config/config.h"
#include "config/messages.h"

// `text` is a finished line without the key; borrowed during the call.
typedef void (*bk_config_complain_fn)(void *self, enum bk_key key, const char *text);

// Calls `complain` for each pair of settings that does not fit together; returns how many there were.
unsigned bk_config_check(const struct bk_config *config, bk_config_complain_fn complain, void *self);

// What one limit of --rlimit means; UINT64_MAX: unlimited.
uint64_t bk_config_limit(struct bk_str text);
