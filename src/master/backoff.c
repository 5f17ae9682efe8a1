// The growing pause between restarts of one worker number.
#include "master/backoff.h"

#include "base/banned.h"

uint64_t
bk_backoff_died(struct bk_backoff *backoff, uint64_t served_ns)
{
    if (served_ns >= BK_BACKOFF_HEALTHY)
        backoff->deaths = 0;
    unsigned doublings = backoff->deaths++;
    if (doublings >= 16)
        return BK_BACKOFF_MOST;
    uint64_t pause = BK_BACKOFF_FIRST << doublings;
    return pause < BK_BACKOFF_MOST ? pause : BK_BACKOFF_MOST;
}
