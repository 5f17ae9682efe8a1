// The host's calls on a WebSocket session (host/host.h, "WebSocket"). Each does its work inside the
// engine: by itself when it can enter, else whoever is there does it (serve/baton.h).
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "proto/ws.h"
#include "serve/engine.h"
#include "serve/to_ws.h"

#define OFFERED_MAX 64    // bk_ws_check refuses more
#define DEFLATE_LEAST 64  // shorter messages are not worth it

struct call {
    struct bk_errand errand;
    struct bk_exchange *x;
    struct bk_str text;  // subprotocol, message or reason
    const struct bk_str *names, *values;
    unsigned count, code;
    void *token;
    struct bk_ws_message *message;
    const char **ret_why;
    int result;
};

static void do_accept(struct bk_errand *errand);
static void do_receive(struct bk_errand *errand);
static void do_send(struct bk_errand *errand);
static void do_close(struct bk_errand *errand);
static int open_session(struct bk_exchange *x, const struct bk_ws_deflate *offer,
                        struct bk_str subprotocol);
static bool offered(const struct bk_exchange *x, struct bk_str subprotocol);
static int take_fields(struct bk_exchange *x, const struct call *call);
static int write_answer(struct bk_exchange *x, struct bk_str subprotocol,
                        const struct bk_ws_deflate *deflate);
static int receive_next(struct bk_exchange *x, struct bk_ws_message *ret);
static int send_message(struct bk_exchange *x, const struct call *call);
static int queue_message(struct bk_exchange *x, enum bk_ws_kind kind, struct bk_str data,
                         void *token);
static void release(struct bk_exchange *x, void *token);
static void settle(struct bk_exchange *x);

unsigned
bk_ws_protocols(const struct bk_exchange *x, struct bk_str *into, unsigned room)
{
    return bk_ws_offered(&x->head, into, room);
}

int
bk_ws_accept(struct bk_exchange *x, struct bk_str subprotocol, const struct bk_str *names,
             const struct bk_str *values, unsigned count, const char **ret_why)
{
    struct call call = {.errand.run = do_accept,
                        .x = x,
                        .text = subprotocol,
                        .names = names,
                        .values = values,
                        .count = count,
                        .ret_why = ret_why};
    bk__baton_run(x, &call.errand);
    return call.result;
}

int
bk_ws_receive(struct bk_exchange *x, struct bk_ws_message *ret)
{
    struct call call = {.errand.run = do_receive, .x = x, .message = ret};
    bk__baton_run(x, &call.errand);
    return call.result;
}

int
bk_ws_send(struct bk_exchange *x, enum bk_ws_kind kind, const void *data, size_t len, void *token)
{
    struct call call = {
        .errand.run = do_send, .x = x, .text = {data, len}, .code = (unsigned)kind, .token = token};
    bk__baton_run(x, &call.errand);
    return call.result;
}

int
bk_ws_close(struct bk_exchange *x, unsigned code, struct bk_str reason)
{
    struct call call = {.errand.run = do_close, .x = x, .text = reason, .code = code};
    if (!bk_ws_code_valid(code) || !bk_utf8_valid(reason))
        return -EINVAL;
    bk__baton_run(x, &call.errand);
    return 0;
}

// ---- accepting ----

static void
do_accept(struct bk_errand *errand)
{
    struct call *call = BK_OUTER(errand, struct call, errand);
    struct bk_exchange *x = call->x;
    struct bk_ws_deflate deflate;
    struct bk_fault fault;
    const char **ret_why = call->ret_why;
    call->result = x->gone ? -EPIPE : x->answer.opened ? -EALREADY : -EINVAL;
    if (x->gone || x->answer.opened)
        return;
    *ret_why = "the request is no WebSocket handshake";
    if (!x->call.websocket || bk_ws_check(&x->head, &deflate, &fault) < 0)
        return;
    *ret_why = "the client did not offer this subprotocol";
    if (call->text.len && !offered(x, call->text))
        return;
    call->result = take_fields(x, call);
    if (call->result == 0)
        call->result = open_session(x, &deflate, call->text);
}

static bool
offered(const struct bk_exchange *x, struct bk_str subprotocol)
{
    struct bk_str names[OFFERED_MAX];
    unsigned count = bk_ws_offered(&x->head, names, OFFERED_MAX), i = 0;
    while (i < count && !bk_str_equal(names[i], subprotocol))
        i++;
    return i < count;
}

static int
open_session(struct bk_exchange *x, const struct bk_ws_deflate *offer, struct bk_str subprotocol)
{
    struct bk_engine *engine = x->engine;
    struct bk_conn *conn = x->conn;
    struct bk_ws_deflate deflate = *offer;
    uint64_t now = bk_clock_mono();
    struct bk_ws *ws = calloc(1, sizeof *ws);
    if (!ws)
        return -ENOMEM;
    deflate.on = deflate.on && engine->config->ws_per_message_deflate;
    bk_ws_reader_init(&ws->reader, engine->config->ws_max_size, &deflate);
    if ((deflate.on && bk_ws_deflater_new(&deflate, &ws->deflater) < 0) ||
        write_answer(x, subprotocol, &deflate) < 0) {
        bk__to_ws_free(ws);
        bk__out_drop(x);
        x->answer = (struct bk_answer){0};
        return -ENOMEM;
    }
    if (now > engine->loop.now)
        engine->loop.now = now;  // the application took its time: deadlines count from here
    x->answer.opened = x->flowing = true;
    x->ws = ws;
    bk_count(&engine->counters->ws_sessions, 1);
    bk__to_ws_begin(x);
    if (bk__to_ws_flush(x) < 0)
        return -EPIPE;
    if (conn->readable || conn->in_len > conn->in_at)
        bk__conn_later(conn);
    settle(x);
    return 0;
}

// The host's own fields, checked like those of any answer. Begins the answer anew.
static int
take_fields(struct bk_exchange *x, const struct call *call)
{
    static const struct bk_str reserved = {"sec-websocket-", 14};
    bk__out_drop(x);
    x->answer =
        (struct bk_answer){.status = 101, .reason = BK_STR("Switching Protocols"), .begun = true};
    for (unsigned i = 0; i < call->count; i++) {
        struct bk_str name = call->names[i];
        int error = -EINVAL;
        *call->ret_why = "a Sec-WebSocket field is the server's to send";
        if (name.len < reserved.len ||
            !bk_str_equal_nocase((struct bk_str){name.at, reserved.len}, reserved))
            error = bk_answer_field(x, name, call->values[i], call->ret_why);
        if (error < 0 && error != -EPERM) {
            x->answer = (struct bk_answer){0};
            return error;
        }
    }
    x->answer.has_length = x->answer.close = false;
    return 0;
}

static int
write_answer(struct bk_exchange *x, struct bk_str subprotocol, const struct bk_ws_deflate *deflate)
{
    struct bk_engine *engine = x->engine;
    struct bk_answer *answer = &x->answer;
    char accept[BK_WS_ACCEPT_SIZE], extension[BK_WS_DEFLATE_ANSWER_MAX];
    bk_ws_accept_value(&x->head, accept);
    int error = bk__answer_line(x, BK_STR("Upgrade"), BK_STR("websocket"));
    error = error ? error : bk__answer_line(x, BK_STR("Connection"), BK_STR("Upgrade"));
    error = error ? error
                  : bk__answer_line(x, BK_STR("Sec-WebSocket-Accept"),
                                    (struct bk_str){accept, sizeof accept});
    if (!error && subprotocol.len)
        error = bk__answer_line(x, BK_STR("Sec-WebSocket-Protocol"), subprotocol);
    if (!error && deflate->on)
        error =
            bk__answer_line(x, BK_STR("Sec-WebSocket-Extensions"),
                            (struct bk_str){extension, bk_ws_deflate_answer(extension, deflate)});
    if (error)
        return error;
    uint8_t from = answer->has_server ? engine->common_server : 0;
    uint8_t to = answer->has_date ? engine->common_server : engine->common_len;
    struct bk_h1_answer h1 = {
        .status = 101,
        .reason = answer->reason,
        .fields = {answer->fields, answer->fields_len},
        .common = {engine->common + from, to > from ? (size_t)(to - from) : 0},
        .framing = BK_FRAMING_NONE,
    };
    char *head = bk_arena_text(&x->arena, bk_h1_write_bound(&h1));
    return head ? bk__out_copy(x, head, bk_h1_write_head(head, &h1)) : -ENOMEM;
}

// ---- messages ----

static void
do_receive(struct bk_errand *errand)
{
    struct call *call = BK_OUTER(errand, struct call, errand);
    call->result = receive_next(call->x, call->message);
}

static int
receive_next(struct bk_exchange *x, struct bk_ws_message *ret)
{
    struct bk_ws *ws = x->ws;
    *ret = (struct bk_ws_message){0};
    if (!ws) {  // not accepted: there is no session to wait for
        ret->code = BK_WS_LOST;
        return 0;
    }
    if (ws->lent)
        bk_buf_release(&ws->lent->data);
    free(ws->lent);
    ws->lent = ws->first;
    if (!ws->lent) {
        if (!ws->code && !x->gone)
            return -EAGAIN;
        ret->code = ws->code ? ws->code : BK_WS_LOST;
        ret->by_peer = ws->by_peer;
        ret->data = (struct bk_str){ws->reason, ws->reason_len};
        return 0;
    }
    bool paused = !x->gone && bk__to_ws_paused(x);
    ws->first = ws->lent->next;
    ws->lent->next = NULL;
    if (!ws->first)
        ws->last = NULL;
    ws->count--;
    ws->bytes -= ws->lent->data.len;
    ret->kind = ws->lent->kind;
    ret->data = (struct bk_str){ws->lent->data.at, ws->lent->data.len};
    if (paused && !bk__to_ws_paused(x) && (x->conn->readable || x->conn->in_len > x->conn->in_at))
        bk__conn_later(x->conn);
    return 1;
}

static void
do_send(struct bk_errand *errand)
{
    struct call *call = BK_OUTER(errand, struct call, errand);
    call->result = send_message(call->x, call);
}

static int
send_message(struct bk_exchange *x, const struct call *call)
{
    struct bk_ws *ws = x->ws;
    if (!ws || x->gone || ws->sent_close) {
        release(x, call->token);
        return -EPIPE;
    }
    int error = queue_message(x, (enum bk_ws_kind)call->code, call->text, call->token);
    if (error < 0) {  // what is queued may end in the middle of a frame
        bk__to_ws_end(x, BK_WS_INTERNAL, false, BK_STR("out of memory"));
        bk__conn_close(x->conn);
        return error;
    }
    x->answer.pushed += call->text.len;
    bk_count(&x->engine->counters->ws_messages_out, 1);
    if (bk__to_ws_flush(x) < 0)
        return -EPIPE;
    settle(x);
    return x->out.queued > x->engine->config->write_buffer;
}

static int
queue_message(struct bk_exchange *x, enum bk_ws_kind kind, struct bk_str data, void *token)
{
    struct bk_ws *ws = x->ws;
    char head[BK_WS_HEAD_MAX];
    bool deflated = ws->deflater && data.len >= DEFLATE_LEAST;
    struct bk_buf packed = {0};
    int error = 0;
    if (deflated) {
        error = bk_ws_deflate(ws->deflater, data, &packed);
        release(x, token);
        token = NULL;
        data = (struct bk_str){packed.at, packed.len};
    }
    if (!error)
        error = bk__out_copy(x, head,
                             bk_ws_frame_head(head, (enum bk_ws_opcode)kind, deflated, data.len));
    if (!error && data.len > BK_COPY_MAX && deflated) {
        error = bk__out_give(x, packed.at, packed.len);
        if (!error)
            return 0;
    } else if (!error && data.len > BK_COPY_MAX && token) {
        error = bk__out_lend(x, data.at, data.len, token);
        if (!error)
            return 0;
    } else if (!error) {
        error = bk__out_copy(x, data.at, data.len);
    }
    bk_buf_release(&packed);
    release(x, token);
    return error;
}

static void
do_close(struct bk_errand *errand)
{
    struct call *call = BK_OUTER(errand, struct call, errand);
    struct bk_exchange *x = call->x;
    if (!x->ws || x->gone || x->ws->sent_close)
        return;
    bk__to_ws_goodbye(x, call->code, call->text);
    if (bk__to_ws_flush(x) >= 0 && !x->gone)
        settle(x);
}

static void
release(struct bk_exchange *x, void *token)
{
    if (token)
        x->engine->ops->release(x->engine->host, token);
}

// Called outside of a turn: a foreign loop must hear of a new deadline.
static void
settle(struct bk_exchange *x)
{
    if (x->engine->polled)
        bk__hosted_settle(x->engine);
}
