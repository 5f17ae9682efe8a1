// Memory runs out while settings are made: each allocation fails once, in turn. The call says so,
// the setting stays as it was and nothing leaks (the leak checker of a sanitizer build looks).
#include "check.h"
#include "config/config.h"

void *__wrap_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);

static long countdown = -1;  // allocations until one fails; negative: never

static bool
fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_realloc(void *block, size_t size)
{
    return fails() ? NULL : __real_realloc(block, size);
}

char *
__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *
__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

TEST(a_snapshot_is_made_whole_or_not_at_all)
{
    unsigned failures = 0;
    for (;; failures++) {
        struct bk_config *config = NULL;
        countdown = failures;
        int error = bk_config_new(&config);
        countdown = -1;
        bk_config_free(config);
        if (error == 0)
            break;
        CHECK_INT(error, -ENOMEM);
        CHECK(config == NULL);
        CHECK(failures < 10000);
    }
    CHECK(failures > 90);  // at least two for each of more than 45 options
}

// Sets `key` to `value` with each allocation failing once; until it works, it is what it was.
static void
set_without_memory(struct bk_config *config, const char *key, const char *value, const char *result)
{
    const char *why = NULL;
    char before[200];
    snprintf(before, sizeof(before), "%s", bk_config_text(config, key));
    for (unsigned n = 0;; n++) {
        countdown = n;
        int error = bk_config_set(config, bk_str_of(key), bk_str_of(value), "command line", &why);
        countdown = -1;
        CHECK(n < 100);
        if (error == 0)
            break;
        CHECK_INT(error, -ENOMEM);
        CHECK_STR(bk_config_text(config, key), before);
        CHECK_STR(bk_config_origin(config, key), "default");
    }
    CHECK_STR(bk_config_text(config, key), result);
    CHECK_STR(bk_config_origin(config, key), "command line");
}

TEST(a_setting_stays_as_it_was)
{
    struct bk_config *config = NULL;
    CHECK_INT(bk_config_new(&config), 0);
    set_without_memory(config, "workers", "5", "5");
    set_without_memory(config, "sendfile", "off", "off");
    set_without_memory(config, "keep_alive", "2m", "120");
    set_without_memory(config, "limit_request_head", "128K", "128K");
    set_without_memory(config, "log_level", "debug", "debug");
    set_without_memory(config, "chdir", "below", "below");
    set_without_memory(config, "forwarded_allow_ips", "10.0.0.1,10.0.0.2", "10.0.0.1\n10.0.0.2");
    CHECK_INT(config->workers, 5);
    CHECK_INT(config->forwarded_allow_ips.count, 2);
    bk_config_free(config);
}
