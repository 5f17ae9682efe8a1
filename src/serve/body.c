// Where request bodies go, and how the host reads them. Kept in memory up to --request-memory, then
// in a spill file; or streamed with back-pressure to an application that was called at once.
#include "serve/body.h"

#include <errno.h>
#include <stdlib.h>

#include "serve/engine.h"
#include "serve/spill.h"

static int take_memory(struct bk_exchange *x, struct bk_str data);
static int take_stream(struct bk_exchange *x, struct bk_str data);
static void put_away(struct bk_body *body);
static int to_spill(struct bk_exchange *x);
static void do_peek(struct bk_errand *errand);
static void do_skip(struct bk_errand *errand);
static void do_read(struct bk_errand *errand);
static void skip(struct bk_exchange *x, size_t len);
static void ask_for_more(struct bk_exchange *x);

// A call about a body that is still coming in: the loop writes to it too.
struct call {
    struct bk_errand errand;
    struct bk_exchange *x;
    struct bk_str *peeked;
    void *into;
    size_t len;
    ssize_t result;
};

void
bk__body_begin(struct bk_exchange *x, bool buffered)
{
    struct bk_body *body = &x->body;
    x->call.body_buffered = buffered || !x->call.has_body;
    x->call.body_length = x->head.flags & BK_HEAD_HAS_LENGTH ? x->head.content_length : 0;
    if (!x->call.has_body)
        body->kind = BK_BODY_NONE;
    else
        body->kind = buffered ? BK_BODY_MEMORY : BK_BODY_STREAM;
}

int
bk__body_take(struct bk_exchange *x, struct bk_str data)
{
    if (x->body.kind == BK_BODY_SPILL)
        return bk__spill_take(x->body.spill, data);
    if (x->body.kind == BK_BODY_STREAM) {
        int taken = take_stream(x, data);
        bk__exchange_stir(x);
        return taken;
    }
    return take_memory(x, data);
}

static int
take_memory(struct bk_exchange *x, struct bk_str data)
{
    struct bk_body *body = &x->body;
    uint64_t memory = x->engine->config->request_memory;
    if (body->len + data.len > memory || (body->len == 0 && x->call.body_length > memory)) {
        int error = to_spill(x);
        return error < 0 ? error : bk__spill_take(body->spill, data);
    }
    bool in_block = data.at >= x->block && data.at < x->arena.end;
    if (in_block && body->len == 0) {
        body->at = (char *)(uintptr_t)data.at;  // came with the head: stays where it is
        body->len = data.len;
        return 0;
    }
    if (!body->owned && in_block && body->at + body->len == data.at) {
        body->len += data.len;
        return 0;
    }
    if (!body->owned || body->len + data.len > body->size) {
        uint64_t size = x->call.body_length > body->len + data.len ? x->call.body_length
                                                                   : 2 * (body->len + data.len);
        char *grown = malloc(size);
        if (!grown)
            return -ENOMEM;
        if (body->len)
            memcpy(grown, body->at, body->len);
        if (body->owned)
            free(body->at);
        body->at = grown;
        body->owned = true;
        body->size = (uint32_t)size;
    }
    memcpy(body->at + body->len, data.at, data.len);
    body->len += data.len;
    return 0;
}

static int
to_spill(struct bk_exchange *x)
{
    struct bk_body *body = &x->body;
    int error = bk__spill_new(x, &body->spill);
    if (error < 0)
        return error;
    body->kind = BK_BODY_SPILL;
    if (body->len &&
        (error = bk__spill_take(body->spill, (struct bk_str){body->at, body->len})) < 0)
        return error;
    if (body->owned)
        free(body->at);
    body->at = NULL;
    body->owned = false;
    bk_count(&x->engine->counters->spilled, 1);
    return 0;
}

static int
take_stream(struct bk_exchange *x, struct bk_str data)
{
    struct bk_body *body = &x->body;
    if (body->len == 0 && !body->owned && data.at >= x->block && data.at < x->arena.end) {
        body->at = (char *)(uintptr_t)data.at;  // came with the head: stays where it is
        body->head = 0;
        body->len = data.len;
        return 0;
    }
    if (body->head + body->len + data.len > body->size) {
        uint64_t size = body->size;
        while (size < body->len + data.len)
            size = size ? size * 2 : 4096;
        bool stays = body->owned && size == body->size && !body->peeked;
        char *moved = stays ? body->at : malloc(size);
        if (!moved)
            return -ENOMEM;
        if (body->len)
            memmove(moved, body->at + body->head, body->len);
        if (body->owned && !stays)
            put_away(body);
        body->at = moved;
        body->owned = true;
        body->head = 0;
        body->size = (uint32_t)size;
    }
    memcpy(body->at + body->head + body->len, data.at, data.len);
    body->len += data.len;
    return body->len >= BK_STREAM_HIGH;
}

// What the application still looks at is freed at its next call.
static void
put_away(struct bk_body *body)
{
    if (body->peeked && !body->kept)
        body->kept = body->at;
    else
        free(body->at);
}

int
bk__body_end(struct bk_exchange *x)
{
    struct bk_body *body = &x->body;
    if (body->kind == BK_BODY_SPILL && bk__spill_end(body->spill))
        return 1;
    body->complete = true;
    if (x->call.body_buffered) {
        x->call.body_length = body->kind == BK_BODY_SPILL ? bk__spill_length(body->spill)
                                                          : body->len;
        body->len = x->call.body_length;
    }
    bk__exchange_stir(x);
    return 0;
}

void
bk__body_fail(struct bk_exchange *x, int error)
{
    if (!x->body.error && !x->body.complete)
        x->body.error = error;
    bk__exchange_stir(x);
}

bool
bk__body_wants(const struct bk_exchange *x)
{
    const struct bk_body *body = &x->body;
    if (body->error || body->complete)
        return false;
    if (body->kind == BK_BODY_STREAM)
        return body->len < BK_STREAM_HIGH;
    return body->kind != BK_BODY_SPILL || bk__spill_wants(body->spill);
}

void
bk__body_release(struct bk_exchange *x)
{
    struct bk_body *body = &x->body;
    if (body->owned)
        free(body->at);
    free(body->kept);
    if (body->spill)
        bk__spill_free(body->spill);
    body->owned = body->peeked = false;
    body->kept = NULL;
    body->at = NULL;
    body->spill = NULL;
}

ssize_t
bk_body_peek(struct bk_exchange *x, struct bk_str *ret)
{
    struct bk_body *body = &x->body;
    switch ((enum bk_body_kind)body->kind) {
    case BK_BODY_NONE:
        return 0;
    case BK_BODY_MEMORY:
        if (body->position >= body->len)
            return 0;
        *ret = (struct bk_str){body->at + body->position, body->len - body->position};
        return (ssize_t)ret->len;
    case BK_BODY_SPILL:
        return bk__spill_peek(body->spill, body->position, ret);
    case BK_BODY_STREAM:
        break;
    }
    struct call call = {.errand.run = do_peek, .x = x, .peeked = ret};
    bk__baton_run(x, &call.errand);
    return call.result;
}

static void
do_peek(struct bk_errand *errand)
{
    struct call *call = BK_OUTER(errand, struct call, errand);
    struct bk_body *body = &call->x->body;
    free(body->kept);
    body->kept = NULL;
    body->peeked = body->len > 0;
    call->result = body->complete ? 0 : body->error ? body->error : -EAGAIN;
    if (body->len) {
        *call->peeked = (struct bk_str){body->at + body->head, body->len};
        call->result = (ssize_t)body->len;
    } else if (call->result == -EAGAIN) {
        ask_for_more(call->x);
    }
}

void
bk_body_skip(struct bk_exchange *x, size_t len)
{
    x->body.position += len;
    if (x->body.kind != BK_BODY_STREAM)
        return;
    struct call call = {.errand.run = do_skip, .x = x, .len = len};
    bk__baton_run(x, &call.errand);
}

static void
do_skip(struct bk_errand *errand)
{
    struct call *call = BK_OUTER(errand, struct call, errand);
    skip(call->x, call->len);
}

static void
skip(struct bk_exchange *x, size_t len)
{
    struct bk_body *body = &x->body;
    free(body->kept);
    body->kept = NULL;
    body->peeked = false;
    bool was_full = body->len >= BK_STREAM_HIGH;
    body->len -= len;
    body->head = body->len ? body->head + (uint32_t)len : 0;
    if (was_full && body->len < BK_STREAM_HIGH && x->conn)
        bk__conn_later(x->conn);
}

ssize_t
bk_body_read(struct bk_exchange *x, void *into, size_t room)
{
    struct bk_body *body = &x->body;
    if (body->kind == BK_BODY_SPILL) {
        ssize_t n = bk__spill_read(body->spill, body->position, into, room);
        if (n > 0)
            body->position += (uint64_t)n;
        return n;
    }
    if (body->kind == BK_BODY_STREAM) {
        struct call call = {.errand.run = do_read, .x = x, .into = into, .len = room};
        bk__baton_run(x, &call.errand);
        if (call.result > 0)
            body->position += (uint64_t)call.result;
        return call.result;
    }
    struct bk_str here = {0};
    ssize_t n = bk_body_peek(x, &here);
    if (n <= 0)
        return n;
    size_t len = here.len < room ? here.len : room;
    memcpy(into, here.at, len);
    body->position += len;
    return (ssize_t)len;
}

static void
do_read(struct bk_errand *errand)
{
    struct call *call = BK_OUTER(errand, struct call, errand);
    struct bk_str here = {0};
    size_t room = call->len;
    call->peeked = &here;
    do_peek(errand);
    if (call->result <= 0)
        return;
    call->result = (ssize_t)(here.len < room ? here.len : room);
    memcpy(call->into, here.at, (size_t)call->result);
    skip(call->x, (size_t)call->result);
}

int
bk_body_seek(struct bk_exchange *x, uint64_t position)
{
    if (x->body.kind == BK_BODY_STREAM)
        return -ESPIPE;
    x->body.position = position;
    return 0;
}

uint64_t
bk_body_tell(const struct bk_exchange *x)
{
    return x->body.position;
}

// The application reads: now, and not earlier, a client that asked first is told to go on (RFC 9110
// §10.1.1).
static void
ask_for_more(struct bk_exchange *x)
{
    if (x->continued || !x->conn)
        return;
    x->continued = true;
    if (x->out.first && !x->flowing)  // it would come in the middle of the answer
        return;
    char line[64];
    size_t len = bk_h1_write_interim(line, sizeof line, 100, (struct bk_str){NULL, 0});
    if (bk__out_copy(x, line, len) == 0 && bk__transmit_some(x) < 0)
        bk__conn_close(x->conn);
}
