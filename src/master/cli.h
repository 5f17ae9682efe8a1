// The command line and the environment, turned into settings and into what the master wants to know about its invoker.
// Called once by main.c, before any socket or Python. All mistakes are collected and said in one go.
#pragma once

#include <stdio.h>

#include "base/compiler.h"
#include "config/config.h"
#include "master/log_early.h"
#include "master/master.h"

struct bk_cli {
    struct bk_config *config;      // owns
    struct bk_master_start start;  // borrows config and the blocks below; to be handed to bk_master_run
    void **blocks;                 // owns: copies, because the process title overwrites the area of argv and envp
    unsigned block_count;
    struct bk_log_early early;     // the sink of bk_log() until the log thread runs
};

// Reads argv (as main() got it) and envp. BK_CLI_RUN: serve (or check) with cli->start; otherwise everything has been
// printed (--help, --version, --print-config, or errors) and the result is the exit code. bk_cli_release in any case.
#define BK_CLI_RUN (-1)
int bk_cli_read(struct bk_cli *cli, int argc, char **argv, char **envp) BK_MUST_CHECK;
void bk_cli_release(struct bk_cli *cli);

// Every setting with its origin, as --print-config shows them; secrets are left out.
void bk_cli_write_config(FILE *out, const struct bk_config *config);
