// Help for a name that is no option: near names, the name other servers use, what is planned. Text only, never a guess
// that is acted on. Called by the command line and for the environment.
#pragma once

#include "base/str.h"
#include "config/messages.h"

struct bk_hint {
    enum bk_key key;     // which error this is
    bool known;          // the name belongs to something, so the next two are certain
    bool takes_value;
    bool refuse;         // an option of a later version, without which nothing may run
    char text[400];      // what to say after "error: "
    char detail[300];    // further lines, "" when there is nothing to add
};

// `typed` is the option as the user wrote it, dashes included, without a value: "--harakiri", "-t".
void bk_hint_option(struct bk_str typed, struct bk_hint *ret);

// The rows of other_names.def as data, for the config process. All texts are literals.
struct bk_other_name {
    const char *kind;    // "alias" (text: the option), "later" (text: "refuse" when nothing may run without it),
    const char *name;    // "foreign", "needless", "refused", "daemon"
    char letter;
    const char *server;
    const char *text;
};
// n-th one; false past the last.
bool bk_hint_other(unsigned n, struct bk_other_name *ret);

// How a list of near names is written.
enum bk_hint_style {
    BK_HINT_OPTION,       // --worker-class
    BK_HINT_ENVIRONMENT,  // BARKEEP_WORKER_CLASS
    BK_HINT_SETTING,      // worker_class
};
// Names of options near to `name` (without dashes or BARKEEP_), nearest first, with commas between; "" when none is.
// Returns how many; `out` is always NUL-terminated.
unsigned bk_hint_near(struct bk_str name, enum bk_hint_style style, char *out, size_t room);
