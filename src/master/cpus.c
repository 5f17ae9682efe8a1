// Reads affinity and cgroup limits. Version 1 and 2 hierarchies, both at once, seen from inside or
// outside a container: the limit of every group from ours up to the mount counts, the smallest one
// wins.
#include "master/cpus.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/str.h"

#include "base/banned.h"

#define PER_WORKER (UINT64_C(256) << 20)
#define MOST_WITHOUT_QUOTA 8
// "No limit" in version 1 is LONG_MAX rounded down to a page; nothing near it is a real limit.
#define MEMORY_UNLIMITED (UINT64_C(1) << 60)

typedef void (*level_fn)(struct bk_cpus *cpus, const char *directory);

static unsigned count_affinity(void);
static void read_hierarchies(const char *root, struct bk_cpus *cpus);
static void read_mount(const char *root, char *line, struct bk_cpus *cpus);
static bool own_group(const char *root, const char *controller, char *out, size_t room);
static void climb(const char *root, const char *mount, const char *group, level_fn level,
                  struct bk_cpus *cpus);
static void level_v2(struct bk_cpus *cpus, const char *directory);
static void level_v1_cpu(struct bk_cpus *cpus, const char *directory);
static void level_v1_memory(struct bk_cpus *cpus, const char *directory);
static void take_quota(struct bk_cpus *cpus, const char *quota, const char *period);
static void take_memory(struct bk_cpus *cpus, const char *directory, const char *text);
static void note_own(struct bk_cpus *cpus, const char *directory, const char *file);
static bool read_file(const char *directory, const char *name, char *out, size_t room);
static bool has_word(const char *list, const char *word);

void
bk_cpus_read(const char *root, struct bk_cpus *ret)
{
    *ret = (struct bk_cpus){.affinity = count_affinity()};
    read_hierarchies(root, ret);
}

unsigned
bk_cpus_usable(const struct bk_cpus *cpus)
{
    unsigned count = cpus->affinity > 0 ? cpus->affinity : 1;
    return cpus->quota > 0 && cpus->quota < count ? cpus->quota : count;
}

unsigned
bk_cpus_workers(const struct bk_cpus *cpus)
{
    unsigned count = bk_cpus_usable(cpus);
    if (cpus->quota == 0 && count > MOST_WITHOUT_QUOTA)
        count = MOST_WITHOUT_QUOTA;
    if (cpus->memory > 0 && cpus->memory / PER_WORKER < count)
        count = (unsigned)(cpus->memory / PER_WORKER);
    return count > 0 ? count : 1;
}

void
bk_cpus_explain(const struct bk_cpus *cpus, char *out, size_t room)
{
    unsigned usable = bk_cpus_usable(cpus);
    int len = snprintf(out, room, "auto: %u CPU%s%s", usable, usable == 1 ? "" : "s",
                       cpus->quota > 0 && cpus->quota < cpus->affinity ? " by quota" : "");
    if (cpus->memory == 0 || len < 0 || (size_t)len >= room)
        return;
    double gib = (double)cpus->memory / (double)(UINT64_C(1) << 30);
    if (gib >= 1)
        snprintf(out + len, room - (size_t)len, ", memory limit %.3g GiB", gib);
    else
        snprintf(out + len, room - (size_t)len, ", memory limit %.3g MiB", gib * 1024);
}

static unsigned
count_affinity(void)
{
    // The mask grows with the machine: the kernel refuses one that is too small.
    for (unsigned cpus = 1024; cpus <= 65536; cpus *= 4) {
        size_t size = CPU_ALLOC_SIZE(cpus);
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set)
            break;
        int rc = sched_getaffinity(0, size, set);
        unsigned count = rc == 0 ? (unsigned)CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (rc == 0)
            return count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

// /proc/self/mountinfo: "ID PARENT MAJ:MIN ROOT MOUNT OPTIONS [FIELDS...] - TYPE SOURCE SUPER"
static void
read_hierarchies(const char *root, struct bk_cpus *cpus)
{
    char path[PATH_MAX], line[2 * PATH_MAX];

    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file))
        if (strstr(line, " - cgroup"))
            read_mount(root, line, cpus);
    fclose(file);
}

static void
read_mount(const char *root, char *line, struct bk_cpus *cpus)
{
    char inside[PATH_MAX], mount[PATH_MAX], type[32], super[512], group[PATH_MAX];
    const char *tail = strstr(line, " - ");

    if (sscanf(line, "%*s %*s %*s %4095s %4095s", inside, mount) != 2)
        return;
    if (sscanf(tail, " - %31s %*s %511s", type, super) != 2)
        return;
    bool v2 = strcmp(type, "cgroup2") == 0, cpu = has_word(super, "cpu"),
         memory = has_word(super, "memory");
    if (!v2 && !cpu && !memory)
        return;
    if (!own_group(root, v2 ? "" : cpu ? "cpu" : "memory", group, sizeof group))
        return;
    // In a container the mount shows only the part below `inside`, and the group's path may begin
    // with it.
    const char *below = group;
    size_t len = strlen(inside);
    if (strcmp(inside, "/") != 0 && strncmp(group, inside, len) == 0 &&
        (group[len] == '/' || !group[len]))
        below = group + len;
    if (v2)
        climb(root, mount, below, level_v2, cpus);
    if (!v2 && cpu)
        climb(root, mount, below, level_v1_cpu, cpus);
    if (!v2 && memory)
        climb(root, mount, below, level_v1_memory, cpus);
}

// /proc/self/cgroup: "ID:CONTROLLERS:PATH", version 2 has no controllers.
static bool
own_group(const char *root, const char *controller, char *out, size_t room)
{
    char path[PATH_MAX], line[PATH_MAX + 256];
    bool found = false;

    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        controllers++;
        group[strcspn(group, "\n")] = '\0';
        found = *controller ? has_word(controllers, controller) : *controllers == '\0';
        if (found)
            snprintf(out, room, "%s", group);
    }
    fclose(file);
    return found;
}

static void
climb(const char *root, const char *mount, const char *group, level_fn level, struct bk_cpus *cpus)
{
    char directory[2 * PATH_MAX];
    int base = snprintf(directory, sizeof directory, "%s%s", root, mount);

    if (base < 0 || (size_t)base >= sizeof directory)
        return;
    snprintf(directory + base, sizeof directory - (size_t)base, "%s",
             strcmp(group, "/") ? group : "");
    for (;;) {
        level(cpus, directory);
        char *slash = strrchr(directory + base, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static void
level_v2(struct bk_cpus *cpus, const char *directory)
{
    char text[64], quota[32], period[32];

    if (read_file(directory, "cpu.max", text, sizeof text) &&
        sscanf(text, "%31s %31s", quota, period) == 2)
        take_quota(cpus, quota, period);
    if (read_file(directory, "memory.max", text, sizeof text))
        take_memory(cpus, directory, text);
    note_own(cpus, directory, "memory.events");
}

static void
level_v1_cpu(struct bk_cpus *cpus, const char *directory)
{
    char quota[64], period[64];

    if (read_file(directory, "cpu.cfs_quota_us", quota, sizeof quota) &&
        read_file(directory, "cpu.cfs_period_us", period, sizeof period))
        take_quota(cpus, quota, period);
}

static void
level_v1_memory(struct bk_cpus *cpus, const char *directory)
{
    char text[64];

    if (read_file(directory, "memory.limit_in_bytes", text, sizeof text))
        take_memory(cpus, directory, text);
    note_own(cpus, directory, "memory.oom_control");
}

// The first level of a climb is our own group.
static void
note_own(struct bk_cpus *cpus, const char *directory, const char *file)
{
    char text[64];

    if (!cpus->memory_own[0] && read_file(directory, file, text, sizeof text))
        snprintf(cpus->memory_own, sizeof cpus->memory_own, "%s", directory);
}

// "max" and -1 mean none.
static void
take_quota(struct bk_cpus *cpus, const char *quota, const char *period)
{
    long long q = strtoll(quota, NULL, 10), p = strtoll(period, NULL, 10);

    if (q <= 0 || p <= 0)
        return;
    long long whole = (q + p - 1) / p;
    if (whole < 65536 && (cpus->quota == 0 || (unsigned)whole < cpus->quota))
        cpus->quota = (unsigned)whole;
}

static void
take_memory(struct bk_cpus *cpus, const char *directory, const char *text)
{
    uint64_t limit = strtoull(text, NULL, 10);

    if (limit > 0 && limit < MEMORY_UNLIMITED && (cpus->memory == 0 || limit < cpus->memory)) {
        cpus->memory = limit;
        snprintf(cpus->memory_at, sizeof cpus->memory_at, "%s", directory);
    }
}

static bool
read_file(const char *directory, const char *name, char *out, size_t room)
{
    char path[2 * PATH_MAX + 64];
    ssize_t n;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, out, room - 1);
    close(fd);
    if (n <= 0)
        return false;
    out[n] = '\0';
    return true;
}

// Is `word` an element of a comma list?
static bool
has_word(const char *list, const char *word)
{
    struct bk_str rest = bk_str_of(list), item;

    while (bk_str_next_item(&rest, ',', &item))
        if (bk_str_equal(item, bk_str_of(word)))
            return true;
    return false;
}
