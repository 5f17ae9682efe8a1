// Asks an interpreter about itself: a child `PYTHON -c ...`, bounded in time and output. Blocking; used by
// interpreter.c at start, before the loop runs.
#pragma once

#include "base/compiler.h"
#include "master/surroundings.h"

struct bk_answer {
    char python_version[32];   // "3.13.1"
    char package[1024];        // directory of its barkeep package, "" when it has none
    char package_version[64];
    char complaint[300];       // what it printed or did instead, when there is no answer
};

// 0; -ENOEXEC with `complaint` when it gave no answer.
int bk_ask_interpreter(const char *python, const char *const *flags, unsigned flag_count,
                       const struct bk_surroundings *surroundings, struct bk_answer *ret) BK_MUST_CHECK;
