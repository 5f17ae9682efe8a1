// The process title: what ps shows instead of the command line. Linux only, over the area the kernel made for
// argv and envp.
#pragma once

// Moves the environment away, then writes `title` over the area. Pointers into argv and envp are invalid
// afterwards. Does nothing when argv is NULL or memory is short.
void bk_title_set(int argc, char **argv, char **envp, const char *title);
