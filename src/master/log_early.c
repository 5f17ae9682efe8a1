// The sink of the first moments: mistakes of the command line must be in the shape that is read by
// whatever reads the rest.
#include "master/log_early.h"

#include <errno.h>
#include <unistd.h>

#include "master/log_target.h"

#include "base/banned.h"

static void write_record(void *self, const struct bk_log_record *record);

void
bk_log_early_start(struct bk_log_early *early, const char *format)
{
    if (bk_log_shape_parse(bk_str_of(format), &early->shape) < 0) {
        early->shape = isatty(STDERR_FILENO) ? BK_SHAPE_SHORT : BK_SHAPE_ISO;
        if (bk_log_target_is_journal(STDERR_FILENO))
            early->shape = BK_SHAPE_JOURNALD;
    }
    bk_log_to(write_record, early);
}

void
bk_log_early_stop(void)
{
    bk_log_to(NULL, NULL);
}

static void
write_record(void *self, const struct bk_log_record *record)
{
    const struct bk_log_early *early = self;
    struct bk_page page = {0};
    size_t at = 0;
    if (bk_log_line_add(&page, early->shape, true, record) == 0) {
        while (at < page.len) {
            ssize_t n = write(STDERR_FILENO, page.at + at, page.len - at);
            if (n < 0 && errno != EINTR)
                break;  // nobody to tell
            at += n > 0 ? (size_t)n : 0;
        }
    }
    bk_page_release(&page);
}
