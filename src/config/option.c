// options.def as an array. Who uses it: see option.h.
#include "config/option.h"

#include <stddef.h>

#include "config/config.h"

#include "base/banned.h"

static const struct bk_option options[] = {
#define GROUP(text)
#define X(type_, key_, name_, letter_, fallback_, range_, scope_, gunicorn_, uwsgi_, meta_, help_) \
    {.type = BK_OPTION_##type_, .scope = BK_OPTION_##scope_, .letter = letter_, .key = #key_, \
     .name = name_, .fallback = fallback_, .range = range_, .gunicorn = gunicorn_, \
     .uwsgi = uwsgi_, .meta = meta_, .help = help_, .line = __LINE__, \
     .offset = offsetof(struct bk_config, key_)},
#include "config/options.def"
#undef X
#undef GROUP
};

static const struct {
    int line;
    const char *title;
} groups[] = {
#define GROUP(text) {__LINE__, text},
#define X(...)
#include "config/options.def"
#undef X
#undef GROUP
};

static const struct {
    const char *name, *option;
} aliases[] = {
#define ALIAS(name_, option_) {name_, option_},
#define LATER(...)
#define FOREIGN(...)
#define NEEDLESS(...)
#define REFUSED(...)
#define DAEMON(...)
#include "config/other_names.def"
#undef ALIAS
#undef LATER
#undef FOREIGN
#undef NEEDLESS
#undef REFUSED
#undef DAEMON
};

const struct bk_option *
bk_options(unsigned *ret_count)
{
    *ret_count = BK_COUNT(options);
    return options;
}

const struct bk_option *
bk_option_find(struct bk_str key)
{
    for (unsigned i = 0; i < BK_COUNT(options); i++)
        if (bk_str_equal(bk_str_of(options[i].key), key))
            return &options[i];
    return NULL;
}

const struct bk_option *
bk_option_named(struct bk_str name)
{
    for (unsigned i = 0; i < BK_COUNT(aliases); i++)
        if (bk_option_same_name(bk_str_of(aliases[i].name), name))
            name = bk_str_of(aliases[i].option);
    for (unsigned i = 0; i < BK_COUNT(options); i++)
        if (bk_option_same_name(bk_str_of(options[i].name), name))
            return &options[i];
    return NULL;
}

const struct bk_option *
bk_option_lettered(char letter)
{
    for (unsigned i = 0; i < BK_COUNT(options); i++)
        if (options[i].letter && options[i].letter == letter)
            return &options[i];
    return NULL;
}

bool
bk_option_same_name(struct bk_str a, struct bk_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if ((a.at[i] == '_' ? '-' : a.at[i]) != (b.at[i] == '_' ? '-' : b.at[i]))
            return false;
    return true;
}

const char *
bk_option_group(const struct bk_option *option)
{
    const char *title = "";
    for (unsigned i = 0; i < BK_COUNT(groups) && groups[i].line < option->line; i++)
        title = groups[i].title;
    return title;
}
