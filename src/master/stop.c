// Stopping. The listeners stay open until the members have served what waits in the accept queues.
#include "master/stop.h"

#include "base/clock.h"
#include "master/bind.h"
#include "master/hear.h"
#include "master/scale.h"

#include "base/banned.h"

static void dismiss_pool(struct bk_master_pool *pool, enum bk_master_phase phase);
static void check_over(struct bk_master *master);

void
bk_stop(struct bk_master *master, enum bk_master_phase phase)
{
    if (phase <= master->phase)
        return;
    master->phase = phase;
    master->phase_since = bk_clock_mono();
    bk_systemd_stopping(master);
    for (unsigned i = 0; i < master->pool_count; i++)
        dismiss_pool(&master->pools[i], phase);
    check_over(master);
}

void
bk_stop_member_gone(struct bk_master_pool *pool)
{
    bk_stop_listeners_closed(pool);
    check_over(pool->master);
}

void
bk_stop_listeners_closed(struct bk_master_pool *pool)
{
    struct bk_list *at;

    if (pool->master->phase != BK_MASTER_DRAINING || pool->member_count == 0)
        return;
    for (at = pool->members.next; at != &pool->members; at = at->next) {
        struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        if (member->ready && !member->listeners_closed)
            return;
    }
    bk_bind_close(pool);
}

static void
dismiss_pool(struct bk_master_pool *pool, enum bk_master_phase phase)
{
    struct bk_list *at, *next;

    for (unsigned i = 0; i < pool->seat_count; i++)
        bk_timer_cancel(&pool->master->loop.wheel, &pool->seats[i].respawn);
    for (at = pool->members.next; at != &pool->members; at = next) {
        struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        next = at->next;
        if (phase == BK_MASTER_KILLING)
            bk_hear_kill(member);
        else
            bk_scale_dismiss(member,
                             phase == BK_MASTER_DRAINING ? BK_DISMISS_DRAIN : BK_DISMISS_QUIT);
    }
}

static void
check_over(struct bk_master *master)
{
    for (unsigned i = 0; i < master->pool_count; i++)
        if (master->pools[i].member_count > 0)
            return;
    master->over = true;
}
