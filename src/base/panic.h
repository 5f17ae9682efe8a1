// Asserts that stay in release builds and are cheap. Peers and apps never trigger one.
#pragma once

#include "base/compiler.h"

// Text (a static buffer of the caller's, may be NULL) printed when an assert fails: which worker,
// which step.
void bk_panic_context(const char *text);

// Writes where, what and the context to stderr with write(2) only, then abort()s.
BK_NORETURN BK_COLD void bk_panic(const char *file, int line, const char *what);

#define BK_ASSERT(condition) \
    do { \
        if (bk_unlikely(!(condition))) \
            bk_panic(__FILE__, __LINE__, #condition); \
    } while (0)
