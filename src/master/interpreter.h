// Which Python runs the workers, and where the barkeep package is that fits it. Decided once per pool before
// anything is bound. Used by master.c; spawn.c uses the result.
#pragma once

#include "base/compiler.h"
#include "config/config.h"
#include "config/messages.h"
#include "master/master.h"
#include "master/surroundings.h"

struct bk_interpreter {
    char *python;      // owns: absolute path, never resolved (a venv's python is a symlink that must stay one)
    char *boot;        // owns: PACKAGE/_boot/boot.py
    char version[32];  // "3.13.1" when it was asked, else ""
    char place[160];   // "in .venv", "at /usr/bin/python3": for the start line
};

// What is wrong: a key, the text, further lines.
struct bk_interpreter_error {
    enum bk_key key;
    char text[600];
    char detail[400];
};

// 0, or -EINVAL with *error filled in.
int bk_interpreter_find(struct bk_interpreter *ret, const struct bk_master_start *start,
                        const struct bk_surroundings *surroundings, struct bk_interpreter_error *error) BK_MUST_CHECK;
void bk_interpreter_release(struct bk_interpreter *interpreter);
