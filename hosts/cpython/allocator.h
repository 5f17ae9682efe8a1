// A cache of the interpreter's 16 KiB blocks.
#pragma once

// Installs it, once per process; returns whether it is in place. Not when PYTHONMALLOC is set or the arena allocator
// was replaced by somebody else.
int bkpy_allocator_install(void);
// With the GIL: how many free pieces of 16 KiB are kept, at most 1024. Each suspended greenlet has one, so what a burst
// of them gives back is wanted again by the next burst.
void bkpy_allocator_keep(unsigned pieces);
