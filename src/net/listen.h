// Listening sockets: made by the master (or by barkeep.run), inherited by workers.
#pragma once

#include "net/addr.h"

struct bk_listener {
    int fd;                // owns
    struct bk_bind bind;   // what was asked
    struct bk_addr addr;   // what the kernel says (getsockname)
    enum bk_scheme scheme; // never DEFAULT
    uint64_t dev, ino;     // unix path: the socket file is ours while these match
};

struct bk_listen_options {
    int backlog;           // clamped to somaxconn by the caller
    bool reuse_port;
    unsigned unix_mode;    // 0660
};

// Opens, binds and listens (or adopts fd://N: must be a listening stream socket). CLOEXEC and O_NONBLOCK set,
// SO_REUSEADDR, TCP_NODELAY inherited by connections. A stale unix socket file (connect refused) is replaced under a
// lock file; a live one is -EADDRINUSE. Negative errno.
int bk_listen_open(const struct bk_bind *bind, const struct bk_listen_options *options, struct bk_listener *ret)
    BK_MUST_CHECK;
// Closes; unlinks the unix path when `unlink_path` and the file is still ours.
void bk_listen_close(struct bk_listener *listener, bool unlink_path);
// /proc/sys/net/core/somaxconn, 4096 when unreadable.
int bk_listen_somaxconn(void);
// Connections waiting in the accept queue and its limit (TCP_INFO, or sock_diag for unix: -1 when unknown).
int bk_listen_queue(const struct bk_listener *listener, unsigned *ret_waiting, unsigned *ret_limit);
