// The log thread: takes records from all rings, oldest first, and writes them. The master's own records go
// through ring 0, so nothing that logs ever waits for a disk or a reader of a pipe.
#pragma once

#include "config/config.h"
#include "master/log_line.h"
#include "process/logring.h"

struct bk_journal;

// Opens the targets the settings name and starts the thread; from then on bk_log() of this process goes there.
// `rings` is borrowed and must outlive the journal. On failure *ret_name borrows the name of the target that
// could not be opened.
int bk_journal_start(const struct bk_config *config, struct bk_logrings *rings, unsigned ring_count,
                     struct bk_journal **ret,
                     const char **ret_name) BK_MUST_CHECK;
// Writes what is there (a reader that does not read gets two seconds), ends the thread and lets bk_log() write
// to stderr again.
void bk_journal_stop(struct bk_journal *journal);
// Shape of the error log's lines.
enum bk_log_shape bk_journal_shape(const struct bk_journal *journal);
// Files are opened anew by name. From any thread.
void bk_journal_reopen(struct bk_journal *journal);

// Records of the error log so far, by level. From any thread.
void bk_journal_counts(const struct bk_journal *journal, uint64_t ret[5]);

// Where access lines go when the user did not say: "-" when standard output is a terminal, else "" (off).
const char *bk_journal_access_default(const struct bk_config *config);
