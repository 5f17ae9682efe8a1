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
