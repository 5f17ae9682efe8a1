// The master: a native program that never runs Python. Binds the listeners, starts workers, watches them,
// writes the logs, stops. Called once by main.c after the command line is understood; returns the exit code.
#pragma once

#include <stdbool.h>

#include "base/compiler.h"
#include "config/config.h"

// What the command line and the caller's surroundings say. Everything is borrowed until bk_master_run returns.
struct bk_master_start {
    struct bk_config *config;

    int argc;     // the process's own argument area, overwritten for the title ("barkeep: master [app]");
    char **argv;  // texts needed later must not point into it (sys.argv is taken from `arguments`). NULL: no title
    char **envp;  // the environment as main() got it: its area follows argv's and is used for the title too

    // Who invoked the native program: the console script and `python -m barkeep` exec it with these facts.
    const char *python;                // sys.executable, unresolved; NULL: started directly
    const char *const *python_flags;   // interpreter flags to repeat: "-X", "dev", "-O", "-W", "error"
    unsigned python_flag_count;
    const char *const *python_path;    // entries a bootstrap (PEX, zipapp) added to sys.path
    unsigned python_path_count;
    const char *package;               // directory of the barkeep package; NULL: found beside the program

    const char *program;               // sys.argv[0] of the application
    const char *const *arguments;      // sys.argv[1:] of the application: the user's own arguments
    unsigned argument_count;

    const char *master_hooks;          // names of hooks the companion calls, "" or NULL: none is defined

    bool bind_only;                    // barkeep.run asks what is wrong with an address: bind, say why not, exit
    bool check_only;                   // --check-config: import once, print the ok: lines, exit
};

// Serves until told to stop. The exit code: 0 stopped as asked, 1 could not bind or run-time failure, 2
// settings, 3 worker could not boot, 4 application could not be imported. Every error has been printed by then.
int bk_master_run(struct bk_master_start *start) BK_MUST_CHECK;
