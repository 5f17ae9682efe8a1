// The last words of a process whose own assumptions failed. Called by BK_ASSERT only.
#include "base/panic.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

static char *add(char *at, char *end, const char *text);
static char *add_number(char *at, char *end, long value);

static _Atomic(const char *) context;

void
bk_panic_context(const char *text)
{
    atomic_store(&context, text);
}

void
bk_panic(const char *file, int line, const char *what)
{
    char text[1024], *at = text, *end = text + sizeof text - 1;
    const char *where = atomic_load(&context);
    // No stdio and no malloc: the heap may be what is broken.
    at = add(at, end, "barkeep: critical: assertion failed: ");
    at = add(at, end, what);
    at = add(at, end, " at ");
    at = add(at, end, file);
    at = add(at, end, ":");
    at = add_number(at, end, line);
    at = add(at, end, ", pid ");
    at = add_number(at, end, (long)getpid());
    at = add(at, end, " [panic]");
    if (where) {
        at = add(at, end, "\n  ");
        at = add(at, end, where);
    }
    *at++ = '\n';
    if (write(STDERR_FILENO, text, (size_t)(at - text)) < 0) {
        // Nowhere left to say it; the core file and the exit status remain.
    }
    abort();
}

static char *
add(char *at, char *end, const char *text)
{
    size_t len = strlen(text), room = (size_t)(end - at);
    len = len < room ? len : room;
    memcpy(at, text, len);
    return at + len;
}

static char *
add_number(char *at, char *end, long value)
{
    char digits[24], *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return add(at, end, first);
}
