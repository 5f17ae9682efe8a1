// The process title that ps shows. State of the process: there is one argv.
#pragma once

#include <stdbool.h>

#include "base/str.h"

// Sets the title. When the room is too small for all of it, the middle gives way, so that a final
// " idle" can still be read. Does nothing where the kernel does not say where argv is.
void bk_argv_title(struct bk_str text);
// Turns a title that ends in " idle" into " busy" and back; four bytes of memory, no system call.
void bk_argv_busy(bool busy);
