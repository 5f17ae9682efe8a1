// Log lines of a worker without a master (barkeep.run): short ones, written by whoever has something to say, at once.
#pragma once

#include <pthread.h>
#include <stdio.h>

#include "base/log.h"
#include "config/config.h"

struct bk_alone_log {
    FILE *access, *error;  // own, but for stdout and stderr
    pthread_mutex_t lock;  // owns: a line at a time
};

// Opens what --access-logfile and --error-logfile name: - (standard output, standard error) or a file, appended to.
// -ENOTSUP (syslog, journald: the command has them) or another errno of a file, with *ret_why borrowed from config.
// On an error nothing is left to close; but after success bk_alone_log_close.
int bk_alone_log_open(struct bk_alone_log *log, const struct bk_config *config, const char **ret_why) BK_MUST_CHECK;

// A function for bk_log_to; `self` is the log. Any thread.
void bk_alone_log_write(void *self, const struct bk_log_record *record);

void bk_alone_log_close(struct bk_alone_log *log);
