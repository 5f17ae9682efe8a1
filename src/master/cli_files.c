// Settings files: which ones there are, and what the config process says is in them. They are
// weaker than the command line and GUNICORN_CMD_ARGS, stronger than the environment. Without a file
// no Python is started. Called by cli.c.
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/config_hint.h"
#include "master/cli_internal.h"
#include "master/settings.h"
#include "master/words.h"

#include "base/banned.h"

#define TIME_LIMIT (20 * BK_SEC) // the process is told a second less, and says where it hangs

static const char *kind_of(const char *name);
static bool uwsgi_variables(const struct bk__cli *read);
static bool is_there(struct bk__cli *read);

void
bk__cli_read_files(struct bk__cli *read)
{
    struct bk_settings_run run;
    struct bk_buf question = {0};
    struct bk_interpreter interpreter = {0};
    const char *const *flags;
    unsigned flag_count;
    int status;

    if (!bk__cli_files_choose(read) ||
        !bk__cli_files_interpreter(read, &interpreter, &flags, &flag_count))
        return;
    int error = bk__cli_files_question(read, &question);
    if (error == 0)
        error = bk_settings_start(&run, &interpreter, flags, flag_count,
                                  (struct bk_str){question.at, question.len});
    if (error < 0) {
        char why[BK_WORDS_ROOM];
        bk__cli_problem(read, BK_KEY_CONFIG_FAILED, "", "cannot start a process that reads %s: %s",
                        bk__cli_file_label(read), bk_words_error(error, why));
    } else {
        error = bk_settings_wait(&run, TIME_LIMIT);
        bk_settings_end(&run, true, &status);
        bk__cli_files_take(read, &run, error, status);
        bk_settings_release(&run);
    }
    bk_buf_release(&question);
    bk_interpreter_release(&interpreter);
}

// -c, BARKEEP_CONFIG, ./barkeep.toml, ./gunicorn.conf.py: the first one there is. Then UWSGI_
// variables, when they name an application.
bool
bk__cli_files_choose(struct bk__cli *read)
{
    static const char *const found[] = {"barkeep.toml", "gunicorn.conf.py"};
    const char *name = read->config->config, *typed = bk__cli_environment(read, "BARKEEP_CONFIG");

    if (!name && typed && *typed) {
        bk__cli_set(read, bk_option_find(BK_STR("config")), "BARKEEP_CONFIG", bk_str_of(typed),
                    "environment BARKEEP_CONFIG");
        name = read->config->config;
    }
    if (read->file.kind) { // --uwsgi, whose words may name files of their own
        read->file.name = name ? name : "";
        return true;
    }
    if (name && strcmp(name, "off") == 0)
        return false;
    for (unsigned i = 0; i < BK_COUNT(found) && !name; i++)
        if (access(found[i], F_OK) == 0)
            name = found[i];
    if (!name && uwsgi_variables(read)) {
        read->file.kind = "uwsgi";
        read->file.name = "";
        return true;
    }
    if (!name)
        return false;
    read->file.name = bk__cli_keep(read, name);
    read->file.kind = read->file.ini ? "uwsgi" : kind_of(name);
    return is_there(read);
}

const char *
bk__cli_file_label(const struct bk__cli *read)
{
    return *read->file.name ? read->file.name : "uWSGI's settings";
}

// Whether it is uWSGI's variables that say what to serve, as in a container made for it. Beside an
// application on the command line they mean nothing.
static bool
uwsgi_variables(const struct bk__cli *read)
{
    static const char *const names[] = {"UWSGI_INI",       "UWSGI_MODULE", "UWSGI_WSGI",
                                        "UWSGI_WSGI_FILE", "UWSGI_FILE",   "UWSGI_MOUNT",
                                        "UWSGI_YAML",      "UWSGI_YML",    "UWSGI_JSON"};
    for (unsigned i = 0; i < BK_COUNT(names) && !read->config->app; i++) {
        const char *value = bk__cli_environment(read, names[i]);
        if (value && *value)
            return true;
    }
    return false;
}

// Without a Python for those that are plainly missing. An ini file may be standard input or a URL.
static bool
is_there(struct bk__cli *read)
{
    const char *name = read->file.name;
    char shown[300];

    if (strncmp(name, "file:", 5) == 0)
        name += 5;
    else if (strncmp(name, "python:", 7) == 0)
        return true;
    if (strcmp(read->file.kind, "uwsgi") == 0 || access(name, R_OK) == 0)
        return true;
    const char *why = errno == ENOENT   ? "no such file"
                      : errno == EACCES ? "permission denied"
                                        : "cannot be read";
    int len = (int)bk_str_escape(shown, sizeof(shown), bk_str_of(name));
    bk__cli_problem(read, BK_KEY_CONFIG_FILE, "", "--config '%.*s': %s", len, shown, why);
    return false;
}

// By its ending; "uwsgi.ini:section" is an ini file too. Gunicorn's may be called anything.
static const char *
kind_of(const char *name)
{
    struct bk_str whole = bk_str_of(name);
    const char *colon = strrchr(name, ':');
    size_t stem = colon && colon > name ? (size_t)(colon - name) : whole.len;

    if (whole.len > 5 && strcmp(name + whole.len - 5, ".toml") == 0)
        return "toml";
    if ((stem > 4 && strncmp(name + stem - 4, ".ini", 4) == 0) ||
        (whole.len > 4 && strcmp(name + whole.len - 4, ".ini") == 0))
        return "uwsgi";
    return "gunicorn";
}

bool
bk__cli_is_settings_file(const char *word)
{
    const char *section = strstr(word, ".ini:");
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.*s", section ? (int)(section - word) + 4 : PATH_MAX - 1, word);
    return access(path, F_OK) == 0 && strcmp(kind_of(word), "gunicorn") != 0;
}

// ---- the question -------------------------------------------------------------------------------

static int ask_options(struct bk_buf *question);
static int ask_others(struct bk_buf *question);
static int ask_words(const struct bk__cli *read, struct bk_buf *question);

int
bk__cli_files_question(const struct bk__cli *read, struct bk_buf *question)
{
    char limit[16];
    snprintf(limit, sizeof limit, "%u", (unsigned)(TIME_LIMIT / BK_SEC) - 1);
    struct bk_str file[] = {BK_STR("file"), bk_str_of(read->file.kind), bk_str_of(read->file.name)};
    struct bk_str end = BK_STR("end"), time[] = {BK_STR("limit"), bk_str_of(limit)};

    int error = ask_options(question);
    if (error == 0)
        error = ask_others(question);
    if (error == 0)
        error = ask_words(read, question);
    if (error == 0)
        error = bk_settings_ask(question, time, BK_COUNT(time));
    if (error == 0 && read->file.kind)
        error = bk_settings_ask(question, file, BK_COUNT(file));
    return error ? error : bk_settings_ask(question, &end, 1);
}

// What a file may set: no commands, and not which file to read.
static int
ask_options(struct bk_buf *question)
{
    static const char *const types[] = {
        [BK_OPTION_BOOL] = "BOOL", [BK_OPTION_INT] = "INT",   [BK_OPTION_AUTO] = "AUTO",
        [BK_OPTION_SIZE] = "SIZE", [BK_OPTION_TIME] = "TIME", [BK_OPTION_TEXT] = "TEXT",
        [BK_OPTION_LIST] = "LIST", [BK_OPTION_WORD] = "WORD",
    };
    unsigned count;
    const struct bk_option *option = bk_options(&count);
    int error = 0;

    for (unsigned i = 0; i < count && error == 0; i++, option++) {
        if (option->scope == BK_OPTION_ACTION || strcmp(option->key, "config") == 0)
            continue;
        struct bk_str fields[] = {
            BK_STR("option"),
            bk_str_of(option->key),
            bk_str_of(option->name),
            {&option->letter, option->letter != 0},
            bk_str_of(types[option->type]),
            bk_str_of(option->fallback),
            bk_str_of(option->range),
            bk_str_of(option->gunicorn),
            bk_str_of(option->uwsgi),
        };
        error = bk_settings_ask(question, fields, BK_COUNT(fields));
    }
    return error;
}

static int
ask_others(struct bk_buf *question)
{
    struct bk_other_name other;
    int error = 0;

    for (unsigned i = 0; error == 0 && bk_hint_other(i, &other); i++) {
        struct bk_str fields[] = {
            BK_STR("other"),         bk_str_of(other.kind),
            bk_str_of(other.name),   {&other.letter, other.letter != 0},
            bk_str_of(other.server), bk_str_of(other.text),
        };
        error = bk_settings_ask(question, fields, BK_COUNT(fields));
    }
    return error;
}

// sys.argv and the sys.path of whoever started us.
static int
ask_words(const struct bk__cli *read, struct bk_buf *question)
{
    const struct bk_master_start *start = &read->cli->start;
    struct bk_str argument[] = {BK_STR("argument"), bk_str_of(start->program)};
    struct bk_str path[] = {BK_STR("path"), BK_STR("")};

    int error = bk_settings_ask(question, argument, 2);
    for (unsigned i = 0; i < start->argument_count && error == 0; i++) {
        argument[1] = bk_str_of(start->arguments[i]);
        error = bk_settings_ask(question, argument, 2);
    }
    for (unsigned i = 0; i < start->python_path_count && error == 0; i++) {
        path[1] = bk_str_of(start->python_path[i]);
        error = bk_settings_ask(question, path, 2);
    }
    return error;
}

// ---- who is asked -------------------------------------------------------------------------------

// The interpreter of the workers, as far as it is known without the file; its own flags belong to
// the one that invoked us.
bool
bk__cli_files_interpreter(struct bk__cli *read, struct bk_interpreter *ret,
                          const char *const **ret_flags, unsigned *ret_flag_count)
{
    struct bk_config config = *read->config; // borrows all it points to
    struct bk_master_start start = read->cli->start;
    struct bk_surroundings surroundings;
    struct bk_interpreter_error why;
    const char *python = bk__cli_environment(read, "BARKEEP_PYTHON");
    const char *venv = bk__cli_environment(read, "BARKEEP_VENV");

    if (!config.python && !config.venv) {
        config.python = python && *python ? (char *)(uintptr_t)python : NULL;
        config.venv = !config.python && venv && *venv ? (char *)(uintptr_t)venv : NULL;
    }
    bool by_option = config.python || config.venv;
    start.config = &config;
    if (bk__cli_wrong_interpreter(read, config.venv, config.python))
        return false; // that is said later, by the checks
    config.env = (struct bk_text_list){0};
    if (bk_surroundings_init(&surroundings, &config, NULL) < 0) {
        read->out_of_memory = true;
        return false;
    }
    int error = bk_interpreter_find(ret, &start, &surroundings, &why);
    if (error < 0 && by_option)
        bk__cli_problem(read, why.key, why.detail, "%s", why.text);
    else if (error < 0)
        bk__cli_problem(read, why.key, why.detail, "%s is to be read by Python: %s",
                        bk__cli_file_label(read), why.text);
    bk_surroundings_release(&surroundings);
    *ret_flags = by_option ? NULL : start.python_flags;
    *ret_flag_count = by_option ? 0 : start.python_flag_count;
    return error == 0;
}

// ---- the answer ---------------------------------------------------------------------------------

static void take_record(struct bk__cli *read, const struct bk_str *fields);
static void take_setting(struct bk__cli *read, const struct bk_str *fields);
static void collect_environment(struct bk__cli *read, struct bk_str lines, struct bk_str origin);
static void set_environment(struct bk__cli *read);
static void take_app(struct bk__cli *read, const struct bk_str *fields);
static void take_hooks(struct bk__cli *read, const struct bk_str *fields);
static void take_unknown(struct bk__cli *read, const struct bk_str *fields);
static void take_problem(struct bk__cli *read, const struct bk_str *fields);
static void say_failed(struct bk__cli *read, int error, int status);
static char *copy_of(struct bk__cli *read, struct bk_str text);

void
bk__cli_files_take(struct bk__cli *read, const struct bk_settings_run *run, int error, int status)
{
    struct bk_str fields[BK_SETTINGS_FIELDS];
    size_t at = 0;
    unsigned count;

    read->file.failed = error < 0;
    if (error < 0)
        say_failed(read, error, status);
    while (error > 0 && bk_settings_next(run, &at, fields, &count))
        take_record(read, fields);
    set_environment(read);
}

static void
say_failed(struct bk__cli *read, int error, int status)
{
    const char *name = bk__cli_file_label(read);
    char text[BK_WORDS_ROOM];

    if (error == -ETIMEDOUT)
        bk__cli_problem(read, BK_KEY_CONFIG_FAILED, "", "%s was not read within %u s", name,
                        (unsigned)(TIME_LIMIT / BK_SEC));
    else if (error == -EPROTO)
        bk__cli_problem(read, BK_KEY_VERSION_SKEW, "",
                        "%s was read by a barkeep package that does not fit this master", name);
    else if (error != -EPIPE)
        bk__cli_problem(read, BK_KEY_CONFIG_FAILED, "", "%s could not be read: %s", name,
                        bk_words_error(error, text));
    else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        bk__cli_problem(read, BK_KEY_CONFIG_FAILED, "", "the process that read %s ended by %s",
                        name, bk_words_signal(WTERMSIG(status), text));
    else
        bk__cli_problem(read, BK_KEY_CONFIG_FAILED, "",
                        "the process that read %s ended with exit code %d and no answer", name,
                        WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

// Gunicorn's own variable is stronger than Gunicorn's file, and environment beside any other.
bool
bk__cli_is_stronger(const struct bk__cli *read, const char *origin)
{
    bool gunicorn = read->file.kind && strcmp(read->file.kind, "gunicorn") == 0;

    return !origin || strcmp(origin, "command line") == 0 ||
           (gunicorn && strcmp(origin, "GUNICORN_CMD_ARGS") == 0);
}

static void
take_record(struct bk__cli *read, const struct bk_str *fields)
{
    if (bk_str_equal(fields[0], BK_STR("setting")))
        take_setting(read, fields);
    else if (bk_str_equal(fields[0], BK_STR("app")))
        take_app(read, fields);
    else if (bk_str_equal(fields[0], BK_STR("hooks")))
        take_hooks(read, fields);
    else if (bk_str_equal(fields[0], BK_STR("unknown")))
        take_unknown(read, fields);
    else if (bk_str_equal(fields[0], BK_STR("warning")) || bk_str_equal(fields[0], BK_STR("error")))
        take_problem(read, fields);
}

// key, what it is called there, value, origin. NUL-terminated, all of them.
static void
take_setting(struct bk__cli *read, const struct bk_str *fields)
{
    const struct bk_option *option = bk_option_find(fields[1]);

    if (option && strcmp(option->key, "env") == 0)
        collect_environment(read, fields[3], fields[4]);
    else if (option && !bk__cli_is_stronger(read, bk_config_origin(read->config, option->key)))
        bk__cli_set(read, option, fields[2].at, fields[3], fields[4].at);
}

// Variables of the file and of the command line are for the workers both.
static void
collect_environment(struct bk__cli *read, struct bk_str lines, struct bk_str origin)
{
    size_t have = read->file.env ? strlen(read->file.env) : 0;
    char *grown = realloc(read->file.env, have + lines.len + 2);

    if (!grown) {
        read->out_of_memory = true;
        return;
    }
    memcpy(grown + have, lines.at, lines.len);
    memcpy(grown + have + lines.len, "\n", 2);
    read->file.env = grown;
    snprintf(read->file.env_origin, sizeof read->file.env_origin, "%s", origin.at);
}

// Those of the command line come last, and win.
static void
set_environment(struct bk__cli *read)
{
    const char *present = bk_config_origin(read->config, "env");
    char origin[sizeof read->file.env_origin + 40], *text = NULL;
    bool stronger = bk__cli_is_stronger(read, present);

    if (!read->file.env)
        return;
    snprintf(origin, sizeof origin, "%s%s%s", read->file.env_origin, stronger ? " and " : "",
             stronger ? present : "");
    if (asprintf(&text, "%s%s", read->file.env,
                 stronger ? bk_config_text(read->config, "env") : "") < 0) {
        read->out_of_memory = true;
        return;
    }
    bk__cli_set(read, bk_option_find(BK_STR("env")), "env", bk_str_of(text), origin);
    free(text);
    free(read->file.env);
    read->file.env = NULL;
}

static void
take_app(struct bk__cli *read, const struct bk_str *fields)
{
    // NULL is the command line's.
    if (read->config->app && bk__cli_is_stronger(read, read->config->app_origin))
        return;
    char *app = copy_of(read, fields[1]), *origin = copy_of(read, fields[2]);
    free(read->config->app);
    free(read->config->app_origin);
    read->config->app = app;
    read->config->app_origin = origin;
}

// The file, the names of its hooks. Those of workers are the workers' business.
static void
take_hooks(struct bk__cli *read, const struct bk_str *fields)
{
    static const char *const names[] = {"on_starting", "when_ready",       "on_reload",
                                        "pre_fork",    "nworkers_changed", "child_exit", "on_exit"};
    struct bk_str rest = fields[2], name;

    while (bk_str_next_item(&rest, ' ', &name))
        for (unsigned i = 0; i < BK_COUNT(names); i++)
            if (bk_str_equal(name, bk_str_of(names[i])))
                read->cli->start.master_hooks = bk__cli_keep(read, fields[2].at);
}

// name, origin, "error" or "warning": in our own files a typing error, in another server's perhaps
// a variable.
static void
take_unknown(struct bk__cli *read, const struct bk_str *fields)
{
    char shown[200], near[200];
    bool warning = bk_str_equal(fields[3], BK_STR("warning"));

    shown[bk_str_escape(shown, sizeof shown - 1, fields[1])] = '\0';
    unsigned found = bk_hint_near(fields[1], BK_HINT_SETTING, near, sizeof near);
    bk__cli_problem_as(read, warning ? BK_LOG_WARNING : BK_LOG_CRITICAL, BK_KEY_OPTION_UNKNOWN, "",
                       "%s: no setting '%s'%s%s", fields[2].at, shown, found ? "; near: " : "",
                       near);
}

// key, text, further lines
static void
take_problem(struct bk__cli *read, const struct bk_str *fields)
{
    const struct bk_message_info *info = bk_message_find(fields[1]);
    enum bk_key key =
        info ? (enum bk_key)(info - bk_messages(&(unsigned){0})) : BK_KEY_CONFIG_FAILED;
    bool warning = bk_str_equal(fields[0], BK_STR("warning"));

    read->file.failed = read->file.failed || !warning;
    bk__cli_problem_as(read, warning ? BK_LOG_WARNING : BK_LOG_CRITICAL, key, fields[3].at, "%s",
                       fields[2].at);
}

static char *
copy_of(struct bk__cli *read, struct bk_str text)
{
    char *copy = strndup(text.at, text.len);
    if (!copy)
        read->out_of_memory = true;
    return copy;
}
