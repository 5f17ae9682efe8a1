// Reaping. A member's slot and log ring are given to another only after its process is gone, so
// each has one writer at a time.
#include "master/reap.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "master/hear.h"
#include "master/memory.h"
#include "master/reload.h"
#include "master/scale.h"
#include "master/stop.h"
#include "master/words.h"

#include "base/banned.h"

#define LOOP_OF_CRASHES 5  // deaths in a row after which single ones are no longer news

static struct bk_member *find_member(struct bk_master *master, pid_t pid);
static void bury_member(struct bk_member *member, int status, const struct rusage *usage);
static enum bk_restart reason_of(const struct bk_member *member, bool unasked);
static void report_first(struct bk_member *member, const char *how);
static void report(struct bk_member *member, int status, const char *how,
                   const struct rusage *usage, uint64_t pause);
static bool killed_for_memory(struct bk_member *member, int status, const char *memory,
                              const char *doing);
static void say_how(int status, char *out, size_t room);
static void say_doing(const struct bk_slot *slot, char *out, size_t room);
static uint64_t errors_of(const struct bk_slot *slot);

void
bk_reap(struct bk_master *master)
{
    struct rusage usage;
    int status;
    pid_t pid;

    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0 || (pid < 0 && errno == EINTR)) {
        struct bk_member *member = pid > 0 ? find_member(master, pid) : NULL;
        if (pid > 0 && !member && bk_companion_gone(master, pid, status))
            continue;
        if (member)
            bury_member(member, status, &usage);
    }
}

void
bk_reap_totals(const struct bk_master *master, uint64_t *ret_requests, uint64_t *ret_errors)
{
    *ret_requests = master->requests;
    *ret_errors = master->errors;
    for (unsigned i = 1; i < master->slot_count; i++) {
        if (!master->slots[i])
            continue;
        *ret_requests += atomic_load(&master->scoreboard->slots[i].counters.requests);
        *ret_errors += errors_of(&master->scoreboard->slots[i]);
    }
}

// For the statistics: what is counted as a restart, and why.
static enum bk_restart
reason_of(const struct bk_member *member, bool unasked)
{
    if (member->pool->master->phase != BK_MASTER_RUNNING)
        return BK_RESTART_NONE;
    if (member->why != BK_RESTART_NONE)
        return member->why;
    if (member->failed || member->refused)
        return BK_RESTART_BOOT;
    if (member->killed)
        return BK_RESTART_KILLED;
    return unasked ? BK_RESTART_CRASH : BK_RESTART_NONE;
}

static struct bk_member *
find_member(struct bk_master *master, pid_t pid)
{
    for (unsigned i = 1; i < master->slot_count; i++)
        if (master->slots[i] && master->slots[i]->pid == pid)
            return master->slots[i];
    return NULL;
}

static void
bury_member(struct bk_member *member, int status, const struct rusage *usage)
{
    struct bk_master_pool *pool = member->pool;
    struct bk_master *master = pool->master;
    struct bk_seat *seat = member->seat;
    struct bk_slot *slot = &master->scoreboard->slots[member->slot];
    char how[BK_WORDS_ROOM + 32];
    uint64_t pause = 0;

    bk_hear_end(member);  // may still say why it failed
    say_how(status, how, sizeof how);
    bk_companion_tell(
        master, "child_exit", "age=%u\npid=%d\nstatus=%d", member->age, (int)member->pid,
        WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
    bool unasked = member->state != BK_MEMBER_LEAVING && master->phase == BK_MASTER_RUNNING;
    bool tried = bk_reload_gone(member, how);
    if (unasked && !pool->served) {
        report_first(member, how);
    } else if (unasked && !(tried && seat->member && seat->member != member)) {
        pause =
            bk_backoff_died(&seat->backoff, member->ready ? bk_clock_mono() - member->ready : 0);
        if (!tried)
            report(member, status, how, usage, pause);
    }
    master->requests += atomic_load(&slot->counters.requests);
    master->errors += errors_of(slot);
    bk_ledger_end(master->ledger, member->number, slot, reason_of(member, unasked));
    master->slots[member->slot] = NULL;
    if (member->state == BK_MEMBER_BOOTING)
        pool->booting--;
    pool->member_count--;
    bk_list_remove(&member->link);
    if (seat->member == member)
        seat->member = NULL;
    free(member);
    if (master->phase != BK_MASTER_RUNNING) {
        bk_stop_member_gone(pool);
        return;
    }
    if (pause > 0)
        bk_scale_respawn(seat, pause);
    bk_scale_fill(pool);
}

// It said nothing and nothing ever ran: the way it died is all there is to say.
static void
report_first(struct bk_member *member, const char *how)
{
    if (!member->failed)
        bk_master_fail(member->pool->master, BK_KEY_WORKER_BOOT, "",
                       "the first worker ended before it was ready: %s", how);
}

static void
report(struct bk_member *member, int status, const char *how, const struct rusage *usage,
       uint64_t pause)
{
    struct bk_master_pool *pool = member->pool;
    const struct bk_slot *slot = &pool->master->scoreboard->slots[member->slot];
    uint64_t now = bk_clock_mono();
    char doing[400], up[BK_WORDS_ROOM], memory[BK_WORDS_ROOM], next[BK_WORDS_ROOM], held[64] = "";
    bool looping = member->seat->backoff.deaths >= LOOP_OF_CRASHES;
    unsigned count = 0;

    bk_words_duration(pause, next);
    if (member->failed) {  // and has said so
        bk_log(BK_LOG_INFO, NULL, "worker %u is tried again in %s", member->number, next);
        return;
    }
    if (looping && !bk_log_limited(&pool->crashes, now, &count))
        return;
    if (count > 0)
        snprintf(held, sizeof held, " (and %u more)", count);
    say_doing(slot, doing, sizeof doing);
    bk_words_duration(now - member->born, up);
    bk_words_size((uint64_t)usage->ru_maxrss * 1024, memory);
    if (killed_for_memory(member, status, memory, doing))
        return;
    bk_log(BK_LOG_ERROR, looping ? BK_MASTER_KEY(WORKER_CRASH_LOOP) : BK_MASTER_KEY(WORKER_DIED),
           "worker %u (pid %d) %s%s after %s, %s, peak RSS %s%s; the next one starts in %s",
           member->number, (int)member->pid,
           member->ready ? "died: " : "died before it was ready: ", how, up, doing, memory, held,
           next);
}

// By the kernel, because the cgroup's memory was used up: it counts those.
static bool
killed_for_memory(struct bk_member *member, int status, const char *memory, const char *doing)
{
    const struct bk_slot *slot = &member->pool->master->scoreboard->slots[member->slot];
    unsigned running = atomic_load(&slot->running), others = running > 0 ? running - 1 : 0;
    uint64_t before, after;
    char lost[64] = "";

    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || member->killed ||
        !bk_memory_killed(member->pool->master, &before, &after))
        return false;
    member->why = BK_RESTART_OOM;
    if (others > 0)
        snprintf(lost, sizeof lost, ", %u other request%s lost", others, others == 1 ? "" : "s");
    bk_log(BK_LOG_ERROR, BK_MASTER_KEY(WORKER_OOM),
           "worker %u (pid %d) was killed by the kernel for memory (cgroup oom_kill %llu -> %llu), "
           "RSS %s, %s%s",
           member->number, (int)member->pid, (unsigned long long)before,
           (unsigned long long)after, memory, doing, lost);
    return true;
}

static void
say_how(int status, char *out, size_t room)
{
    char text[BK_WORDS_ROOM];

    if (WIFSIGNALED(status))
        snprintf(out, room, "%s%s", bk_words_signal(WTERMSIG(status), text),
                 WCOREDUMP(status) ? ", core dumped" : "");
    else
        snprintf(out, room, "exit code %d", WEXITSTATUS(status));
}

// "in POST /export for 41 s", "last request GET /", "no request yet".
static void
say_doing(const struct bk_slot *slot, char *out, size_t room)
{
    uint64_t now = bk_clock_mono(), since;
    char shown[300], age[BK_WORDS_ROOM];
    struct bk_row_copy row;

    if (!bk_slot_oldest(slot, &row))
        row = (struct bk_row_copy){.text = "(unreadable)", .len = strlen("(unreadable)")};
    since = row.since;
    shown[bk_str_escape(shown, sizeof shown - 1, (struct bk_str){row.text, row.len})] = '\0';
    if (since > 0 && since <= now)
        snprintf(out, room, "in %s for %s", shown[0] ? shown : "a request",
                 bk_words_duration(now - since, age));
    else if (shown[0])
        snprintf(out, room, "last request %s", shown);
    else
        snprintf(out, room, "no request yet");
}

// An application that raises after its head was sent is an error without a 5xx.
static uint64_t
errors_of(const struct bk_slot *slot)
{
    uint64_t answers = atomic_load(&slot->counters.responses_5xx),
             raised = atomic_load(&slot->counters.errors_app);

    return answers > raised ? answers : raised;
}
