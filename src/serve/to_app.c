// Exchanges on their way to and from the application: the run queue's end, waiting, flushing,
// committing.
#include <errno.h>

#include "base/clock.h"
#include "base/panic.h"
#include "serve/engine.h"
#include "serve/to_ws.h"

static void refuse(struct bk_exchange *x, const char *why);
static struct bk_exchange *take_ready(struct bk_engine *engine, struct bk_thread *runner);
static void flush(struct bk_errand *errand);
static void give_back(struct bk_errand *errand);
static void finish(struct bk_exchange *x);

void
bk__to_app_queue(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    if (bk_unlikely(x->gone)) {
        bk_count(&engine->counters->dropped, 1);
        bk__exchange_free(x);
        return;
    }
    uint64_t room = engine->config->backlog_queue;
    if (bk_unlikely(room && engine->ready_count >= room)) {
        refuse(x, "the queue is full");
        return;
    }
    x->state = BK_EXCHANGE_READY;
    x->queued = engine->loop.now;
    if (bk_unlikely(!bk_timer_is_set(&engine->queue_timer)) && engine->config->queue_timeout)
        bk_timer_set(&engine->loop.wheel, &engine->queue_timer,
                     x->queued + engine->config->queue_timeout);
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

static struct bk_exchange *
pop_ready(struct bk_engine *engine)
{
    struct bk_exchange *x = engine->ready_first;
    engine->ready_first = x->next;
    engine->ready_count--;
    if (!engine->ready_first)
        engine->ready_last = NULL;
    return x;
}

// No thread for it: the client may try again, here or elsewhere.
static void
refuse(struct bk_exchange *x, const char *why)
{
    struct bk_engine *engine = x->engine;
    unsigned held;
    bk_count(&engine->counters->queue_refused, 1);
    if (bk_log_limited(&engine->queue_said, engine->loop.now, &held))
        bk_log(BK_LOG_WARNING, "queue-full",
               "%u requests wait for a free thread, %u run: answered 503 (%s), %u times since the "
               "last such line",
               engine->ready_count, engine->running_count, why, held + 1);
    x->key = "queue-full";
    bk__to_page(x, 503, why);
}

void
bk__to_app_overdue(struct bk_timer *timer)
{
    struct bk_engine *engine = BK_OUTER(timer, struct bk_engine, queue_timer);
    uint64_t timeout = engine->config->queue_timeout;
    while (engine->ready_first && engine->ready_first->queued + timeout <= engine->loop.now) {
        struct bk_exchange *x = pop_ready(engine);
        bk_count(&engine->counters->dropped, bk_exchange_gone(x));
        if (bk_exchange_gone(x))
            bk__exchange_free(x);
        else
            refuse(x, "no thread was free in time");
    }
    if (engine->ready_first)
        bk_timer_set(&engine->loop.wheel, timer, engine->ready_first->queued + timeout);
}

struct bk_exchange *
bk_engine_next(struct bk_engine *engine)
{
    return bk_engine_next_as(engine, 1);
}

struct bk_exchange *
bk_engine_next_as(struct bk_engine *engine, unsigned number)
{
    if (!engine->baton)
        return take_ready(engine, NULL);
    struct bk_thread *me = &engine->baton->threads[number - 1];
    atomic_store_explicit(&me->phase, BK_PHASE_ENGINE, memory_order_relaxed);
    if (bk_unlikely(!bk__baton_enter(engine, me)))
        return NULL;  // another thread has the loop now: bk_engine_turn_as waits for a turn of ours
    struct bk_exchange *x = take_ready(engine, me);
    if (x) {
        bk__baton_lend(engine, x);
    } else {
        bk__baton_leave(engine, me->number, BK_BATON_AWAY);
    }
    return x;
}

static struct bk_exchange *
take_ready(struct bk_engine *engine, struct bk_thread *runner)
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
        pop_ready(engine);
        if (bk_unlikely(x->gone)) {
            // the client left while it waited: the application never hears of it
            bk_count(&engine->counters->dropped, 1);
            bk__exchange_free(x);
            continue;
        }
        x->state = BK_EXCHANGE_RUNNING;
        x->note = (struct bk_note){0};
        x->started = now;
        x->runner = runner;
        x->conn->step = BK_STEP_APP;
        atomic_store_explicit(&x->handed_out, true, memory_order_release);
        bk_list_append(&engine->running, &x->running);
        bk__scoreboard_begin(x);
        return x;
    }
}

struct flush {
    struct bk_errand errand;
    struct bk_exchange *x;
    int result;
};

int
bk_answer_flush(struct bk_exchange *x)
{
    struct flush call = {.errand.run = flush, .x = x};
    bk__baton_run(x, &call.errand);
    return call.result;
}

static void
flush(struct bk_errand *errand)
{
    struct flush *call = BK_OUTER(errand, struct flush, errand);
    struct bk_exchange *x = call->x;
    call->result = -EPIPE;
    if (bk_exchange_gone(x))
        return;
    if (!x->answer.opened && (call->result = bk__transmit_open(x, false)) < 0)
        return;
    if (bk__transmit_some(x) < 0) {
        bk__conn_close(x->conn);
        call->result = -EPIPE;
        return;
    }
    if (bk_unlikely(x->engine->polled))
        bk__hosted_settle(x->engine);
    call->result = x->out.queued > x->engine->config->write_buffer;
}

void
bk_exchange_commit(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    BK_ASSERT(atomic_load_explicit(&x->handed_out, memory_order_relaxed));
    x->committed = bk_clock_mono();
    atomic_store_explicit(&engine->slot->progressed, x->committed, memory_order_relaxed);
    atomic_store_explicit(&x->handed_out, false, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);  // peek.h: the other side has the rest of the fence
    if (bk_unlikely(atomic_load_explicit(&engine->peeking, memory_order_relaxed)))
        bk__peek_over(engine);
    x->errand.run = give_back;
    if (engine->baton)
        bk__baton_return(engine, x);
    else
        give_back(&x->errand);
}

// Inside.
static void
give_back(struct bk_errand *errand)
{
    struct bk_exchange *x = BK_OUTER(errand, struct bk_exchange, errand);
    struct bk_engine *engine = x->engine;
    bk_list_remove(&x->running);
    bk__scoreboard_end(x);
    x->state = BK_EXCHANGE_SENDING;
    if (x->committed > engine->loop.now)  // the application took its time: deadlines count from
        engine->loop.now = x->committed;  // here
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
    if (bk_unlikely(x->ws)) {
        bk__to_ws_commit(x);
        return;
    }
    if (bk_unlikely(!answer->begun && x->engine->hosted && x->conn->eof)) {
        bk_count(&x->engine->counters->aborts, 1);  // told that the client had half-closed, the
        bk__conn_close(x->conn);                    // application gave up: nobody waits
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
