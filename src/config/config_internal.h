// What config.c and config_set.c share; nobody else includes it.
#pragma once

#include "config/config.h"
#include "config/option.h"

#define X(type, key, ...) BK__OPTION_##key,
#define GROUP(title)
enum bk__option_index {
#include "config/options.def"
    BK__OPTION_COUNT
};
#undef X
#undef GROUP

struct bk_config_origins {
    char *text[BK__OPTION_COUNT];    // owns: canonical value
    char *origin[BK__OPTION_COUNT];  // owns
    char why[256];                   // of the last refusal
};

// Whether one item of a list, or a text, has the form its option wants: NULL, or what would be right.
const char *bk__config_check_item(const struct bk_option *option, struct bk_str item);
