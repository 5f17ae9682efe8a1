// What settings must look like beyond their type: items of lists and formats of texts (called by
// config_set.c for each value), and the rules between settings (called by the command line when all
// are known).
#include "config/config_check.h"

#include <ctype.h>
#include <stdio.h>

#include "config/config_internal.h"

#include "base/banned.h"

static void compare(const struct bk_config *config, const char *small, const char *large,
                    bk_config_complain_fn complain, void *self, unsigned *count);
static bool chosen(const struct bk_config *config, const char *key);

unsigned
bk_config_check(const struct bk_config *config, bk_config_complain_fn complain, void *self)
{
    unsigned count = 0;
    if (config->limit_request_field_size > config->limit_request_head)
        compare(config, "limit_request_head", "limit_request_field_size", complain, self, &count);
    if ((uint64_t)config->limit_request_line > config->limit_request_head)
        compare(config, "limit_request_head", "limit_request_line", complain, self, &count);
    if (config->workers_max && config->workers_min > config->workers_max)
        compare(config, "workers_max", "workers_min", complain, self, &count);
    else if (!config->workers_max && config->workers > 0 &&
             config->workers_min > config->workers) {
        complain(self, BK_KEY_OPTION_CONFLICT,
                 "--workers-min is above --workers: give --workers-max, or more --workers");
        count++;
    }
    if (config->python && config->venv) {
        char text[300];
        snprintf(text, sizeof(text),
                 "--python (%s) and --venv (%s) both choose the interpreter: give one",
                 bk_config_origin(config, "python"), bk_config_origin(config, "venv"));
        complain(self, BK_KEY_OPTION_CONFLICT, text);
        count++;
    }
    return count;
}

// Complains that `large` is above `small`, but only when the user chose both: against a default the
// smaller one simply wins.
static void
compare(const struct bk_config *config, const char *small, const char *large,
        bk_config_complain_fn complain, void *self, unsigned *count)
{
    char text[300];
    if (!chosen(config, small) || !chosen(config, large))
        return;
    snprintf(text, sizeof(text), "--%s %s (%s) is above --%s %s (%s)",
             bk_option_find(bk_str_of(large))->name, bk_config_text(config, large),
             bk_config_origin(config, large), bk_option_find(bk_str_of(small))->name,
             bk_config_text(config, small), bk_config_origin(config, small));
    complain(self, BK_KEY_OPTION_CONFLICT, text);
    ++*count;
}

static bool
chosen(const struct bk_config *config, const char *key)
{
    return !bk_str_equal(bk_str_of(bk_config_origin(config, key)), BK_STR("default"));
}

static const char *check_env(struct bk_str item);
static const char *check_scheme_header(struct bk_str item);
static const char *check_header_name(struct bk_str item);
static const char *check_logformat(struct bk_str text);
static const char *check_syslog(struct bk_str text);
static const char *check_mode(struct bk_str text);
static const char *check_rlimit(struct bk_str item);
static bool parse_limit(struct bk_str text, uint64_t *ret);
static const char *check_jitter(struct bk_str text);
static const char *check_memory(struct bk_str text);

const char *
bk__config_check_item(const struct bk_option *option, struct bk_str item)
{
    static const struct {
        enum bk__option_index option;
        const char *(*check)(struct bk_str);
    } checks[] = {
        {BK__OPTION_env, check_env},
        {BK__OPTION_secure_scheme_headers, check_scheme_header},
        {BK__OPTION_forwarder_headers, check_header_name},
        {BK__OPTION_access_logformat, check_logformat},
        {BK__OPTION_log_syslog_to, check_syslog},
        {BK__OPTION_umask, check_mode},
        {BK__OPTION_socket_mode, check_mode},
        {BK__OPTION_rlimit, check_rlimit},
        {BK__OPTION_max_requests_jitter, check_jitter},
        {BK__OPTION_max_worker_memory, check_memory},
    };
    unsigned index = (unsigned)(option - bk_options(&(unsigned){0}));
    for (unsigned i = 0; i < BK_COUNT(checks); i++)
        if (checks[i].option == index && item.len)
            return checks[i].check(item);
    return NULL;
}

static const char *
check_env(struct bk_str item)
{
    const char *equals = memchr(item.at, '=', item.len);
    return equals && equals > item.at ? NULL : "not NAME=VALUE";
}

// A field name of RFC 9110 §5.1: a token.
static const char *
check_header_name(struct bk_str item)
{
    if (bk_str_equal(item, BK_STR("*")))
        return NULL;
    for (size_t i = 0; i < item.len; i++)
        if (!isalnum((unsigned char)item.at[i]) && !memchr("!#$%&'*+-.^_`|~", item.at[i], 15))
            return "not the name of a header";
    return NULL;
}

static const char *
check_scheme_header(struct bk_str item)
{
    const char *equals = memchr(item.at, '=', item.len);
    if (!equals || equals == item.at || equals == item.at + item.len - 1)
        return "not HEADER=VALUE";
    return check_header_name((struct bk_str){item.at, (size_t)(equals - item.at)});
}

// A preset, or text with %(atom)s in it.
static const char *
check_logformat(struct bk_str text)
{
    static const char *const presets[] = {"combined", "short", "json"};
    for (unsigned i = 0; i < BK_COUNT(presets); i++)
        if (bk_str_equal(text, bk_str_of(presets[i])))
            return NULL;
    bool atoms = false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] != '%')
            continue;
        if (i + 1 < text.len && text.at[i + 1] == '%') {
            i++;
            continue;
        }
        const char *end = NULL;
        if (i + 2 < text.len && text.at[i + 1] == '(')
            end = memchr(text.at + i + 2, ')', text.len - i - 2);
        if (!end || end == text.at + i + 2 || end + 1 == text.at + text.len || end[1] != 's')
            return "an atom is written %(name)s, a percent sign %%";
        i = (size_t)(end + 1 - text.at);
        atoms = true;
    }
    if (atoms)
        return NULL;
    return "not a format; combined, short, json, or a text with atoms like %(h)s are";
}

static const char *
check_syslog(struct bk_str text)
{
    if (bk_str_starts(text, BK_STR("unix:")) && text.len > 5)
        return NULL;
    if (bk_str_starts(text, BK_STR("udp://")) && text.len > 6)
        return NULL;
    return "not an address of syslog; unix:PATH and udp://host:port are";
}

static const char *
check_mode(struct bk_str text)
{
    bool octal = text.len >= 1 && text.len <= 4;
    for (size_t i = 0; i < text.len; i++)
        octal = octal && text.at[i] >= '0' && text.at[i] <= '7';
    return octal && (text.len < 4 || text.at[0] == '0') ? NULL : "not a mode; 027, 0660, 777 are";
}

static const char *
check_rlimit(struct bk_str item)
{
    static const char *const names[] = {"as",      "core",   "cpu",   "data", "fsize",
                                        "memlock", "nofile", "nproc", "stack"};
    struct bk_str rest = item, name, soft, hard;
    uint64_t least, most;
    bool known = false;
    if (!bk_str_next_item(&rest, '=', &name) || !bk_str_next_item(&rest, ':', &soft))
        return "not NAME=SOFT[:HARD]";
    for (unsigned i = 0; i < BK_COUNT(names); i++)
        known = known || bk_str_equal(name, bk_str_of(names[i]));
    if (!known)
        return "not a limit; as, core, cpu, data, fsize, memlock, nofile, nproc, stack are";
    bool two = bk_str_next_item(&rest, ':', &hard);
    if (!parse_limit(soft, &least) || (two && !parse_limit(hard, &most)))
        return "not NAME=SOFT[:HARD]; a limit is a number, with K, M or G behind it, or unlimited";
    return two && least > most ? "the soft limit is above the hard one" : NULL;
}

uint64_t
bk_config_limit(struct bk_str text)
{
    uint64_t value;
    return parse_limit(text, &value) ? value : UINT64_MAX;
}

static bool
parse_limit(struct bk_str text, uint64_t *ret)
{
    uint64_t unit = 1;
    *ret = UINT64_MAX;
    if (bk_str_equal(text, BK_STR("unlimited")))
        return true;
    if (text.len && strchr("KMG", text.at[text.len - 1]))
        unit = 1ull << (text.at[--text.len] == 'K' ? 10 : text.at[text.len] == 'M' ? 20 : 30);
    if (bk_str_parse_u64(text, UINT64_MAX / unit, ret) < 0)
        return false;
    *ret *= unit;
    return true;
}

static const char *
check_jitter(struct bk_str text)
{
    uint64_t number;
    if (text.at[text.len - 1] == '%')
        text.len--;
    return bk_str_parse_u64(text, 1000000000, &number) == 0 ? NULL
                                                            : "not a number; 100 and 10% are";
}

static const char *
check_memory(struct bk_str text)
{
    char copy[32];
    if (bk_str_equal(text, BK_STR("auto")) || bk_str_equal(text, BK_STR("off")))
        return NULL;
    snprintf(copy, sizeof(copy), "%.*s", (int)text.len, text.at);
    return bk_config_size_of(copy) ? NULL : "not a size; 512M, 2G, auto and off are";
}
