// Commands that are Python: `barkeep migrate FILE`, `barkeep init systemd`. Called by cli.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "master/cli_internal.h"
#include "master/interpreter.h"
#include "master/words.h"

#include "base/banned.h"

// A command's first word could name an application too; what stands in the directory decides.
bool
bk__cli_is_python_command(const char *word)
{
    static const struct {
        const char *word, *file, *package;
    } commands[] = {{"migrate", "migrate.py", "migrate/__init__.py"},
                    {"init", "init.py", "init/__init__.py"}};
    for (unsigned i = 0; i < BK_COUNT(commands); i++)
        if (strcmp(word, commands[i].word) == 0)
            return access(commands[i].file, F_OK) < 0 && access(commands[i].package, F_OK) < 0;
    return false;
}

// PYTHON [flags] PACKAGE/_boot/boot.py command WORD...
void
bk__cli_run_python(struct bk__cli *read)
{
    extern char **environ;
    struct bk_interpreter interpreter = {0};
    const char *const *flags = NULL;
    unsigned flag_count = 0, n = 0;
    char why[BK_WORDS_ROOM];

    if (!bk__cli_files_interpreter(read, &interpreter, &flags, &flag_count))
        return;
    const char **argv = bk__cli_take(read, (flag_count + (size_t)read->argc + 4) * sizeof(char *));
    if (!argv) {
        bk_interpreter_release(&interpreter);
        return;
    }
    argv[n++] = interpreter.python;
    for (unsigned i = 0; i < flag_count; i++)
        argv[n++] = flags[i];
    argv[n++] = interpreter.boot;
    argv[n++] = "command";
    for (int i = read->at; i < read->argc; i++)
        argv[n++] = read->argv[i];
    execve(interpreter.python, (char *const *)(uintptr_t)argv, environ);
    bk__cli_problem(read, BK_KEY_INTERNAL, "", "cannot run %s: %s", interpreter.python,
                    bk_words_error(-errno, why));
    bk_interpreter_release(&interpreter);
}
