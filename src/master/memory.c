// See memory.h. The kernel's files are small and read whole; what cannot be read is taken as "no
// limit".
#include "master/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/hear.h"
#include "master/recycle.h"
#include "master/words.h"

#include "base/banned.h"

#define LOOK BK_SEC
#define LOOK_AUTO (2 * BK_SEC)
#define FULL(limit) ((limit) / 10 * 9) // of the cgroup's limit: somebody has to go
#define RELIEF_AGAIN (300 * BK_SEC)    // and nobody else so soon

static bool is_auto(const struct bk_config *config);
static void look_at(struct bk_member *member, uint64_t soft, uint64_t hard);
static void relieve(struct bk_master_pool *pool, uint64_t now);
static bool read_file(const char *directory, const char *name, char *out, size_t room);
static uint64_t field_of(const char *text, const char *name);

uint64_t
bk_memory_tick(const struct bk_master_pool *pool)
{
    const struct bk_config *config = pool->config;

    if (config->max_worker_memory_hard ||
        (!is_auto(config) && bk_config_size_of(config->max_worker_memory) > 0))
        return LOOK;
    return is_auto(config) && pool->master->cpus.memory ? LOOK_AUTO : UINT64_MAX;
}

static bool
is_auto(const struct bk_config *config)
{
    return !config->max_worker_memory || strcmp(config->max_worker_memory, "auto") == 0;
}

void
bk_memory_look(struct bk_master_pool *pool, uint64_t now)
{
    const struct bk_config *config = pool->config;
    uint64_t soft = is_auto(config) ? 0 : bk_config_size_of(config->max_worker_memory);

    if (bk_memory_tick(pool) == UINT64_MAX)
        return;
    for (struct bk_list *at = pool->members.next, *next; at != &pool->members; at = next) {
        struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        next = at->next;
        member->memory = bk_memory_resident(member->pid);
        look_at(member, soft, config->max_worker_memory_hard);
    }
    if (is_auto(config))
        relieve(pool, now);
}

static void
look_at(struct bk_member *member, uint64_t soft, uint64_t hard)
{
    char text[2 * BK_WORDS_ROOM + 64], has[BK_WORDS_ROOM], limit[BK_WORDS_ROOM];

    bk_words_size(member->memory, has);
    if (hard && member->memory > hard && !member->killed) {
        bk_log(BK_LOG_ERROR, BK_MASTER_KEY(WORKER_MEMORY),
               "worker %u (pid %d) has %s, above --max-worker-memory-hard %s: killed",
               member->number, (int)member->pid, has, bk_words_size(hard, limit));
        bk_hear_kill(member);
        return;
    }
    if (!soft || member->memory <= soft || member->recycle)
        return;
    snprintf(text, sizeof text, "it has %s, above --max-worker-memory %s", has,
             bk_words_size(soft, limit));
    bk_recycle_ask(member, false, BK_RESTART_MEMORY, text);
}

// The kernel would kill somebody soon, from Kubernetes 1.28 on all of us at once.
static void
relieve(struct bk_master_pool *pool, uint64_t now)
{
    const struct bk_cpus *cpus = &pool->master->cpus;
    uint64_t used = bk_memory_used(cpus);
    struct bk_member *largest = NULL;
    char text[200], share[BK_WORDS_ROOM], limit[BK_WORDS_ROOM], has[BK_WORDS_ROOM];

    if (!cpus->memory || used < FULL(cpus->memory) ||
        (pool->watchdog.relieved && now - pool->watchdog.relieved < RELIEF_AGAIN))
        return;
    for (struct bk_list *at = pool->members.next; at != &pool->members; at = at->next) {
        struct bk_member *member = BK_OUTER(at, struct bk_member, link);
        if (member->state == BK_MEMBER_READY && !member->recycle &&
            (!largest || member->memory > largest->memory))
            largest = member;
    }
    if (!largest)
        return;
    pool->watchdog.relieved = now;
    snprintf(text, sizeof text,
             "%s of the cgroup's %s are used, and it has most, %s (--max-worker-memory auto)",
             bk_words_size(used, share), bk_words_size(cpus->memory, limit),
             bk_words_size(largest->memory, has));
    bk_recycle_ask(largest, false, BK_RESTART_MEMORY, text);
}

void
bk_memory_begin(struct bk_master *master)
{
    master->oom_kills = bk_memory_kills(&master->cpus);
}

bool
bk_memory_killed(struct bk_master *master, uint64_t *ret_before, uint64_t *ret_after)
{
    *ret_before = master->oom_kills;
    *ret_after = master->oom_kills = bk_memory_kills(&master->cpus);
    return *ret_after > *ret_before;
}

// Version 2 knows memory.current, version 1 memory.usage_in_bytes.
uint64_t
bk_memory_used(const struct bk_cpus *cpus)
{
    char text[8192];
    bool v2 = read_file(cpus->memory_at, "memory.current", text, sizeof text);

    if (!cpus->memory_at[0] ||
        (!v2 && !read_file(cpus->memory_at, "memory.usage_in_bytes", text, sizeof text)))
        return 0;
    uint64_t used = strtoull(text, NULL, 10), idle = 0;
    if (read_file(cpus->memory_at, "memory.stat", text, sizeof text))
        idle = field_of(text, v2 ? "inactive_file" : "total_inactive_file");
    return idle < used ? used - idle : 0;
}

uint64_t
bk_memory_kills(const struct bk_cpus *cpus)
{
    char text[4096];

    if (cpus->memory_own[0] &&
        (read_file(cpus->memory_own, "memory.events", text, sizeof text) ||
         read_file(cpus->memory_own, "memory.oom_control", text, sizeof text)))
        return field_of(text, "oom_kill");
    return 0;
}

uint64_t
bk_memory_resident(pid_t pid)
{
    char directory[32], text[128];
    unsigned long long pages = 0;

    snprintf(directory, sizeof directory, "/proc/%d", (int)pid);
    if (!read_file(directory, "statm", text, sizeof text) || sscanf(text, "%*s %llu", &pages) != 1)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool
read_file(const char *directory, const char *name, char *out, size_t room)
{
    char path[BK_CPUS_PATH + 64];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, room - 1);
    close(fd);
    if (n <= 0)
        return false;
    out[n] = '\0';
    return true;
}

// The number behind a name at the beginning of a line, 0 when there is none.
static uint64_t
field_of(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, name, len) == 0 && at[len] == ' ')
            return strtoull(at + len + 1, NULL, 10);
    return 0;
}
