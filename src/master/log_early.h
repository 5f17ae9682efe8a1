// Log lines of the master before the log thread runs: written at once to standard error, in the shape the user chose.
// Started by the command line; bk_journal_start takes over.
#pragma once

#include "master/log_line.h"

struct bk_log_early {
    enum bk_log_shape shape;
};

// Makes *early the sink of bk_log(); it must outlive that. `format` is --log-format: auto, short, iso, journald, json.
void bk_log_early_start(struct bk_log_early *early, const char *format);
// Back to the plain sink of base/log.h.
void bk_log_early_stop(void);
