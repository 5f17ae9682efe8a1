// Summing slots. Called by the master: when a worker is gone, and for each report.
#include "stats/tally.h"

#include "base/banned.h"

void
bk_tally_add_slot(struct bk_tally *to, const struct bk_slot *from)
{
#define X(name, help)                                                                              \
    to->counters[BK_COUNTER_##name] +=                                                             \
        atomic_load_explicit(&from->counters.name, memory_order_relaxed);
#include "stats/counters.def"
#undef X
    for (unsigned i = 0; i < BK_STATS_STATUSES; i++)
        to->statuses[i] += atomic_load_explicit(&from->statuses[i], memory_order_relaxed);
    for (unsigned i = 0; i < BK_STATS_THREADS; i++)
        to->busy += atomic_load_explicit(&from->thread_rows[i].busy, memory_order_relaxed);
    bk_timings_add_histogram(&to->latency, &from->latency);
    bk_timings_add_histogram(&to->queue_wait, &from->queue_wait);
    bk_timings_add_histogram(&to->proxy_wait, &from->proxy_wait);
}

void
bk_tally_add(struct bk_tally *to, const struct bk_tally *from)
{
    for (unsigned i = 0; i < BK_COUNTER_COUNT; i++)
        to->counters[i] += from->counters[i];
    for (unsigned i = 0; i < BK_STATS_STATUSES; i++)
        to->statuses[i] += from->statuses[i];
    to->busy += from->busy;
    bk_timings_add(&to->latency, &from->latency);
    bk_timings_add(&to->queue_wait, &from->queue_wait);
    bk_timings_add(&to->proxy_wait, &from->proxy_wait);
}

const char *
bk_counter_name(enum bk_counter counter)
{
    static const char *const names[] = {
#define X(name, help) #name,
#include "stats/counters.def"
#undef X
    };
    return names[counter];
}

const char *
bk_counter_help(enum bk_counter counter)
{
    static const char *const helps[] = {
#define X(name, help) help,
#include "stats/counters.def"
#undef X
    };
    return helps[counter];
}

const char *
bk_restart_word(enum bk_restart reason)
{
    static const char *const words[] = {
#define X(name, word, help) word,
#include "stats/restarts.def"
#undef X
    };
    return words[reason];
}
