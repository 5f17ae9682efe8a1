// A non-blocking byte stream behind a small vtable: plain sockets here, TLS in tls/. No buffering
// of its own.
#pragma once

#include <stdbool.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/str.h"

struct bk_stream;
struct bk_stream_ops {
    const char *name;  // "plain", "tls"
    bool one_thread;   // no call may come from another thread than the loop's
    // Bytes read, 0 at end of file, -EAGAIN when there is nothing, another negative errno when the
    // stream is dead.
    ssize_t (*read)(struct bk_stream *stream, void *into, size_t room);
    // Bytes taken (may be fewer), -EAGAIN when full, another negative errno when dead. No call here
    // raises SIGPIPE.
    ssize_t (*write)(struct bk_stream *stream, const void *from, size_t len);
    ssize_t (*writev)(struct bk_stream *stream, const struct iovec *parts, int count);
    // From a file, at *offset, which moves on. 0 = the file ended early.
    ssize_t (*send_file)(struct bk_stream *stream, int file_fd, off_t *offset, size_t len);
    // The end of what we send. -EAGAIN: there is no room for it yet, again when writable.
    int (*shut_write)(struct bk_stream *stream);
    // Before an orderly close() that is not preceded by shut_write: says that nothing is missing.
    // May be NULL.
    void (*goodbye)(struct bk_stream *stream);
    // Bytes already decoded and waiting in user space (TLS): the fd will not become readable for
    // them.
    size_t (*pending)(const struct bk_stream *stream);
    // Closes the fd.
    void (*close)(struct bk_stream *stream);
};

struct bk_stream {
    const struct bk_stream_ops *ops;
    void *state;  // owns: what the ops keep; NULL for plain
    int fd;       // owns
    bool ended;   // behind what the last read gave is an end or an error: no event will tell, read
                  // again
};

extern const struct bk_stream_ops bk_stream_plain;
