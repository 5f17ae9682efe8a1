// Orders from the master. Called by worker.c.
#include "worker/orders.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "process/channel.h"
#include "serve/engine.h"
#include "worker/certificates.h"

struct bk_orders {
    pthread_t thread;
    struct bk_engine *engine;        // borrows
    const struct bk_config *config;  // borrows
    const struct bk_keyring *keyring;  // borrows; may be NULL
    int channel_fd;                  // borrows
    int stop_fd;                     // owns: eventfd that ends the thread
};

static void *listen_to_master(void *self);
static bool obey_message(struct bk_orders *orders);
static void orphaned(struct bk_orders *orders);

int
bk_orders_start(struct bk_engine *engine, const struct bk_config *config,
                const struct bk_keyring *keyring, int channel_fd, struct bk_orders **ret)
{
    struct bk_orders *orders = calloc(1, sizeof *orders);
    if (!orders)
        return -ENOMEM;
    *orders = (struct bk_orders){.engine = engine,
                                 .config = config,
                                 .keyring = keyring,
                                 .channel_fd = channel_fd,
                                 .stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    int error = orders->stop_fd < 0
                    ? errno
                    : pthread_create(&orders->thread, &attributes, listen_to_master, orders);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        if (orders->stop_fd >= 0)
            close(orders->stop_fd);
        free(orders);
        return -error;
    }
    *ret = orders;
    return 0;
}

void
bk_orders_stop(struct bk_orders *orders)
{
    if (!orders)
        return;
    uint64_t one = 1;
    if (write(orders->stop_fd, &one, sizeof one) == sizeof one)
        pthread_join(orders->thread, NULL);
    close(orders->stop_fd);
    free(orders);
}

void
bk_orders_abandon(struct bk_orders *orders)
{
    close(orders->stop_fd);
}

static void *
listen_to_master(void *self)
{
    struct bk_orders *orders = self;
    struct pollfd fds[2] = {{.fd = orders->channel_fd, .events = POLLIN},
                            {.fd = orders->stop_fd, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents)
            return NULL;
        if (fds[0].revents && !obey_message(orders)) {
            orphaned(orders);
            return NULL;
        }
    }
}

// False: the master is gone.
static bool
obey_message(struct bk_orders *orders)
{
    char buffer[4096];
    struct bk_str text;
    int passed;
    int type = bk_channel_receive_fd(orders->channel_fd, buffer, sizeof buffer, &text, &passed);
    if (type == BK_MESSAGE_BUNDLE && passed >= 0)
        bk_certificates_renew(orders->engine, orders->keyring, passed);
    else if (passed >= 0)
        close(passed);
    if (type == -EAGAIN || type == -EINTR)
        return true;
    if (type <= 0)
        return false;
    enum bk_log_level level;
    if (type == BK_MESSAGE_DRAIN)
        bk_engine_order(orders->engine,
                        bk_channel_field(text, "yield").len ? BK_ORDER_YIELD : BK_ORDER_DRAIN);
    else if (type == BK_MESSAGE_QUIT)
        bk_engine_order(orders->engine, BK_ORDER_QUIT);
    else if (type == BK_MESSAGE_LOG_LEVEL &&
             bk_log_level_parse(bk_channel_field(text, "level"), &level) == 0)
        bk_log_set_level(level);
    return true;
}

// Without a master nobody would ever stop this process: the port is given up at once, what runs may
// finish, then the end.
static void
orphaned(struct bk_orders *orders)
{
    uint64_t left = orders->config->graceful_timeout;
    bk_engine_close_listeners(orders->engine);
    bk_engine_order(orders->engine, BK_ORDER_DRAIN);
    struct pollfd stop = {.fd = orders->stop_fd, .events = POLLIN};
    int ms = left / BK_MSEC > INT32_MAX ? INT32_MAX : (int)(left / BK_MSEC);
    if (poll(&stop, 1, ms) == 0)
        _exit(1);
}
