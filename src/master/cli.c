// From argv and the environment to struct bk_master_start: read, check, say what is wrong. See
// cli.h for who calls it.
#include "master/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "master/cli_internal.h"

#include "base/banned.h"

static int read_all(struct bk__cli *read);
static int say_problems(const struct bk__cli *read);

int
bk_cli_read(struct bk_cli *cli, int argc, char **argv, char **envp)
{
    struct bk__cli read = {.cli = cli, .argc = argc, .argv = argv, .envp = envp};
    *cli = (struct bk_cli){.start = {.argc = argc, .argv = argv, .envp = envp}};
    int code = 1;
    bk_log_early_start(&cli->early, "auto");
    if (bk_config_new(&cli->config) < 0) {
        read.out_of_memory = true;
    } else {
        cli->start.config = read.config = cli->config;
        code = read_all(&read);
    }
    if (read.out_of_memory) {
        bk_log(BK_LOG_CRITICAL, NULL, "out of memory while reading the command line");
        code = 1;
    }
    for (unsigned i = 0; i < read.problem_count && i < BK__CLI_PROBLEMS_MAX; i++) {
        free(read.problems[i].text);
        free(read.problems[i].detail);
    }
    return code;
}

void
bk_cli_release(struct bk_cli *cli)
{
    for (unsigned i = 0; i < cli->block_count; i++)
        free(cli->blocks[i]);
    free(cli->blocks);
    bk_config_free(cli->config);
    bk_log_early_stop();
    *cli = (struct bk_cli){0};
}

static int
read_all(struct bk__cli *read)
{
    bk__cli_read_arguments(read);
    if (read->command == BK__CLI_HELP)
        return bk__cli_print_help();
    if (read->command == BK__CLI_VERSION)
        return bk__cli_print_version();
    if (read->command == BK__CLI_TABLE)
        return bk__cli_print_table(read);
    if (read->command == BK__CLI_PYTHON) {
        bk__cli_run_python(read);
        return say_problems(read);
    }
    bk__cli_read_gunicorn_arguments(read);
    bk__cli_read_files(read);
    bk__cli_read_environment(read);
    bk__cli_check(read);
    enum bk_log_level level;
    if (bk_log_level_parse(bk_str_of(read->config->log_level), &level) == 0)
        bk_log_set_level(level);
    bk_log_early_start(&read->cli->early, read->config->log_format);
    int code = say_problems(read);
    if (code)
        return code;
    if (read->config->print_config)
        return bk__cli_print_config(read->config);
    read->cli->start.check_only = read->config->check_config;
    return BK_CLI_RUN;
}

// Warnings do not end the program; the first error decides the exit code.
static int
say_problems(const struct bk__cli *read)
{
    int code = 0;
    for (unsigned i = 0; i < read->problem_count && i < BK__CLI_PROBLEMS_MAX; i++) {
        const struct bk__cli_problem *problem = &read->problems[i];
        const struct bk_message_info *info = bk_message(problem->key);
        bk_log_detail(problem->level, info->key, bk_str_of(problem->detail), "%s", problem->text);
        if (!code && problem->level == BK_LOG_CRITICAL)
            code = info->exit_code ? info->exit_code : 2;
    }
    if (read->problem_count > BK__CLI_PROBLEMS_MAX)
        bk_log(BK_LOG_CRITICAL, NULL, "and %u more", read->problem_count - BK__CLI_PROBLEMS_MAX);
    return code;
}

static void note_problem(struct bk__cli *read, enum bk_log_level level, enum bk_key key,
                         const char *detail, const char *format, va_list arguments) BK_PRINTF(5, 0);

// Critical is how the master's log says that the program ends because of it.
void
bk__cli_problem(struct bk__cli *read, enum bk_key key, const char *detail, const char *format, ...)
{
    const struct bk_message_info *info = bk_message(key);
    va_list arguments;
    va_start(arguments, format);
    note_problem(read, info->exit_code ? BK_LOG_CRITICAL : info->level, key, detail, format,
                 arguments);
    va_end(arguments);
}

void
bk__cli_problem_as(struct bk__cli *read, enum bk_log_level level, enum bk_key key,
                   const char *detail, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    note_problem(read, level, key, detail, format, arguments);
    va_end(arguments);
}

static void
note_problem(struct bk__cli *read, enum bk_log_level level, enum bk_key key, const char *detail,
             const char *format, va_list arguments)
{
    if (read->problem_count++ >= BK__CLI_PROBLEMS_MAX)
        return;
    struct bk__cli_problem *problem = &read->problems[read->problem_count - 1];
    problem->key = key;
    problem->level = level;
    if (vasprintf(&problem->text, format, arguments) < 0)
        problem->text = NULL;
    problem->detail = strdup(detail);
    if (problem->text && problem->detail)
        return;
    free(problem->text);
    free(problem->detail);
    read->problem_count--;
    read->out_of_memory = true;
}

void *
bk__cli_take(struct bk__cli *read, size_t size)
{
    struct bk_cli *cli = read->cli;
    void **blocks = realloc(cli->blocks, (cli->block_count + 1) * sizeof(*blocks));
    void *block = blocks ? calloc(1, size) : NULL;
    if (blocks)
        cli->blocks = blocks;
    if (block)
        blocks[cli->block_count++] = block;
    else
        read->out_of_memory = true;
    return block;
}

const char *
bk__cli_keep(struct bk__cli *read, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = bk__cli_take(read, size);
    if (copy)
        memcpy(copy, text, size);
    return copy ? copy : "";
}
