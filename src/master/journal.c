// The log thread and its start and end. The thread sleeps on the rings' eventfd; after work it
// lingers a few milliseconds with the flag down, so that a busy worker does not pay for a wake-up
// with each line.
#include "master/journal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/messages.h"
#include "master/log_socket.h"
#include "master/log_target.h"
#include "master/words.h"

#include "base/banned.h"

#define LINGER_MS 5
#define BATCH 2000                // records of one pass, then the targets are flushed
#define TELL_EVERY (60 * BK_SEC)  // a repeated warning is said once a minute, with a count
#define END_PATIENCE (2 * BK_SEC)

struct bk_journal {
    struct bk_logrings *rings;  // borrows
    unsigned ring_count;
    struct bk_log_target error, access;
    bool access_joined;  // both are the same descriptor: lines keep their order
    pthread_t thread;
    pthread_mutex_t own;  // ring 0 has several writing threads
    _Atomic bool stop, reopen;
    _Atomic uint64_t stop_by;
    _Atomic uint64_t counts[5];  // records of the error log by level
    uint64_t dropped, lost, tell_next;
    struct head {
        unsigned ring;
        uint64_t when;
    } *heads;      // owns: rings that have something, with the time of the oldest record
    char *buffer;  // owns: one record
};

static int start_thread(struct bk_journal *journal);
static int open_targets(struct bk_journal *journal, const struct bk_config *config,
                        const char **ret_name);
static enum bk_log_shape choose_shape(const struct bk_config *config,
                                      const struct bk_log_target *target, bool access);
static void join_targets(struct bk_journal *journal);
static void release(struct bk_journal *journal);
static void put_own(void *self, const struct bk_log_record *record);
static void *run(void *self);
static unsigned write_records(struct bk_journal *journal);
static void deliver(struct bk_journal *journal, struct bk_log_record *record);
static void copy_to_stderr(const struct bk_log_record *record);
static void flush(struct bk_journal *journal);
static void nap(struct bk_journal *journal, bool worked);
static void reopen(struct bk_journal *journal);
static void tell_losses(struct bk_journal *journal, bool ending);
static void say(struct bk_journal *journal, enum bk_log_level level, enum bk_key key,
                const char *format, ...) BK_PRINTF(4, 5);
static void tell_stderr(struct bk_journal *journal, uint64_t lost);
static bool patience(void *self);

int
bk_journal_start(const struct bk_config *config, struct bk_logrings *rings, unsigned ring_count,
                 struct bk_journal **ret, const char **ret_name)
{
    struct bk_journal *journal = calloc(1, sizeof *journal);

    *ret_name = "log thread";
    if (!journal)
        return -ENOMEM;
    journal->rings = rings;
    journal->ring_count = ring_count;
    journal->error.fd = journal->access.fd = -1;
    pthread_mutex_init(&journal->own, NULL);
    journal->heads = calloc(ring_count, sizeof *journal->heads);
    journal->buffer = malloc(BK_LOGRING_SIZE / 4);
    int rc = journal->heads && journal->buffer ? open_targets(journal, config, ret_name) : -ENOMEM;
    if (rc == 0)
        rc = start_thread(journal);
    if (rc < 0) {
        release(journal);
        return rc;
    }
    bk_log_to(put_own, journal);
    *ret = journal;
    return 0;
}

void
bk_journal_stop(struct bk_journal *journal)
{
    struct timespec until;

    if (!journal)
        return;
    atomic_store(&journal->stop_by, bk_clock_mono() + END_PATIENCE);
    atomic_store(&journal->stop, true);
    (void)!write(bk_logrings_wake_fd(journal->rings), &(uint64_t){1}, 8);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(END_PATIENCE / BK_SEC) + 1;
    int rc = pthread_timedjoin_np(journal->thread, NULL, &until);
    bk_log_to(NULL, NULL);
    if (rc == 0)  // else it is stuck in a system call; the process is about to end, so its memory
                  // is left alone
        release(journal);
}

enum bk_log_shape
bk_journal_shape(const struct bk_journal *journal)
{
    return journal->error.shape;
}

void
bk_journal_counts(const struct bk_journal *journal, uint64_t ret[5])
{
    for (unsigned i = 0; i < 5; i++)
        ret[i] = journal ? atomic_load_explicit(&journal->counts[i], memory_order_relaxed) : 0;
}

void
bk_journal_reopen(struct bk_journal *journal)
{
    atomic_store(&journal->reopen, true);
    (void)!write(bk_logrings_wake_fd(journal->rings), &(uint64_t){1}, 8);
}

const char *
bk_journal_access_default(const struct bk_config *config)
{
    if (config->access_logfile && config->access_logfile[0])
        return config->access_logfile;
    return isatty(STDOUT_FILENO) ? "-" : "";
}

static int
start_thread(struct bk_journal *journal)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    int rc = -pthread_create(&journal->thread, &attributes, run, journal);
    pthread_attr_destroy(&attributes);
    return rc;
}

static int
open_targets(struct bk_journal *journal, const struct bk_config *config, const char **ret_name)
{
    const char *access = bk_journal_access_default(config);
    const char *tag = config->log_syslog_prefix ? config->log_syslog_prefix : "barkeep";
    int facility =
        bk_log_socket_facility(config->log_syslog_facility ? config->log_syslog_facility : "user");

    *ret_name = config->error_logfile ? config->error_logfile : "-";
    int rc = bk_log_target_open(&journal->error, *ret_name, STDERR_FILENO, config->log_syslog_to);
    if (rc < 0)
        return rc;
    journal->error.shape = choose_shape(config, &journal->error, false);
    if (*access && strcmp(access, "off") != 0) {
        *ret_name = access;
        rc = bk_log_target_open(&journal->access, access, STDOUT_FILENO, config->log_syslog_to);
        if (rc < 0)
            return rc;
        journal->access.shape = choose_shape(config, &journal->access, true);
    }
    journal->error.tag = journal->access.tag = tag;
    journal->error.facility = journal->access.facility = facility < 0 ? 1 : facility;
    join_targets(journal);
    return 0;
}

// An access line is bare unless everything is JSON or the journal wants its priority in front.
static enum bk_log_shape
choose_shape(const struct bk_config *config, const struct bk_log_target *target, bool access)
{
    enum bk_log_shape shape = BK_SHAPE_ISO;
    bool stream = target->kind == BK_LOG_FD && bk_log_target_is_journal(target->fd);

    if (target->kind == BK_LOG_SYSLOG || target->kind == BK_LOG_JOURNAL)
        return BK_SHAPE_PLAIN;
    bool chosen =
        config->log_format && bk_log_shape_parse(bk_str_of(config->log_format), &shape) == 0;
    if (access)
        return chosen && shape == BK_SHAPE_JSON ? shape
               : stream                         ? BK_SHAPE_JOURNALD
                                                : BK_SHAPE_SHORT;
    if (chosen)
        return shape;
    if (stream)
        return BK_SHAPE_JOURNALD;
    return target->kind == BK_LOG_FD && isatty(target->fd) ? BK_SHAPE_SHORT : BK_SHAPE_ISO;
}

// Standard output and error on one terminal, or both logs in one file.
static void
join_targets(struct bk_journal *journal)
{
    struct stat a, b;

    if (journal->access.kind == BK_LOG_NOWHERE || journal->access.kind != journal->error.kind)
        return;
    if (fstat(journal->error.fd, &a) < 0 || fstat(journal->access.fd, &b) < 0)
        return;
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino || S_ISSOCK(a.st_mode))
        return;
    bk_log_target_release(&journal->access);
    journal->access_joined = true;
}

static void
release(struct bk_journal *journal)
{
    bk_log_target_release(&journal->error);
    bk_log_target_release(&journal->access);
    pthread_mutex_destroy(&journal->own);
    free(journal->heads);
    free(journal->buffer);
    free(journal);
}

static void
put_own(void *self, const struct bk_log_record *record)
{
    struct bk_journal *journal = self;

    pthread_mutex_lock(&journal->own);
    (void)bk_logring_put(journal->rings, 0, record);  // dropped ones are counted there
    pthread_mutex_unlock(&journal->own);
}

static void *
run(void *self)
{
    struct bk_journal *journal = self;

    prctl(PR_SET_NAME, "log", 0, 0, 0);
    for (;;) {
        bool ending = atomic_load(
            &journal->stop);  // before the look: what was put before the order is written
        if (atomic_exchange(&journal->reopen, false))
            reopen(journal);
        unsigned count = write_records(journal);
        flush(journal);
        tell_losses(journal, count == 0 && ending);
        if (count == 0 && ending)
            return NULL;
        if (!ending)
            nap(journal, count > 0);
    }
}

// One pass over what the rings hold now, merged by time. Ring 0 is looked at first: when it has the
// report of a worker's death, the last words of that worker are in its ring and are found by this
// pass too.
static unsigned
write_records(struct bk_journal *journal)
{
    struct bk_log_record record;
    unsigned active = 0, count = 0;

    for (unsigned i = 0; i < journal->ring_count; i++) {
        struct head *head = &journal->heads[active];
        head->ring = i;
        if (bk_logring_peek(journal->rings, i, &head->when))
            active++;
    }
    for (; active > 0 && count < BATCH; count++) {
        unsigned oldest = 0;
        for (unsigned i = 1; i < active; i++)
            if (journal->heads[i].when < journal->heads[oldest].when)
                oldest = i;
        struct head *head = &journal->heads[oldest];
        if (bk_logring_take(journal->rings, head->ring, journal->buffer, BK_LOGRING_SIZE / 4,
                            &record))
            deliver(journal, &record);
        if (!bk_logring_peek(journal->rings, head->ring, &head->when))
            *head = journal->heads[--active];
    }
    return count;
}

// Without an access log its lines (failures and slow requests) are ordinary records of the error
// log.
static void
deliver(struct bk_journal *journal, struct bk_log_record *record)
{
    struct bk_log_target *target = &journal->error;

    if (record->access && journal->access.kind != BK_LOG_NOWHERE)
        target = &journal->access;
    else if (record->access && !journal->access_joined)
        record->access = false;
    if (!record->access && (unsigned)record->level < BK_COUNT(journal->counts))
        atomic_fetch_add_explicit(&journal->counts[record->level], 1, memory_order_relaxed);
    bk_log_target_add(target, record, patience, journal);
    if (record->level == BK_LOG_CRITICAL && record->worker == 0 && target->kind != BK_LOG_FD)
        copy_to_stderr(record);
}

// Why the program ends is said where whoever started it looks, whatever the log is.
static void
copy_to_stderr(const struct bk_log_record *record)
{
    struct pollfd wait = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct bk_page page = {0};

    if (bk_log_line_add(&page, BK_SHAPE_SHORT, true, record) == 0 && poll(&wait, 1, 100) > 0)
        (void)!write(STDERR_FILENO, page.at, page.len < PIPE_BUF ? page.len : PIPE_BUF);
    bk_page_release(&page);
}

static void
flush(struct bk_journal *journal)
{
    bk_log_target_flush(&journal->error, patience, journal);
    bk_log_target_flush(&journal->access, patience, journal);
}

static void
nap(struct bk_journal *journal, bool worked)
{
    struct pollfd wait = {.fd = bk_logrings_wake_fd(journal->rings), .events = POLLIN};
    int ms = -1;

    if (worked) {
        poll(&wait, 1, LINGER_MS);
    } else if (bk_logrings_sleep(journal->rings)) {
        uint64_t now = bk_clock_mono();
        if (journal->dropped + journal->lost > 0)
            ms = journal->tell_next > now ? (int)((journal->tell_next - now) / BK_MSEC) + 1 : 0;
        poll(&wait, 1, ms);
    }
    bk_logrings_awake(journal->rings);
}

static void
reopen(struct bk_journal *journal)
{
    struct bk_log_target *targets[] = {&journal->error, &journal->access};
    char why[64];

    for (unsigned i = 0; i < BK_COUNT(targets); i++) {
        int rc = bk_log_target_reopen(targets[i]);
        if (rc < 0)
            say(journal, BK_LOG_ERROR, BK_KEY_LOG_FILE,
                "cannot reopen %s: %s; lines still go to the old file", targets[i]->path,
                bk_words_error(rc, why));
    }
}

// Once a minute with a count, and at the end.
static void
tell_losses(struct bk_journal *journal, bool ending)
{
    uint64_t now = bk_clock_mono();

    for (unsigned i = 0; i < journal->ring_count; i++)
        journal->dropped += bk_logring_dropped(journal->rings, i);
    journal->lost += bk_log_target_lost(&journal->error) + bk_log_target_lost(&journal->access);
    if (journal->dropped + journal->lost == 0 || (now < journal->tell_next && !ending))
        return;
    journal->tell_next = now + TELL_EVERY;
    if (journal->dropped > 0)
        say(journal, BK_LOG_WARNING, BK_KEY_LOG_DROPPED,
            "%llu log lines were dropped: they come faster than the log takes them",
            (unsigned long long)journal->dropped);
    if (journal->lost > 0) {
        say(journal, BK_LOG_ERROR, BK_KEY_LOG_WRITE, "%llu log lines could not be written",
            (unsigned long long)journal->lost);
        tell_stderr(journal, journal->lost);
    }
    journal->dropped = journal->lost = 0;
}

// The log thread's own words go to the target at once: its ring may be the one that is full.
static void
say(struct bk_journal *journal, enum bk_log_level level, enum bk_key key, const char *format, ...)
{
    char text[1024];
    struct bk_log_record record = {.level = level,
                                   .wall_ns = bk_clock_wall(),
                                   .pid = getpid(),
                                   .key = bk_str_of(bk_message(key)->key)};
    va_list args;

    if (!bk_log_on(level))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    record.text = bk_str_of(text);
    bk_log_target_add(&journal->error, &record, patience, journal);
    bk_log_target_flush(&journal->error, patience, journal);
}

// The target that loses lines is a poor place to say so.
static void
tell_stderr(struct bk_journal *journal, uint64_t lost)
{
    struct pollfd wait = {.fd = STDERR_FILENO, .events = POLLOUT};
    char line[160];

    if (journal->error.kind == BK_LOG_FD || poll(&wait, 1, 0) <= 0)
        return;
    int len =
        snprintf(line, sizeof line, "barkeep: error: %llu log lines could not be written [%s]\n",
                 (unsigned long long)lost, bk_message(BK_KEY_LOG_WRITE)->key);
    (void)!write(STDERR_FILENO, line, (size_t)len);
}

static bool
patience(void *self)
{
    struct bk_journal *journal = self;

    return !atomic_load(&journal->stop) || bk_clock_mono() < atomic_load(&journal->stop_by);
}
