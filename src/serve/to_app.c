// Exchanges on their way to and from the application: the run queue's end, waiting, flushing,
// committing.
#include <errno.h>

#include "base/clock.h"
#include "base/panic.h"
#include "serve/engine.h"

static void finish(struct bk_exchange *x);

void
bk__to_app_queue(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    if (bk_unlikely(x->gone)) {
        bk__exchange_free(x);
        return;
    }
    x->state = BK_EXCHANGE_READY;
    if (x->conn)
        x->conn->step = BK_STEP_QUEUED;  // its timer runs on and is ignored in this step: cheaper
                                         // than taking it out
    x->next = NULL;
    if (engine->ready_last)
        engine->ready_last->next = x;
    else
        engine->ready_first = x;
    engine->ready_last = x;
    engine->ready_count++;
}

struct bk_exchange *
bk_engine_next(struct bk_engine *engine)
{
    for (;;) {
        struct bk_exchange *x = engine->ready_first;
        if (!x)
            return NULL;
        // Slow applications in a row must not keep the others' bytes and deadlines waiting: the
        // host goes through a turn in between. One a turn is always handed out.
        uint64_t now = bk_clock_mono();
        if (engine->handed_out && now > engine->turned_at + BK_MSEC) {
            if (engine->polled)
                bk_loop_wake(&engine->loop);
            return NULL;
        }
        engine->handed_out = true;
        engine->ready_first = x->next;
        engine->ready_count--;
        if (!engine->ready_first)
            engine->ready_last = NULL;
        if (bk_unlikely(x->gone)) {
            bk__exchange_free(
                x);  // the client left while it waited: the application never hears of it
            continue;
        }
        struct bk_slot *slot = engine->slot;
        x->state = BK_EXCHANGE_RUNNING;
        x->note = (struct bk_note){0};
        x->started = now;
        x->conn->step = BK_STEP_APP;
        atomic_store_explicit(&slot->in_app_since, x->started, memory_order_relaxed);
        bk_slot_set_request(slot, bk_head_str(&x->head, x->head.method, x->head.method_len),
                            bk_head_str(&x->head, x->head.target, x->head.target_len));
        return x;
    }
}

int
bk_answer_flush(struct bk_exchange *x)
{
    if (x->gone)
        return -EPIPE;
    if (!x->answer.opened) {
        int error = bk__transmit_open(x, false);
        if (error < 0)
            return error;
    }
    if (bk__transmit_some(x) < 0) {
        bk__conn_close(x->conn);
        return -EPIPE;
    }
    if (bk_unlikely(x->engine->polled))
        bk__hosted_settle(x->engine);
    return x->out.queued > x->engine->config->write_buffer;
}

static bool
wait_over(const struct bk_exchange *x, enum bk_wait what)
{
    if (what & BK_WAIT_BODY && (x->body.len || x->body.complete || x->body.error))
        return true;
    return what & BK_WAIT_DRAIN && x->out.queued <= x->engine->config->write_buffer / 2;
}

int
bk_exchange_wait(struct bk_exchange *x, enum bk_wait what)
{
    struct bk_engine *engine = x->engine;
    int result = 0;
    BK_ASSERT(!engine->hosted);
    while (!wait_over(x, what)) {
        if (x->gone || engine->stopped) {
            result = -EPIPE;
            break;
        }
        // The peer's clock runs while the application waits for it.
        enum bk_step step = what & BK_WAIT_BODY ? BK_STEP_BODY : BK_STEP_SEND;
        if (x->conn->step != step)
            bk__conn_set_step(x->conn, step);
        // With one thread the waiting application turns the loop itself: others are read and
        // written meanwhile, and the run queue fills; nothing of it is started.
        if (bk__engine_turn(engine, -1, true) & BK_TURN_SIGNAL) {
            result = -EINTR;
            break;
        }
    }
    if (x->conn && x->state == BK_EXCHANGE_RUNNING)
        x->conn->step = BK_STEP_APP;
    return x->gone && !(what & BK_WAIT_BODY) ? -EPIPE : result;
}

void
bk_exchange_commit(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    BK_ASSERT(x->state == BK_EXCHANGE_RUNNING);
    x->committed = bk_clock_mono();
    atomic_store_explicit(&engine->slot->in_app_since, 0, memory_order_relaxed);
    atomic_store_explicit(&engine->slot->progressed, x->committed, memory_order_relaxed);
    x->state = BK_EXCHANGE_SENDING;
    engine->loop.now = x->committed;  // the application took its time: deadlines count from here
    x->wishes = 0;
    if (bk_unlikely(engine->hosted))
        bk_list_remove(&x->stirred);
    finish(x);
    if (bk_unlikely(engine->polled))
        bk__hosted_settle(engine);
}

static void
finish(struct bk_exchange *x)
{
    struct bk_answer *answer = &x->answer;
    if (bk_unlikely(x->gone)) {
        bk__wrapup(x);
        return;
    }
    if (bk_unlikely(!answer->begun))
        bk__to_page_fill(x, 500, "the application did not start an answer");
    if (bk_unlikely(x->body.error && !answer->opened && x->conn->closing))
        bk__to_page_fill(x,
                         x->body.error == -EFBIG       ? 413
                         : x->body.error == -ETIMEDOUT ? 408
                                                       : 400,
                         x->why);
    bool bodiless = x->head.method_id == BK_METHOD_HEAD || bk_status_bodiless(answer->status);
    if (bk_unlikely(answer->has_length && answer->pushed < answer->length && !bodiless &&
                    !answer->failed)) {
        answer->failed = true;
        bk_exchange_warn(
            x, "answer-too-short",
            BK_STR("the application sent less than its Content-Length; the connection is cut"));
    }
    if (bk_likely(!answer->opened) && bk__transmit_open(x, true) < 0) {
        bk__conn_close(x->conn);
        return;
    }
    bk__transmit_finish(x);
}
