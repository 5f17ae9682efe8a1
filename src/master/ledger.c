// The ledger. Called by spawn.c and reap.c; read by desk_report.c.
#include "master/ledger.h"

#include <stdlib.h>

#include "base/banned.h"

struct bk_ledger *
bk_ledger_new(unsigned count)
{
    // Rows nobody has sat on are never touched, and cost no memory.
    struct bk_ledger *ledger = calloc(1, sizeof *ledger + count * sizeof ledger->rows[0]);

    if (!ledger)
        return NULL;
    pthread_mutex_init(&ledger->lock, NULL);
    ledger->count = count;
    return ledger;
}

void
bk_ledger_free(struct bk_ledger *ledger)
{
    if (ledger)
        pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}

void
bk_ledger_start(struct bk_ledger *ledger, unsigned number)
{
    if (number < 1 || number > ledger->count)
        return;
    pthread_mutex_lock(&ledger->lock);
    if (number > ledger->used)
        ledger->used = number;
    ledger->rows[number - 1].starts++;
    pthread_mutex_unlock(&ledger->lock);
}

void
bk_ledger_end(struct bk_ledger *ledger, unsigned number, struct bk_slot *slot, enum bk_restart why)
{
    pthread_mutex_lock(&ledger->lock);
    if (number >= 1 && number <= ledger->count) {
        struct bk_ledger_row *row = &ledger->rows[number - 1];
        bk_tally_add_slot(&row->gone, slot);
        if (why != BK_RESTART_NONE)
            row->restarts[why]++;
    }
    bk_slot_clear(slot);
    pthread_mutex_unlock(&ledger->lock);
}
