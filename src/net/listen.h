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
    bool unix_chown;       // a socket file gets this owner; (uid_t)-1, (gid_t)-1: as created
    uid_t unix_uid;
    gid_t unix_gid;
};

// Opens, binds and listens (or adopts fd://N: must be a listening stream socket). CLOEXEC and
// O_NONBLOCK set, SO_REUSEADDR, TCP_NODELAY inherited by connections. A stale unix socket file
// (connect refused) is replaced under a lock file; a live one is -EADDRINUSE. Negative errno as the
// kernel gave it, and: what bk_bind_resolve returns for names; -ENOTSOCK when
// at the unix path is something else than a socket, or N is none; for fd://N -EPROTOTYPE (not a
// stream), -EINVAL (does not listen), -EAFNOSUPPORT. On failure nothing is left behind, and fd://N
// is left open.
int bk_listen_open(const struct bk_bind *bind, const struct bk_listen_options *options,
                   struct bk_listener *ret) BK_MUST_CHECK;
// Closes; unlinks the unix path when `unlink_path` and the file is still ours.
void bk_listen_close(struct bk_listener *listener, bool unlink_path);
// /proc/sys/net/core/somaxconn, 4096 when unreadable.
int bk_listen_somaxconn(void);
// With reuse_port two masters could share a port without noticing: binds without it and lets go
// again, -EADDRINUSE when somebody is there. 0 for what is not TCP and for port 0. To be called
// once per --bind, before the first open.
int bk_listen_probe(const struct bk_bind *bind) BK_MUST_CHECK;
// Connections waiting in the accept queue and its limit. Negative when unknown (a unix socket, and the kernel cannot
// tell).
int bk_listen_queue(const struct bk_listener *listener, unsigned *ret_waiting, unsigned *ret_limit);
