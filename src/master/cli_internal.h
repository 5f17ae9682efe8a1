// What the cli_*.c files share; nobody else includes it.
#pragma once

#include "base/str.h"
#include "config/config_hint.h"
#include "config/messages.h"
#include "config/option.h"
#include "master/cli.h"

#define BK__CLI_PROBLEMS_MAX 40  // said in one go

struct bk__cli_problem {
    enum bk_key key;
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
    struct bk__cli_problem problems[BK__CLI_PROBLEMS_MAX];
    unsigned problem_count;    // may be above the maximum: those are only counted
    bool lost;                 // an unknown option: it is not sure which words are values, so words are not counted
    bool out_of_memory;
    enum { BK__CLI_SERVE, BK__CLI_HELP, BK__CLI_VERSION } command;
};

// cli.c
// Notes a mistake (or a warning, by the key's level); said later, in the order of these calls.
void bk__cli_problem(struct bk__cli *read, enum bk_key key, const char *detail, const char *format, ...)
    BK_PRINTF(4, 5);
// Zeroed memory that lives as long as the bk_cli; NULL when there is none left, which is noted.
void *bk__cli_take(struct bk__cli *read, size_t size);
// A copy that lives as long; "" when out of memory, which is noted.
const char *bk__cli_keep(struct bk__cli *read, const char *text);

// cli_arguments.c
// Reads argv into the config and the invoker's facts; stops early at --help and --version.
void bk__cli_read_arguments(struct bk__cli *read);

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
int bk__cli_print_config(const struct bk_config *config);
