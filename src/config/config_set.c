// Text into typed settings: one function per type of options.def. Each checks the value, then
// replaces field, canonical text and origin together, so that a refused value changes nothing.
// Called for every setting of every source.
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "config/config_internal.h"

#include "base/banned.h"

// One call of bk_config_set: what is set, and what became of it.
struct setting {
    struct bk_config *config;
    const struct bk_option *option;
    void *field;
    struct bk_str value;
    const char *origin;
    char *text;  // owns: canonical text, made by the type's function
};

static int set_bool(struct setting *s);
static int set_number(struct setting *s);
static int set_size(struct setting *s);
static int set_time(struct setting *s);
static int set_text(struct setting *s);
static int set_list(struct setting *s);
static int set_word(struct setting *s);
static int store_text(struct setting *s, struct bk_str value);
static int refuse(struct setting *s, const char *format, ...) BK_PRINTF(2, 3);

int
bk_config_set(struct bk_config *config, struct bk_str key, struct bk_str value, const char *origin,
              const char **ret_why)
{
    static int (*const setters[])(struct setting *) = {
        [BK_OPTION_BOOL] = set_bool, [BK_OPTION_INT] = set_number, [BK_OPTION_AUTO] = set_number,
        [BK_OPTION_SIZE] = set_size, [BK_OPTION_TIME] = set_time,  [BK_OPTION_TEXT] = set_text,
        [BK_OPTION_LIST] = set_list, [BK_OPTION_WORD] = set_word,
    };
    const struct bk_option *option = bk_option_find(key);
    if (!option)
        return -ENOENT;
    unsigned index = (unsigned)(option - bk_options(&(unsigned){0}));
    struct setting s = {.config = config, .option = option, .value = value, .origin = origin};
    s.field = (char *)config + option->offset;
    char *kept_origin = strdup(origin);
    int error = kept_origin ? 0 : -ENOMEM;
    // Values come from C strings; a NUL could only be smuggled in and would cut the text short.
    if (!error && value.len && memchr(value.at, '\0', value.len))
        error = refuse(&s, "a text without NUL bytes");
    if (!error)
        error = setters[option->type](&s);
    if (error) {
        free(kept_origin);
        *ret_why = config->origins->why;
        return error;
    }
    free(config->origins->text[index]);
    config->origins->text[index] = s.text;
    free(config->origins->origin[index]);
    config->origins->origin[index] = kept_origin;
    return 0;
}

static int
set_bool(struct setting *s)
{
    static const char *const on[] = {"on", "true", "yes", "1"};
    static const char *const off[] = {"off", "false", "no", "0"};
    struct bk_str value = bk_str_trim(s->value);
    for (unsigned i = 0; i < BK_COUNT(on); i++) {
        bool is_on = bk_str_equal_nocase(value, bk_str_of(on[i]));
        if (!is_on && !bk_str_equal_nocase(value, bk_str_of(off[i])))
            continue;
        int error = store_text(s, is_on ? BK_STR("on") : BK_STR("off"));
        if (!error)
            *(bool *)s->field = is_on;
        return error;
    }
    return refuse(s, "on or off (also true/false, yes/no, 1/0)");
}

// The two ends of a range column "low..high".
static void
split_range(const struct bk_option *option, struct bk_str *ret_low, struct bk_str *ret_high)
{
    const char *dots = strstr(option->range, "..");
    *ret_low = (struct bk_str){option->range, (size_t)(dots - option->range)};
    *ret_high = bk_str_of(dots + 2);
}

// INT and AUTO.
static int
set_number(struct setting *s)
{
    struct bk_str value = bk_str_trim(s->value), low_text, high_text;
    bool may_auto = s->option->type == BK_OPTION_AUTO;
    split_range(s->option, &low_text, &high_text);
    uint64_t number = 0, low = 0, high = 0;
    int error = bk_str_parse_u64(low_text, INT64_MAX, &low);
    error = error ? error : bk_str_parse_u64(high_text, INT64_MAX, &high);
    if (error)
        return error;  // a mistake in options.def: bk_config_new asserts on it
    bool is_auto = may_auto && bk_str_equal_nocase(value, BK_STR("auto"));
    if (!is_auto && (bk_str_parse_u64(value, INT64_MAX, &number) || number < low || number > high))
        return refuse(s, "a number from %.*s to %.*s%s", (int)low_text.len, low_text.at,
                      (int)high_text.len, high_text.at, may_auto ? ", or auto" : "");
    char digits[20];
    size_t len = bk_str_format_u64(digits, number);
    error = store_text(s, is_auto ? BK_STR("auto") : (struct bk_str){digits, len});
    if (!error)
        *(int64_t *)s->field = is_auto ? -1 : (int64_t)number;
    return error;
}

// "64", "64K", "64k", "64KB", "64KiB", "off" (0) into bytes.
static int
parse_size(struct bk_str value, uint64_t *ret)
{
    static const char letters[] = "KMG";
    if (bk_str_equal_nocase(value, BK_STR("off"))) {
        *ret = 0;
        return 0;
    }
    size_t digits = 0;
    while (digits < value.len && isdigit((unsigned char)value.at[digits]))
        digits++;
    struct bk_str unit = {value.at + digits, value.len - digits};
    unsigned shift = 0;
    if (unit.len) {
        const char *letter = strchr(letters, toupper((unsigned char)unit.at[0]));
        if (!letter || !*letter)
            return -EINVAL;
        shift = 10 * (unsigned)(letter - letters + 1);
        struct bk_str rest = {unit.at + 1, unit.len - 1};
        if (rest.len && !bk_str_equal_nocase(rest, BK_STR("B"))
            && !bk_str_equal_nocase(rest, BK_STR("iB")))
            return -EINVAL;
    }
    uint64_t number;
    int error = bk_str_parse_u64((struct bk_str){value.at, digits}, UINT64_MAX >> shift, &number);
    if (!error)
        *ret = number << shift;
    return error;
}

uint64_t
bk_config_size_of(const char *text)
{
    uint64_t size = 0;
    return text && parse_size(bk_str_of(text), &size) == 0 ? size : 0;
}

// The shortest text with a whole number: 65536 is "64K".
static size_t
format_size(char out[24], uint64_t size)
{
    static const char letters[] = "\0KMG";
    unsigned power = 0;
    while (size && power < 3 && size % 1024 == 0) {
        size /= 1024;
        power++;
    }
    size_t len = bk_str_format_u64(out, size);
    if (power)
        out[len++] = letters[power];
    return len;
}

static int
set_size(struct setting *s)
{
    struct bk_str low_text, high_text;
    split_range(s->option, &low_text, &high_text);
    uint64_t size = 0, low = 0, high = 0;
    int error = parse_size(low_text, &low);
    error = error ? error : parse_size(high_text, &high);
    if (error)
        return error;
    error = parse_size(bk_str_trim(s->value), &size);
    if (error == -EINVAL)
        return refuse(s, "not a size; 8192, 64K, 10M, 1G are");
    if (error || size < low || size > high)
        return refuse(s, "a size from %.*s to %.*s", (int)low_text.len, low_text.at,
                      (int)high_text.len, high_text.at);
    char text[24];
    error = store_text(s, (struct bk_str){text, format_size(text, size)});
    if (!error)
        *(uint64_t *)s->field = size;
    return error;
}

static int parse_time(struct bk_str value, uint64_t *ret);
static size_t format_time(char out[32], uint64_t ns);

static int
set_time(struct setting *s)
{
    struct bk_str low_text, high_text;
    split_range(s->option, &low_text, &high_text);
    uint64_t ns = 0, low = 0, high = 0;
    int error = parse_time(low_text, &low);
    error = error ? error : parse_time(high_text, &high);
    if (error)
        return error;
    error = parse_time(bk_str_trim(s->value), &ns);
    if (error == -EINVAL)
        return refuse(s, "not a duration; 30, 0.5, 30s, 5m, 1h are");
    if (error || ns < low || ns > high)
        return refuse(s, "a duration from %.*s to %.*s seconds", (int)low_text.len, low_text.at,
                      (int)high_text.len, high_text.at);
    char text[32];
    error = store_text(s, (struct bk_str){text, format_time(text, ns)});
    if (!error)
        *(uint64_t *)s->field = ns;
    return error;
}

// Digits, perhaps a point and up to nine more, perhaps a unit. -EINVAL when it is none, -ERANGE
// when it is more than any option takes.
static int
parse_time(struct bk_str value, uint64_t *ret)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"", BK_SEC}, {"s", BK_SEC}, {"ms", BK_MSEC}, {"m", 60 * BK_SEC},
                 {"h", 3600 * BK_SEC}};
    if (bk_str_equal_nocase(value, BK_STR("off"))) {
        *ret = 0;
        return 0;
    }
    size_t at = 0, fraction_digits = 0;
    uint64_t whole = 0, fraction = 0, scale = 1;
    while (at < value.len && isdigit((unsigned char)value.at[at]))
        at++;
    int error = bk_str_parse_u64((struct bk_str){value.at, at}, 1000000000, &whole);
    if (error)
        return error;
    if (at < value.len && value.at[at] == '.') {
        for (at++; at < value.len && isdigit((unsigned char)value.at[at]); at++) {
            if (++fraction_digits > 9)
                return -EINVAL;
            fraction = fraction * 10 + (uint64_t)(value.at[at] - '0');
            scale *= 10;
        }
        if (!fraction_digits)
            return -EINVAL;
    }
    struct bk_str unit = {value.at + at, value.len - at};
    for (unsigned i = 0; i < BK_COUNT(units); i++) {
        if (!bk_str_equal(unit, bk_str_of(units[i].name)))
            continue;
        if (whole > 1000000 * BK_SEC / units[i].ns * 1000)
            return -ERANGE;
        // In two parts: fraction < 10^9 and an hour is 3.6 * 10^12, their product would overflow.
        uint64_t part = units[i].ns / scale * fraction + units[i].ns % scale * fraction / scale;
        *ret = whole * units[i].ns + part;
        return 0;
    }
    return -EINVAL;
}

// Seconds, with as many decimals as there are: 620, 0.25.
static size_t
format_time(char out[32], uint64_t ns)
{
    size_t len = bk_str_format_u64(out, ns / BK_SEC);
    uint64_t fraction = ns % BK_SEC;
    if (!fraction)
        return len;
    out[len++] = '.';
    for (uint64_t scale = BK_SEC / 10; fraction; scale /= 10) {
        out[len++] = (char)('0' + fraction / scale);
        fraction %= scale;
    }
    return len;
}

static int
set_text(struct setting *s)
{
    const char *why = bk__config_check_item(s->option, s->value);
    if (why)
        return refuse(s, "%s", why);
    char *copy = s->value.len ? strndup(s->value.at, s->value.len) : NULL;
    if (s->value.len && !copy)
        return -ENOMEM;
    int error = store_text(s, s->value);
    if (error) {
        free(copy);
        return error;
    }
    free(*(char **)s->field);
    *(char **)s->field = copy;
    return 0;
}

static int
set_word(struct setting *s)
{
    struct bk_str value = bk_str_trim(s->value), words = bk_str_of(s->option->range), word;
    while (bk_str_next_item(&words, '|', &word)) {
        if (!bk_str_equal_nocase(word, value))
            continue;
        s->value = word;
        return set_text(s);
    }
    char list[200];
    size_t len = 0;
    words = bk_str_of(s->option->range);
    while (bk_str_next_item(&words, '|', &word) && len < sizeof(list))
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%.*s", len ? ", " : "",
                                (int)word.len, word.at);
    return refuse(s, strchr(list, ',') ? "one of %s" : "only %s", list);
}

static bool same_kind(const char *a, const char *b);
static int append_items(struct setting *s, struct bk_text_list *list);
static char *join_items(const struct bk_text_list *list);
static void release_items(struct bk_text_list *list);

static int
set_list(struct setting *s)
{
    struct bk_text_list *field = s->field, list = {0};
    unsigned index = (unsigned)(s->option - bk_options(&(unsigned){0}));
    const char *present = s->config->origins->origin[index];
    int error = 0;
    if (present && same_kind(present, s->origin)) {
        struct setting kept = *s;
        kept.value = bk_str_of(s->config->origins->text[index]);
        error = append_items(&kept, &list);
    }
    if (!error)
        error = append_items(s, &list);
    if (!error)
        error = (s->text = join_items(&list)) ? 0 : -ENOMEM;
    if (error) {
        release_items(&list);
        return error;
    }
    release_items(field);
    *field = list;
    return 0;
}

// Whether items of these origins may stand together: both from the command line, say. Defaults
// never mix with anything, or a worker that is told a default list would have it twice.
static bool
same_kind(const char *a, const char *b)
{
    size_t len = strcspn(a, " ");
    return len == strcspn(b, " ") && memcmp(a, b, len) == 0 && strcmp(a, "default") != 0;
}

static int
append_items(struct setting *s, struct bk_text_list *list)
{
    bool commas = s->option->range[0] == ',';
    struct bk_str rest = s->value;
    while (rest.len) {
        const char *end = memchr(rest.at, '\n', rest.len);
        const char *comma = commas ? memchr(rest.at, ',', rest.len) : NULL;
        if (comma && (!end || comma < end))
            end = comma;
        struct bk_str item = {rest.at, end ? (size_t)(end - rest.at) : rest.len};
        size_t used = item.len + (end ? 1 : 0);
        rest = (struct bk_str){rest.at + used, rest.len - used};
        if (commas)
            item = bk_str_trim(item);
        if (!item.len)
            continue;
        const char *why = bk__config_check_item(s->option, item);
        if (why)
            return refuse(s, "%s", why);
        if (list->count >= BK_CONFIG_LIST_MAX)
            return refuse(s, "at most %d items", BK_CONFIG_LIST_MAX);
        char **items = realloc(list->items, (list->count + 1) * sizeof(*items));
        if (!items)
            return -ENOMEM;
        list->items = items;
        if (!(items[list->count] = strndup(item.at, item.len)))
            return -ENOMEM;
        list->count++;
    }
    return 0;
}

static char *
join_items(const struct bk_text_list *list)
{
    size_t size = 1;
    for (unsigned i = 0; i < list->count; i++)
        size += strlen(list->items[i]) + 1;
    char *text = malloc(size), *at = text;
    if (!text)
        return NULL;
    for (unsigned i = 0; i < list->count; i++) {
        if (i)
            *at++ = '\n';
        size_t len = strlen(list->items[i]);
        memcpy(at, list->items[i], len);
        at += len;
    }
    *at = '\0';
    return text;
}

static void
release_items(struct bk_text_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct bk_text_list){0};
}

static int
store_text(struct setting *s, struct bk_str value)
{
    s->text = strndup(value.len ? value.at : "", value.len);
    return s->text ? 0 : -ENOMEM;
}

// Notes why a value is not taken; the text completes "--workers 'two': ...".
static int
refuse(struct setting *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->config->origins->why, sizeof(s->config->origins->why), format, arguments);
    va_end(arguments);
    return -EINVAL;
}
