// From a log record to the bytes of its line or lines, in each of the shapes a user can choose. Pure: used by the log
// thread (journal.c) and its tests.
#pragma once

#include "base/log.h"

enum bk_log_shape {
    BK_SHAPE_SHORT,     // a terminal: no time, no pid, "warning: " only when it is one
    BK_SHAPE_ISO,       // 2026-11-21T09:16:02.114Z barkeep[4711] info: text [key]
    BK_SHAPE_JOURNALD,  // <6>text [key]; each line with its priority
    BK_SHAPE_JSON,      // one object a line, tracebacks inside
    BK_SHAPE_PLAIN,     // text [key] alone, further lines behind it (for syslog, which adds its own head)
};

// Text that waits to be written. Zero-initialised is empty.
struct bk_page {
    char *at;  // owns
    size_t len, room;
    bool failed;  // memory ran out since the line was begun
};
void bk_page_release(struct bk_page *page);
// -ENOMEM leaves the page as it was.
int bk_page_add(struct bk_page *page, const char *at, size_t len);

// "short|iso|journald|json" ("auto" is the caller's business). -EINVAL.
int bk_log_shape_parse(struct bk_str word, enum bk_log_shape *ret);
// Appends the line(s) of `record`, each with its newline. A record of the master at level critical is the
// reason why the program ends: short and iso write it as "barkeep: error: text [key]" when `console`, the form
// of every fatal error on a terminal or pipe. -ENOMEM leaves the page as it was.
int bk_log_line_add(struct bk_page *page, enum bk_log_shape shape, bool console, const struct bk_log_record *record);
// Severity of RFC 5424: 7 debug, 6 info, 4 warning, 3 error, 2 critical.
int bk_log_line_severity(const struct bk_log_record *record);
