// From an empty seat to a booting worker. Everything that allocates happens before the fork; the
// child only makes system calls. A child that cannot exec says so over the channel, as a worker
// would: the master reads no exec status and waits for nobody.
#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/certificates.h"
#include "master/child.h"
#include "master/hear.h"
#include "master/reap.h"
#include "master/words.h"
#include "process/heritage.h"

#include "base/banned.h"

struct plan {
    struct bk_member *member;
    int channel, heritage;  // owns: the child's ends
    const char **argv;      // owns
    char heritage_text[16];
    bool keep_stdin;
};

static int new_member(struct bk_seat *seat, struct bk_member **ret);
static int prepare(struct plan *plan);
static int write_heritage(const struct plan *plan, int *ret_fd);
static int add_settings(struct bk_heritage *heritage, const struct bk_master_pool *pool);
static const char *resolve(const struct bk_master_pool *pool, struct bk_str key,
                           struct bk_str value, char *room, size_t size);
static int add_listeners(struct bk_heritage *heritage, const struct bk_master_pool *pool);
static int add_arguments(struct bk_heritage *heritage, const struct bk_master_start *start);
static int build_argv(struct plan *plan);
static void become_worker(const struct plan *plan) BK_NORETURN;
static void keep_descriptors(const struct plan *plan);
static void give_up(const struct plan *plan, const char *what, const char *name) BK_NORETURN;
static void register_member(struct bk_member *member);
static void release_plan(struct plan *plan);

int
bk_spawn(struct bk_seat *seat)
{
    struct plan plan = {.channel = -1, .heritage = -1};
    pid_t pid = -1;
    int rc;

    rc = new_member(seat, &plan.member);
    if (rc < 0)
        return rc;
    rc = prepare(&plan);
    if (rc == 0) {
        bk_companion_tell(seat->pool->master, "pre_fork", "age=%u", plan.member->age);
        pid = fork();
        rc = pid < 0 ? -errno : 0;
    }
    if (pid == 0)
        become_worker(&plan);
    if (rc == 0) {
        plan.member->pid = pid;
        register_member(plan.member);
    } else {
        bk_slot_clear(&seat->pool->master->scoreboard->slots[plan.member->slot]);
        if (plan.member->channel.fd >= 0)
            close(plan.member->channel.fd);
        free(plan.member);
    }
    release_plan(&plan);
    return rc;
}

static int
new_member(struct bk_seat *seat, struct bk_member **ret)
{
    struct bk_master *master = seat->pool->master;
    unsigned slot = 1;

    while (slot < master->slot_count && master->slots[slot])
        slot++;
    if (slot == master->slot_count)
        return -ENOSPC;
    struct bk_member *member = *ret = calloc(1, sizeof *member);
    if (!member)
        return -ENOMEM;
    member->pool = seat->pool;
    member->seat = seat;
    member->number = seat->number;
    member->age = ++seat->pool->master->ages;
    member->generation = seat->pool->reload.generation;
    member->slot = slot;
    member->channel.fd = -1;
    member->why = BK_RESTART_NONE;
    member->born = bk_clock_mono();
    bk_list_init(&member->link);
    return 0;
}

static int
prepare(struct plan *plan)
{
    const struct bk_master_pool *pool = plan->member->pool;
    int ends[2], rc;

    rc = bk_channel_pair(ends);
    if (rc < 0)
        return rc;
    // Before the fork the slot is still ours to write; afterwards it is the worker's alone.
    struct bk_slot *slot = &pool->master->scoreboard->slots[plan->member->slot];
    atomic_store(&slot->worker, plan->member->number);
    atomic_store(&slot->state, (uint32_t)BK_SLOT_BOOTING);
    plan->member->channel.fd = ends[0];
    plan->channel = ends[1];
    rc = write_heritage(plan, &plan->heritage);
    if (rc < 0)
        return rc;
    // breakpoint() needs the terminal, and two readers of one terminal help nobody.
    plan->keep_stdin = pool->wanted == 1 && isatty(STDIN_FILENO);
    return build_argv(plan);
}

static int
write_heritage(const struct plan *plan, int *ret_fd)
{
    const struct bk_member *member = plan->member;
    const struct bk_master *master = member->pool->master;
    struct bk_heritage *heritage = bk_heritage_new();

    if (!heritage)
        return -ENOMEM;
    int rc = bk_heritage_add(heritage, BK_HERITAGE_VERSION, BK_STR(BK_VERSION));
    if (rc == 0)
        rc = bk_heritage_addf(heritage, BK_HERITAGE_MASTER, "%d", (int)getpid());
    if (rc == 0)
        rc = bk_heritage_addf(heritage, BK_HERITAGE_WORKER, "%u", member->number);
    if (rc == 0)
        rc = bk_heritage_addf(heritage, BK_HERITAGE_CHANNEL, "%d", plan->channel);
    if (rc == 0)
        rc = bk_heritage_addf(heritage, BK_HERITAGE_SCOREBOARD, "%d %u", master->scoreboard_fd,
                              member->slot);
    if (rc == 0)
        rc = bk_heritage_addf(heritage, BK_HERITAGE_LOGRING, "%d %u %d",
                              bk_logrings_fd(master->rings), member->slot,
                              bk_logrings_wake_fd(master->rings));
    if (rc == 0)
        rc = add_settings(heritage, member->pool);
    if (rc == 0)
        rc = add_listeners(heritage, member->pool);
    if (rc == 0)
        rc = bk_certificates_leave(member->pool, heritage);
    if (rc == 0)
        rc = add_arguments(heritage, master->start);
    if (rc == 0)
        rc = bk_heritage_seal(heritage, ret_fd);
    bk_heritage_free(heritage);
    return rc;
}

// Each setting as "key NUL value NUL origin"; the application is one of them.
static int
add_settings(struct bk_heritage *heritage, const struct bk_master_pool *pool)
{
    struct bk_str key, value;
    const char *origin, *app = pool->config->app ? pool->config->app : "";
    char made[32];
    const char *said = pool->config->app_origin ? pool->config->app_origin : "command line";
    int rc = bk_heritage_addf(heritage, BK_HERITAGE_SETTING, "app%c%s%c%s", 0, app, 0, said);

    for (unsigned n = 0; rc == 0 && bk_config_get(pool->config, n, &key, &value, &origin); n++) {
        const char *text = resolve(pool, key, value, made, sizeof made);
        rc = bk_heritage_addf(heritage, BK_HERITAGE_SETTING, "%.*s%c%s%c%s", (int)key.len, key.at,
                              0, text, 0, origin);
    }
    return rc;
}

// What only the master can know is decided here and not once in each worker.
static const char *
resolve(const struct bk_master_pool *pool, struct bk_str key, struct bk_str value, char *room,
        size_t size)
{
    const struct bk_config *config = pool->config;
    bool json = config->log_format && strcmp(config->log_format, "json") == 0;

    if (bk_str_equal(key, BK_STR("workers"))) {
        snprintf(room, size, "%u", pool->wanted);
        return room;
    }
    if (bk_str_equal(key, BK_STR("access_logfile")))
        return bk_journal_access_default(config);
    if (bk_str_equal(key, BK_STR("access_logformat")) && value.len == 0) {
        bool unasked = !config->access_logfile || !config->access_logfile[0];
        return json ? "json" : unasked && bk_journal_access_default(config)[0] ? "short" : "";
    }
    return value.len > 0 ? value.at : "";
}

static int
add_listeners(struct bk_heritage *heritage, const struct bk_master_pool *pool)
{
    char address[512];
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < pool->listener_count; i++) {
        const struct bk_listener *listener = &pool->listeners[i];
        bk_addr_text(address, sizeof address, listener->scheme, &listener->addr);
        rc = bk_heritage_addf(heritage, BK_HERITAGE_LISTENER, "%d %s %s", listener->fd,
                              listener->scheme == BK_SCHEME_HTTPS ? "https" : "http", address);
    }
    return rc;
}

static int
add_arguments(struct bk_heritage *heritage, const struct bk_master_start *start)
{
    int rc = bk_heritage_addf(heritage, BK_HERITAGE_ARGUMENT, "%s",
                              start->program ? start->program : "barkeep");

    for (unsigned i = 0; rc == 0 && i < start->argument_count; i++)
        rc = bk_heritage_add(heritage, BK_HERITAGE_ARGUMENT, bk_str_of(start->arguments[i]));
    for (unsigned i = 0; rc == 0 && i < start->python_path_count; i++)
        rc = bk_heritage_add(heritage, BK_HERITAGE_PATH, bk_str_of(start->python_path[i]));
    return rc;
}

// PYTHON [flags] PACKAGE/_boot/boot.py HERITAGE. Flags of the interpreter that invoked us go to no
// other one.
static int
build_argv(struct plan *plan)
{
    const struct bk_master_pool *pool = plan->member->pool;
    const struct bk_master_start *start = pool->master->start;
    unsigned n = 0;

    plan->argv = calloc(start->python_flag_count + 4, sizeof *plan->argv);
    if (!plan->argv)
        return -ENOMEM;
    snprintf(plan->heritage_text, sizeof plan->heritage_text, "%d", plan->heritage);
    plan->argv[n++] = pool->interpreter.python;
    if (!pool->config->python && !pool->config->venv)
        for (unsigned i = 0; i < start->python_flag_count; i++)
            plan->argv[n++] = start->python_flags[i];
    plan->argv[n++] = pool->interpreter.boot;
    plan->argv[n++] = plan->heritage_text;
    return 0;
}

static void
become_worker(const struct plan *plan)
{
    const struct bk_master *master = plan->member->pool->master;
    const struct bk_surroundings *surroundings = &master->surroundings;

    bk_child_reset_signals(surroundings->hangup_ignored);
    bk_child_raise_descriptors();
    const char *refused = bk_privileges_apply(&master->privileges, plan->member->number);
    if (refused)
        give_up(plan, "cannot", refused);
    if (!plan->keep_stdin) {
        int null = open("/dev/null", O_RDONLY);
        if (null != STDIN_FILENO)
            dup2(null, STDIN_FILENO);
        if (null > STDIN_FILENO)
            close(null);
    }
    // By name, each time: after a deployment that swapped a symlink this is another directory.
    if (chdir(surroundings->worker_cwd) < 0)
        give_up(plan, "cannot enter the directory", surroundings->worker_cwd);
    keep_descriptors(plan);
    execve(plan->argv[0], (char *const *)(uintptr_t)plan->argv, surroundings->envp);
    give_up(plan, "cannot run", plan->argv[0]);
}

// The heritage itself was never close-on-exec; everything else is.
static void
keep_descriptors(const struct plan *plan)
{
    const struct bk_master_pool *pool = plan->member->pool;

    bk_child_keep(plan->channel);
    bk_child_keep(pool->master->scoreboard_fd);
    bk_child_keep(bk_logrings_fd(pool->master->rings));
    bk_child_keep(bk_logrings_wake_fd(pool->master->rings));
    bk_certificates_keep(pool);
    for (unsigned i = 0; i < pool->listener_count; i++)
        bk_child_keep(pool->listeners[i].fd);
}

static void
give_up(const struct plan *plan, const char *what, const char *name)
{
    char text[PATH_MAX + 256], why[BK_WORDS_ROOM];
    int error = errno;
    int len = snprintf(text, sizeof text, "code=%d\nkey=%s\ntext=%s %s: %s",
                       bk_message(BK_KEY_WORKER_BOOT)->exit_code, BK_MASTER_KEY(WORKER_BOOT), what,
                       name, bk_words_error(error, why));

    if (len > 0)
        (void)bk_channel_send(plan->channel, BK_MESSAGE_FAILED, bk_str_of(text));
    _exit(bk_message(BK_KEY_WORKER_BOOT)->exit_code);
}

static void
register_member(struct bk_member *member)
{
    struct bk_master_pool *pool = member->pool;
    struct bk_master *master = pool->master;

    atomic_store(&master->scoreboard->slots[member->slot].pid, (int32_t)member->pid);
    master->slots[member->slot] = member;
    if (member->seat->member)
        member->seat->successor = member;
    else
        member->seat->member = member;
    bk_list_append(&pool->members, &member->link);
    pool->member_count++;
    pool->booting++;
    bk_companion_tell(master, "spawned", "age=%u\npid=%d", member->age, (int)member->pid);
    bk_ledger_start(master->ledger, member->number);
    bk_hear_begin(member);
}

static void
release_plan(struct plan *plan)
{
    if (plan->channel >= 0)
        close(plan->channel);
    if (plan->heritage >= 0)
        close(plan->heritage);
    free(plan->argv);
}
