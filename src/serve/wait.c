// bk_exchange_wait: an application thread waits for its client. With an idle thread at hand that
// one takes the loop, else the waiting thread turns it itself, I/O only. Called by hosts.
#include <errno.h>

#include "base/panic.h"
#include "serve/engine.h"

struct wait {
    struct bk_errand errand;
    struct bk_exchange *x;
    unsigned what;
    bool over;
};

static int turn_alone(struct bk_exchange *x, enum bk_wait what);
static bool begin(struct bk_exchange *x, unsigned what);
static void begin_errand(struct bk_errand *errand);
static int turn_for_others(struct bk_exchange *x);
static int sleep_until_woken(struct bk_exchange *x);
static void cancel(struct bk_errand *errand);

int
bk_exchange_wait(struct bk_exchange *x, enum bk_wait what)
{
    struct bk_engine *engine = x->engine;
    int result = 0;
    uint64_t before;
    BK_ASSERT(!engine->hosted);
    if (!engine->baton)
        return turn_alone(x, what);
    atomic_store_explicit(&x->woken, 0, memory_order_relaxed);
    if (bk__baton_borrow(engine, x->runner->number, &before)) {
        unsigned owner = bk__baton_owner(before);
        bool over = begin(x, what), ours = owner == 0 || owner == x->runner->number;
        if (over || !ours) {
            bk__baton_give_back(engine, x->runner->number, before);
            if (!over)
                result = sleep_until_woken(x);
        } else {
            result = turn_for_others(x);
        }
    } else {
        struct wait wait = {.errand.run = begin_errand, .x = x, .what = what};
        bk__baton_run(x, &wait.errand);
        if (!wait.over)
            result = sleep_until_woken(x);
    }
    return bk_exchange_gone(x) && !(what & BK_WAIT_BODY) ? -EPIPE : result;
}

// An engine with one caller: it turns, nested, until the wait is over.
static int
turn_alone(struct bk_exchange *x, enum bk_wait what)
{
    struct bk_engine *engine = x->engine;
    int result = 0;
    while (!begin(x, what)) {
        if (engine->stopped) {
            result = -EPIPE;
            break;
        }
        if (bk__engine_turn(engine, -1, true) & BK_TURN_SIGNAL) {
            result = -EINTR;
            break;
        }
    }
    bk__exchange_wait_over(x);
    return bk_exchange_gone(x) && !(what & BK_WAIT_BODY) ? -EPIPE : result;
}

// Inside. True: no need to wait. Else bk__exchange_wait_over ends it. The peer's clock runs while
// the application waits for it.
static bool
begin(struct bk_exchange *x, unsigned what)
{
    if (bk_exchange_gone(x) || bk__exchange_fulfilled(x, what))
        return true;
    enum bk_step step = what & BK_WAIT_BODY ? BK_STEP_BODY : BK_STEP_SEND;
    if (x->conn->step != step && !x->ws)  // a session has clocks of its own
        bk__conn_set_step(x->conn, step);
    x->wishes = (uint8_t)what;
    bk__scoreboard_step(x, x->ws                 ? BK_ROW_SOCKET
                           : what & BK_WAIT_BODY ? BK_ROW_BODY
                                                 : BK_ROW_SEND);
    return false;
}

static void
begin_errand(struct bk_errand *errand)
{
    struct wait *wait = BK_OUTER(errand, struct wait, errand);
    wait->over = begin(wait->x, wait->what);
}

void
bk__exchange_wait_over(struct bk_exchange *x)
{
    x->wishes = 0;
    bk__scoreboard_step(x, BK_ROW_APP);
    if (x->conn && x->state == BK_EXCHANGE_RUNNING && !x->ws)
        x->conn->step = BK_STEP_APP;
    if (!x->engine->baton)
        return;
    atomic_store_explicit(&x->woken, 1, memory_order_release);
    bk__futex_wake(&x->woken);
}

// Inside. Leaves when somebody idle takes the loop, or when the wait is over.
static int
turn_for_others(struct bk_exchange *x)
{
    struct bk_engine *engine = x->engine;
    struct bk_thread *me = x->runner;
    int result = 0;
    while (!atomic_load_explicit(&x->woken, memory_order_relaxed) && result == 0) {
        if (atomic_load(&engine->baton->idle_count) && !bk__baton_claimed(engine->baton) &&
            bk__baton_hand_over(engine))
            return sleep_until_woken(x);
        int flags = bk__engine_turn(engine, -1, true);
        if (flags & BK_TURN_SIGNAL)
            result = -EINTR;
        else if (flags & BK_TURN_STOP)
            result = -EPIPE;
    }
    if (x->wishes)
        bk__exchange_wait_over(x);
    bk__baton_leave(engine, me->number, BK_BATON_LENT);
    return result;
}

static int
sleep_until_woken(struct bk_exchange *x)
{
    while (!atomic_load_explicit(&x->woken, memory_order_acquire)) {
        if (bk__futex_wait(&x->woken, 0, -1) != -EINTR)
            continue;
        struct wait wait = {.errand.run = cancel, .x = x};
        bk__baton_run(x, &wait.errand);
        return -EINTR;
    }
    return 0;
}

static void
cancel(struct bk_errand *errand)
{
    struct bk_exchange *x = BK_OUTER(errand, struct wait, errand)->x;
    if (x->wishes)
        bk__exchange_wait_over(x);
}
