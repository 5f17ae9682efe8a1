// One run of the config process: a short-lived Python that reads settings files (python/barkeep/config) and answers in
// records. Whatever a file does, only that process can come to harm: it has its own process group, a time limit, and no
// say over our standard output. Used by cli_files.c at start and by reread.c while serving.
#pragma once

#include "base/buf.h"
#include "base/compiler.h"
#include "base/str.h"
#include "master/interpreter.h"

#define BK_SETTINGS_FIELDS 5              // of a record at most, its kind included
#define BK_SETTINGS_MAX ((size_t)2 << 20)  // bytes of a question or an answer

// Adds a record to a question: `count` fields without NUL, the first one is the kind; see
// python/barkeep/config/records.py. -ENOMEM, -EMSGSIZE.
int bk_settings_ask(struct bk_buf *question, const struct bk_str *fields, unsigned count) BK_MUST_CHECK;

struct bk_settings_run {
    pid_t pid;             // 0: none, or reaped
    int fd;                // owns: where the answer comes, not blocking; -1: closed
    struct bk_buf answer;  // owns
    size_t at;             // how far the answer has been looked through for its end
    bool whole;            // it is all there
};

// Starts it: `interpreter` with `flags`, in the current directory and with our environment. `run` need not be
// initialized. Negative errno when there is no process; nothing is to be released then.
int bk_settings_start(struct bk_settings_run *run, const struct bk_interpreter *interpreter,
                      const char *const *flags, unsigned flag_count, struct bk_str question) BK_MUST_CHECK;
// Takes what has been said since. 1: the answer is whole; 0: more will come; -EPIPE: it ended without one;
// -EPROTO: it answers in another language (its version does not fit); -EMSGSIZE: without end; -ENOMEM.
int bk_settings_more(struct bk_settings_run *run) BK_MUST_CHECK;
// Waits for all of it, as above; -ETIMEDOUT after `limit` (ns).
int bk_settings_wait(struct bk_settings_run *run, uint64_t limit) BK_MUST_CHECK;
// Ends the process, and its process group when the answer is not whole. Waits for it when `reap`: otherwise the caller
// has somebody who does. *ret_status (may be NULL) is what wait() says, 0 when it was not asked.
void bk_settings_end(struct bk_settings_run *run, bool reap, int *ret_status);
// The records of a whole answer, one after the other; *at is 0 at first. False at the end. The fields borrow the run.
bool bk_settings_next(const struct bk_settings_run *run, size_t *at, struct bk_str fields[BK_SETTINGS_FIELDS],
                      unsigned *ret_count);
void bk_settings_release(struct bk_settings_run *run);
