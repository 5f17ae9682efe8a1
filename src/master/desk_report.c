// From roster, ledger, scoreboard and /proc to a report.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/desk_internal.h"

#include "base/banned.h"

#define PSS_EVERY (10 * BK_SEC) // the kernel walks the worker's page tables for it

static bool make_rows(struct bk_report *report, const struct bk_roster *roster);
static void fill_counts(struct bk_desk *desk, struct bk_report *report,
                        const struct bk_roster *roster);
static struct bk_report_worker *place_of(struct bk_report *report,
                                         const struct bk_roster_member *member, unsigned *leaving);
static void fill_worker(const struct bk_desk *desk, struct bk_report *report,
                        struct bk_report_worker *worker, const struct bk_roster_member *member);
static void fill_gauges(struct bk_report_worker *worker, const struct bk_slot *slot, uint64_t now);
static void fill_rows(struct bk_report_worker *worker, const struct bk_slot *slot);
static int older_first(const void *a, const void *b);
static void fill_memory(struct bk_desk *desk, struct bk_report_worker *worker, unsigned slot,
                        bool *may_look_long);
static size_t read_proc(pid_t pid, const char *name, char *out, size_t room);

struct bk_report *
bk__desk_report(struct bk_desk *desk, struct bk_roster *roster)
{
    struct bk_report *report = roster->report;
    unsigned leaving = 0;
    bool may_look_long = true;

    roster->report = NULL;
    pthread_mutex_lock(&desk->ledger->lock);
    bool made = make_rows(report, roster);
    if (made)
        fill_counts(desk, report, roster);
    pthread_mutex_unlock(&desk->ledger->lock);
    if (!made) {
        bk_report_free(report);
        return NULL;
    }
    for (unsigned i = 0; i < roster->member_count; i++) {
        const struct bk_roster_member *member = &roster->members[i];
        struct bk_report_worker *worker = place_of(report, member, &leaving);
        if (!worker)
            continue;
        fill_worker(desk, report, worker, member);
        if (member->slot < desk->slot_count)
            fill_memory(desk, worker, member->slot, &may_look_long);
    }
    return report;
}

// One worker for each number that is wanted or has somebody; who leaves, or boots beside another,
// comes extra.
static bool
make_rows(struct bk_report *report, const struct bk_roster *roster)
{
    unsigned numbers = report->wanted, extra = 0;

    for (unsigned i = 0; i < roster->member_count; i++) {
        if (roster->members[i].seated && roster->members[i].number > numbers)
            numbers = roster->members[i].number;
        extra += !roster->members[i].seated;
    }
    report->workers = calloc(numbers + 1, sizeof *report->workers);
    report->leaving = calloc(extra + 1, sizeof *report->leaving);
    if (!report->workers || !report->leaving)
        return false;
    report->worker_count = numbers;
    report->leaving_count = extra;
    for (unsigned i = 0; i < numbers; i++) {
        report->workers[i].number = i + 1;
        report->workers[i].state = "down";
        report->workers[i].turned_ago = report->workers[i].progressed_ago = UINT64_MAX;
    }
    return true;
}

// Under the ledger's lock: what a worker has done is either in its slot or in the ledger.
static void
fill_counts(struct bk_desk *desk, struct bk_report *report, const struct bk_roster *roster)
{
    const struct bk_ledger *ledger = desk->ledger;

    for (unsigned i = 0; i < ledger->used; i++) {
        const struct bk_ledger_row *row = &ledger->rows[i];
        bk_tally_add(&report->totals, &row->gone);
        if (i >= report->worker_count)
            continue;
        struct bk_report_worker *worker = &report->workers[i];
        bk_tally_add(&worker->tally, &row->gone);
        worker->starts = row->starts;
        memcpy(worker->restarts, row->restarts, sizeof worker->restarts);
    }
    for (unsigned i = 0; i < roster->member_count; i++) {
        const struct bk_roster_member *member = &roster->members[i];
        if (member->slot >= desk->slot_count)
            continue;
        const struct bk_slot *slot = &desk->scoreboard->slots[member->slot];
        // Gone since the roll was called: the ledger has it.
        if (atomic_load(&slot->worker) != member->number ||
            atomic_load(&slot->pid) != (int32_t)member->pid)
            continue;
        bk_tally_add_slot(&report->totals, slot);
        if (member->number <= report->worker_count)
            bk_tally_add_slot(&report->workers[member->number - 1].tally, slot);
    }
}

static struct bk_report_worker *
place_of(struct bk_report *report, const struct bk_roster_member *member, unsigned *leaving)
{
    if (member->seated)
        return member->number >= 1 && member->number <= report->worker_count
                   ? &report->workers[member->number - 1]
                   : NULL;
    return *leaving < report->leaving_count ? &report->leaving[(*leaving)++] : NULL;
}

static void
fill_worker(const struct bk_desk *desk, struct bk_report *report, struct bk_report_worker *worker,
            const struct bk_roster_member *member)
{
    const struct bk_slot *slot = &desk->scoreboard->slots[member->slot];
    uint64_t offset = report->now - report->mono;

    worker->number = member->number;
    worker->generation = member->generation + 1;
    worker->pid = member->pid;
    worker->born = member->born + offset;
    worker->ready = member->ready ? member->ready + offset : 0;
    worker->turned_ago = worker->progressed_ago = UINT64_MAX;
    worker->state = member->booting ? "booting" : member->leaving ? "leaving" : "idle";
    if (member->slot >= desk->slot_count || atomic_load(&slot->worker) != member->number)
        return;
    fill_gauges(worker, slot, report->mono);
    if (!member->booting && !member->leaving && worker->running > 0)
        worker->state = "busy";
    if (!member->seated)
        bk_tally_add_slot(&worker->tally, slot);
    fill_rows(worker, slot);
}

static void
fill_gauges(struct bk_report_worker *worker, const struct bk_slot *slot, uint64_t now)
{
    uint64_t turned = atomic_load(&slot->turned), progressed = atomic_load(&slot->progressed);

    worker->connections = atomic_load(&slot->connections);
    worker->queued = atomic_load(&slot->queued);
    worker->running = atomic_load(&slot->running);
    worker->threads = atomic_load(&slot->threads);
    if (worker->threads == 0)
        worker->threads = 1;
    worker->requests = atomic_load(&slot->counters.requests);
    if (turned > 0)
        worker->turned_ago = now > turned ? now - turned : 0;
    // Blocked in its wait it has nothing to turn for.
    if (atomic_load(&slot->waiting))
        worker->turned_ago = 0;
    if (progressed > 0)
        worker->progressed_ago = now > progressed ? now - progressed : 0;
    for (unsigned i = 0; i < BK_STATS_THREADS; i++) {
        const struct bk_thread_row *from = &slot->thread_rows[i];
        worker->thread_rows[i] = (struct bk_report_thread){
            .requests = atomic_load_explicit(&from->requests, memory_order_relaxed),
            .errors = atomic_load_explicit(&from->errors, memory_order_relaxed),
            .bytes_out = atomic_load_explicit(&from->bytes_out, memory_order_relaxed),
            .busy = atomic_load_explicit(&from->busy, memory_order_relaxed),
        };
    }
}

static void
fill_rows(struct bk_report_worker *worker, const struct bk_slot *slot)
{
    struct bk_row_copy copy;

    for (unsigned i = 0; i < BK_STATS_ROWS; i++) {
        if (atomic_load_explicit(&slot->rows[i].since, memory_order_relaxed) == 0 ||
            !bk_row_read(&slot->rows[i], &copy) || copy.since == 0)
            continue;
        if (!worker->rows)
            worker->rows = calloc(BK_STATS_ROWS, sizeof *worker->rows);
        if (!worker->rows)
            return;
        worker->rows[worker->row_count++] = copy;
    }
    if (worker->row_count > 1)
        qsort(worker->rows, worker->row_count, sizeof *worker->rows, older_first);
}

static int
older_first(const void *a, const void *b)
{
    const struct bk_row_copy *x = a, *y = b;

    return x->since < y->since ? -1 : x->since > y->since;
}

static void
fill_memory(struct bk_desk *desk, struct bk_report_worker *worker, unsigned slot,
            bool *may_look_long)
{
    struct bk__memory *memory = &desk->memory[slot];
    uint64_t now = bk_clock_mono();
    char text[2048];

    if (memory->pid != worker->pid)
        *memory = (struct bk__memory){.pid = worker->pid};
    if (read_proc(worker->pid, "statm", text, sizeof text) > 0) {
        unsigned long long vsz, rss;
        if (sscanf(text, "%llu %llu", &vsz, &rss) == 2) {
            memory->vsz = vsz * (uint64_t)sysconf(_SC_PAGESIZE);
            memory->rss = rss * (uint64_t)sysconf(_SC_PAGESIZE);
        }
    }
    bool due = memory->pss_at == 0 || now - memory->pss_at > PSS_EVERY;
    if (due && *may_look_long && read_proc(worker->pid, "smaps_rollup", text, sizeof text) > 0) {
        const char *line = strstr(text, "\nPss:");
        unsigned long long kib;
        memory->pss_at = now;
        *may_look_long = false; // one worker a report
        if (line && sscanf(line, "\nPss: %llu", &kib) == 1)
            memory->pss = kib * 1024;
    }
    worker->rss = memory->rss;
    worker->vsz = memory->vsz;
    worker->pss = memory->pss;
}

static size_t
read_proc(pid_t pid, const char *name, char *out, size_t room)
{
    char path[64];
    ssize_t n = 0;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, out, room - 1);
        close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}
