// Framed messages between the master and one worker: SOCK_SEQPACKET, so a message is whole or absent. EOF means
// the other side is gone. Text fields are "key=value" lines; unknown keys are ignored.
#pragma once

#include "base/compiler.h"
#include "base/str.h"

enum bk_message {
    // worker -> master
    BK_MESSAGE_READY = 1,   // app=..., kind=WSGI, python=3.13.1, ready_ms=64, framework=..., loads=...
    BK_MESSAGE_FAILED,      // code=4, key=app-module, brief=... (one line), whole=yes (brief says all), text=... (the
                            // error's finished lines: last field)
    BK_MESSAGE_DRAINED,     // nothing left to serve, about to exit
    BK_MESSAGE_BOOTING,     // still importing: text= the Python stack (every 30 s)
    BK_MESSAGE_CLOSED,      // draining: the accept queues were empty, our copies of the listeners are closed
    BK_MESSAGE_FILES,       // text= names of files that were imported, one a line; more may follow, at any time
    BK_MESSAGE_DEBUGGING,   // on=yes: a person is at a breakpoint of this worker; on=no
    BK_MESSAGE_RECYCLE,     // wants to be replaced; why=timeout, stuck (its loop does not turn), requests
    // master -> worker
    BK_MESSAGE_DRAIN = 64,  // finish gracefully; timeout_ms=..., yield=yes: idle connections may ask once more
    BK_MESSAGE_QUIT,        // stop now
    BK_MESSAGE_LOG_LEVEL,   // level=...
    BK_MESSAGE_PING,        // for tests
    BK_MESSAGE_BUNDLE,      // with a descriptor: certificates for connections to come, see bundle.h
    // master -> companion, which calls its hooks
    BK_MESSAGE_HOOK = 128,  // hook=when_ready, and what belongs to it
    // companion -> master
    BK_MESSAGE_CALLED,      // one event is done
    BK_MESSAGE_SAID,        // level=..., raised=yes, fatal=yes, text= the lines of a log record
};

#define BK_CHANNEL_MAX 65536  // bytes of one message

// A connected pair, both CLOEXEC; the worker's end loses CLOEXEC in the child before exec.
int bk_channel_pair(int ret_fds[2]) BK_MUST_CHECK;
// Sends; text may be empty; cut at BK_CHANNEL_MAX. -EAGAIN when the peer does not read, -EPIPE when it is gone.
// Never blocks, no SIGPIPE.
int bk_channel_send(int fd, enum bk_message type, struct bk_str text);
// The same with a descriptor, which stays the caller's; -1: none.
int bk_channel_send_fd(int fd, enum bk_message type, struct bk_str text, int pass_fd);
// Receives one message without blocking. The text is written to `buffer` (room bytes, NUL-terminated) and *ret_text.
// > 0: the type; 0: the peer is gone; -EAGAIN: nothing there; -EPROTO: not a frame of ours.
int bk_channel_receive(int fd, char *buffer, size_t room, struct bk_str *ret_text);
// The same with the descriptor that came along (CLOEXEC, the caller's to close), -1 when there was none.
int bk_channel_receive_fd(int fd, char *buffer, size_t room, struct bk_str *ret_text, int *ret_fd);
// Value of `key` in the text, up to the end of its line; `text=` takes all the rest. Empty when absent.
struct bk_str bk_channel_field(struct bk_str text, const char *key);
