// Users, groups and limits: from names to numbers, and from numbers to system calls.
#include "master/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/config_check.h"
#include "master/words.h"

#include "base/banned.h"

#define GROUPS_MAX 1024

struct reach {
    int path;    // which of the paths cannot be used; -1: all can
    bool real;   // what keeps us out is behind a symlink: it is in the resolved path
    size_t len;  // of the part that cannot be passed
};

struct way {
    const char *path;  // borrows
    char *real;        // owns: resolved by root
};

static int find_user(struct bk_privileges *privileges, const struct bk_config *config,
                     struct bk_privileges_error *error);
static int find_group(const char *name, const char *option, gid_t *ret,
                      struct bk_privileges_error *error);
static int find_groups(struct bk_privileges *privileges, bool all);
static int find_socket_owner(struct bk_privileges *privileges, const struct bk_config *config,
                             struct bk_privileges_error *error);
static void read_limits(struct bk_privileges *privileges, const struct bk_config *config);
static int id_of(const char *text, unsigned *ret);
static const char *bind_to_cpus(const struct bk_privileges *privileges, unsigned number);
static const char *become(const struct bk_privileges *privileges);
static void try_ways(const struct bk_privileges *privileges, const struct way ways[3],
                     int fd) BK_NORETURN;
static size_t first_barrier(const char *path);
static void explain(const struct way *way, const struct reach *reach,
                    const struct bk_privileges *who, struct bk_privileges_error *error);
static int refuse(struct bk_privileges_error *error, enum bk_key key, const char *format, ...)
    BK_PRINTF(3, 4);

int
bk_privileges_init(struct bk_privileges *privileges, const struct bk_config *config,
                   struct bk_privileges_error *error)
{
    *error = (struct bk_privileges_error){0};
    *privileges = (struct bk_privileges){.uid = geteuid(),
                                         .gid = getegid(),
                                         .umask = -1,
                                         .nice = (int)config->nice,
                                         .no_new_privileges = config->no_new_privs,
                                         .cpus_each = (unsigned)config->cpu_affinity};
    int rc = find_user(privileges, config, error);
    if (rc == 0)
        rc = find_socket_owner(privileges, config, error);
    if (rc < 0) {
        bk_privileges_release(privileges);
        return rc;
    }
    privileges->socket_mode = (unsigned)strtoul(config->socket_mode, NULL, 8);
    if (config->umask)
        privileges->umask = (int)strtoul(config->umask, NULL, 8);
    if (sched_getaffinity(0, sizeof privileges->cpus, &privileges->cpus) < 0)
        privileges->cpus_each = 0;
    read_limits(privileges, config);
    return 0;
}

void
bk_privileges_release(struct bk_privileges *privileges)
{
    free(privileges->groups);
    free(privileges->name);
    free(privileges->home);
    *privileges = (struct bk_privileges){0};
}

static int
find_user(struct bk_privileges *privileges, const struct bk_config *config,
          struct bk_privileges_error *error)
{
    unsigned id;

    if (!config->user && !config->group)
        return 0;
    if (config->user) {
        errno = 0;
        struct passwd *entry =
            id_of(config->user, &id) == 0 ? getpwuid(id) : getpwnam(config->user);
        if (!entry && id_of(config->user, &id) < 0)
            return refuse(error, BK_KEY_USER_UNKNOWN, "--user '%s': no such user", config->user);
        privileges->uid = entry ? entry->pw_uid : id;
        privileges->gid = entry ? entry->pw_gid : getegid();
        privileges->name = entry ? strdup(entry->pw_name) : NULL;
        privileges->home = entry ? strdup(entry->pw_dir) : NULL;
        if (entry && (!privileges->name || !privileges->home))
            return -ENOMEM;
    }
    if (config->group) {
        int rc = find_group(config->group, "group", &privileges->gid, error);
        if (rc < 0)
            return rc;
    }
    if (geteuid() == 0) {
        privileges->drop = true;
        return find_groups(privileges, config->initgroups);
    }
    if (privileges->uid == geteuid() && privileges->gid == getegid())
        return 0;
    char theirs[BK_WORDS_ROOM], ours[BK_WORDS_ROOM];
    return refuse(error, BK_KEY_USER_PERMISSION,
                  "cannot run workers as %s: this process is %s, and only root may change that",
                  bk_words_owner(privileges->uid, privileges->gid, theirs),
                  bk_words_owner(geteuid(), getegid(), ours));
}

static int
find_group(const char *name, const char *option, gid_t *ret, struct bk_privileges_error *error)
{
    unsigned id;

    if (id_of(name, &id) == 0) {
        *ret = id;
        return 0;
    }
    struct group *entry = getgrnam(name);
    if (!entry)
        return refuse(error, BK_KEY_USER_UNKNOWN, "--%s '%s': no such group", option, name);
    *ret = entry->gr_gid;
    return 0;
}

// Those of the user, or the one alone: never the ones root has.
static int
find_groups(struct bk_privileges *privileges, bool all)
{
    int count = GROUPS_MAX;

    privileges->groups = calloc(GROUPS_MAX, sizeof *privileges->groups);
    if (!privileges->groups)
        return -ENOMEM;
    privileges->groups[0] = privileges->gid;
    privileges->group_count = 1;
    if (all && privileges->name &&
        getgrouplist(privileges->name, privileges->gid, privileges->groups, &count) >= 0)
        privileges->group_count = (unsigned)count;
    return 0;
}

// USER, USER:GROUP or :GROUP. Who the workers become may use their sockets, unless something else
// is said.
static int
find_socket_owner(struct bk_privileges *privileges, const struct bk_config *config,
                  struct bk_privileges_error *error)
{
    char user[128];
    unsigned id;

    privileges->socket_uid = privileges->drop ? privileges->uid : (uid_t)-1;
    privileges->socket_gid = privileges->drop ? privileges->gid : (gid_t)-1;
    if (!config->socket_owner)
        return 0;
    const char *colon = strchr(config->socket_owner, ':');
    size_t len = colon ? (size_t)(colon - config->socket_owner) : strlen(config->socket_owner);
    snprintf(user, sizeof user, "%.*s", (int)len, config->socket_owner);
    if (user[0]) {
        struct passwd *entry = id_of(user, &id) == 0 ? NULL : getpwnam(user);
        if (!entry && id_of(user, &id) < 0)
            return refuse(error, BK_KEY_USER_UNKNOWN, "--socket-owner '%s': no such user", user);
        privileges->socket_uid = entry ? entry->pw_uid : id;
    }
    return colon && colon[1] ? find_group(colon + 1, "socket-owner", &privileges->socket_gid, error)
                             : 0;
}

static const struct {
    const char *name;
    int resource;
} resources[] = {
    {"as", RLIMIT_AS},         {"core", RLIMIT_CORE},   {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},     {"fsize", RLIMIT_FSIZE}, {"memlock", RLIMIT_MEMLOCK},
    {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"stack", RLIMIT_STACK},
};

// The form was checked when the setting was made: NAME=SOFT or NAME=SOFT:HARD.
static void
read_limits(struct bk_privileges *privileges, const struct bk_config *config)
{
    for (unsigned i = 0; i < config->rlimit.count; i++) {
        struct bk_str rest = bk_str_of(config->rlimit.items[i]), name, soft, hard;
        struct rlimit value;
        if (!bk_str_next_item(&rest, '=', &name) || !bk_str_next_item(&rest, ':', &soft))
            continue;
        value.rlim_cur = bk_config_limit(soft);
        value.rlim_max =
            bk_str_next_item(&rest, ':', &hard) ? bk_config_limit(hard) : value.rlim_cur;
        for (unsigned k = 0; k < BK_COUNT(resources); k++) {
            if (!bk_str_equal(name, bk_str_of(resources[k].name)) ||
                privileges->limit_count == BK_PRIVILEGES_LIMITS)
                continue;
            privileges->limits[privileges->limit_count].resource = resources[k].resource;
            privileges->limits[privileges->limit_count++].value = value;
        }
    }
}

static int
id_of(const char *text, unsigned *ret)
{
    uint64_t value;

    if (bk_str_parse_u64(bk_str_of(text), UINT32_MAX - 1, &value) < 0)
        return -EINVAL;
    *ret = (unsigned)value;
    return 0;
}

const char *
bk_privileges_apply(const struct bk_privileges *privileges, unsigned number)
{
    const char *failed = NULL;

    for (unsigned i = 0; i < privileges->limit_count; i++)
        if (setrlimit(privileges->limits[i].resource, &privileges->limits[i].value) < 0)
            return "set the limits of --rlimit";
    if (privileges->umask >= 0)
        umask((mode_t)privileges->umask);
    errno = 0;
    if (privileges->nice && nice(privileges->nice) == -1 && errno)
        return "set --nice";
    if (privileges->cpus_each && number)
        failed = bind_to_cpus(privileges, number);
    if (!failed && privileges->drop)
        failed = become(privileges);
    if (!failed && privileges->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        failed = "set no_new_privs";
    return failed;
}

// Worker n gets the next CPUs behind those of worker n - 1, and after the last the first again.
static const char *
bind_to_cpus(const struct bk_privileges *privileges, unsigned number)
{
    unsigned have = (unsigned)CPU_COUNT(&privileges->cpus), at = 0;
    unsigned each = privileges->cpus_each < have ? privileges->cpus_each : have;
    cpu_set_t chosen;

    CPU_ZERO(&chosen);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &privileges->cpus))
            continue;
        for (unsigned k = 0; k < each; k++)
            if (((number - 1) * each + k) % have == at)
                CPU_SET(cpu, &chosen);
        at++;
    }
    return sched_setaffinity(0, sizeof chosen, &chosen) < 0 ? "set --cpu-affinity" : NULL;
}

static const char *
become(const struct bk_privileges *privileges)
{
    uid_t uid = privileges->uid;
    gid_t gid = privileges->gid;

    if (setgroups(privileges->group_count, privileges->groups) < 0)
        return "set its groups";
    if (setresgid(gid, gid, gid) < 0)
        return "take the group of --group";
    if (setresuid(uid, uid, uid) < 0)
        return "become the user of --user";
    if (uid != 0 && (setuid(0) == 0 || geteuid() != uid)) {
        errno = EPERM;
        return "give up being root";
    }
    return NULL;
}

int
bk_privileges_check(const struct bk_privileges *privileges, const char *python, const char *boot,
                    const char *directory, struct bk_privileges_error *error)
{
    struct way ways[3] = {{.path = python}, {.path = boot}, {.path = directory}};
    struct reach reach = {.path = -1};
    int ends[2], status;

    // What cannot be checked is tried: a worker says why it cannot start.
    if (!privileges->drop || privileges->uid == 0 || pipe2(ends, O_CLOEXEC) < 0)
        return 0;
    for (unsigned i = 0; i < BK_COUNT(ways); i++)
        ways[i].real = realpath(ways[i].path, NULL);
    pid_t pid = fork();
    if (pid == 0)
        try_ways(privileges, ways, ends[1]);
    close(ends[1]);
    if (pid < 0 || read(ends[0], &reach, sizeof reach) != (ssize_t)sizeof reach)
        reach.path = -1;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (reach.path >= 0) {
        *error = (struct bk_privileges_error){.key = BK_KEY_VENV_PERMISSION};
        explain(&ways[reach.path], &reach, privileges, error);
    }
    for (unsigned i = 0; i < BK_COUNT(ways); i++)
        free(ways[i].real);
    return reach.path >= 0 ? -EINVAL : 0;
}

static void
try_ways(const struct bk_privileges *privileges, const struct way ways[3], int fd)
{
    static const int modes[3] = {X_OK, R_OK, X_OK};
    struct reach reach = {.path = -1};

    if (!bk_privileges_apply(privileges, 0)) {
        for (int i = 0; i < 3 && reach.path < 0; i++) {
            if (access(ways[i].path, modes[i]) == 0 || errno != EACCES)
                continue;
            reach = (struct reach){.path = i, .len = first_barrier(ways[i].path)};
            if (reach.len == strlen(ways[i].path) && ways[i].real)
                reach = (struct reach){i, true, first_barrier(ways[i].real)};
        }
    }
    (void)!write(fd, &reach, sizeof reach);
    _exit(0);
}

// Length of the first directory on the way that may not be passed, or of the whole path.
static size_t
first_barrier(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    for (size_t at = 1; at < len && at < sizeof part; at++) {
        if (path[at] != '/')
            continue;
        memcpy(part, path, at);
        part[at] = '\0';
        if (access(part, X_OK) < 0)
            return at;
    }
    return len;
}

static void
explain(const struct way *way, const struct reach *reach, const struct bk_privileges *who,
        struct bk_privileges_error *error)
{
    static const char *const verbs[] = {"run", "read", "enter"};
    char barrier[PATH_MAX], owner[BK_WORDS_ROOM], theirs[BK_WORDS_ROOM];
    struct stat facts;

    snprintf(barrier, sizeof barrier, "%.*s", (int)reach->len, reach->real ? way->real : way->path);
    bk_words_owner(who->uid, who->gid, theirs);
    snprintf(error->text, sizeof error->text, "the workers' user %s may not %s %s", theirs,
             verbs[reach->path], way->path);
    if (stat(barrier, &facts) == 0)
        snprintf(error->detail, sizeof error->detail, "%.150s is %s %04o%s", barrier,
                 bk_words_owner(facts.st_uid, facts.st_gid, owner), facts.st_mode & 07777,
                 reach->path < 2 ? "\ntry: --venv with an environment that this user may read"
                                 : "");
}

static int
refuse(struct bk_privileges_error *error, enum bk_key key, const char *format, ...)
{
    va_list args;

    error->key = key;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return -EINVAL;
}
