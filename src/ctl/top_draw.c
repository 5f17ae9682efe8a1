// A frame: the server, its rates, the workers, the requests that run; what does not fit is left out
// and counted.
#include <stdarg.h>
#include <stdio.h>

#include "ctl/top.h"
#include "stats/json.h"

#include "base/banned.h"

#define FRAME_MAX (1024 * 1024)

struct frame {
    struct bk_buf *out;
    unsigned left, columns; // lines that still fit
    const char *eol;
    bool ascii;
    int error;
};

static void line(struct frame *frame, const char *format, ...) BK_PRINTF(2, 3);
static void put_line(struct frame *frame, const char *text, size_t len);
static void draw_head(struct frame *frame, const struct bk_top *top);
static void draw_history(struct frame *frame, const struct bk_top *top);
static void draw_workers(struct frame *frame, const struct bk_top *top);
static void draw_requests(struct frame *frame, const struct bk_top *top);

int
bk_top_draw(const struct bk_top *top, unsigned rows, unsigned columns, bool ascii, const char *eol,
            struct bk_buf *out)
{
    struct frame frame = {.out = out, .left = rows, .columns = columns, .eol = eol, .ascii = ascii};

    draw_head(&frame, top);
    draw_history(&frame, top);
    draw_workers(&frame, top);
    draw_requests(&frame, top);
    return frame.error;
}

// Everything but the sparkline is ASCII, so bytes are columns.
static void
line(struct frame *frame, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t used = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    put_line(frame, text, used < frame->columns ? used : frame->columns);
}

static void
put_line(struct frame *frame, const char *text, size_t len)
{
    if (frame->left == 0 || frame->error)
        return;
    frame->left--;
    frame->error = bk_buf_append(frame->out, (struct bk_str){text, len}, FRAME_MAX);
    if (frame->error == 0)
        frame->error = bk_buf_append(frame->out, bk_str_of(frame->eol), FRAME_MAX);
}

static void
draw_head(struct frame *frame, const struct bk_top *top)
{
    char a[32], b[32], c[32], d[32], e[32];

    line(frame, "%s (%s)  pid %llu  up %s  generation %llu  %s", top->name, top->kind,
         (unsigned long long)top->pid, bk_ctl_span(top->up, a), (unsigned long long)top->generation,
         top->phase);
    line(frame, "%s  backlog %llu/%llu", top->address, (unsigned long long)top->backlog,
         (unsigned long long)top->backlog_limit);
    line(frame, "requests %s/s  errors %s/s  dropped %s/s  in %s/s  out %s/s",
         bk_ctl_number(top->rate, a), bk_ctl_number(top->errors, b), bk_ctl_number(top->dropped, c),
         bk_ctl_bytes(top->in, d), bk_ctl_bytes(top->out, e));
    line(frame, "latency  p50 %s  p90 %s  p99 %s  max %s  queue wait p99 %s",
         bk_ctl_span(top->p50, a), bk_ctl_span(top->p90, b), bk_ctl_span(top->p99, c),
         bk_ctl_span(top->most, d), bk_ctl_span(top->wait99, e));
    line(frame, "running %llu  queued %llu  connections %llu", (unsigned long long)top->running,
         (unsigned long long)top->queued, (unsigned long long)top->connections);
}

static void
draw_history(struct frame *frame, const struct bk_top *top)
{
    static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char plain[] = " .:-=+*#@";
    char text[BK_TOP_HISTORY * 3 + 64], number[32];
    double most = 0;
    size_t len = 0;

    for (unsigned i = 0; i < top->history_count; i++)
        most = top->history[i] > most ? top->history[i] : most;
    for (unsigned i = 0; i < BK_TOP_HISTORY; i++) {
        unsigned missing = BK_TOP_HISTORY - top->history_count;
        double value = i < missing ? 0 : top->history[i - missing];
        unsigned height = most > 0 && value > 0 ? 1 + (unsigned)(value / most * 7.0) : 0;
        if (frame->ascii)
            text[len++] = plain[height > 8 ? 8 : height];
        else
            len += (size_t)snprintf(text + len, sizeof text - len, "%s",
                                    bars[height > 8 ? 8 : height]);
    }
    len +=
        (size_t)snprintf(text + len, sizeof text - len, "| most %s/s", bk_ctl_number(most, number));
    put_line(frame, text, len);
    line(frame, "%s", "");
}

static void
draw_workers(struct frame *frame, const struct bk_top *top)
{
    char rate[32], rss[32], up[32];
    // Requests get what workers leave, but five lines at least.
    unsigned wanted = top->request_count < 5 ? top->request_count : 5;
    unsigned room = frame->left > wanted + 3 ? frame->left - wanted - 3 : 1, drawn = 0;

    line(frame, "%6s %-8s %8s %9s %6s %4s %6s %6s %9s %7s %5s", "WORKER", "STATE", "PID", "REQ/S",
         "BUSY", "RUN", "QUEUE", "CONNS", "RSS", "UP", "REST");
    for (; drawn < top->worker_count && (drawn < room - 1 || top->worker_count <= room); drawn++) {
        const struct bk_top_worker *worker = &top->workers[drawn];
        line(frame, "%6u %-8s %8llu %9s %5.0f%% %4llu %6llu %6llu %9s %7s %5llu", worker->number,
             worker->state, (unsigned long long)worker->pid, bk_ctl_number(worker->rate, rate),
             worker->busy * 100, (unsigned long long)worker->running,
             (unsigned long long)worker->queued, (unsigned long long)worker->connections,
             bk_ctl_bytes((double)worker->rss, rss),
             worker->up > 0 ? bk_ctl_span(worker->up, up) : "-",
             (unsigned long long)worker->restarts);
    }
    if (drawn < top->worker_count)
        line(frame, "       and %u more", top->worker_count - drawn);
}

static void
draw_requests(struct frame *frame, const struct bk_top *top)
{
    char age[32], thread[32];

    if (top->request_count == 0)
        return;
    line(frame, "%s", "");
    line(frame, "%8s %-7s %-19s %-22s %s", "AGE", "THREAD", "STEP", "CLIENT", "REQUEST");
    for (unsigned i = 0; i < top->request_count && frame->left > 0; i++) {
        const struct bk_top_request *request = &top->requests[i];
        if (frame->left == 1 && i + 1 < top->request_count) {
            line(frame, "         and %u more", top->request_count - i);
            return;
        }
        snprintf(thread, sizeof thread, "%llu.%llu", (unsigned long long)request->worker,
                 (unsigned long long)request->thread);
        line(frame, "%8s %-7s %-19s %-22s %s %s", bk_ctl_span(request->age, age), thread,
             request->step, request->client, request->method, request->path);
    }
}

int
bk_top_json(const struct bk_top *top, struct bk_buf *out)
{
    struct bk_json json = {.out = out, .most = FRAME_MAX};
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"seconds", top->seconds},          {"requests_per_second", top->rate},
                   {"errors_per_second", top->errors}, {"dropped_per_second", top->dropped},
                   {"bytes_in_per_second", top->in},   {"bytes_out_per_second", top->out},
                   {"latency_p50", top->p50},          {"latency_p90", top->p90},
                   {"latency_p99", top->p99},          {"latency_max", top->most},
                   {"queue_wait_p99", top->wait99}};

    bk_json_open(&json, NULL, '{');
    bk_json_text(&json, "name", top->name);
    bk_json_text(&json, "phase", top->phase);
    bk_json_u64(&json, "pid", top->pid);
    bk_json_u64(&json, "generation", top->generation);
    for (unsigned i = 0; i < BK_COUNT(numbers); i++)
        bk_json_seconds(&json, numbers[i].key, (uint64_t)(numbers[i].value * 1e9));
    bk_json_u64(&json, "running", top->running);
    bk_json_u64(&json, "queued", top->queued);
    bk_json_u64(&json, "connections", top->connections);
    bk_json_open(&json, "workers", '[');
    for (unsigned i = 0; i < top->worker_count; i++) {
        const struct bk_top_worker *worker = &top->workers[i];
        bk_json_open(&json, NULL, '{');
        bk_json_u64(&json, "worker", worker->number);
        bk_json_text(&json, "state", worker->state);
        bk_json_u64(&json, "pid", worker->pid);
        bk_json_seconds(&json, "requests_per_second", (uint64_t)(worker->rate * 1e9));
        bk_json_seconds(&json, "busy", (uint64_t)(worker->busy * 1e9));
        bk_json_u64(&json, "running", worker->running);
        bk_json_u64(&json, "queued", worker->queued);
        bk_json_u64(&json, "connections", worker->connections);
        bk_json_u64(&json, "rss", worker->rss);
        bk_json_close(&json, '}');
    }
    bk_json_close(&json, ']');
    bk_json_open(&json, "current", '[');
    for (unsigned i = 0; i < top->request_count; i++) {
        const struct bk_top_request *request = &top->requests[i];
        bk_json_open(&json, NULL, '{');
        bk_json_seconds(&json, "age", (uint64_t)(request->age * 1e9));
        bk_json_u64(&json, "worker", request->worker);
        bk_json_u64(&json, "thread", request->thread);
        bk_json_text(&json, "step", request->step);
        bk_json_text(&json, "client", request->client);
        bk_json_text(&json, "method", request->method);
        bk_json_text(&json, "path", request->path);
        bk_json_close(&json, '}');
    }
    bk_json_close(&json, ']');
    bk_json_close(&json, '}');
    return json.error ? json.error : bk_buf_append(out, BK_STR("\n"), FRAME_MAX);
}
