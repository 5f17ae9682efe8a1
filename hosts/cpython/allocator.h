// A cache of the interpreter's 16 KiB blocks.
#pragma once

// Installs it, once per process; returns whether it is in place. Not when PYTHONMALLOC is set or the arena allocator
// was
// replaced by somebody else.
int bkpy_allocator_install(void);
