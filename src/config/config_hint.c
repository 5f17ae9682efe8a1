// Near, foreign and future names of options. See config_hint.h for who calls it.
#include "config/config_hint.h"

#include <ctype.h>
#include <stdio.h>

#include "config/option.h"

#include "base/banned.h"

#define NEAR_MAX 4  // names listed
#define DISTANCE_MAX 40
#define FAR (3 * DISTANCE_MAX)

enum kind { ALIAS_NAME, LATER_NAME, FOREIGN_NAME, NEEDLESS_NAME, REFUSED_NAME, DAEMON_NAME };
enum { FLAG = 0, VALUE = 1 };

static const struct other {
    enum kind kind;
    const char *name;
    char letter;
    bool takes_value;
    const char *server;  // whose name it is
    const char *text;    // FOREIGN: our option, maybe with a value; NEEDLESS: after "Barkeep ..."
} others[] = {
#define ALIAS(name_, option_) {ALIAS_NAME, name_, 0, VALUE, "", option_},
#define LATER(name_, letter_, takes_) {LATER_NAME, name_, letter_, takes_, "", ""},
#define FOREIGN(name_, letter_, takes_, server_, option_) \
    {FOREIGN_NAME, name_, letter_, takes_, server_, option_},
#define NEEDLESS(name_, letter_, takes_, server_, what_) \
    {NEEDLESS_NAME, name_, letter_, takes_, server_, what_},
#define REFUSED(name_, letter_, takes_, server_, what_) \
    {REFUSED_NAME, name_, letter_, takes_, server_, what_},
#define DAEMON(name_, letter_, takes_) {DAEMON_NAME, name_, letter_, takes_, "", ""},
#include "config/other_names.def"
#undef ALIAS
#undef LATER
#undef FOREIGN
#undef NEEDLESS
#undef REFUSED
#undef DAEMON
};

static void describe(const struct other *other, struct bk_str typed, struct bk_hint *ret);
static void describe_foreign(struct bk_str typed, const char *server, const char *option,
                             struct bk_hint *ret);
static const struct other *find_other(struct bk_str name, char letter);
static bool must_be_refused(const char *name);
static bool has_word(const char *words, struct bk_str name);

void
bk_hint_option(struct bk_str typed, struct bk_hint *ret)
{
    bool is_long = bk_str_starts(typed, BK_STR("--"));
    struct bk_str name = BK_STR("");
    if (is_long)
        name = (struct bk_str){typed.at + 2, typed.len - 2};
    char letter = !is_long && typed.len == 2 ? typed.at[1] : 0;
    *ret = (struct bk_hint){.key = BK_KEY_OPTION_UNKNOWN};

    const struct other *other = find_other(name, letter);
    if (other) {
        describe(other, typed, ret);
        return;
    }
    unsigned count;
    const struct bk_option *options = bk_options(&count);
    for (unsigned i = 0; i < count && name.len; i++) {
        if (!has_word(options[i].uwsgi, name))
            continue;
        ret->takes_value = options[i].type != BK_OPTION_BOOL;
        describe_foreign(typed, "uWSGI", options[i].name, ret);
        return;
    }
    char shown[128], near[200];
    size_t len = bk_str_escape(shown, sizeof(shown), typed);
    snprintf(ret->text, sizeof(ret->text), "no option '%.*s'", (int)len, shown);
    if (name.len && bk_hint_near(name, BK_HINT_OPTION, near, sizeof(near)))
        snprintf(ret->detail, sizeof(ret->detail), "near: %s", near);
    else
        snprintf(ret->detail, sizeof(ret->detail), "try: barkeep --help");
}

static void
describe(const struct other *other, struct bk_str typed, struct bk_hint *ret)
{
    int len = (int)typed.len;
    ret->known = true;
    ret->takes_value = other->takes_value;
    switch (other->kind) {
    case LATER_NAME:
        ret->key = BK_KEY_OPTION_LATER;
        ret->refuse = must_be_refused(other->name);
        if (bk_str_starts(typed, BK_STR("--")))
            snprintf(ret->text, sizeof(ret->text), "%.*s is not in this version yet", len,
                     typed.at);
        else
            snprintf(ret->text, sizeof(ret->text), "%.*s (--%s) is not in this version yet", len,
                     typed.at, other->name);
        break;
    case FOREIGN_NAME:
        describe_foreign(typed, other->server, other->text, ret);
        break;
    case ALIAS_NAME:  // is an option
        break;
    case NEEDLESS_NAME:
    case REFUSED_NAME:
        ret->key = BK_KEY_OPTION_FOREIGN;
        if (other->kind == NEEDLESS_NAME && strcmp(other->server, "Gunicorn") == 0)
            ret->key = BK_KEY_SETTING_IGNORED;
        snprintf(ret->text, sizeof(ret->text), "'%.*s' is %s's option; Barkeep %s", len, typed.at,
                 other->server, other->text);
        break;
    case DAEMON_NAME:
        ret->key = BK_KEY_OPTION_DAEMON;
        snprintf(ret->text, sizeof(ret->text), "%.*s: Barkeep stays in the foreground", len,
                 typed.at);
        snprintf(ret->detail, sizeof(ret->detail),
                 "a supervisor (systemd, runit, a container) starts it and sees how it ends\n"
                 "try: nohup barkeep app:application &");
        break;
    }
}

// `option` may carry a value: "bind unix:PATH".
static void
describe_foreign(struct bk_str typed, const char *server, const char *option, struct bk_hint *ret)
{
    struct bk_str ours = {option, strcspn(option, " ")};
    bool here = bk_option_named(ours) != NULL;
    ret->known = true;
    ret->key = here ? BK_KEY_OPTION_FOREIGN : BK_KEY_OPTION_LATER;
    snprintf(ret->text, sizeof(ret->text), "'%.*s' is %s's name; Barkeep %s it --%s%s",
             (int)typed.len, typed.at, server, here ? "calls" : "will call", option,
             here ? "" : ", which is not in this version yet");
}

static const struct other *
find_other(struct bk_str name, char letter)
{
    for (unsigned i = 0; i < BK_COUNT(others); i++) {
        if (others[i].kind == ALIAS_NAME)
            continue;
        if (name.len && bk_option_same_name(bk_str_of(others[i].name), name))
            return &others[i];
        if (letter && others[i].letter == letter)
            return &others[i];
    }
    return NULL;
}

// What is lost with these is safety, or every request: nothing may run as if they had been taken.
static bool
must_be_refused(const char *name)
{
    static const char *const names[] = {"certfile", "keyfile", "ca-certs", "cert-reqs", "ciphers",
                                        "user", "group", "umask", "initgroups", "proxy-protocol",
                                        "protocol"};
    for (unsigned i = 0; i < BK_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

bool
bk_hint_other(unsigned n, struct bk_other_name *ret)
{
    static const char *const kinds[] = {
        [ALIAS_NAME] = "alias",       [LATER_NAME] = "later",     [FOREIGN_NAME] = "foreign",
        [NEEDLESS_NAME] = "needless", [REFUSED_NAME] = "refused", [DAEMON_NAME] = "daemon",
    };
    if (n >= BK_COUNT(others))
        return false;
    const struct other *other = &others[n];
    bool refuse = other->kind == LATER_NAME && must_be_refused(other->name);
    *ret = (struct bk_other_name){.kind = kinds[other->kind], .name = other->name,
                                  .letter = other->letter, .server = other->server,
                                  .text = refuse ? "refuse" : other->text};
    return true;
}

// Whether the space-separated `words` of a table column hold `name`.
static bool
has_word(const char *words, struct bk_str name)
{
    struct bk_str rest = bk_str_of(words), word;
    while (bk_str_next_item(&rest, ' ', &word))
        if (word.len && bk_option_same_name(word, name))
            return true;
    return false;
}

// How far `name` is from an option, FAR when it is not near. Gunicorn's name of a setting counts as
// its option.
static unsigned
rate(const struct bk_option *option, struct bk_str name)
{
    struct bk_str theirs = bk_str_of(option->name);
    if (has_word(option->gunicorn, name))
        return 0;
    unsigned distance = bk_str_distance(name, theirs, DISTANCE_MAX);
    unsigned near = name.len < 4 ? 1 : name.len < 8 ? 2 : 3;
    if (distance <= near)
        return distance;
    char text[64];
    int len = snprintf(text, sizeof(text), "%.*s", (int)name.len, name.at);
    if (name.len >= 3 && bk_str_starts(theirs, name))  // a whole word of it is nearer
        return theirs.at[name.len] == '-' ? distance / 3 : distance;
    if (name.len >= 4 && len < (int)sizeof(text) && strstr(option->name, text))
        return DISTANCE_MAX + distance;  // after all that begin with it
    return FAR;
}

unsigned
bk_hint_near(struct bk_str name, enum bk_hint_style style, char *out, size_t room)
{
    const struct bk_option *best[NEAR_MAX];
    unsigned rates[NEAR_MAX], found = 0, count;
    const struct bk_option *options = bk_options(&count);
    char dashed[64];
    if (name.len > sizeof(dashed))
        name.len = sizeof(dashed);
    for (size_t i = 0; i < name.len; i++)
        dashed[i] = name.at[i] == '_' ? '-' : (char)tolower((unsigned char)name.at[i]);
    name.at = dashed;
    for (unsigned i = 0; i < count; i++) {
        unsigned rating = rate(&options[i], name), at = found;
        if (rating == FAR || (style != BK_HINT_OPTION && options[i].scope == BK_OPTION_ACTION))
            continue;
        while (at > 0 && rates[at - 1] > rating)
            at--;
        for (unsigned k = found < NEAR_MAX ? found : NEAR_MAX - 1; k > at; k--) {
            best[k] = best[k - 1];
            rates[k] = rates[k - 1];
        }
        if (at < NEAR_MAX) {
            best[at] = &options[i];
            rates[at] = rating;
            found += found < NEAR_MAX;
        }
    }
    static const char *const prefixes[] = {
        [BK_HINT_OPTION] = "--", [BK_HINT_ENVIRONMENT] = "BARKEEP_", [BK_HINT_SETTING] = ""};
    size_t len = 0;
    if (room)
        out[0] = '\0';
    for (unsigned i = 0; i < found && len < room; i++) {
        size_t start = len;
        len += (size_t)snprintf(out + len, room - len, "%s%s%s", i ? ", " : "",
                                prefixes[style],
                                style == BK_HINT_OPTION ? best[i]->name : best[i]->key);
        for (size_t k = start; style == BK_HINT_ENVIRONMENT && k < len && k < room; k++)
            out[k] = (char)toupper((unsigned char)out[k]);
    }
    return found;
}
