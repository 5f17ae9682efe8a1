// Numbers and errors as people say them. Each writes into the caller's buffer and returns it. Used all over the
// master.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BK_WORDS_ROOM 64

// "permission denied" for EACCES or -EACCES.
const char *bk_words_error(int error, char out[BK_WORDS_ROOM]);
// "64 ms", "1.8 s", "41 s", "12 min", "3 h", "5 d": the largest unit that leaves a number to read.
const char *bk_words_duration(uint64_t ns, char out[BK_WORDS_ROOM]);
// "740 KiB", "51.2 MiB", "1.9 GiB".
const char *bk_words_size(uint64_t bytes, char out[BK_WORDS_ROOM]);
// "signal 9 (SIGKILL)" for a number.
const char *bk_words_signal(int number, char out[BK_WORDS_ROOM]);
// "web:web" for ids, numbers where they have no name.
const char *bk_words_owner(unsigned uid, unsigned gid, char out[BK_WORDS_ROOM]);
const char *bk_words_user(unsigned uid, char out[BK_WORDS_ROOM]);
