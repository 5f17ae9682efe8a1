// The native program `barkeep`: understands the command line, then is the master. Runs no Python.
#include "base/log.h"
#include "master/cli.h"
#include "master/master.h"

#include "base/banned.h"

int
main(int argc, char **argv, char **envp)
{
    struct bk_cli cli;
    int code = bk_cli_read(&cli, argc, argv, envp);
    if (code == BK_CLI_RUN)
        code = bk_master_run(&cli.start);
    bk_cli_release(&cli);
    return code;
}
