// The rows of options.def as data: for the command line, --help, --print-config and the setter.
#pragma once

#include "base/str.h"

enum bk_option_type {
    BK_OPTION_BOOL,
    BK_OPTION_INT,
    BK_OPTION_AUTO,
    BK_OPTION_SIZE,
    BK_OPTION_TIME,
    BK_OPTION_TEXT,
    BK_OPTION_LIST,
    BK_OPTION_WORD
};

enum bk_option_scope { BK_OPTION_BOOT, BK_OPTION_RELOAD, BK_OPTION_LIVE, BK_OPTION_ACTION };

// All texts are literals and never NULL.
struct bk_option {
    enum bk_option_type type;
    enum bk_option_scope scope;
    char letter;           // short name, 0: none
    const char *key;       // "keep_alive": in files, in the environment (upper case, BARKEEP_ in front) and in the code
    const char *name;      // "keep-alive": on the command line
    const char *fallback;  // the default as a user would write it
    const char *range;
    const char *gunicorn;  // its name in gunicorn.conf.py, "" when Gunicorn has no such setting
    const char *uwsgi;     // its name in uwsgi.ini
    const char *meta;      // placeholder of the value in --help, "" for BOOL
    const char *help;
    int line;              // in options.def
    size_t offset;         // of the field in struct bk_config
};

// All rows in the table's order.
const struct bk_option *bk_options(unsigned *ret_count);
// By key, NULL when there is none.
const struct bk_option *bk_option_find(struct bk_str key);
// By the name on the command line without dashes, or a second name of it; - and _ are the same. NULL: unknown.
const struct bk_option *bk_option_named(struct bk_str name);
// By the short name.
const struct bk_option *bk_option_lettered(char letter);
// The same name, - and _ taken as one.
bool bk_option_same_name(struct bk_str a, struct bk_str b);
// Title of the GROUP() a row stands in.
const char *bk_option_group(const struct bk_option *option);
