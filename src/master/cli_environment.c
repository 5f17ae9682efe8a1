// Settings from the environment: BARKEEP_<KEY> for each option, and the three variables that
// platforms set for every server. The command line is stronger, so a variable whose option was
// given there is not even looked at. Called by cli.c.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "master/cli_internal.h"
#include "master/systemd.h"

#include "base/banned.h"

#define PREFIX "BARKEEP_"

static bool still_default(const struct bk__cli *read, const char *key);
static void read_prefixed(struct bk__cli *read, const char *entry);
static void read_common(struct bk__cli *read, const char *name, const char *key, bool empty_counts);
static void read_port(struct bk__cli *read);

void
bk__cli_read_environment(struct bk__cli *read)
{
    for (char **entry = read->envp; entry && *entry; entry++)
        if (strncmp(*entry, PREFIX, strlen(PREFIX)) == 0)
            read_prefixed(read, *entry);
    read_common(read, "WEB_CONCURRENCY", "workers", false);
    // Empty means "believe nobody" here, as in Gunicorn. Elsewhere it is how a compose file says
    // "not set".
    read_common(read, "FORWARDED_ALLOW_IPS", "forwarded_allow_ips", true);
    read_port(read);
    bool other_server = read->file.kind && strcmp(read->file.kind, "toml") != 0;
    // Who comes from there must not find four times the database connections.
    if (other_server && still_default(read, "threads")) {
        char origin[80];
        snprintf(origin, sizeof(origin), "as with %s", bk__cli_file_label(read));
        bk__cli_set(read, bk_option_find(BK_STR("threads")), "threads", BK_STR("1"), origin);
    }
}

const char *
bk__cli_environment(const struct bk__cli *read, const char *name)
{
    size_t len = strlen(name);
    for (char **entry = read->envp; entry && *entry; entry++)
        if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=')
            return *entry + len + 1;
    return NULL;
}

static bool from_kubernetes(const char *name, const char *value);

static void
read_prefixed(struct bk__cli *read, const char *entry)
{
    char name[100], key[100], origin[120], near[200], shown[200];
    const char *equals = strchr(entry, '=');
    size_t len = equals ? (size_t)(equals - entry) : 0;
    if (!equals || len <= strlen(PREFIX) || !equals[1])
        return;
    snprintf(name, sizeof(name), "%.*s", (int)len, entry);
    snprintf(key, sizeof(key), "%s", name + strlen(PREFIX));
    for (char *at = key; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    const struct bk_option *option = len < sizeof(name) ? bk_option_find(bk_str_of(key)) : NULL;
    if (option && option->scope != BK_OPTION_ACTION) {
        snprintf(origin, sizeof(origin), "environment %s", name);
        if (still_default(read, option->key))
            bk__cli_set(read, option, name, bk_str_of(equals + 1), origin);
        return;
    }
    if (from_kubernetes(name, equals + 1))
        return;
    size_t shown_len = bk_str_escape(shown, sizeof(shown), bk_str_of(name));
    if (bk_hint_near(bk_str_of(key), BK_HINT_ENVIRONMENT, near, sizeof(near)))
        bk__cli_problem(read, BK_KEY_ENVIRONMENT_UNKNOWN, "",
                        "the environment variable %.*s belongs to no setting; near: %s",
                        (int)shown_len, shown, near);
    else
        bk__cli_problem(read, BK_KEY_ENVIRONMENT_UNKNOWN, "",
                        "the environment variable %.*s belongs to no setting", (int)shown_len,
                        shown);
}

// Kubernetes gives each pod BARKEEP_SERVICE_HOST, BARKEEP_PORT=tcp://... and more for a service
// that is called barkeep.
static bool
from_kubernetes(const char *name, const char *value)
{
    const char *rest = name + strlen(PREFIX);
    return strncmp(rest, "SERVICE_", 8) == 0 || strncmp(rest, "PORT_", 5) == 0 ||
           (strcmp(rest, "PORT") == 0 && strstr(value, "://"));
}

static void
read_common(struct bk__cli *read, const char *name, const char *key, bool empty_counts)
{
    char origin[64];
    const char *value = bk__cli_environment(read, name);
    if (!value || (!*value && !empty_counts) || !still_default(read, key))
        return;
    snprintf(origin, sizeof(origin), "environment %s", name);
    bk__cli_set(read, bk_option_find(bk_str_of(key)), name, bk_str_of(value), origin);
}

// Sockets of a service manager are the addresses, unless others are named.
static bool
read_sockets(struct bk__cli *read)
{
    char address[32];
    unsigned passed = still_default(read, "bind") ? bk_systemd_passed() : 0;
    for (unsigned n = 0; n < passed; n++) {
        snprintf(address, sizeof(address), "fd://%u", BK_SYSTEMD_FIRST + n);
        bk__cli_set(read, bk_option_find(BK_STR("bind")), "LISTEN_FDS", bk_str_of(address),
                    "environment LISTEN_FDS");
    }
    return passed > 0;
}

// PORT alone chooses the address too: the platforms that set it connect from outside.
static void
read_port(struct bk__cli *read)
{
    const struct bk_option *option = bk_option_find(BK_STR("bind"));
    const char *value = bk__cli_environment(read, "PORT");
    char address[32];
    uint64_t port;
    if (read_sockets(read) || !still_default(read, "bind"))
        return;
    if (!value || !*value) {
        bk__cli_set(read, option, "--bind", BK_STR("127.0.0.1:8000"), "default");
    } else if (bk_str_parse_u64(bk_str_of(value), 65535, &port) < 0) {
        bk__cli_refuse(read, option, "PORT", bk_str_of(value), "environment PORT",
                       BK_KEY_OPTION_VALUE, "a port is 0 to 65535");
    } else {
        snprintf(address, sizeof(address), "0.0.0.0:%u", (unsigned)port);
        bk__cli_set(read, option, "PORT", bk_str_of(address), "environment PORT");
    }
}

static bool
still_default(const struct bk__cli *read, const char *key)
{
    return strcmp(bk_config_origin(read->config, key), "default") == 0;
}
