// Single workers replaced by others of the same version.
#include "master/recycle.h"

#include "master/reload.h"
#include "master/scale.h"

#include "base/banned.h"

#define SHARE 4 // one in so many may be on its way out

static unsigned under_way(const struct bk_master_pool *pool);

void
bk_recycle_ask(struct bk_member *member, bool urgent, enum bk_restart reason,
               const char *why)
{
    if (member->state != BK_MEMBER_READY)
        return;
    member->urgent = member->urgent || urgent;
    if (!member->recycle)
        member->why = reason;
    if (!member->recycle)
        bk_log(BK_LOG_INFO, NULL, "worker %u (pid %d) is replaced: %s", member->number,
               (int)member->pid, why);
    member->recycle = true;
    bk_recycle_advance(member->pool);
}

void
bk_recycle_advance(struct bk_master_pool *pool)
{
    unsigned most = pool->wanted / SHARE > 1 ? pool->wanted / SHARE : 1;

    // A reload replaces them all anyway.
    if (pool->master->phase != BK_MASTER_RUNNING || pool->reload.phase != BK_RELOAD_IDLE)
        return;
    for (unsigned i = 0; i < pool->wanted; i++) {
        struct bk_seat *seat = &pool->seats[i];
        bool due = seat->member && seat->member->recycle && !seat->successor;
        if (!due || bk_timer_is_set(&seat->respawn))
            continue;
        if ((seat->member->urgent || under_way(pool) < most) && !bk_reload_successor(seat))
            return;
    }
}

// Those whose successor boots, and those that are leaving.
static unsigned
under_way(const struct bk_master_pool *pool)
{
    unsigned count = 0;

    for (struct bk_list *at = pool->members.next; at != &pool->members; at = at->next) {
        const struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        const struct bk_seat *seat = member->seat;
        if (member->recycle &&
            (member->state == BK_MEMBER_LEAVING || (seat->member == member && seat->successor)))
            count++;
    }
    return count;
}
