// What the cli_*.c files share; nobody else includes it.
#pragma once

#include "base/str.h"
#include "config/config_hint.h"
#include "config/messages.h"
#include "config/option.h"
#include "master/cli.h"
#include "master/settings.h"

#define BK__CLI_PROBLEMS_MAX 40  // said in one go

struct bk__cli_problem {
    enum bk_key key;
    enum bk_log_level level;  // critical: the program ends because of it
    char *text;    // owns
    char *detail;  // owns: further lines, "" for none
};

// The reading of one command line.
struct bk__cli {
    struct bk_cli *cli;
    struct bk_config *config;  // borrows cli
    int argc;
    char **argv;
    char **envp;
    int at;                    // the next argument
    const char *origin;        // of the words that are being read: "command line", "GUNICORN_CMD_ARGS"
    struct {
        const char *name;      // borrows cli; NULL: there is none
        const char *kind;      // "toml", "gunicorn", "uwsgi"
        bool ini;              // it was named by --ini
        bool failed;           // it holds a mistake, or could not be read: what it does not say means nothing
        char *env;             // owns: what it has for the workers' environment, lines
        char env_origin[100];
    } file;                    // of settings
    char later[400];           // options of GUNICORN_CMD_ARGS that are not in this version
    struct bk__cli_problem problems[BK__CLI_PROBLEMS_MAX];
    unsigned problem_count;    // may be above the maximum: those are only counted
    bool lost;                 // an unknown option: it is not sure which words are values, so words are not counted
    bool out_of_memory;
    enum { BK__CLI_SERVE, BK__CLI_HELP, BK__CLI_VERSION, BK__CLI_TABLE, BK__CLI_PYTHON } command;
};

// cli.c
// Notes a mistake (or a warning, by the key's level); said later, in the order of these calls.
void bk__cli_problem(struct bk__cli *read, enum bk_key key, const char *detail, const char *format, ...)
    BK_PRINTF(4, 5);
// The same at another level than the key's own.
void bk__cli_problem_as(struct bk__cli *read, enum bk_log_level level, enum bk_key key, const char *detail,
                        const char *format, ...) BK_PRINTF(5, 6);
// Zeroed memory that lives as long as the bk_cli; NULL when there is none left, which is noted.
void *bk__cli_take(struct bk__cli *read, size_t size);
// A copy that lives as long; "" when out of memory, which is noted.
const char *bk__cli_keep(struct bk__cli *read, const char *text);

// cli_arguments.c
// Reads argv into the config and the invoker's facts; stops early at --help and --version.
void bk__cli_read_arguments(struct bk__cli *read);
// The words of GUNICORN_CMD_ARGS, for settings that the command line left alone.
void bk__cli_read_gunicorn_arguments(struct bk__cli *read);

// cli_files.c
// Finds the settings file, if there is one, has it read by a Python and takes what it says. Waits.
void bk__cli_read_files(struct bk__cli *read);
// Its steps, for those who cannot wait. False: there is no file.
bool bk__cli_files_choose(struct bk__cli *read);
// What to call it in messages.
const char *bk__cli_file_label(const struct bk__cli *read);
// Which interpreter reads it, with which flags (borrowed); false: none, which is noted. To be released.
bool bk__cli_files_interpreter(struct bk__cli *read, struct bk_interpreter *ret, const char *const **ret_flags,
                               unsigned *ret_flag_count);
int bk__cli_files_question(const struct bk__cli *read, struct bk_buf *question) BK_MUST_CHECK;
// What came of it: `error` of bk_settings_wait or _more, `status` of bk_settings_end.
void bk__cli_files_take(struct bk__cli *read, const struct bk_settings_run *run, int error, int status);
// Whether a word that could name an application names a settings file: "uwsgi.ini".
bool bk__cli_is_settings_file(const char *word);
// A setting of this origin stays when a file says otherwise.
bool bk__cli_is_stronger(const struct bk__cli *read, const char *origin);

// cli_environment.c
// BARKEEP_<KEY>, then PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS, for settings that the command line left alone.
void bk__cli_read_environment(struct bk__cli *read);
// Value of an environment variable, NULL when not set.
const char *bk__cli_environment(const struct bk__cli *read, const char *name);

// cli_value.c
// Sets `option` from `origin`, or notes why not. `typed` is what the user wrote: "--workers", "-w", "WEB_CONCURRENCY".
void bk__cli_set(struct bk__cli *read, const struct bk_option *option, const char *typed, struct bk_str value,
                 const char *origin);
// The same for text that is already known to be wrong.
void bk__cli_refuse(struct bk__cli *read, const struct bk_option *option, const char *typed, struct bk_str value,
                    const char *origin, enum bk_key key, const char *why);

// cli_check.c
// Whether this choice of an interpreter cannot be: bk__cli_check will say why. Both may be NULL.
bool bk__cli_wrong_interpreter(const struct bk__cli *read, const char *venv, const char *python);
// Rules between settings, and what must exist outside: directories, interpreters. After everything has been read.
void bk__cli_check(struct bk__cli *read);

// cli_found.c
// "app.py has 'application' (WSGI), api.py has 'app' (FastAPI)": applications in `directory` and one below, by reading,
// not importing. `ret_try` gets the argument that starts the best of them. Returns how many; 0 leaves both "".
unsigned bk__cli_find_apps(const char *directory, char *out, size_t room, char *ret_try, size_t try_room);
// ".venv (python 3.13.1)": virtual environments in `directory`; `ret_first` gets the name of the first.
unsigned bk__cli_find_venvs(const char *directory, char *out, size_t room, char *ret_first, size_t first_room);

// cli_print.c: to standard output. Nonzero when it could not be written.
int bk__cli_print_help(void);
int bk__cli_print_version(void);
int bk__cli_print_table(const struct bk__cli *read);
int bk__cli_print_config(const struct bk_config *config);

// cli_python.c
// Whether the first word is a command that Python carries out: "migrate", "init".
bool bk__cli_is_python_command(const char *word);
// Becomes that Python. Returns only when it cannot, which is noted.
void bk__cli_run_python(struct bk__cli *read);
