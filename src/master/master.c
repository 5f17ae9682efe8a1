// The master's life: set up, start the first worker, turn the loop until the last worker is gone,
// clean up.
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/adapt.h"
#include "master/announce.h"
#include "master/autoreload.h"
#include "master/bind.h"
#include "master/certificates.h"
#include "master/child.h"
#include "master/desk.h"
#include "master/memory.h"
#include "master/scale.h"
#include "master/signals.h"
#include "master/state.h"
#include "master/stop.h"
#include "master/title.h"
#include "master/watchdog.h"
#include "master/words.h"

#include "base/banned.h"

#define SEATS_LEAST 32  // room for TTIN

static bool set_up(struct bk_master *master);
static void open_standard_descriptors(void);
static bool take_privileges(struct bk_master *master);
static void set_title(const struct bk_master_start *start);
static bool open_shared_memory(struct bk_master *master, unsigned seats);
static bool open_journal(struct bk_master *master);
static bool make_pool(struct bk_master *master, unsigned wanted);
static bool find_interpreter(struct bk_master_pool *pool);
static bool may_run(struct bk_master_pool *pool);
static bool hold_pidfile(struct bk_master *master);
static void turn(struct bk_master *master);
static void release(struct bk_master *master);
static void release_pool(struct bk_master_pool *pool);
static bool out_of(struct bk_master *master, const char *what, int error);

int
bk_master_run(struct bk_master_start *start)
{
    struct bk_master *master = calloc(1, sizeof *master);

    if (!master) {
        bk_log(BK_LOG_ERROR, BK_MASTER_KEY(INTERNAL), "out of memory");
        return 1;
    }
    *master = (struct bk_master){.start = start, .started = bk_clock_mono(), .scoreboard_fd = -1};
    master->companion.channel.fd = -1;
    master->signals.fd = master->pidfile.fd = master->systemd.fd = -1;
    bk_hatch_init(&master->control.hatch, &master->loop, NULL);
    master->loop.epoll_fd = master->loop.timer_fd = master->loop.wake_fd = -1;
    if (set_up(master)) {
        bk_scale_fill(&master->pools[0]);
        turn(master);
    }
    for (unsigned i = 0; i < master->pool_count; i++)
        bk_bind_close(&master->pools[i]);
    bk_pidfile_close(&master->pidfile);
    bk_companion_close(master);
    if (master->announced)
        bk_announce_stopped(master);
    bk_control_end(master);
    bk_desk_close(master->desk);
    int code = master->exit_code;
    release(master);
    return code;
}

void
bk_master_fail(struct bk_master *master, enum bk_key key, const char *detail, const char *format,
               ...)
{
    const struct bk_message_info *info = bk_message(key);
    char text[1024];
    va_list args;

    if (master->exit_code)
        return;
    master->exit_code = info->exit_code ? info->exit_code : 1;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bk_log_detail(BK_LOG_CRITICAL, info->key, bk_str_of(detail), "%s", text);
    bk_stop(master, BK_MASTER_QUITTING);
}

// Everything that can go wrong because of settings comes before the sockets, the sockets before the
// first worker.
static bool
set_up(struct bk_master *master)
{
    struct bk_master_start *start = master->start;
    int rc;

    mallopt(M_ARENA_MAX, 1);  // two threads that hardly allocate need no 64 MiB each
    open_standard_descriptors();
    bk_child_close_on_exec();  // whatever our parent left open is not meant for workers
    rc = bk_signals_open(master);
    if (rc < 0)
        return out_of(master, "cannot read signals", rc);
    if (!take_privileges(master))
        return false;
    rc = bk_surroundings_init(&master->surroundings, start->config, &master->privileges);
    if (rc < 0)
        return out_of(master, "cannot read the current directory", rc);
    bk_cpus_read("", &master->cpus);
    set_title(start);
    // Orphans of workers come to us, as they would to PID 1; both are reaped alike.
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    rc = bk_loop_init(&master->loop);
    if (rc == 0)
        rc = bk_signals_watch(master);
    if (rc < 0)
        return out_of(master, "cannot make the event loop", rc);
    bk_memory_begin(master);
    unsigned wanted = start->config->workers < 0 ? bk_cpus_workers(&master->cpus)
                                                 : (unsigned)start->config->workers;
    unsigned seats = wanted > SEATS_LEAST ? wanted : SEATS_LEAST;
    if (seats < (unsigned)start->config->workers_max)
        seats = (unsigned)start->config->workers_max;
    if (!open_shared_memory(master, seats) || !open_journal(master) || !make_pool(master, wanted))
        return false;
    if (!start->bind_only && !find_interpreter(&master->pools[0]))
        return false;
    if (!start->bind_only && !bk_certificates_open(&master->pools[0]))
        return false;
    if (start->check_only)
        return true;
    if (!start->bind_only && !hold_pidfile(master))
        return false;
    if (!start->bind_only)
        bk_systemd_open(master);
    if (!start->bind_only && !bk_companion_open(master))
        return false;
    if (!bk_bind_open(&master->pools[0]) || start->bind_only)
        return false;
    if (!bk_desk_open(master))
        return false;
    bk_companion_tell(master, "when_ready", "%s", "");
    bk_watchdog_start(&master->pools[0]);
    return bk_autoreload_open(&master->pools[0]) || out_of(master, "cannot watch files", -ENOMEM);
}

// A daemon started with 0, 1 or 2 closed would give that number to a socket, and print into it.
static void
open_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < 3);
    if (fd >= 3)
        close(fd);
}

static bool
take_privileges(struct bk_master *master)
{
    struct bk_privileges_error error;
    int rc = bk_privileges_init(&master->privileges, master->start->config, &error);

    if (rc == -EINVAL)
        bk_master_fail(master, error.key, error.detail, "%s", error.text);
    return rc == 0 || (rc == -ENOMEM && out_of(master, "cannot look up the user", rc));
}

static void
set_title(const struct bk_master_start *start)
{
    const char *name = start->config->name ? start->config->name : start->config->app;
    char title[512];

    snprintf(title, sizeof title, "barkeep: master [%s]", name ? name : "?");
    bk_title_set(start->argc, start->argv, start->envp, title);
}

static bool
open_shared_memory(struct bk_master *master, unsigned seats)
{
    int rc;

    master->slot_count = 2 * seats + 1;
    master->slots = calloc(master->slot_count, sizeof *master->slots);
    if (!master->slots)
        return out_of(master, "cannot make the scoreboard", -ENOMEM);
    master->ledger = bk_ledger_new(seats);
    if (!master->ledger)
        return out_of(master, "cannot make the scoreboard", -ENOMEM);
    rc = bk_segment_new(master->slot_count, &master->scoreboard, &master->scoreboard_fd);
    if (rc < 0)
        return out_of(master, "cannot make the scoreboard", rc);
    rc = bk_logrings_new(master->slot_count, &master->rings);
    return rc == 0 || out_of(master, "cannot make the log rings", rc);
}

static bool
open_journal(struct bk_master *master)
{
    const char *name;
    char why[BK_WORDS_ROOM];
    int rc = bk_journal_start(master->start->config, master->rings, master->slot_count,
                              &master->journal, &name);

    if (rc < 0)
        bk_master_fail(master, BK_KEY_LOG_FILE, "", "cannot open the log '%s': %s", name,
                       bk_words_error(rc, why));
    return rc == 0;
}

static bool
make_pool(struct bk_master *master, unsigned wanted)
{
    struct bk_master_pool *pool = master->pools = calloc(1, sizeof *pool);

    if (!pool)
        return out_of(master, "cannot make the pool", -ENOMEM);
    master->pool_count = 1;
    pool->master = master;
    pool->config = master->start->config;
    pool->wanted = bk_adapt_begin(pool, wanted);
    pool->starting = master->started;
    bk_list_init(&pool->members);
    pool->seat_count = (master->slot_count - 1) / 2;
    pool->seats = calloc(pool->seat_count, sizeof *pool->seats);
    if (!pool->seats) {
        pool->seat_count = 0;
        return out_of(master, "cannot make the pool", -ENOMEM);
    }
    for (unsigned i = 0; i < pool->seat_count; i++)
        pool->seats[i] = (struct bk_seat){.number = i + 1, .pool = pool};
    return true;
}

static bool
find_interpreter(struct bk_master_pool *pool)
{
    struct bk_interpreter_error error;
    struct bk_master *master = pool->master;

    if (bk_interpreter_find(&pool->interpreter, master->start, &master->surroundings, &error) == 0)
        return may_run(pool);
    bk_master_fail(master, error.key, error.detail, "%s", error.text);
    return false;
}

// The workers' user may run all that a worker needs.
static bool
may_run(struct bk_master_pool *pool)
{
    struct bk_privileges_error error;
    struct bk_master *master = pool->master;

    if (bk_privileges_check(&master->privileges, pool->interpreter.python, pool->interpreter.boot,
                            master->surroundings.worker_cwd, &error) == 0)
        return true;
    bk_master_fail(master, error.key, error.detail, "%s", error.text);
    return false;
}

static bool
hold_pidfile(struct bk_master *master)
{
    const char *path = master->start->config->pid;
    char why[BK_WORDS_ROOM];
    pid_t holder;
    int rc = bk_pidfile_open(&master->pidfile, path, &holder);

    if (rc == -EWOULDBLOCK)
        bk_master_fail(master, BK_KEY_PID_TAKEN, "", "%s is held by a process that runs: pid %d",
                       path, (int)holder);
    else if (rc < 0)
        bk_master_fail(master, BK_KEY_PID_FILE, "", "cannot write the pid file %s: %s", path,
                       bk_words_error(rc, why));
    return rc == 0;
}

static void
turn(struct bk_master *master)
{
    char why[BK_WORDS_ROOM];

    while (!master->over) {
        int rc = bk_loop_turn(&master->loop, -1);
        if (rc >= 0 || rc == -EINTR)
            continue;
        bk_master_fail(master, BK_KEY_INTERNAL, "", "the event loop failed: %s",
                       bk_words_error(rc, why));
        return;  // members end by themselves when their channels close
    }
}

static void
release(struct bk_master *master)
{
    for (unsigned i = 0; i < master->pool_count; i++)
        release_pool(&master->pools[i]);
    free(master->pools);
    bk_journal_stop(master->journal);
    bk_signals_close(master);
    bk_systemd_close(master);
    if (master->loop.epoll_fd >= 0)
        bk_loop_release(&master->loop);
    bk_hatch_release(&master->control.hatch);
    bk_ledger_free(master->ledger);
    bk_segment_free(master->scoreboard);
    if (master->scoreboard_fd >= 0)
        close(master->scoreboard_fd);
    bk_logrings_free(master->rings);
    bk_surroundings_release(&master->surroundings);
    bk_privileges_release(&master->privileges);
    free(master->slots);
    free(master);
}

static void
release_pool(struct bk_master_pool *pool)
{
    if (pool->master->loop.epoll_fd >= 0)
        bk_watchdog_stop(pool);
    bk_autoreload_close(pool);
    bk_certificates_close(pool);
    bk_interpreter_release(&pool->interpreter);
    free(pool->seats);
}

static bool
out_of(struct bk_master *master, const char *what, int error)
{
    char why[BK_WORDS_ROOM];

    bk_master_fail(master, BK_KEY_INTERNAL, "", "%s: %s", what, bk_words_error(error, why));
    return false;
}
