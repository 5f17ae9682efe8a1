// The process title that ps shows.
#pragma once

#include <stdbool.h>

// Turns a title that ends in " idle" into " busy" and back; four bytes of memory, no system call.
void bkpy_title_busy(bool busy);
