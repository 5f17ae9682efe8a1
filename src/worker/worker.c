// One worker's life: take over what the master left, or bind alone; then the engine.
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "process/channel.h"
#include "process/heritage.h"
#include "process/logring.h"
#include "serve/engine.h"
#include "worker/alone_log.h"
#include "worker/certificates.h"
#include "worker/orders.h"
#include "worker/watcher.h"

#define SEND_PATIENCE (2 * BK_SEC)

struct bk_worker {
    struct bk_config *config;      // owns
    struct bk_heritage *heritage;  // owns; NULL when alone
    struct bk_segment *segment;    // owns the mapping
    struct bk_slot *slot;          // borrows the segment
    struct bk_logrings *rings;     // owns; NULL when alone
    struct bk_orders *orders;      // owns; NULL when alone
    struct bk_watcher *watcher;    // owns; NULL before bk_worker_threads
    struct bk_deadlines *deadlines;  // owns
    struct bk_engine *engine;      // owns
    struct bk_keyring *keyring;    // owns; NULL without TLS or a master
    struct bk_alone_log alone_log;
    pthread_mutex_t log_lock;
    unsigned ring, number;
    int channel_fd;  // owns; -1 when alone
    bool alone, logs_alone, abandoned;
};

static int open_heritage(struct bk_worker *worker, int fd, char *ret_why, size_t room);
static int read_settings(struct bk_worker *worker);
static int open_shared(struct bk_worker *worker);
static int take_listeners(struct bk_worker *worker);
static void log_to_ring(void *self, const struct bk_log_record *record);
static int number_at(struct bk_str *rest, unsigned *ret);
static void doors_closed(void *self);
static void set_spent(struct bk_worker *worker);
static bool spent(void *self);

int
bk_worker_inherit(int heritage_fd, struct bk_worker **ret, char *ret_why, size_t why_room)
{
    struct bk_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return -ENOMEM;
    worker->channel_fd = -1;
    pthread_mutex_init(&worker->log_lock, NULL);
    int error = open_heritage(worker, heritage_fd, ret_why, why_room);
    if (error == 0 && (error = read_settings(worker)) == 0 && (error = open_shared(worker)) == 0 &&
        (error = bk_engine_new(worker->config, worker->segment, worker->slot, &worker->engine)) ==
            0 &&
        (error = take_listeners(worker)) == 0 &&
        (error = bk_certificates_inherit(worker->engine, worker->heritage, &worker->keyring,
                                         ret_why, why_room)) == 0)
        error = bk_orders_start(worker->engine, worker->config, worker->keyring,
                                worker->channel_fd, &worker->orders);
    if (error == 0)
        error = bk_deadlines_start(worker->engine, worker->config, worker->number,
                                   worker->channel_fd, &worker->deadlines);
    if (error < 0) {
        if (!*ret_why)
            snprintf(ret_why, why_room, "the master's heritage cannot be used: %s",
                     bk_err_name(-error));
        bk_worker_free(worker);
        return error;
    }
    *ret = worker;
    return 0;
}

static int
open_heritage(struct bk_worker *worker, int fd, char *ret_why, size_t room)
{
    struct bk_str version = BK_STR("?");
    *ret_why = 0;
    int error = bk_heritage_open(fd, &worker->heritage);
    if (error == -EPROTONOSUPPORT) {
        if (worker->heritage)
            bk_heritage_get(worker->heritage, BK_HERITAGE_VERSION, 0, &version);
        snprintf(ret_why, room,
                 "the master is barkeep %.*s, the package in this environment is %s: they do not "
                 "fit together",
                 (int)version.len, version.at, BK_VERSION);
    }
    close(fd);
    return error;
}

static int
read_settings(struct bk_worker *worker)
{
    struct bk_str record, text;
    int error = bk_config_new(&worker->config);
    for (unsigned n = 0;
         error == 0 && bk_heritage_get(worker->heritage, BK_HERITAGE_SETTING, n, &record); n++) {
        const char *why, *value = memchr(record.at, 0, record.len);
        if (!value)
            return -EPROTO;
        struct bk_str key = {record.at, (size_t)(value - record.at)};
        value++;
        const char *origin = memchr(value, 0, (size_t)(record.at + record.len - value));
        if (!origin)
            return -EPROTO;
        text = (struct bk_str){value, (size_t)(origin - value)};
        if (bk_str_equal(key, BK_STR("app"))) {
            free(worker->config->app);
            if (!(worker->config->app = strndup(text.at, text.len)))
                return -ENOMEM;
            continue;
        }
        char said[128];
        snprintf(said, sizeof said, "%.*s", (int)(record.at + record.len - origin - 1), origin + 1);
        error = bk_config_set(worker->config, key, text, said, &why);
        if (error == -ENOENT)
            error = 0;  // a newer master knows more settings
    }
    if (error == 0 && bk_heritage_get(worker->heritage, BK_HERITAGE_WORKER, 0, &record))
        error = number_at(&record, &worker->number);
    enum bk_log_level level;
    if (error == 0 && bk_log_level_parse(bk_str_of(worker->config->log_level), &level) == 0)
        bk_log_set_level(level);
    return error;
}

static int
open_shared(struct bk_worker *worker)
{
    struct bk_str record;
    unsigned fd, index, wake;
    if (!bk_heritage_get(worker->heritage, BK_HERITAGE_CHANNEL, 0, &record) ||
        number_at(&record, &fd) < 0)
        return -EPROTO;
    worker->channel_fd = (int)fd;
    fcntl(worker->channel_fd, F_SETFD, FD_CLOEXEC);
    if (!bk_heritage_get(worker->heritage, BK_HERITAGE_SCOREBOARD, 0, &record) ||
        number_at(&record, &fd) < 0 || number_at(&record, &index) < 0)
        return -EPROTO;
    int error = bk_segment_open((int)fd, &worker->segment);
    close((int)fd);
    if (error < 0)
        return error;
    if (index >= worker->segment->slot_count)
        return -EPROTO;
    worker->slot = &worker->segment->slots[index];
    if (!bk_heritage_get(worker->heritage, BK_HERITAGE_LOGRING, 0, &record) ||
        number_at(&record, &fd) < 0 || number_at(&record, &worker->ring) < 0 ||
        number_at(&record, &wake) < 0)
        return -EPROTO;
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    fcntl((int)wake, F_SETFD, FD_CLOEXEC);
    if ((error = bk_logrings_open((int)fd, (int)wake, &worker->rings)) < 0)
        return error;
    bk_log_to(log_to_ring, worker);
    bk_log_set_worker(worker->number);
    return 0;
}

static int
take_listeners(struct bk_worker *worker)
{
    struct bk_str record;
    for (unsigned n = 0; bk_heritage_get(worker->heritage, BK_HERITAGE_LISTENER, n, &record); n++) {
        unsigned fd;
        struct bk_listener listener = {.scheme = BK_SCHEME_HTTP};
        if (number_at(&record, &fd) < 0)
            return -EPROTO;
        if (bk_str_starts(record, BK_STR("https ")))
            listener.scheme = BK_SCHEME_HTTPS;
        listener.fd = (int)fd;
        fcntl(listener.fd, F_SETFD, FD_CLOEXEC);
        listener.addr.len = sizeof listener.addr.storage;
        if (getsockname(listener.fd, &listener.addr.sa, &listener.addr.len) < 0)
            return -errno;
        int error = bk_engine_add_listener(worker->engine, &listener);
        if (error < 0)
            return error;
    }
    return 0;
}

// A decimal number and the space behind it.
static int
number_at(struct bk_str *rest, unsigned *ret)
{
    const char *space = memchr(rest->at, ' ', rest->len);
    struct bk_str digits = {rest->at, space ? (size_t)(space - rest->at) : rest->len};
    uint64_t value;
    int error = bk_str_parse_u64(digits, INT32_MAX, &value);
    if (error < 0)
        return -EPROTO;
    size_t step = digits.len + (space != NULL);
    *rest = (struct bk_str){rest->at + step, rest->len - step};
    *ret = (unsigned)value;
    return 0;
}

static int bind_alone(struct bk_worker *worker, char *ret_why, size_t room);

int
bk_worker_alone(const char *const *pairs, unsigned count, struct bk_worker **ret, char *ret_why,
                size_t why_room)
{
    struct bk_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return -ENOMEM;
    int fd = -1;
    *ret_why = 0;
    worker->alone = true;
    worker->channel_fd = -1;
    worker->number = 1;
    pthread_mutex_init(&worker->log_lock, NULL);
    int error = bk_config_new(&worker->config);
    for (unsigned i = 0; error == 0 && i < count; i++) {
        const char *why = "no such setting";
        error = bk_config_set(worker->config, bk_str_of(pairs[2 * i]), bk_str_of(pairs[2 * i + 1]),
                              "argument", &why);
        if (error < 0)
            snprintf(ret_why, why_room, "%s '%s': %s", pairs[2 * i], pairs[2 * i + 1], why);
        error = error == -ENOENT ? -EINVAL : error;
    }
    if (error == 0 && (error = bk_segment_new(1, &worker->segment, &fd)) == 0) {
        close(fd);
        worker->slot = &worker->segment->slots[0];
        atomic_store(&worker->slot->worker, 1);
        const char *file;
        error = bk_alone_log_open(&worker->alone_log, worker->config, &file);
        if (error < 0)
            snprintf(ret_why, why_room, "cannot log to '%s': %s", file,
                     error == -ENOTSUP ? "only files and - in this process" : bk_err_name(-error));
    }
    if (error == 0) {
        worker->logs_alone = true;
        bk_log_to(bk_alone_log_write, &worker->alone_log);
        error = bk_engine_new(worker->config, worker->segment, worker->slot, &worker->engine);
    }
    if (error == 0)
        error = bind_alone(worker, ret_why, why_room);
    if (error == 0)
        error = bk_deadlines_start(worker->engine, worker->config, worker->number, -1,
                                   &worker->deadlines);
    if (error < 0) {
        if (!*ret_why)
            snprintf(ret_why, why_room, "cannot start: %s", bk_err_name(-error));
        bk_worker_free(worker);
        return error;
    }
    *ret = worker;
    return 0;
}

static int
bind_alone(struct bk_worker *worker, char *ret_why, size_t room)
{
    static char fallback[] = "127.0.0.1:8000";
    static char *fallback_list[] = {fallback};
    struct bk_text_list binds = worker->config->bind;
    if (binds.count == 0)
        binds = (struct bk_text_list){1, fallback_list};
    int somaxconn = bk_listen_somaxconn();
    struct bk_listen_options options = {
        .backlog = worker->config->backlog < somaxconn ? (int)worker->config->backlog : somaxconn,
        .reuse_port = worker->config->reuse_port,
        .unix_mode = (unsigned)strtoul(worker->config->socket_mode, NULL, 8),
    };
    for (unsigned i = 0; i < binds.count; i++) {
        const char *why = "bad address";
        struct bk_bind bind;
        struct bk_listener listener;
        int error = bk_bind_parse(bk_str_of(binds.items[i]), &bind, &why);
        bind.scheme = error == 0 ? bk_certificates_scheme(worker->config, bind.scheme)
                                 : BK_SCHEME_DEFAULT;
        if (error == 0 && bind.scheme != BK_SCHEME_HTTPS && bind.scheme != BK_SCHEME_HTTP) {
            error = -EPROTONOSUPPORT;
            why = "only http and https are served in this version";
        }
        if (error == 0 && bind.scheme == BK_SCHEME_HTTPS && !worker->engine->tls_next &&
            (error = bk_certificates_alone(worker->engine, worker->config, ret_why, room)) < 0)
            return error;
        if (error == 0 && (error = bk_listen_open(&bind, &options, &listener)) < 0)
            why = error == -EADDRINUSE ? "the address is taken" : bk_err_name(-error);
        if (error == 0 && (error = bk_engine_add_listener(worker->engine, &listener)) < 0)
            why = "too many addresses";
        if (error < 0) {
            snprintf(ret_why, room, "bind '%s': %s", binds.items[i], why);
            return error;
        }
    }
    return 0;
}

void
bk_worker_free(struct bk_worker *worker)
{
    if (!worker || worker->abandoned)  // a forked child: the threads to join are not here, the
                                       // memory goes with the process
        return;
    bk_deadlines_stop(worker->deadlines);
    bk_watcher_stop(worker->watcher);
    bk_orders_stop(worker->orders);
    bk_engine_free(worker->engine);
    bk_keyring_free(worker->keyring);
    bk_log_to(NULL, NULL);
    if (worker->logs_alone)
        bk_alone_log_close(&worker->alone_log);
    bk_logrings_free(worker->rings);
    bk_segment_free(worker->segment);
    bk_heritage_free(worker->heritage);
    bk_config_free(worker->config);
    if (worker->channel_fd >= 0)
        close(worker->channel_fd);
    pthread_mutex_destroy(&worker->log_lock);
    free(worker);
}

static void
log_to_ring(void *self, const struct bk_log_record *record)
{
    struct bk_worker *worker = self;
    pthread_mutex_lock(&worker->log_lock);
    if (bk_logring_put(worker->rings, worker->ring, record) < 0)
        bk_count(&worker->slot->counters.log_dropped, 1);
    pthread_mutex_unlock(&worker->log_lock);
}

struct bk_str
bk_worker_setting(struct bk_worker *worker, const char *key)
{
    struct bk_str found, value;
    const char *origin;
    for (unsigned n = 0; bk_config_get(worker->config, n, &found, &value, &origin); n++)
        if (bk_str_equal(found, bk_str_of(key)))
            return value;
    if (strcmp(key, "app") == 0 && worker->config->app)
        return bk_str_of(worker->config->app);
    return (struct bk_str){"", 0};
}

bool
bk_worker_argument(struct bk_worker *worker, unsigned n, struct bk_str *ret)
{
    return worker->heritage && bk_heritage_get(worker->heritage, BK_HERITAGE_ARGUMENT, n, ret);
}

bool
bk_worker_path(struct bk_worker *worker, unsigned n, struct bk_str *ret)
{
    return worker->heritage && bk_heritage_get(worker->heritage, BK_HERITAGE_PATH, n, ret);
}

unsigned
bk_worker_number(const struct bk_worker *worker)
{
    return worker->number;
}

struct bk_str
bk_worker_address(const struct bk_worker *worker)
{
    return worker->engine->accept.count ? bk_str_of(worker->engine->accept.listeners[0].text)
                                        : (struct bk_str){"", 0};
}

void
bk_worker_counts(const struct bk_worker *worker, uint64_t *ret_requests, uint64_t *ret_errors)
{
    const struct bk_counters *counters = &worker->slot->counters;
    uint64_t answers = atomic_load(&counters->responses_5xx),
             raised = atomic_load(&counters->errors_app);
    *ret_requests = atomic_load(&counters->requests);
    *ret_errors = answers > raised ? answers : raised;
}

static void tell(struct bk_worker *worker, enum bk_message type, const char *format, ...)
    BK_PRINTF(3, 4);
static int send_patiently(struct bk_worker *worker, enum bk_message type, struct bk_str text);

static void
tell(struct bk_worker *worker, enum bk_message type, const char *format, ...)
{
    static const size_t room = BK_CHANNEL_MAX;
    char *text = malloc(room);
    if (!text)
        return;
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, room, format, arguments);
    va_end(arguments);
    if (len >= (int)room)
        len = (int)room - 1;
    send_patiently(worker, type, (struct bk_str){text, (size_t)len});
    free(text);
}

// The channel holds some 200 KB: long lists of files may fill it faster than the master reads.
static int
send_patiently(struct bk_worker *worker, enum bk_message type, struct bk_str text)
{
    uint64_t until = bk_clock_mono() + SEND_PATIENCE;
    int error;
    if (worker->channel_fd < 0)
        return 0;
    while ((error = bk_channel_send(worker->channel_fd, type, text)) == -EAGAIN &&
           bk_clock_mono() < until)
        poll(&(struct pollfd){.fd = worker->channel_fd, .events = POLLOUT}, 1, 20);
    return error;
}

void
bk_worker_failed(struct bk_worker *worker, int code, const char *key, struct bk_str brief,
                 bool whole, struct bk_str text)
{
    if (worker->alone)
        bk_log(BK_LOG_ERROR, NULL, "%.*s", (int)text.len, text.at);
    tell(worker, BK_MESSAGE_FAILED, "code=%d\nkey=%s\nbrief=%.*s\nwhole=%s\ntext=%.*s", code, key,
         (int)brief.len, brief.at, whole ? "yes" : "no", (int)text.len, text.at);
}

int
bk_worker_files(struct bk_worker *worker, struct bk_str names)
{
    return send_patiently(worker, BK_MESSAGE_FILES, names);
}

void
bk_worker_insight(struct bk_worker *worker, const struct bk_insight *insight, void *self)
{
    bk_deadlines_insight(worker->deadlines, insight, self);
}

void
bk_worker_debugging(struct bk_worker *worker, bool on)
{
    bk_deadlines_pause(worker->deadlines, on);
    tell(worker, BK_MESSAGE_DEBUGGING, "on=%s", on ? "yes" : "no");
}

int
bk_worker_ready(struct bk_worker *worker, struct bk_str facts)
{
    atomic_store(&worker->slot->pid, getpid());
    worker->engine->doors_closed = doors_closed;
    worker->engine->doors_self = worker;
    set_spent(worker);
    int error = bk_engine_open(worker->engine);
    if (error == 0)
        bk_deadlines_serve(worker->deadlines,
                           bk_str_equal(bk_channel_field(facts, "kind"), BK_STR("ASGI")));
    if (error == 0)
        tell(worker, BK_MESSAGE_READY, "%.*s", (int)facts.len, facts.at);
    return error;
}

int
bk_worker_threads(struct bk_worker *worker, unsigned count)
{
    if (worker->watcher)
        return 0;
    int error = bk_engine_threads(worker->engine, count);
    return error < 0 ? error : bk_watcher_start(worker->engine, &worker->watcher);
}

void
bk_worker_hold(struct bk_worker *worker, uint64_t *ret_token)
{
    *ret_token = 0;
    if (worker->engine->baton && !worker->abandoned)
        bk__baton_hold(worker->engine, ret_token);
}

void
bk_worker_release(struct bk_worker *worker, uint64_t token)
{
    if (worker->engine->baton && !worker->abandoned)
        bk__baton_release(worker->engine, token);
}

// The master keeps its copies of the listeners open until every worker has said this.
static void
doors_closed(void *self)
{
    tell(self, BK_MESSAGE_CLOSED, "%s", "");
}

// --max-requests and its jitter: "20", or "10%" of it.
static void
set_spent(struct bk_worker *worker)
{
    const struct bk_config *config = worker->config;
    uint64_t most = (uint64_t)config->max_requests, random = 0;
    if (!most || worker->alone)
        return;
    const char *text = config->max_requests_jitter ? config->max_requests_jitter : "";
    uint64_t jitter = strtoull(text, NULL, 10);
    if (strchr(text, '%'))
        jitter = most * jitter / 100;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = bk_clock_mono() ^ (uint64_t)getpid();
    worker->engine->spent = spent;
    worker->engine->spent_at = most + random % (jitter + 1);
}

// In a turn. False: the master does not listen just now, ask again.
static bool
spent(void *self)
{
    struct bk_worker *worker = self;
    return bk_channel_send(worker->channel_fd, BK_MESSAGE_RECYCLE, BK_STR("why=requests")) !=
           -EAGAIN;
}

struct bk_engine *
bk_worker_engine(struct bk_worker *worker)
{
    return worker->engine;
}

void
bk_worker_stop(struct bk_worker *worker, bool quick)
{
    bk_engine_order(worker->engine, quick ? BK_ORDER_QUIT : BK_ORDER_DRAIN);
}

void
bk_worker_abandon(struct bk_worker *worker)
{
    if (worker->abandoned)
        return;
    worker->abandoned = true;
    bk_log_to(NULL, NULL);  // the ring has one writing process, and that is the parent
    bk_engine_abandon(worker->engine);
    if (worker->watcher)
        bk_watcher_abandon(worker->watcher);
    if (worker->orders)
        bk_orders_abandon(worker->orders);
    if (worker->channel_fd >= 0)
        close(worker->channel_fd);
    if (worker->rings) {
        close(bk_logrings_fd(worker->rings));
        close(bk_logrings_wake_fd(worker->rings));
    }
}
