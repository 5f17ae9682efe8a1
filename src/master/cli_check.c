// What can be checked only when all settings are known, still without a socket or Python: rules
// between them, directories and interpreters they name, the application. Called by cli.c after
// everything has been read.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config_check.h"
#include "master/cli_internal.h"
#include "master/privileges.h"

#include "base/banned.h"

static void complain(void *self, enum bk_key key, const char *text);
static void check_binds(struct bk__cli *read);
static void check_chdir(struct bk__cli *read);
static void check_venv(struct bk__cli *read);
static void check_python(struct bk__cli *read);
static const char *wrong_venv(const char *venv);
static bool python_is_there(const struct bk__cli *read, const char *python);
static void check_trust(struct bk__cli *read);
static void check_user(struct bk__cli *read);
static void check_app(struct bk__cli *read);

void
bk__cli_check(struct bk__cli *read)
{
    bk_config_check(read->config, complain, read);
    check_binds(read);
    check_chdir(read);
    if (read->config->venv)
        check_venv(read);
    if (read->config->python)
        check_python(read);
    check_trust(read);
    check_user(read);
    if (read->config->reload_extra_file.count > 0 && !read->config->reload)
        bk__cli_problem(read, BK_KEY_RELOAD_FILES, "try: --touch-reload, which needs no --reload",
                        "--reload-extra-file does nothing without --reload");
    if (!read->config->app && !read->config->print_config && !read->lost &&
        !read->file.failed)
        check_app(read);
}

static void
complain(void *self, enum bk_key key, const char *text)
{
    bk__cli_problem(self, key, "", "%s", text);
}

static void
check_binds(struct bk__cli *read)
{
    const struct bk_text_list *binds = &read->config->bind;
    for (unsigned i = 0; i < binds->count; i++)
        for (unsigned k = 0; k < i; k++)
            if (strcmp(binds->items[i], binds->items[k]) == 0)
                bk__cli_problem(read, BK_KEY_OPTION_CONFLICT, "", "--bind '%s' is given twice",
                                binds->items[i]);
}

static void
check_chdir(struct bk__cli *read)
{
    struct stat status;
    const char *directory = read->config->chdir;
    if (!directory)
        return;
    char shown[300];
    int len = (int)bk_str_escape(shown, sizeof(shown), bk_str_of(directory));
    const char *why = NULL;
    if (stat(directory, &status) < 0)
        why = errno == EACCES ? "permission denied" : "no such directory";
    else if (!S_ISDIR(status.st_mode))
        why = "not a directory";
    else if (access(directory, X_OK) < 0)
        why = "permission denied";
    if (why)
        bk__cli_problem(read, BK_KEY_CHDIR_MISSING, "", "--chdir '%.*s': %s", len, shown, why);
}

static void
check_venv(struct bk__cli *read)
{
    char found[300], first[100], detail[700] = "", shown[300];
    const char *venv = read->config->venv, *why = wrong_venv(venv);
    if (!why)
        return;
    if (bk__cli_find_venvs(".", found, sizeof(found), first, sizeof(first)))
        snprintf(detail, sizeof(detail), "found here: %s\ntry: barkeep --venv %s %s", found, first,
                 read->config->app ? read->config->app : "module:callable");
    else
        snprintf(detail, sizeof(detail),
                 "try: python3 -m venv .venv && .venv/bin/pip install barkeep");
    int len = (int)bk_str_escape(shown, sizeof(shown), bk_str_of(venv));
    bk__cli_problem(read, BK_KEY_VENV_MISSING, detail, "--venv '%.*s': %s", len, shown, why);
}

// What is wrong with it, NULL: nothing.
static const char *
wrong_venv(const char *venv)
{
    char python[4096];
    struct stat status;
    snprintf(python, sizeof(python), "%s/bin/python", venv);
    if (stat(venv, &status) < 0)
        return errno == EACCES ? "permission denied" : "no such directory";
    if (!S_ISDIR(status.st_mode))
        return "not a directory";
    return access(python, X_OK) < 0 ? "not a virtual environment, it has no bin/python" : NULL;
}

bool
bk__cli_wrong_interpreter(const struct bk__cli *read, const char *venv, const char *python)
{
    return (venv && wrong_venv(venv)) || (python && !python_is_there(read, python));
}

static void
check_python(struct bk__cli *read)
{
    const char *python = read->config->python;
    char shown[300];
    if (python_is_there(read, python))
        return;
    int len = (int)bk_str_escape(shown, sizeof(shown), bk_str_of(python));
    bk__cli_problem(read, BK_KEY_PYTHON_MISSING, "", "--python '%.*s': %s", len, shown,
                    strchr(python, '/') ? "no such program" : "no such program in PATH");
}

// It may be a path or a name that is looked up in PATH.
static bool
python_is_there(const struct bk__cli *read, const char *python)
{
    const char *path = bk__cli_environment(read, "PATH");
    char file[4096];
    bool there = strchr(python, '/') && access(python, X_OK) == 0;
    struct bk_str rest = bk_str_of(path && !strchr(python, '/') ? path : ""), directory;
    while (!there && bk_str_next_item(&rest, ':', &directory)) {
        int len = snprintf(file, sizeof(file), "%.*s/%s", (int)directory.len, directory.at, python);
        there = len < (int)sizeof(file) && access(file, X_OK) == 0;
    }
    return there;
}

// With PORT set, the platform's router is the only one that can connect, so trusting all peers is
// what it asks for.
static void
check_trust(struct bk__cli *read)
{
    const struct bk_text_list *list = &read->config->forwarded_allow_ips;
    const char *port = bk__cli_environment(read, "PORT");
    bool all = false;
    for (unsigned i = 0; i < list->count; i++)
        all = all || strcmp(list->items[i], "*") == 0;
    if (all && !(port && *port))
        bk__cli_problem(read, BK_KEY_FORWARDED_ALL, "",
                        "--forwarded-allow-ips is * (%s): every client can claim any address",
                        bk_config_origin(read->config, "forwarded_allow_ips"));
}

static void
check_user(struct bk__cli *read)
{
    struct bk_privileges privileges;
    struct bk_privileges_error error;
    int rc = bk_privileges_init(&privileges, read->config, &error);
    if (rc == -EINVAL)
        bk__cli_problem(read, error.key, error.detail, "%s", error.text);
    else if (rc < 0)
        read->out_of_memory = true;
    else
        bk_privileges_release(&privileges);
    if (geteuid() == 0 && !read->config->user && !read->config->print_config)
        bk__cli_problem(read, BK_KEY_ROOT_USER,
                        "try: --user NAME, or --user root when that is meant",
                        "the application runs as root");
}

static void
check_app(struct bk__cli *read)
{
    char found[600], best[200], detail[900];
    const char *directory = read->config->chdir ? read->config->chdir : ".";
    if (!bk__cli_find_apps(directory, found, sizeof(found), best, sizeof(best)))
        snprintf(detail, sizeof(detail), "try: barkeep module:callable");
    else
        snprintf(detail, sizeof(detail), "found here: %s\ntry: barkeep %s", found,
                 *best ? best : "module:callable");
    bk__cli_problem(read, BK_KEY_APP_MISSING, detail, "which application?");
}
