// What `--workers auto` makes of affinity and cgroup limits, versions 1 and 2, from made-up /proc
// and /sys trees.
#include "master/cpus.h"

#include <sys/stat.h>

#include "check.h"

static char root[] = "/tmp/bk-cpus-XXXXXX";

static void
put(const char *path, const char *text)
{
    char full[600];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(full, 0755);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    CHECK(file);
    fputs(text, file);
    fclose(file);
}

static struct bk_cpus
read_tree(void)
{
    struct bk_cpus cpus;
    char command[64];
    bk_cpus_read(root, &cpus);
    snprintf(command, sizeof command, "rm -rf %s", root);
    CHECK_INT(system(command), 0);
    return cpus;
}

static void
version_2(const char *group, const char *inside)
{
    char line[200];
    CHECK(mkdtemp(root));
    snprintf(line, sizeof line, "0::%s\n", group);
    put("/proc/self/cgroup", line);
    snprintf(
        line, sizeof line,
        "25 1 0:22 / / rw - ext4 /dev/sda rw\n30 23 0:26 %s /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        inside);
    put("/proc/self/mountinfo", line);
}

TEST(nothing_there)
{
    CHECK(mkdtemp(root));
    struct bk_cpus cpus = read_tree();
    CHECK(cpus.affinity >= 1);
    CHECK_INT(cpus.quota, 0);
    CHECK_INT(cpus.memory, 0);
}

TEST(version_2_quota_and_memory)
{
    version_2("/pod/app", "/");
    put("/sys/fs/cgroup/pod/app/cpu.max", "250000 100000\n");
    put("/sys/fs/cgroup/pod/app/memory.max", "1073741824\n");
    struct bk_cpus cpus = read_tree();
    CHECK_INT(cpus.quota, 3);  // 2.5, rounded up
    CHECK_INT(cpus.memory, 1 << 30);
}

TEST(version_2_the_tightest_ancestor_wins)
{
    version_2("/pod/app", "/");
    put("/sys/fs/cgroup/pod/app/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/pod/app/memory.max", "max\n");
    put("/sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
    put("/sys/fs/cgroup/pod/memory.max", "536870912\n");
    struct bk_cpus cpus = read_tree();
    CHECK_INT(cpus.quota, 1);
    CHECK_INT(cpus.memory, 512 << 20);
}

TEST(version_2_inside_a_container)
{
    // The mount shows the subtree below /docker/abc only, the group is told from the host's root.
    version_2("/docker/abc", "/docker/abc");
    put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    CHECK_INT(read_tree().quota, 4);
}

TEST(version_1)
{
    CHECK(mkdtemp(root));
    put("/proc/self/cgroup", "5:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/x\n0::/\n");
    put("/proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "33 31 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n");
    put("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "150000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "2147483648\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    struct bk_cpus cpus = read_tree();
    CHECK_INT(cpus.quota, 2);
    CHECK_INT(cpus.memory, (int64_t)2 << 30);
}

TEST(rubbish_is_no_limit)
{
    version_2("/", "/");
    put("/sys/fs/cgroup/cpu.max", "lots of it\n");
    put("/sys/fs/cgroup/memory.max", "-5\n");
    struct bk_cpus cpus = read_tree();
    CHECK_INT(cpus.quota, 0);
    CHECK_INT(cpus.memory, 0);
}

TEST(workers)
{
    static const struct {
        struct bk_cpus cpus;
        unsigned workers, usable;
    } rows[] = {
        {{.affinity = 1, .quota = 0, .memory = 0}, 1, 1},
        {{.affinity = 4, .quota = 0, .memory = 0}, 4, 4},
        {{.affinity = 64, .quota = 0, .memory = 0}, 8, 64},
        // a pod without a limit sees the node's CPUs
        {{.affinity = 64, .quota = 12, .memory = 0}, 12, 12},
        {{.affinity = 4, .quota = 12, .memory = 0}, 4, 4},
        {{.affinity = 8, .quota = 8, .memory = UINT64_C(1) << 30}, 4, 8},  // 256 MiB each
        {{.affinity = 8, .quota = 8, .memory = UINT64_C(100) << 20}, 1, 8},
        {{.affinity = 0, .quota = 0, .memory = 0}, 1, 1},
    };
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        CHECK_INT(bk_cpus_workers(&rows[i].cpus), rows[i].workers);
        CHECK_INT(bk_cpus_usable(&rows[i].cpus), rows[i].usable);
    }
}

static const struct bk_cpus *
made(unsigned affinity, unsigned quota, uint64_t memory)
{
    static struct bk_cpus cpus;
    cpus = (struct bk_cpus){.affinity = affinity, .quota = quota, .memory = memory};
    return &cpus;
}

TEST(explanations)
{
    char text[128];
    bk_cpus_explain(made(8, 0, UINT64_C(1) << 30), text, sizeof text);
    CHECK_STR(text, "auto: 8 CPUs, memory limit 1 GiB");
    bk_cpus_explain(made(8, 1, 0), text, sizeof text);
    CHECK_STR(text, "auto: 1 CPU by quota");
    bk_cpus_explain(made(2, 4, UINT64_C(700) << 20), text, sizeof text);
    CHECK_STR(text, "auto: 2 CPUs, memory limit 700 MiB");
    bk_cpus_explain(made(2, 4, UINT64_C(700) << 20), text, 12);
    CHECK_STR(text, "auto: 2 CPU");
}
