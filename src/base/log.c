// Makes records and hands them to the process's sink: the shared ring in a worker, the log thread's
// queue in the master, stderr before either exists. Called by serve, worker and master; lower
// layers stay below debug.
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#include "base/banned.h"

#define TEXT_MAX 4096
#define SILENCE_NS (60 * BK_SEC)  // a repeated warning is said once a minute, with a count

struct page {
    size_t len;
    char text[2 * TEXT_MAX];
};

static void format_and_send(enum bk_log_level level, const char *key, struct bk_str detail,
                            const char *format, va_list args) BK_PRINTF(4, 0);
static void to_stderr(void *self, const struct bk_log_record *record);
static void add_line(struct page *page, const char *before, struct bk_str line, struct bk_str key);
static void add(struct page *page, const char *at, size_t len);
static void flush(struct page *page);

_Atomic int bk__log_level = BK_LOG_INFO;
static unsigned worker_number;
static pid_t own_pid;  // 0: to be asked for, which is a system call
static bk_log_sink_fn sink = to_stderr;
static void *sink_self;

static const char *const level_names[] = {"debug", "info", "warning", "error", "critical"};

void
bk_log_to(bk_log_sink_fn new_sink, void *self)
{
    sink_self = self;
    sink = new_sink ? new_sink : to_stderr;
    own_pid = 0;
}

void
bk_log_set_level(enum bk_log_level level)
{
    atomic_store_explicit(&bk__log_level, (int)level, memory_order_relaxed);
}

enum bk_log_level
bk_log_get_level(void)
{
    return (enum bk_log_level)atomic_load_explicit(&bk__log_level, memory_order_relaxed);
}

void
bk_log_set_worker(unsigned worker)
{
    worker_number = worker;
    own_pid = getpid();
}

const char *
bk_log_level_name(enum bk_log_level level)
{
    return (size_t)level < BK_COUNT(level_names) ? level_names[level] : "?";
}

int
bk_log_level_parse(struct bk_str name, enum bk_log_level *ret)
{
    for (size_t i = 0; i < BK_COUNT(level_names); i++) {
        if (bk_str_equal(name, bk_str_of(level_names[i]))) {
            *ret = (enum bk_log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

void
bk_log(enum bk_log_level level, const char *key, const char *format, ...)
{
    va_list args;
    if (!bk_log_on(level))
        return;
    va_start(args, format);
    format_and_send(level, key, (struct bk_str){NULL, 0}, format, args);
    va_end(args);
}

void
bk_log_detail(enum bk_log_level level, const char *key, struct bk_str detail, const char *format,
              ...)
{
    va_list args;
    if (!bk_log_on(level))
        return;
    va_start(args, format);
    format_and_send(level, key, detail, format, args);
    va_end(args);
}

static void
format_and_send(enum bk_log_level level, const char *key, struct bk_str detail, const char *format,
                va_list args)
{
    char text[TEXT_MAX + 1];
    int saved = errno;  // callers log between a failing call and reading its errno
    int len = vsnprintf(text, sizeof text, format, args);
    struct bk_log_record record = {
        .level = level,
        .key = bk_str_of(key),
        .text = {text, len < 0 ? 0 : len > TEXT_MAX ? TEXT_MAX : (size_t)len},
        .detail = detail,
    };
    bk_log_record(&record);
    errno = saved;
}

void
bk_log_record(struct bk_log_record *record)
{
    if (!record->access && !bk_log_on(record->level))
        return;
    if (record->pid == 0)
        record->pid = own_pid ? own_pid : getpid();
    if (record->worker == 0)
        record->worker = worker_number;
    if (record->wall_ns == 0)
        record->wall_ns = bk_clock_wall();
    sink(sink_self, record);
}

// "barkeep: level: text [key]", then the detail's lines indented by two (first-minutes, rule 1). An
// access record is its bare line. One write where it fits, whole lines in any case, so that
// processes sharing stderr do not mix lines.
static void
to_stderr(void *self, const struct bk_log_record *record)
{
    struct page page;
    char before[32];
    struct bk_str rest = record->detail;
    page.len = 0;
    snprintf(before, sizeof before, "barkeep: %s: ", bk_log_level_name(record->level));
    if (record->access)
        add_line(&page, "", record->text, BK_STR(""));
    else
        add_line(&page, before, record->text, record->key);
    while (rest.len > 0) {
        const char *end = memchr(rest.at, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.at) : rest.len;
        add_line(&page, "  ", (struct bk_str){rest.at, len}, BK_STR(""));
        rest.at += len + (end != NULL);
        rest.len -= len + (end != NULL);
    }
    flush(&page);
}

static void
add_line(struct page *page, const char *before, struct bk_str line, struct bk_str key)
{
    if (page->len + strlen(before) + line.len + key.len + 4 > sizeof page->text)
        flush(page);
    add(page, before, strlen(before));
    add(page, line.at, line.len);
    if (key.len > 0) {
        add(page, " [", 2);
        add(page, key.at, key.len);
        add(page, "]", 1);
    }
    add(page, "\n", 1);
}

// A line longer than the page goes out in pieces.
static void
add(struct page *page, const char *at, size_t len)
{
    while (len > 0) {
        size_t room = sizeof page->text - page->len, part = len < room ? len : room;
        memcpy(page->text + page->len, at, part);
        page->len += part;
        at += part;
        len -= part;
        if (page->len == sizeof page->text)
            flush(page);
    }
}

static void
flush(struct page *page)
{
    size_t at = 0;
    while (at < page->len) {
        ssize_t n = write(STDERR_FILENO, page->text + at, page->len - at);
        if (n < 0 && errno != EINTR)
            break;  // a log line nobody can receive is not worth a blocked or dead process
        at += n > 0 ? (size_t)n : 0;
    }
    page->len = 0;
}

bool
bk_log_limited(struct bk_log_limit *state, uint64_t now_mono, unsigned *ret_count)
{
    if (now_mono < state->next_ns) {
        state->held++;
        return false;
    }
    *ret_count = state->held;
    state->held = 0;
    state->next_ns = now_mono + SILENCE_NS;
    return true;
}
