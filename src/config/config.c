// The snapshot of all settings: made with the defaults of options.def, read back as text. Setting a
// value is in config_set.c. Called by main.c and the master, and by each worker with what the
// master handed over.
#include "config/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/panic.h"
#include "config/config_internal.h"

#include "base/banned.h"

static void free_field(struct bk_config *config, const struct bk_option *option);

int
bk_config_new(struct bk_config **ret)
{
    struct bk_config *config = calloc(1, sizeof(*config));
    if (!config)
        return -ENOMEM;
    int error = -ENOMEM;
    config->origins = calloc(1, sizeof(*config->origins));
    if (!config->origins)
        goto out;
    unsigned count;
    const struct bk_option *options = bk_options(&count);
    for (unsigned i = 0; i < count; i++) {
        const char *why = "";
        error = bk_config_set(config, bk_str_of(options[i].key), bk_str_of(options[i].fallback),
                              "default", &why);
        BK_ASSERT(error != -EINVAL && error != -ENOENT);  // a mistake in options.def
        if (error)
            goto out;
    }
    *ret = config;
    return 0;
out:
    bk_config_free(config);
    return error;
}

void
bk_config_free(struct bk_config *config)
{
    if (!config)
        return;
    unsigned count;
    const struct bk_option *options = bk_options(&count);
    for (unsigned i = 0; i < count; i++) {
        free_field(config, &options[i]);
        if (config->origins) {
            free(config->origins->text[i]);
            free(config->origins->origin[i]);
        }
    }
    free(config->origins);
    free(config->app);
    free(config->app_origin);
    free(config);
}

bool
bk_config_get(const struct bk_config *config, unsigned n, struct bk_str *ret_key,
              struct bk_str *ret_value, const char **ret_origin)
{
    unsigned count;
    const struct bk_option *options = bk_options(&count);
    if (n >= count)
        return false;
    *ret_key = bk_str_of(options[n].key);
    *ret_value = bk_str_of(config->origins->text[n]);
    *ret_origin = config->origins->origin[n];
    return true;
}

const char *
bk_config_origin(const struct bk_config *config, const char *key)
{
    const struct bk_option *option = bk_option_find(bk_str_of(key));
    return option ? config->origins->origin[option - bk_options(&(unsigned){0})] : "";
}

const char *
bk_config_text(const struct bk_config *config, const char *key)
{
    const struct bk_option *option = bk_option_find(bk_str_of(key));
    return option ? config->origins->text[option - bk_options(&(unsigned){0})] : "";
}

static void
free_field(struct bk_config *config, const struct bk_option *option)
{
    void *field = (char *)config + option->offset;
    if (option->type == BK_OPTION_TEXT || option->type == BK_OPTION_WORD) {
        free(*(char **)field);
    } else if (option->type == BK_OPTION_LIST) {
        struct bk_text_list *list = field;
        for (unsigned i = 0; i < list->count; i++)
            free(list->items[i]);
        free(list->items);
    }
}
