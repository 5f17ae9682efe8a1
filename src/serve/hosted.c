// Engines driven by a foreign loop: wishes and events in place of calls that wait, descriptors of
// the loop as guests, and what must be done after a call from outside a turn. Called by hosts
// (host/host.h, "foreign loops") and at the places where body, output or client change.
#include <errno.h>

#include "base/clock.h"
#include "loop/guests.h"
#include "serve/engine.h"
#include "serve/to_ws.h"

static void on_gate(struct bk_timer *timer);

int
bk_engine_fd(struct bk_engine *engine)
{
    int error = bk_loop_host(&engine->loop);
    if (error < 0)
        return error;
    if (!engine->polled)
        bk_timer_init(&engine->gate_timer, on_gate);
    engine->polled = true;
    bk_loop_wake(&engine->loop); // the first turn
    return bk_loop_fd(&engine->loop);
}

// Nothing to do here: the turn that fires it has asked the gate before.
static void
on_gate(struct bk_timer *timer)
{
}

unsigned
bk_exchange_watch(struct bk_exchange *x, unsigned what)
{
    unsigned already = what ? bk__exchange_fulfilled(x, what) : 0;
    struct bk_conn *conn = x->conn;
    bk_list_remove(&x->stirred);
    x->wishes = already ? 0 : (uint8_t)what;
    if (!conn || already || x->ws) // a session has clocks of its own
        return already;
    enum bk_step step = what & BK_WAIT_BODY    ? BK_STEP_BODY
                        : what & BK_WAIT_DRAIN ? BK_STEP_SEND
                                               : BK_STEP_APP;
    if (step == BK_STEP_APP) {
        conn->step = BK_STEP_APP; // its timer is ignored in this step
        return 0;
    }
    x->engine->loop.now = bk_clock_mono();
    bk__conn_set_step(conn, step);
    if (x->engine->polled)
        bk__hosted_settle(x->engine);
    return 0;
}

unsigned
bk__exchange_fulfilled(const struct bk_exchange *x, unsigned wishes)
{
    const struct bk_body *body = &x->body;
    unsigned now = 0;
    if (x->gone)
        return wishes;
    if (body->len || body->complete || body->error)
        now |= BK_WAIT_BODY;
    if (x->out.queued <= x->engine->config->write_buffer / 2)
        now |= BK_WAIT_DRAIN;
    if (x->conn->request_done && x->conn->eof)
        now |= BK_WAIT_GONE;
    if (!x->ws || bk__to_ws_ready(x))
        now |= BK_WAIT_MESSAGE;
    return now & wishes;
}

void
bk__hosted_stir(struct bk_exchange *x)
{
    if (!x->engine->hosted) {
        if (bk__exchange_fulfilled(x, x->wishes))
            bk__exchange_wait_over(x);
        return;
    }
    if (bk_list_empty(&x->stirred) && bk__exchange_fulfilled(x, x->wishes))
        bk_list_append(&x->engine->stirred, &x->stirred);
}

bool
bk_engine_event(struct bk_engine *engine, struct bk_event *ret)
{
    struct bk_list *node;
    while ((node = bk_list_pop(&engine->stirred))) {
        struct bk_exchange *x = BK_OUTER(node, struct bk_exchange, stirred);
        unsigned what = bk__exchange_fulfilled(x, x->wishes);
        if (!what)
            continue;
        x->wishes = 0;
        if (x->conn && !x->ws)
            x->conn->step = BK_STEP_APP;
        *ret = (struct bk_event){{x->index, x->generation}, what};
        return true;
    }
    return false;
}

int
bk_engine_guest_set(struct bk_engine *engine, int fd, uint32_t events)
{
    return engine->dead ? 0 : bk_guests_set(&engine->loop, fd, events);
}

unsigned
bk_engine_stopping(const struct bk_engine *engine)
{
    int order = atomic_load_explicit(&engine->order, memory_order_relaxed);
    return order == BK_ORDER_NONE ? 0 : order < BK_ORDER_QUIT ? 1 : 2;
}

unsigned
bk_engine_guests(struct bk_engine *engine, struct bk_guest *out, unsigned room)
{
    return bk_guests_take(&engine->loop, out, room);
}

void
bk__hosted_settle(struct bk_engine *engine)
{
    if (engine->turning)
        return;
    if (engine->draining) // the last connection may be gone now
        bk_loop_wake(&engine->loop);
    bk__hosted_turned(engine);
}

void
bk__hosted_turned(struct bk_engine *engine)
{
    // Now the loop waits, or runs what this turn has begun: to the accept gate of others a worker
    // that waits. One that sits in its application is found out as one that leaves connections.
    atomic_store_explicit(&engine->slot->waiting, 1, memory_order_relaxed);
    if (!bk_list_empty(&engine->pending) || !bk_list_empty(&engine->stirred))
        bk_loop_wake(&engine->loop);
    bk_loop_arm(&engine->loop);
}
