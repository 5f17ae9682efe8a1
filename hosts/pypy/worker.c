// A worker's life as Python drives it, and what it asks and tells. One worker to a process.
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "door.h"

// The one live worker of this process, for fork handlers, which get no argument.
static _Atomic(struct bk_worker *) alive;
static atomic_bool is_child;
static _Thread_local uint64_t
    hold;  // around fork() no thread may be in the middle of the engine's lists

static int adopt(struct bk_worker *worker, struct bk_worker **ret);

const char *
bkpp_version(void)
{
    return BK_VERSION;
}

size_t
bkpp_door_size(void)
{
    return sizeof(struct bkpp_door);
}

int
bkpp_inherit(int heritage_fd, struct bk_worker **ret, char *why, size_t why_room)
{
    struct bk_worker *worker;
    if (atomic_load(&alive))
        return -EALREADY;
    int result = bk_worker_inherit(heritage_fd, &worker, why, why_room);
    return result < 0 ? result : adopt(worker, ret);
}

int
bkpp_alone(const char **pairs, unsigned count, struct bk_worker **ret, char *why, size_t why_room)
{
    struct bk_worker *worker;
    if (atomic_load(&alive))
        return -EALREADY;
    int result = bk_worker_alone(pairs, count, &worker, why, why_room);
    return result < 0 ? result : adopt(worker, ret);
}

// ---- fork ---------------------------------------------------------------------------------------

// Async-signal-safe. The child keeps no descriptor of ours.
void
bkpp_forked(void)
{
    struct bk_worker *worker = atomic_load(&alive);
    if (!worker || atomic_exchange(&is_child, true))
        return;
    bk_worker_abandon(worker);
}

static void
before_fork(void)
{
    struct bk_worker *worker = atomic_load(&alive);
    if (worker && !atomic_load(&is_child))
        bk_worker_hold(worker, &hold);
}

static void
after_fork(void)
{
    struct bk_worker *worker = atomic_load(&alive);
    if (worker && !atomic_load(&is_child))
        bk_worker_release(worker, hold);
}

static void
watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, bkpp_forked);
}

bool
bkpp_is_child(void)
{
    return atomic_load_explicit(&is_child, memory_order_relaxed);
}

int
bkpp_gone(void)
{
    return bkpp_is_child();
}

// ---- life ---------------------------------------------------------------------------------------

static void
release(void *host, void *token)
{
    // Nothing is ever lent: the collector moves objects.
}

static int
attach(struct bk_worker *worker, uint32_t flags)
{
    static struct bk_host_ops ops = {
        .abi = BK_HOST_ABI, .size = sizeof(ops), .name = "pypy", .release = release};
    ops.flags = flags;
    return bk_engine_attach(bk_worker_engine(worker), &ops, worker);
}

int
bkpp_host_loop(struct bk_worker *worker, int streams)
{
    return attach(worker, BK_HOST_LOOP | (streams ? BK_HOST_STREAMS | BK_HOST_WEBSOCKET : 0u));
}

static int
adopt(struct bk_worker *worker, struct bk_worker **ret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int result = attach(worker, 0);
    if (result < 0) {
        bk_worker_free(worker);
        return result;
    }
    pthread_once(&once, watch_forks);
    atomic_store(&alive, worker);
    *ret = worker;
    return 0;
}

void
bkpp_free(struct bk_worker *worker)
{
    atomic_store(&alive, NULL);
    if (!bkpp_is_child())
        bk_worker_free(worker);  // in a forked child the memory is left as it is
}

void
bkpp_abandon(struct bk_worker *worker)
{
    bkpp_forked();
}

int
bkpp_ready(struct bk_worker *worker, const char *facts, size_t len)
{
    return bk_worker_ready(worker, (struct bk_str){facts, len});
}

int
bkpp_threads(struct bk_worker *worker, unsigned count)
{
    return bk_worker_threads(worker, count);
}

void
bkpp_stop(struct bk_worker *worker, int quick)
{
    if (!bkpp_is_child())
        bk_worker_stop(worker, quick);
}

// ---- asking -------------------------------------------------------------------------------------

static const char *
give(struct bk_str text, size_t *ret_len)
{
    *ret_len = text.len;
    return text.at ? text.at : "";
}

const char *
bkpp_setting(struct bk_worker *worker, const char *key, size_t *ret_len)
{
    return give(bk_worker_setting(worker, key), ret_len);
}

const char *
bkpp_argument(struct bk_worker *worker, unsigned n, size_t *ret_len)
{
    struct bk_str text;
    return bk_worker_argument(worker, n, &text) ? give(text, ret_len) : NULL;
}

const char *
bkpp_path(struct bk_worker *worker, unsigned n, size_t *ret_len)
{
    struct bk_str text;
    return bk_worker_path(worker, n, &text) ? give(text, ret_len) : NULL;
}

unsigned
bkpp_number(struct bk_worker *worker)
{
    return bk_worker_number(worker);
}

const char *
bkpp_address(struct bk_worker *worker, size_t *ret_len)
{
    return give(bk_worker_address(worker), ret_len);
}

void
bkpp_counts(struct bk_worker *worker, uint64_t *ret)
{
    bk_worker_counts(worker, &ret[0], &ret[1]);
}

unsigned
bkpp_listener_count(struct bk_worker *worker)
{
    return bk_engine_listener_count(bk_worker_engine(worker));
}

int
bkpp_listener(struct bk_worker *worker, unsigned n, const char **ret_texts, size_t *ret_lens)
{
    const struct bk_listener_info *info = bk_engine_listener(bk_worker_engine(worker), n);
    ret_texts[0] = give(info->server_name, &ret_lens[0]);
    ret_texts[1] = give(info->server_port, &ret_lens[1]);
    ret_texts[2] = give(info->address, &ret_lens[2]);
    return info->https;
}

unsigned
bkpp_log_atom_count(struct bk_worker *worker)
{
    return bk_engine_log_environ_count(bk_worker_engine(worker));
}

const char *
bkpp_log_atom(struct bk_worker *worker, unsigned n, size_t *ret_len)
{
    return give(bk_engine_log_environ_name(bk_worker_engine(worker), n), ret_len);
}

// ---- telling ------------------------------------------------------------------------------------

void
bkpp_failed(struct bk_worker *worker, int code, const char *key, const char *brief, int whole,
            const char *text, size_t len)
{
    bk_worker_failed(worker, code, key, bk_str_of(brief), whole, (struct bk_str){text, len});
}

int
bkpp_files(struct bk_worker *worker, const char *names, size_t len)
{
    return bk_worker_files(worker, (struct bk_str){names, len});
}

void
bkpp_debugging(struct bk_worker *worker, int on)
{
    bk_worker_debugging(worker, on);
}
