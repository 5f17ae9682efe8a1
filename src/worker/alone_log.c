// Access lines to standard output, the rest to standard error, or either to a file.
#include "worker/alone_log.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

static FILE *open_target(const char *name, FILE *standard, int *ret_error);
static void close_target(FILE *file);

int
bk_alone_log_open(struct bk_alone_log *log, const struct bk_config *config, const char **ret_why)
{
    int error = 0;
    pthread_mutex_init(&log->lock, NULL);
    log->error = open_target(*ret_why = config->error_logfile, stderr, &error);
    log->access =
        log->error ? open_target(*ret_why = config->access_logfile, stdout, &error) : NULL;
    if (log->access)
        return 0;
    bk_alone_log_close(log);
    return error;
}

void
bk_alone_log_close(struct bk_alone_log *log)
{
    close_target(log->error);
    close_target(log->access);
    log->error = log->access = NULL;
    pthread_mutex_destroy(&log->lock);
}

static FILE *
open_target(const char *name, FILE *standard, int *ret_error)
{
    if (!name || !*name || strcmp(name, "-") == 0 || strcmp(name, "off") == 0)
        return standard;
    if (strcmp(name, "syslog") == 0 || strcmp(name, "journald") == 0) {
        *ret_error = -ENOTSUP;
        return NULL;
    }
    FILE *file = fopen(name, "ae");
    if (!file)
        *ret_error = -errno;
    return file;
}

static void
close_target(FILE *file)
{
    if (file && file != stdout && file != stderr)
        fclose(file);
}

void
bk_alone_log_write(void *self, const struct bk_log_record *record)
{
    struct bk_alone_log *log = self;
    FILE *out = record->access ? log->access : log->error;
    pthread_mutex_lock(&log->lock);
    if (!record->access)
        fprintf(out, "barkeep: %s: ", bk_log_level_name(record->level));
    fprintf(out, "%.*s", (int)record->text.len, record->text.at);
    if (record->key.len)
        fprintf(out, " [%.*s]", (int)record->key.len, record->key.at);
    fputc('\n', out);
    for (struct bk_str rest = record->detail; rest.len > 0;) {
        const char *end = memchr(rest.at, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.at) : rest.len;
        fprintf(out, "  %.*s\n", (int)len, rest.at);
        rest.at += len + (end != NULL);
        rest.len -= len + (end != NULL);
    }
    fflush(out);
    pthread_mutex_unlock(&log->lock);
}
