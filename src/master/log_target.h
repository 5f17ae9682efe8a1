// Where log lines go: a file, an inherited descriptor (pipe, terminal, socket), syslog or the journal. Used by
// the log thread alone; opening happens on the main thread before that starts.
#pragma once

#include <sys/stat.h>

#include "base/log.h"
#include "master/log_line.h"

enum bk_log_target_kind { BK_LOG_NOWHERE, BK_LOG_FILE, BK_LOG_FD, BK_LOG_SYSLOG, BK_LOG_JOURNAL };

struct bk_log_target {
    enum bk_log_target_kind kind;
    enum bk_log_shape shape;
    int fd;              // FILE, SYSLOG, JOURNAL: owns, -1 while it cannot be opened; FD: borrows 1 or 2
    mode_t type;         // FD, FILE: S_IFREG, S_IFIFO, S_IFCHR, ...
    char *path;          // owns: FILE; SYSLOG, JOURNAL: socket path, or host:port
    bool udp;            // SYSLOG
    const char *tag;     // SYSLOG: borrows the config
    int facility;        // SYSLOG
    struct bk_page page; // lines not written yet
    unsigned lines;      // in the page
    uint64_t lost;       // lines that could not be written
    uint64_t checked;    // monotonic ns of the last look whether the file was renamed, or of the last try to connect
    char hostname[65];   // SYSLOG over udp
};

// How long a write may wait: returns false when the thread should give up (the program is ending).
typedef bool (*bk_log_patience_fn)(void *self);

// Descriptor 1 or 2, a path, "syslog" (with `to`: unix:PATH or udp://host:port, NULL: unix:/dev/log) or "journald".
// Negative errno; then *ret is empty.
int bk_log_target_open(struct bk_log_target *target, const char *name, int standard_fd, const char *syslog_to)
    BK_MUST_CHECK;
void bk_log_target_release(struct bk_log_target *target);
// Adds one record; may write.
void bk_log_target_add(struct bk_log_target *target, const struct bk_log_record *record,
                       bk_log_patience_fn patience, void *self);
// Writes all lines of the page: files in one piece, pipes in whole lines of at most PIPE_BUF. Blocks as long as
// patience allows.
void bk_log_target_flush(struct bk_log_target *target, bk_log_patience_fn patience, void *self);
// Opens the file anew by its path (USR1). Negative errno: the old one stays in use.
int bk_log_target_reopen(struct bk_log_target *target);
// Lines lost since the last call.
uint64_t bk_log_target_lost(struct bk_log_target *target);
// Whether systemd connected this descriptor to the journal.
bool bk_log_target_is_journal(int fd);
