// barkeepctl: a separate program that asks a running server over its control socket
// (master/desk_control.c). It finds the servers of this user by the names of their sockets.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "ctl/tree.h"

#define BK_CTL_ANSWER_MAX (64 * 1024 * 1024)

struct bk_ctl_options {
    const char *name; // --name
    pid_t pid;        // --pid, 0: not given
    bool json, once, ascii;
    double interval; // --interval, seconds
};

// A running server's socket.
struct bk_ctl_server {
    unsigned user;
    pid_t pid;      // as the name of the socket says: of its own pid namespace
    char name[104]; // of the abstract socket, without the NUL in front
};

// An answer. Release the text.
struct bk_ctl_answer {
    int code;
    char key[64];
    struct bk_buf text; // owns; a NUL behind it
};

// Finds the one server that is meant. 0, or the exit code after an error was printed.
int bk_ctl_find(const struct bk_ctl_options *options, struct bk_ctl_server *ret);
// Asks and waits for the whole answer. 0 when there is one (its code may say no), -errno otherwise.
int bk_ctl_ask(const struct bk_ctl_server *server, const char *words,
               struct bk_ctl_answer *ret) BK_MUST_CHECK;
// The statistics as a tree; 0, or -errno.
int bk_ctl_look(const struct bk_ctl_server *server, struct bk_tree *ret) BK_MUST_CHECK;
// "barkeepctl: error: TEXT [key]" to standard error, further lines of `text` below. Returns `code`.
int bk_ctl_fail(int code, const char *key, const char *format, ...) BK_PRINTF(3, 4);

// The commands that show something; the exit code.
int bk_ctl_status(const struct bk_ctl_server *server, const struct bk_ctl_options *options);
int bk_ctl_top(const struct bk_ctl_server *server, const struct bk_ctl_options *options);

// Words for people, into the caller's buffer: "3 h", "1.2 MiB", "12,345", "1.25 ms".
const char *bk_ctl_span(double seconds, char out[32]);
const char *bk_ctl_bytes(double bytes, char out[32]);
const char *bk_ctl_number(double value, char out[32]);
// Escaped, so that nothing a client sent reaches a terminal, and cut to `room` - 1 bytes.
const char *bk_ctl_safe(struct bk_str text, char *out, size_t room);
