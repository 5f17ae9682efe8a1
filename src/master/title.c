// Overwriting argv. The kernel reads /proc/PID/cmdline from there; when the last byte of the
// argument area is not NUL, it goes on into the environment area, which is how a title can be
// longer than the command line was.
#include "master/title.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/banned.h"

static bool move_environment(char **envp);

void
bk_title_set(int argc, char **argv, char **envp, const char *title)
{
    if (argc < 1 || !argv || !argv[0])
        return;
    char *start = argv[0], *end = start;
    for (int i = 0; i < argc && argv[i] == end; i++)
        end = argv[i] + strlen(argv[i]) + 1;
    size_t arguments = (size_t)(end - start);
    for (char **entry = envp; entry && *entry && *entry == end; entry++)
        end = *entry + strlen(*entry) + 1;
    if (!move_environment(envp))
        return;
    size_t room = (size_t)(end - start), len = strlen(title);
    if (len >= room)
        len = room - 1;
    memcpy(start, title, len);
    // No more than needed: what stays of the environment can still be read in /proc/PID/environ.
    memset(start + len, 0, len < arguments ? arguments - len : 1);
    prctl(PR_SET_NAME, "barkeep", 0, 0, 0);
}

// Kept until the process ends: getenv() hands out pointers into it.
static bool
move_environment(char **envp)
{
    extern char **environ;
    size_t count = 0, size = 0;

    if (environ != envp)
        return true;  // moved before
    for (; envp && envp[count]; count++)
        size += strlen(envp[count]) + 1;
    char **block = malloc((count + 1) * sizeof *block + size);
    if (!block)
        return false;
    char *at = (char *)(block + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(envp[i]) + 1;
        block[i] = memcpy(at, envp[i], len);
        at += len;
    }
    block[count] = NULL;
    environ = block;
    return true;
}
