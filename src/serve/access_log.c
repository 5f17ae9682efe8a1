// Compiles --access-logformat (Gunicorn's atoms, or a preset) and writes a line per finished
// answer.
#include "serve/access_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "proto/credentials.h"
#include "serve/engine.h"

#define LINE_MAX_BYTES 8192
#define USER_MAX 128  // bytes of a user's name that are shown

static const char COMBINED[] = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"";
static const char SHORT[] = "%(s)s %(m)s %(R)s %(B)s B %(X)s ms";

struct bk_access_op {
    char atom;  // 0 = literal, 'i' 'o' 'e' with a name, else Gunicorn's letter; R = raw target, X =
                // ms with decimals
    struct bk_str text;  // borrows the format: literal bytes or the name
    unsigned index;      // 'e': number among the environ names
};

struct line {
    char *at, *end;
};

static int compile(struct bk_access_log *log, const char **ret_why);
static size_t format_line(const struct bk_exchange *x, char *out, size_t room);
static size_t format_json(struct bk_exchange *x, char *out, size_t room);
static void put_atom(struct line *line, const struct bk_exchange *x, const struct bk_access_op *op);

int
bk_access_log_init(struct bk_access_log *log, const struct bk_config *config, const char **ret_why)
{
    const char *file = config->access_logfile, *format = config->access_logformat;
    log->mode = file && strcmp(file, "off") != 0 ? BK_ACCESS_ALL : BK_ACCESS_OFF;
    log->slow = config->slow_request;
    if (format && strcmp(format, "json") == 0) {
        log->json = true;
        return 0;
    }
    if (!format || strcmp(format, "combined") == 0)
        format = COMBINED;
    else if (strcmp(format, "short") == 0)
        format = SHORT;
    log->format = strdup(format);
    return log->format ? compile(log, ret_why) : -ENOMEM;
}

// One op a literal or an atom. "%%" is a percent sign.
static int
compile(struct bk_access_log *log, const char **ret_why)
{
    size_t count = 1;
    for (const char *at = log->format; *at; at++)
        count += *at == '%' ? 2 : 0;
    log->ops = calloc(count, sizeof *log->ops);
    log->environ_names = calloc(count, sizeof *log->environ_names);
    if (!log->ops || !log->environ_names)
        return -ENOMEM;
    const char *at = log->format;
    while (*at) {
        struct bk_access_op *op = &log->ops[log->op_count++];
        if (*at != '%') {
            size_t len = strcspn(at, "%");
            op->text = (struct bk_str){at, len};
            at += len;
            continue;
        }
        if (at[1] == '%') {
            op->text = (struct bk_str){at, 1};
            at += 2;
            continue;
        }
        const char *close = at[1] == '(' ? strstr(at, ")s") : NULL;
        *ret_why = "an access log atom looks like %(h)s or %({name}i)s";
        if (!close || close == at + 2)
            return -EINVAL;
        struct bk_str atom = {at + 2, (size_t)(close - at - 2)};
        at = close + 2;
        op->atom = atom.at[atom.len - 1];
        if (atom.at[0] == '{') {
            if (atom.len < 4 || atom.at[atom.len - 2] != '}' || !strchr("ioe", op->atom))
                return -EINVAL;
            op->text = (struct bk_str){atom.at + 1, atom.len - 3};
            if (op->atom == 'e') {
                op->index = log->environ_count;
                log->environ_names[log->environ_count++] = op->text;
            }
        } else if (atom.len != 1 || !strchr("hlutrmUqHsBbfaTMDLpRX", op->atom)) {
            *ret_why = "unknown access log atom";
            return -EINVAL;
        }
    }
    return 0;
}

void
bk_access_log_release(struct bk_access_log *log)
{
    free(log->ops);
    free(log->format);
    free(log->environ_names);
    *log = (struct bk_access_log){0};
}

void
bk__access_log_write(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    const struct bk_access_log *log = &engine->access;
    char text[LINE_MAX_BYTES];
    if (log->mode == BK_ACCESS_ALL) {
        size_t len =
            log->json ? format_json(x, text, sizeof text) : format_line(x, text, sizeof text);
        struct bk_log_record record = {.level = BK_LOG_INFO,
                                       .access = true,
                                       .wall_ns = bk_engine_wall(engine),
                                       .text = {text, len}};
        bk_log_record(&record);
        return;
    }
    // Of one that was named while it ran nothing more needs to be said.
    bool slow = log->slow && x->started && !x->ws && x->committed - x->started > log->slow &&
                atomic_load_explicit(&x->slow_told, memory_order_relaxed) != x->generation;
    bool failed =
        x->answer.status >= 500 && !x->key;  // with a key the failure has its own line already
    if (bk_likely(!slow && !failed))
        return;
    char context[512];
    bk_log(
        slow && !failed ? BK_LOG_WARNING : BK_LOG_ERROR, slow ? "request-slow" : "answer-5xx",
        "%d after %.1f ms, %s%s%s", x->answer.status, (double)(bk_clock_mono() - x->received) / 1e6,
        bk__exchange_context(x, context, sizeof context), x->why ? ": " : "", x->why ? x->why : "");
}

static void
put(struct line *line, const char *text, size_t len)
{
    size_t room = (size_t)(line->end - line->at);
    if (len > room)
        len = room;
    memcpy(line->at, text, len);
    line->at += len;
}

static void
put_escaped(struct line *line, struct bk_str text)
{
    line->at += bk_str_escape(line->at, (size_t)(line->end - line->at), text);
}

static void
put_number(struct line *line, uint64_t number)
{
    char digits[20];
    put(line, digits, bk_str_format_u64(digits, number));
}

static size_t
format_line(const struct bk_exchange *x, char *out, size_t room)
{
    const struct bk_access_log *log = &x->engine->access;
    struct line line = {out, out + room};
    for (unsigned i = 0; i < log->op_count; i++) {
        const struct bk_access_op *op = &log->ops[i];
        if (op->atom == 0)
            put(&line, op->text.at, op->text.len);
        else
            put_atom(&line, x, op);
    }
    return (size_t)(line.at - out);
}

static void
put_field(struct line *line, const struct bk_exchange *x, struct bk_str name)
{
    enum bk_header id = bk_header_id(name.at, name.len);
    for (unsigned i = 0; i < x->head.field_count; i++) {
        const struct bk_field *field = &x->head.fields[i];
        if (field->id == id &&
            (id != BK_HEADER_OTHER ||
             bk_str_equal_nocase(bk_head_str(&x->head, field->name, field->name_len), name))) {
            put_escaped(line, bk_head_str(&x->head, field->value, field->value_len));
            return;
        }
    }
    put(line, "-", 1);
}

// A field of the answer, out of the finished lines.
static void
put_answer_field(struct line *line, const struct bk_exchange *x, struct bk_str name)
{
    struct bk_str rest = {x->answer.fields, x->answer.fields_len};
    if (bk_str_equal_nocase(name, BK_STR("Content-Length")) && x->answer.has_length) {
        put_number(line, x->answer.length);
        return;
    }
    while (rest.len) {
        const char *end = memchr(rest.at, '\r', rest.len);
        struct bk_str field = {rest.at, end ? (size_t)(end - rest.at) : rest.len};
        if (field.len > name.len + 1 && field.at[name.len] == ':' &&
            bk_str_equal_nocase((struct bk_str){field.at, name.len}, name)) {
            put_escaped(line, (struct bk_str){field.at + name.len + 2, field.len - name.len - 2});
            return;
        }
        size_t step = field.len + 2 < rest.len ? field.len + 2 : rest.len;
        rest.at += step;
        rest.len -= step;
    }
    put(line, "-", 1);
}

static uint64_t
body_bytes(const struct bk_exchange *x)
{
    if (x->ws)
        return x->answer.pushed;  // payload of the messages sent
    if (x->head.method_id == BK_METHOD_HEAD || bk_status_bodiless(x->answer.status))
        return 0;
    return x->answer.has_length && x->answer.pushed > x->answer.length ? x->answer.length
                                                                       : x->answer.pushed;
}

static uint64_t
duration(const struct bk_exchange *x)
{
    return (x->committed ? x->committed : x->engine->loop.now) -
           (x->started ? x->started : x->received);
}

static void
put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

// What the request line said: r m R U q H.
static void
put_request(struct line *line, const struct bk_head *head, char atom)
{
    if (head->method_len == 0) {
        put_text(line, "-");
        return;
    }
    if (atom == 'r' || atom == 'm')
        put_escaped(line, bk_head_str(head, head->method, head->method_len));
    if (atom == 'r')
        put_text(line, " ");
    if (atom == 'r' || atom == 'R')
        put_escaped(line, bk_head_str(head, head->target, head->target_len));
    if (atom == 'r')
        put_text(line, " ");
    if (atom == 'U')
        put_escaped(line, bk_head_str(head, head->path, head->path_len));
    if (atom == 'q')
        put_escaped(line, bk_head_str(head, head->query, head->query_len));
    if (atom == 'r' || atom == 'H')
        put_text(line, head->minor ? "HTTP/1.1" : "HTTP/1.0");
}

// Times and sizes: T M D L X s b B.
static void
put_measure(struct line *line, const struct bk_exchange *x, char atom)
{
    uint64_t ns = duration(x);
    char text[32];
    if (atom == 'T' || atom == 'M' || atom == 'D') {
        put_number(line, ns / (atom == 'T' ? BK_SEC : atom == 'M' ? BK_MSEC : 1000));
    } else if (atom == 'L' || atom == 'X') {
        snprintf(text, sizeof text, atom == 'L' ? "%.6f" : "%.1f",
                 (double)ns / (atom == 'L' ? 1e9 : 1e6));
        put_text(line, text);
    } else if (atom == 's') {
        put_number(line, (uint64_t)x->answer.status);
    } else if (atom == 'b' && body_bytes(x) == 0) {
        put_text(line, "-");
    } else {
        put_number(line, body_bytes(x));
    }
}

static struct bk_str
basic_user(const struct bk_exchange *x, char *out)
{
    const struct bk_field *field = bk_head_find(&x->head, BK_HEADER_AUTHORIZATION);
    if (!field)
        return (struct bk_str){NULL, 0};
    struct bk_str value = bk_head_str(&x->head, field->value, field->value_len);
    return (struct bk_str){out, bk_credentials_user(value, out, USER_MAX)};
}

// A space is escaped too: what follows in the line must not be the user's choice.
static void
put_user(struct line *line, const struct bk_exchange *x)
{
    char name[USER_MAX];
    struct bk_str user = basic_user(x, name);
    if (user.len == 0)
        put_text(line, "-");
    for (size_t i = 0; i < user.len; i++) {
        if (user.at[i] == ' ')
            put_text(line, "\\x20");
        else
            put_escaped(line, (struct bk_str){user.at + i, 1});
    }
}

// Asking the C library for local time costs more than the rest of a line.
static const char *
time_of_day(struct bk_engine *engine)
{
    struct bk_access_log *log = &engine->access;
    uint64_t wall = bk_engine_wall(engine);
    if (log->clf_second != wall / BK_SEC) {
        log->clf_second = wall / BK_SEC;
        bk_clock_clf(log->clf, wall);
    }
    return log->clf;
}

static void
put_atom(struct line *line, const struct bk_exchange *x, const struct bk_access_op *op)
{
    char text[64];
    unsigned port;
    switch (op->atom) {
    case 'h':
        put(line, text, bk_exchange_peer(x, text, &port));
        return;
    case 't':
        put_text(line, time_of_day(x->engine));
        return;
    case 'f':
        put_field(line, x, BK_STR("Referer"));
        return;
    case 'a':
        put_field(line, x, BK_STR("User-Agent"));
        return;
    case 'p':
        snprintf(text, sizeof text, "<%d>", atomic_load(&x->engine->slot->pid));
        put_text(line, text);
        return;
    case 'i':
        put_field(line, x, op->text);
        return;
    case 'o':
        put_answer_field(line, x, op->text);
        return;
    case 'e':
        if (x->notes && x->notes[op->index].len)
            put_escaped(line, x->notes[op->index]);
        else
            put_text(line, "-");
        return;
    case 'l':
        put_text(line, "-");
        return;
    case 'u':
        put_user(line, x);
        return;
    default:
        if (strchr("rmRUqH", op->atom))
            put_request(line, &x->head, op->atom);
        else
            put_measure(line, x, op->atom);
    }
}

// JSON strings: bk_str_escape's \xNN is no JSON, so control and high bytes become \u00NN (latin-1).
static void
put_json(struct line *line, const char *name, struct bk_str value)
{
    put(line, ",\"", 2);
    put(line, name, strlen(name));
    put(line, "\":\"", 3);
    for (size_t i = 0; i < value.len && line->end - line->at > 64; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if (c < 0x20 || c >= 0x7f) {
            char escaped[8];
            put(line, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
        } else {
            if (c == '"' || c == '\\')
                put(line, "\\", 1);
            put(line, (const char *)&c, 1);
        }
    }
    put(line, "\"", 1);
}

static size_t
format_json(struct bk_exchange *x, char *out, size_t room)
{
    const struct bk_head *head = &x->head;
    struct line line = {out, out + room - 2};
    char text[64], name[USER_MAX];
    unsigned port;
    bk_clock_iso(text, bk_engine_wall(x->engine));
    put(&line, "{\"time\":\"", 9);
    put(&line, text, strlen(text));
    put(&line, "\"", 1);
    put_json(&line, "client", (struct bk_str){text, bk_exchange_peer(x, text, &port)});
    struct bk_str user = basic_user(x, name);
    if (user.len)
        put_json(&line, "user", user);
    put_json(&line, "method", bk_head_str(head, head->method, head->method_len));
    put_json(&line, "target", bk_head_str(head, head->target, head->target_len));
    put_json(&line, "protocol", head->minor ? BK_STR("HTTP/1.1") : BK_STR("HTTP/1.0"));
    put(&line, ",\"status\":", 10);
    put_number(&line, (uint64_t)x->answer.status);
    put(&line, ",\"bytes\":", 9);
    put_number(&line, body_bytes(x));
    put(&line, ",\"duration_us\":", 15);
    put_number(&line, duration(x) / 1000);
    const struct bk_field *agent = bk_head_find(head, BK_HEADER_USER_AGENT),
                          *referer = bk_head_find(head, BK_HEADER_REFERER);
    if (referer)
        put_json(&line, "referer", bk_head_str(head, referer->value, referer->value_len));
    if (agent)
        put_json(&line, "user_agent", bk_head_str(head, agent->value, agent->value_len));
    put_json(&line, "request_id", bk_exchange_id(x));
    line.end += 2;
    put(&line, "}", 1);
    return (size_t)(line.at - out);
}
