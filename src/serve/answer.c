// Building an answer: the calls of host.h between bk_engine_next and bk_exchange_commit. Everything
// the application hands over is checked here, so that no host repeats it. These calls touch only
// the exchange.
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/engine.h"

static int refuse_field(struct bk_exchange *x, enum bk_header id, struct bk_str value);
static int set_length(struct bk_answer *answer, struct bk_str value, const char **ret_why);
struct push;
static void do_push(struct bk_errand *errand);
static int push(struct bk_exchange *x, const void *data, size_t len, void *token);
static void do_push_file(struct bk_errand *errand);
static int push_file(struct bk_exchange *x, int file_fd, uint64_t offset, uint64_t len);
static size_t clip(struct bk_exchange *x, uint64_t len);
static void release(struct bk_exchange *x, void *token);
static int frame_before(struct bk_exchange *x, uint64_t len);
static int frame_after(struct bk_exchange *x);
static void send_interim(struct bk_errand *errand);
static void fail(struct bk_errand *errand);

int
bk_answer_begin(struct bk_exchange *x, int status, struct bk_str reason, const char **ret_why)
{
    struct bk_answer *answer = &x->answer;
    if (answer->opened)
        return -EALREADY;
    if (status < 100 || status > 999) {
        *ret_why = "the status is not three digits";
        return -EINVAL;
    }
    if (status < 200) {
        *ret_why = "an interim status (1xx) cannot end a request";
        return -EINVAL;
    }
    if (!bk_value_valid(reason)) {
        *ret_why = "the reason phrase has a control character";
        return -EINVAL;
    }
    bk__out_drop(x);
    *answer = (struct bk_answer){.status = status, .begun = true};
    if (reason.len) {
        char *copy = bk_arena_text(&x->arena, reason.len);
        if (!copy)
            return -ENOMEM;
        memcpy(copy, reason.at, reason.len);
        answer->reason = (struct bk_str){copy, reason.len};
    }
    return 0;
}

int
bk_answer_field(struct bk_exchange *x, struct bk_str name, struct bk_str value,
                const char **ret_why)
{
    if (x->answer.opened)
        return -EALREADY;
    enum bk_header id = bk_header_id(name.at, name.len);
    if (id == BK_HEADER_OTHER && !bk_token_valid(name)) {
        *ret_why = "the header name is not a token";
        return -EINVAL;
    }
    if (!bk_value_valid(value)) {
        *ret_why = "the header value has a control character";
        return -EINVAL;
    }
    if (id == BK_HEADER_CONTENT_LENGTH)
        return set_length(&x->answer, value, ret_why);
    int refused = refuse_field(x, id, value);
    return refused < 0 ? refused : bk__answer_line(x, name, value);
}

// Fields that belong to the connection are the server's (PEP 3333, RFC 9110 §7.6.1).
static int
refuse_field(struct bk_exchange *x, enum bk_header id, struct bk_str value)
{
    if (id == BK_HEADER_OTHER)
        return 0;
    if (id == BK_HEADER_DATE)
        x->answer.has_date = true;
    else if (id == BK_HEADER_SERVER)
        x->answer.has_server = true;
    else if (id == BK_HEADER_CONNECTION) {
        if (bk_value_lists(value, BK_STR("close")))
            x->answer.close = true;
        return -EPERM;
    } else if (id == BK_HEADER_KEEP_ALIVE || id == BK_HEADER_PROXY_CONNECTION ||
               id == BK_HEADER_TE || id == BK_HEADER_TRAILER || id == BK_HEADER_TRANSFER_ENCODING ||
               id == BK_HEADER_UPGRADE)
        return -EPERM;
    return 0;
}

static int
set_length(struct bk_answer *answer, struct bk_str value, const char **ret_why)
{
    uint64_t length;
    if (answer->has_length) {
        *ret_why = "Content-Length is given twice";
        return -EINVAL;
    }
    if (bk_str_parse_u64(bk_str_trim(value), INT64_MAX, &length) < 0) {
        *ret_why = "Content-Length is not a number";
        return -EINVAL;
    }
    answer->has_length = true;
    answer->length = length;
    return 0;
}

int
bk__answer_line(struct bk_exchange *x, struct bk_str name, struct bk_str value)
{
    struct bk_answer *answer = &x->answer;
    size_t need = name.len + value.len + 4;
    if (answer->fields_len + need > answer->fields_size) {
        size_t size = answer->fields_size ? answer->fields_size * 2 : 512;
        while (size < answer->fields_len + need)
            size *= 2;
        if (size > 1u << 20)
            return -EMSGSIZE;
        char *grown = bk_arena_text(&x->arena, size);
        if (!grown)
            return -ENOMEM;
        if (answer->fields_len)
            memcpy(grown, answer->fields, answer->fields_len);
        answer->fields = grown;
        answer->fields_size = (uint32_t)size;
    }
    char *at = answer->fields + answer->fields_len;
    memcpy(at, name.at, name.len);
    at += name.len;
    *at++ = ':';
    *at++ = ' ';
    if (value.len)
        memcpy(at, value.at, value.len);
    at += value.len;
    *at++ = '\r';
    *at++ = '\n';
    answer->fields_len += (uint32_t)need;
    return 0;
}

bool
bk_answer_begun(const struct bk_exchange *x)
{
    return x->answer.begun;
}

bool
bk_answer_sent(const struct bk_exchange *x)
{
    return x->answer.opened;
}

struct push {
    struct bk_errand errand;
    struct bk_exchange *x;
    const void *data;
    size_t len;
    void *token;
    int fd;
    uint64_t offset;
    int result;
};

// Until the head is in the queue the output is the application's alone, afterwards the loop sends
// from it.
int
bk_answer_push(struct bk_exchange *x, const void *data, size_t len, void *token)
{
    if (bk_likely(!x->answer.opened))
        return push(x, data, len, token);
    struct push call = {.errand.run = do_push, .x = x, .data = data, .len = len, .token = token};
    bk__baton_run(x, &call.errand);
    return call.result;
}

static void
do_push(struct bk_errand *errand)
{
    struct push *call = BK_OUTER(errand, struct push, errand);
    call->result = push(call->x, call->data, call->len, call->token);
}

static int
push(struct bk_exchange *x, const void *data, size_t len, void *token)
{
    struct bk_answer *answer = &x->answer;
    int error = bk_exchange_gone(x) ? -EPIPE : x->ws ? -EALREADY : 0;
    if (!error)
        len = clip(x, len);
    if (error || len == 0) {
        if (token)
            release(x, token);
        return error;
    }
    if (!answer->opened && !x->out.first)
        bk__out_keep_headroom(x, answer->fields_len + answer->reason.len +
                                     sizeof x->engine->common + 192);
    if ((error = frame_before(x, len)) < 0)
        return error;
    if (token && len > BK_COPY_MAX) {
        if ((error = bk__out_lend(x, data, len, token)) < 0)
            release(x, token);
    } else {
        error = bk__out_copy(x, data, len);
        if (token)
            release(x, token);
    }
    return error < 0 ? error : frame_after(x);
}

int
bk_answer_push_file(struct bk_exchange *x, int file_fd, uint64_t offset, uint64_t len)
{
    struct stat status;
    if (fstat(file_fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        close(file_fd);
        return -EINVAL;
    }
    uint64_t rest = (uint64_t)status.st_size > offset ? (uint64_t)status.st_size - offset : 0;
    len = len < rest ? len : rest;
    if (!x->answer.opened)
        return push_file(x, file_fd, offset, len);
    struct push call = {
        .errand.run = do_push_file, .x = x, .fd = file_fd, .offset = offset, .len = len};
    bk__baton_run(x, &call.errand);
    return call.result;
}

static void
do_push_file(struct bk_errand *errand)
{
    struct push *call = BK_OUTER(errand, struct push, errand);
    call->result = push_file(call->x, call->fd, call->offset, call->len);
}

static int
push_file(struct bk_exchange *x, int file_fd, uint64_t offset, uint64_t len)
{
    bool gone = bk_exchange_gone(x);
    len = gone ? 0 : clip(x, len);
    if (len == 0) {
        close(file_fd);
        return gone ? -EPIPE : 0;
    }
    int error = frame_before(x, len);
    if (error < 0 || (error = bk__out_file(x, file_fd, (off_t)offset, len)) < 0) {
        close(file_fd);
        return error;
    }
    return frame_after(x);
}

// How many of `len` body bytes may go out: none for answers without a body, never more than
// Content-Length.
static size_t
clip(struct bk_exchange *x, uint64_t len)
{
    struct bk_answer *answer = &x->answer;
    uint64_t before = answer->pushed;
    answer->pushed += len;
    if (x->head.method_id == BK_METHOD_HEAD || bk_status_bodiless(answer->status))
        return 0;
    if (!answer->has_length || answer->pushed <= answer->length)
        return len;
    if (!answer->over_said) {
        answer->over_said = true;
        bk_exchange_warn(
            x, "answer-too-long",
            BK_STR("the application sent more than its Content-Length; the rest is dropped"));
    }
    return before < answer->length ? answer->length - before : 0;
}

static int
frame_before(struct bk_exchange *x, uint64_t len)
{
    if (!x->answer.opened || x->answer.framing != BK_FRAMING_CHUNKED)
        return 0;
    char line[BK_H1_CHUNK_MAX];
    return bk__out_copy(x, line, bk_h1_write_chunk_size(line, len));
}

static int
frame_after(struct bk_exchange *x)
{
    if (!x->answer.opened || x->answer.framing != BK_FRAMING_CHUNKED)
        return 0;
    return bk__out_copy(x, "\r\n", 2);
}

static void
release(struct bk_exchange *x, void *token)
{
    x->engine->ops->release(x->engine->host, token);
}

int
bk_answer_interim(struct bk_exchange *x, int status, const struct bk_str *names,
                  const struct bk_str *values, unsigned count)
{
    char head[8192];
    char lines[7168];
    size_t at = 0;
    if (bk_exchange_gone(x) || x->answer.opened || x->head.minor == 0)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        if (!bk_token_valid(names[i]) || !bk_value_valid(values[i]) ||
            at + names[i].len + values[i].len + 4 > sizeof lines)
            return -EINVAL;
        at = (size_t)(mempcpy(lines + at, names[i].at, names[i].len) - (void *)lines);
        at = (size_t)(mempcpy(lines + at, ": ", 2) - (void *)lines);
        at = (size_t)(mempcpy(lines + at, values[i].at, values[i].len) - (void *)lines);
        at = (size_t)(mempcpy(lines + at, "\r\n", 2) - (void *)lines);
    }
    size_t len = bk_h1_write_interim(head, sizeof head, status, (struct bk_str){lines, at});
    if (len == 0)
        return -EINVAL;
    if (x->out.first)  // body bytes wait already: an interim answer would come in their middle
        return 0;
    struct push call = {.errand.run = send_interim, .x = x, .data = head, .len = len};
    bk__baton_run(x, &call.errand);
    return call.result;
}

static void
send_interim(struct bk_errand *errand)
{
    struct push *call = BK_OUTER(errand, struct push, errand);
    int error = bk__out_copy(call->x, call->data, call->len);
    call->result = error < 0 ? error : bk__transmit_some(call->x) < 0 ? -EPIPE : 0;
}

void
bk_exchange_warn(struct bk_exchange *x, const char *key, struct bk_str text)
{
    char context[512];
    bk_log(BK_LOG_WARNING, key, "%.*s, %s", (int)text.len, text.at,
           bk__exchange_context(x, context, sizeof context));
}

void
bk_exchange_fail(struct bk_exchange *x, const char *key, struct bk_str kind,
                 struct bk_str traceback)
{
    char context[512];
    atomic_fetch_add_explicit(&x->engine->counters->errors_app, 1, memory_order_relaxed);
    bk_log_detail(BK_LOG_ERROR, key, traceback, "%.*s in the application, worker %u, %s",
                  (int)kind.len, kind.at, atomic_load(&x->engine->slot->worker),
                  bk__exchange_context(x, context, sizeof context));
    struct push call = {.errand.run = fail, .x = x, .data = key};
    bk__baton_run(x, &call.errand);
}

static void
fail(struct bk_errand *errand)
{
    struct bk_exchange *x = BK_OUTER(errand, struct push, errand)->x;
    x->key = BK_OUTER(errand, struct push, errand)->data;
    bk_count(&bk__scoreboard_thread(x)->errors, 1);
    if (x->answer.opened)
        x->answer.failed = true;
    else
        bk__to_page_fill(x, strcmp(x->key, "request-timeout") == 0 ? 504 : 500, NULL);
}
