// Reads the words of the command line, the GNU way: long and short names, options and application
// in any order, -- ends the options. No name is completed from a prefix. Called by cli.c.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "master/cli_internal.h"

#include "base/banned.h"

static void read_invoker(struct bk__cli *read);
static void read_wish(struct bk__cli *read, const char *what);
static void keep_arguments(struct bk__cli *read);
static void read_words(struct bk__cli *read);
static void read_long(struct bk__cli *read, const char *word);
static void read_short(struct bk__cli *read, const char *word);
static void read_app(struct bk__cli *read, const char *word);

void
bk__cli_read_arguments(struct bk__cli *read)
{
    read->at = read->argc > 0 ? 1 : 0;
    read->origin = "command line";
    read_invoker(read);
    keep_arguments(read);
    if (read->at < read->argc && bk__cli_is_python_command(read->argv[read->at]))
        read->command = BK__CLI_PYTHON;
    read_words(read);
}

static void
read_words(struct bk__cli *read)
{
    bool options_ended = false;
    while (read->at < read->argc && read->command == BK__CLI_SERVE) {
        const char *word = read->argv[read->at++];
        if (options_ended || word[0] != '-')
            read_app(read, word);
        else if (strcmp(word, "--") == 0)
            options_ended = true;
        else if (word[1] == '-')
            read_long(read, word);
        else
            read_short(read, word);
    }
}

static bool split_words(struct bk__cli *read, const char *text, char **words, int *ret_count);

void
bk__cli_read_gunicorn_arguments(struct bk__cli *read)
{
    const char *text = bk__cli_environment(read, "GUNICORN_CMD_ARGS");
    if (!text || !*text)
        return;
    char **words = bk__cli_take(read, (strlen(text) / 2 + 2) * sizeof(char *));
    int count;
    if (!words)
        return;
    if (!split_words(read, text, words, &count)) {
        bk__cli_problem(read, BK_KEY_OPTION_VALUE, "", "GUNICORN_CMD_ARGS: a quote is not closed");
        return;
    }
    int argc = read->argc;
    char **argv = read->argv;
    read->argc = count;
    read->argv = words;
    read->at = 0;
    read->origin = "GUNICORN_CMD_ARGS";
    read_words(read);
    read->argc = argc;
    read->argv = argv;
    read->command = BK__CLI_SERVE;
    if (*read->later)
        bk__cli_problem(read, BK_KEY_SETTING_IGNORED, "",
                        "GUNICORN_CMD_ARGS: not in this version yet, and left out: %s",
                        read->later);
}

// As a shell takes words apart: blanks, both kinds of quotes, backslashes. False when a quote is
// not closed.
static bool
split_words(struct bk__cli *read, const char *text, char **words, int *ret_count)
{
    char *out = bk__cli_take(read, strlen(text) + 1);
    int count = 0;
    *ret_count = 0;
    while (out && *text) {
        text += strspn(text, " \t\r\n");
        if (!*text)
            break;
        words[count++] = out;
        for (char quote = 0; *text && (quote || !strchr(" \t\r\n", *text)); text++) {
            bool escapes = *text == '\\' && quote != '\'' && text[1];
            if (escapes && (!quote || strchr("\"\\", text[1])))
                *out++ = *++text;
            else if (quote ? *text == quote : *text == '"' || *text == '\'')
                quote = quote ? 0 : *text;
            else
                *out++ = *text;
            if (quote && !text[1])
                return false;
        }
        *out++ = '\0';
    }
    *ret_count = count;
    return true;
}

// The console script puts these first, users never see them: --invoker-python PATH,
// --invoker-flag FLAG, --invoker-path TEXT; barkeep.run asks by --invoker-wants bind,
// `barkeep migrate` for the table of options by --invoker-wants table.
static void
read_invoker(struct bk__cli *read)
{
    struct bk_master_start *start = &read->cli->start;
    size_t room = ((size_t)read->argc + 1) * sizeof(char *);
    const char **flags = bk__cli_take(read, room), **path = bk__cli_take(read, room);
    if (!flags || !path)
        return;
    start->python_flags = flags;
    start->python_path = path;
    for (; read->at + 1 < read->argc; read->at += 2) {
        const char *word = read->argv[read->at], *value = read->argv[read->at + 1];
        if (strcmp(word, "--invoker-python") == 0)
            start->python = bk__cli_keep(read, value);
        else if (strcmp(word, "--invoker-flag") == 0)
            flags[start->python_flag_count++] = bk__cli_keep(read, value);
        else if (strcmp(word, "--invoker-wants") == 0)
            read_wish(read, value);
        else if (strcmp(word, "--invoker-path") == 0)
            path[start->python_path_count++] = bk__cli_keep(read, value);
        else
            break;
    }
}

static void
read_wish(struct bk__cli *read, const char *what)
{
    read->cli->start.bind_only = strcmp(what, "bind") == 0;
    if (strcmp(what, "table") == 0)
        read->command = BK__CLI_TABLE;
}

// What the application will find in sys.argv: the user's own words.
static void
keep_arguments(struct bk__cli *read)
{
    struct bk_master_start *start = &read->cli->start;
    start->program = bk__cli_keep(read, read->argc > 0 ? read->argv[0] : "barkeep");
    const char **words = bk__cli_take(read, ((size_t)read->argc + 1) * sizeof(char *));
    if (!words)
        return;
    for (int i = read->at; i < read->argc; i++)
        words[start->argument_count++] = bk__cli_keep(read, read->argv[i]);
    start->arguments = words;
}

static void set_here(struct bk__cli *read, const struct bk_option *option, const char *typed,
                     struct bk_str value);
static void set_flag(struct bk__cli *read, const struct bk_option *option, const char *typed,
                     const char *value, bool off);
static void set_from_next(struct bk__cli *read, const struct bk_option *option, const char *typed);
static void read_unknown(struct bk__cli *read, const char *typed, bool has_value);
static const char *place(const struct bk__cli *read);
static void leave_to_uwsgi(struct bk__cli *read);
static void note_later(struct bk__cli *read, const char *typed);

static void
read_long(struct bk__cli *read, const char *word)
{
    const char *equals = strchr(word, '=');
    char typed[100];
    snprintf(typed, sizeof(typed), "%.*s", equals ? (int)(equals - word) : (int)strlen(word), word);
    struct bk_str name = bk_str_of(typed + 2);
    const struct bk_option *option = bk_option_named(name);
    bool off = false;
    if (!option && (bk_str_starts(name, BK_STR("no-")) || bk_str_starts(name, BK_STR("no_")))) {
        option = bk_option_named((struct bk_str){name.at + 3, name.len - 3});
        off = option && option->type == BK_OPTION_BOOL;
        if (!off)
            option = NULL;
    }
    if (strcmp(word, "--help") == 0)
        read->command = BK__CLI_HELP;
    else if (strcmp(word, "--version") == 0)
        read->command = BK__CLI_VERSION;
    else if (strcmp(word, "--uwsgi") == 0 && !*place(read))
        leave_to_uwsgi(read);
    else if (!option)
        read_unknown(read, typed, equals != NULL);
    else if (option->type == BK_OPTION_BOOL)
        set_flag(read, option, typed, equals ? equals + 1 : NULL, off);
    else if (equals)
        set_here(read, option, typed, bk_str_of(equals + 1));
    else
        set_from_next(read, option, typed);
}

static void
read_short(struct bk__cli *read, const char *word)
{
    char typed[3] = {'-', word[1], '\0'};
    const struct bk_option *option = bk_option_lettered(word[1]);
    const char *rest = word[1] ? word + 2 : word + 1;
    if (word[1] == 'h')
        read->command = BK__CLI_HELP;
    else if (word[1] == 'v')
        read->command = BK__CLI_VERSION;
    else if (!option)
        read_unknown(read, typed, *rest != '\0');
    else if (*rest)
        set_here(read, option, typed, bk_str_of(rest + (*rest == '=')));
    else
        set_from_next(read, option, typed);
}

// The words behind it are in uWSGI's language, which the config process speaks.
static void
leave_to_uwsgi(struct bk__cli *read)
{
    read->file.kind = "uwsgi";
    read->at = read->argc;
}

static void
set_here(struct bk__cli *read, const struct bk_option *option, const char *typed,
         struct bk_str value)
{
    bool variable = strcmp(read->origin, "command line") != 0;
    if (variable && strcmp(bk_config_origin(read->config, option->key), "command line") == 0)
        return;  // it is stronger
    if (strcmp(typed, "--ini") == 0)
        read->file.ini = true;
    bk__cli_set(read, option, typed, value, read->origin);
}

// --sendfile, --sendfile=off, --sendfile off, --no-sendfile. The third form needs a word that can
// only mean the switch.
static void
set_flag(struct bk__cli *read, const struct bk_option *option, const char *typed, const char *value,
         bool off)
{
    static const char *const switches[] = {"on", "off", "true", "false", "yes", "no", "1", "0"};
    if (off && value) {
        bk__cli_problem(read, BK_KEY_OPTION_VALUE, "", "%s%s takes no value", place(read), typed);
        return;
    }
    for (unsigned i = 0; i < BK_COUNT(switches) && !off && !value && read->at < read->argc; i++)
        if (bk_str_equal_nocase(bk_str_of(switches[i]), bk_str_of(read->argv[read->at])))
            value = read->argv[read->at++];
    if (!value)
        value = off ? "off" : "on";
    set_here(read, option, typed, bk_str_of(value));
}

// Whether the next word is there and can be a value: an option is none, but "-" and "-1" are.
static bool
value_follows(const struct bk__cli *read)
{
    const char *word = read->at < read->argc ? read->argv[read->at] : "--";
    return word[0] != '-' || !word[1] || isdigit((unsigned char)word[1]);
}

static void
set_from_next(struct bk__cli *read, const struct bk_option *option, const char *typed)
{
    if (value_follows(read))
        set_here(read, option, typed, bk_str_of(read->argv[read->at++]));
    else
        bk__cli_problem(read, BK_KEY_OPTION_VALUE, "", "%s%s needs a value: %s %s", place(read),
                        typed, typed, option->meta);
}

// What begins a message about words that the user has not just typed.
static const char *
place(const struct bk__cli *read)
{
    return strcmp(read->origin, "command line") == 0 ? "" : "GUNICORN_CMD_ARGS: ";
}

static void
note_later(struct bk__cli *read, const char *typed)
{
    size_t len = strlen(read->later);
    snprintf(read->later + len, sizeof(read->later) - len, "%s%s", len ? ", " : "", typed);
}

static void
read_unknown(struct bk__cli *read, const char *typed, bool has_value)
{
    struct bk_hint hint;
    bk_hint_option(bk_str_of(typed), &hint);
    if (hint.key == BK_KEY_OPTION_LATER && !hint.refuse && *place(read))
        note_later(read, typed);
    else
        bk__cli_problem(read, hint.key, hint.detail, "%s%s", place(read), hint.text);
    if (has_value)
        return;
    if (!hint.known) {
        read->lost = true;
        if (read->at < read->argc && strcmp(read->argv[read->at], "-") == 0)
            read->at++;  // can only be its value
    }
    if (hint.known && hint.takes_value && value_follows(read))
        read->at++;
}

static void
read_app(struct bk__cli *read, const char *word)
{
    char first[128], other[128];
    if (*place(read))
        return;  // as Gunicorn
    if (!read->config->config && bk__cli_is_settings_file(word)) {
        set_here(read, bk_option_find(BK_STR("config")), word, bk_str_of(word));
        return;
    }
    if (!read->config->app) {
        if (*word && !(read->config->app = strdup(word)))
            read->out_of_memory = true;
        return;
    }
    if (read->lost)
        return;  // perhaps the value of the unknown option
    size_t first_len = bk_str_escape(first, sizeof(first), bk_str_of(read->config->app));
    size_t other_len = bk_str_escape(other, sizeof(other), bk_str_of(word));
    bk__cli_problem(read, BK_KEY_APP_SEVERAL, "", "more than one application: '%.*s' and '%.*s'",
                    (int)first_len, first, (int)other_len, other);
}
