// Help for a name that is no option: near names, the name other servers use, what is planned. Text only, never a guess
// that is acted on. Called by the command line and for the environment.
#pragma once

#include "base/str.h"
#include "config/messages.h"

struct bk_hint {
    enum bk_key key;     // which error this is
    bool known;          // the name belongs to something, so the next two are certain
    bool takes_value;
    char text[400];      // what to say after "error: "
    char detail[300];    // further lines, "" when there is nothing to add
};

// `typed` is the option as the user wrote it, dashes included, without a value: "--harakiri", "-t".
void bk_hint_option(struct bk_str typed, struct bk_hint *ret);

// How a list of near names is written.
enum bk_hint_style {
    BK_HINT_OPTION,       // --worker-class
    BK_HINT_ENVIRONMENT,  // BARKEEP_WORKER_CLASS
    BK_HINT_SETTING,      // worker_class
};
// Names of options near to `name` (without dashes or BARKEEP_), nearest first, with commas between; "" when none is.
// Returns how many; `out` is always NUL-terminated.
unsigned bk_hint_near(struct bk_str name, enum bk_hint_style style, char *out, size_t room);
