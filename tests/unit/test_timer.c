// The timer wheel against a plain model of it. Time is made up, so nothing here waits.
#include "loop/timer.h"

#include "check.h"

#define TICK (UINT64_C(1) << 22)
#define FAR_SLOT (UINT64_C(1) << 30)
#define TIMERS 200

struct probe {
    struct bk_timer timer;
    unsigned fired;
    uint64_t expected;  // 0: not set
};

static struct bk_wheel wheel;
static struct probe probes[TIMERS];
static uint64_t run_now;

static void
note(struct bk_timer *timer)
{
    struct probe *probe = BK_OUTER(timer, struct probe, timer);
    CHECK(!bk_timer_is_set(timer));
    CHECK(timer->deadline <= run_now);
    probe->fired++;
    probe->expected = 0;
}

static void
start(uint64_t now)
{
    bk_wheel_init(&wheel, now);
    for (unsigned i = 0; i < TIMERS; i++) {
        bk_timer_init(&probes[i].timer, note);
        probes[i].fired = 0;
        probes[i].expected = 0;
    }
}

static void
run(uint64_t now)
{
    run_now = now;
    bk_wheel_run(&wheel, now);
}

TEST(fires_once_and_never_before)
{
    start(1000 * BK_SEC);
    bk_timer_set(&wheel, &probes[0].timer, 1000 * BK_SEC + 50 * BK_MSEC);
    CHECK_INT(wheel.count, 1);
    run(1000 * BK_SEC + 50 * BK_MSEC - 1);
    CHECK_INT(probes[0].fired, 0);
    run(1000 * BK_SEC + 50 * BK_MSEC + TICK);
    CHECK_INT(probes[0].fired, 1);
    CHECK(!bk_timer_is_set(&probes[0].timer));
    CHECK_INT(wheel.count, 0);
    run(2000 * BK_SEC);
    CHECK_INT(probes[0].fired, 1);
}

TEST(every_distance_fires_within_a_tick)
{
    for (uint64_t distance = 1; distance < 3000 * BK_SEC; distance += distance / 3 + 1) {
        uint64_t now = 77 * BK_SEC + 12345, end = now + distance, next;
        unsigned steps = 0;
        start(now);
        bk_timer_set(&wheel, &probes[0].timer, end);
        while (probes[0].fired == 0) {
            next = bk_wheel_next(&wheel);
            CHECK(next > now);
            CHECK(next < end + TICK);
            now = next;
            run(now);
            CHECK(++steps < 8);  // far slot, near slot, and the ring's end on the way
        }
        CHECK(now >= end && now < end + TICK);
    }
}

TEST(past_deadline_fires_at_the_next_run)
{
    start(10 * BK_SEC);
    bk_timer_set(&wheel, &probes[0].timer, 0);
    bk_timer_set(&wheel, &probes[1].timer, 10 * BK_SEC);
    CHECK_INT(bk_wheel_next(&wheel), 10 * BK_SEC);
    run(10 * BK_SEC);
    CHECK_INT(probes[0].fired, 1);
    CHECK_INT(probes[1].fired, 1);
    // A timer that sits in the coming tick is moved when it is set to the past.
    bk_timer_set(&wheel, &probes[2].timer, 10 * BK_SEC + 1);
    bk_timer_set(&wheel, &probes[2].timer, 10 * BK_SEC);
    run(10 * BK_SEC);
    CHECK_INT(probes[2].fired, 1);
}

TEST(later_deadline_only_stores)
{
    start(BK_SEC);
    bk_timer_set(&wheel, &probes[0].timer, 2 * BK_SEC);
    uint64_t slot = probes[0].timer.slot;
    for (uint64_t at = 2; at < 600; at++)
        bk_timer_set(&wheel, &probes[0].timer, at * BK_SEC);
    CHECK_INT(probes[0].timer.slot, slot);
    run(500 * BK_SEC);
    CHECK_INT(probes[0].fired, 0);
    CHECK_INT(wheel.count, 1);
    run(599 * BK_SEC + TICK);
    CHECK_INT(probes[0].fired, 1);
}

TEST(earlier_deadline_moves)
{
    start(BK_SEC);
    bk_timer_set(&wheel, &probes[0].timer, 620 * BK_SEC);
    bk_timer_set(&wheel, &probes[0].timer, 11 * BK_SEC);
    CHECK_INT(wheel.count, 1);
    CHECK(bk_wheel_next(&wheel) <= 11 * BK_SEC);
    run(11 * BK_SEC + TICK);
    CHECK_INT(probes[0].fired, 1);
}

TEST(next_is_max_when_empty_again)
{
    start(BK_SEC);
    CHECK_INT(bk_wheel_next(&wheel), UINT64_MAX);
    bk_timer_set(&wheel, &probes[0].timer, 2 * BK_SEC);
    bk_timer_set(&wheel, &probes[1].timer, 9 * BK_SEC);
    bk_timer_cancel(&wheel, &probes[0].timer);
    CHECK(bk_wheel_next(&wheel) > 7 * BK_SEC);  // the cancelled one wakes nobody
    bk_timer_cancel(&wheel, &probes[1].timer);
    bk_timer_cancel(&wheel, &probes[1].timer);
    CHECK_INT(bk_wheel_next(&wheel), UINT64_MAX);
    CHECK_INT(wheel.count, 0);
}

TEST(endless_deadline_is_kept)
{
    start(BK_SEC);
    bk_timer_set(&wheel, &probes[0].timer, UINT64_MAX);
    CHECK(bk_wheel_next(&wheel) > 1000 * BK_SEC);
    run(UINT64_C(10000000) * BK_SEC);
    CHECK_INT(probes[0].fired, 0);
    CHECK_INT(wheel.count, 1);
}

static void
set_again(struct bk_timer *timer)
{
    struct probe *probe = BK_OUTER(timer, struct probe, timer);
    probe->fired++;
    bk_timer_set(&wheel, timer, run_now);
}

TEST(set_by_callback_waits_for_the_next_run)
{
    start(BK_SEC);
    bk_timer_init(&probes[0].timer, set_again);
    bk_timer_set(&wheel, &probes[0].timer, 2 * BK_SEC);
    run(3 * BK_SEC);
    CHECK_INT(probes[0].fired, 1);
    run(3 * BK_SEC);
    CHECK_INT(probes[0].fired, 2);
}

static void
disturb(struct bk_timer *timer)
{
    struct probe *probe = BK_OUTER(timer, struct probe, timer);
    probe->fired++;
    for (unsigned i = 0; i < 3; i++) {
        if (&probes[i] == probe)
            continue;
        bk_timer_cancel(&wheel, &probes[i].timer);
        // Due now too: some move away, some are set to now again.
        bk_timer_set(&wheel, &probes[3 + i].timer, run_now + 10 * BK_SEC);
        bk_timer_set(&wheel, &probes[6 + i].timer, run_now);
    }
}

TEST(callbacks_cancel_and_move_what_is_due)
{
    start(BK_SEC);
    for (unsigned i = 0; i < 3; i++)
        bk_timer_init(&probes[i].timer, disturb);
    for (unsigned i = 9; i-- > 0;)  // of one slot the last one set fires first
        bk_timer_set(&wheel, &probes[i].timer, 2 * BK_SEC);
    run(3 * BK_SEC);
    CHECK_INT(probes[0].fired + probes[1].fired + probes[2].fired, 1);
    unsigned late = 0, moved = 0;
    for (unsigned i = 3; i < 6; i++)
        moved += probes[i].fired == 0;
    for (unsigned i = 6; i < 9; i++)
        late += probes[i].fired == 0;
    CHECK(moved >= 1 && late >= 1);
    run(3 * BK_SEC);
    for (unsigned i = 6; i < 9; i++)
        CHECK_INT(probes[i].fired, 1);
    run(14 * BK_SEC);
    for (unsigned i = 3; i < 6; i++)
        CHECK_INT(probes[i].fired, 1);
    CHECK_INT(wheel.count, 0);
}

static void
free_me(struct bk_timer *timer)
{
    free(BK_OUTER(timer, struct probe, timer));
}

TEST(callback_may_free_its_timer)
{
    start(BK_SEC);
    for (unsigned i = 0; i < 20; i++) {
        struct probe *probe = calloc(1, sizeof *probe);
        CHECK(probe != NULL);
        bk_timer_init(&probe->timer, free_me);
        bk_timer_set(&wheel, &probe->timer, 2 * BK_SEC + i % 3);
    }
    run(3 * BK_SEC);
    CHECK_INT(wheel.count, 0);
}

TEST(clock_that_stands_still_or_goes_back)
{
    start(10 * BK_SEC);
    bk_timer_set(&wheel, &probes[0].timer, 11 * BK_SEC);
    run(5 * BK_SEC);
    CHECK_INT(wheel.now, 10 * BK_SEC);
    CHECK_INT(probes[0].fired, 0);
    run(11 * BK_SEC + TICK);
    CHECK_INT(probes[0].fired, 1);
}

static uint64_t
random_bits(void)
{
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

// What must hold after each step, found by looking at every timer.
static void
compare_with_model(uint64_t now)
{
    uint64_t first = UINT64_MAX;
    unsigned count = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        CHECK_INT(bk_timer_is_set(&probes[i].timer), probes[i].expected != 0);
        if (probes[i].expected == 0)
            continue;
        CHECK(probes[i].expected + TICK > now);
        count++;
        if (probes[i].expected < first)
            first = probes[i].expected;
    }
    CHECK_INT(wheel.count, count);
    uint64_t next = bk_wheel_next(&wheel);
    if (count == 0)
        CHECK_INT(next, UINT64_MAX);
    else
        CHECK(next < first + TICK && next >= now);
}

TEST(random_steps_agree_with_the_model)
{
    static const uint64_t spans[] = {TICK / 2, 300 * TICK, 3 * FAR_SLOT, 2000 * FAR_SLOT};
    static const uint64_t steps[] = {1000, TICK, 255 * TICK, 5 * FAR_SLOT};
    for (unsigned round = 0; round < 40; round++) {
        uint64_t now = round < 3 ? round : random_bits() >> 12;
        start(now);
        for (unsigned step = 0; step < 1500; step++) {
            for (unsigned n = 0; n < 5; n++) {
                struct probe *probe = &probes[random_bits() % TIMERS];
                if (random_bits() % 5 == 0) {
                    bk_timer_cancel(&wheel, &probe->timer);
                    probe->expected = 0;
                } else {
                    probe->expected = now + 1 + random_bits() % spans[random_bits() % 4];
                    bk_timer_set(&wheel, &probe->timer, probe->expected);
                }
            }
            uint64_t next = bk_wheel_next(&wheel);
            if (random_bits() % 2 && next != UINT64_MAX)
                now = next;
            else if (random_bits() % 64 == 0)
                now += random_bits() % (3000 * FAR_SLOT);
            else
                now += random_bits() % steps[random_bits() % 4];
            run(now);
            compare_with_model(now);
        }
    }
}
