// See watcher.h. Called by worker.c.
#include "worker/watcher.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "serve/engine.h"

struct bk_watcher {
    pthread_t thread;
    struct bk_engine *engine;  // borrows
    int timer_fd;              // owns
    _Atomic bool stop;
};

static void *watch(void *self);
static int start_thread(struct bk_watcher *watcher);

int
bk_watcher_start(struct bk_engine *engine, struct bk_watcher **ret)
{
    struct bk_watcher *watcher = calloc(1, sizeof *watcher);
    if (!watcher)
        return -ENOMEM;
    watcher->engine = engine;
    watcher->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    int error = watcher->timer_fd < 0 ? -errno : start_thread(watcher);
    if (error < 0) {
        if (watcher->timer_fd >= 0)
            close(watcher->timer_fd);
        free(watcher);
        return error;
    }
    engine->baton->timer_fd = watcher->timer_fd;
    *ret = watcher;
    return 0;
}

// No signal is ever handled here, whatever the application installs.
static int
start_thread(struct bk_watcher *watcher)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    int error = pthread_create(&watcher->thread, &attributes, watch, watcher);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

static void *
watch(void *self)
{
    struct bk_watcher *watcher = self;
    struct bk_look look = {0};
    uint64_t expirations;
    for (;;) {
        ssize_t n = read(watcher->timer_fd, &expirations, sizeof expirations);
        if (atomic_load(&watcher->stop))
            return NULL;
        if (n == sizeof expirations)
            bk__baton_look(watcher->engine, &look);
    }
}

void
bk_watcher_stop(struct bk_watcher *watcher)
{
    if (!watcher)
        return;
    struct itimerspec now = {.it_value.tv_nsec = 1};
    atomic_store(&watcher->stop, true);
    bk__baton_stop(watcher->engine);
    bk_engine_order(watcher->engine, BK_ORDER_QUIT);  // should it turn the loop just now
    timerfd_settime(watcher->timer_fd, 0, &now, NULL);
    pthread_join(watcher->thread, NULL);
    watcher->engine->baton->timer_fd = -1;
    close(watcher->timer_fd);
    free(watcher);
}

void
bk_watcher_abandon(struct bk_watcher *watcher)
{
    close(watcher->timer_fd);
}
