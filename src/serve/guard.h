// Policies on a complete request head, before anything is done for it.
#pragma once

#include "base/err.h"
#include "config/config.h"
#include "proto/headers.h"

#define BK_SCHEME_RULES_MAX 8

struct bk_guard {
    struct bk_scheme_rule {
        enum bk_header id;
        struct bk_str name, value;  // borrows the config
    } rules[BK_SCHEME_RULES_MAX];   // --secure-scheme-headers
    unsigned rule_count;
    enum {
        BK_UNDERSCORE_DROP,
        BK_UNDERSCORE_REFUSE,
        BK_UNDERSCORE_PASS
    } underscore;  // --header-map
    bool said;     // the first dropped name was logged
};

void bk__guard_init(struct bk_guard *guard, const struct bk_config *config);
