// The null host: an application in C behind the same door as Python's, for tests, fuzzing and the
// engine's speed floor.
//   bk-null [KEY=VALUE]...     prints "listening on ADDRESS" and serves until SIGTERM or SIGINT
// GIL=on: a mutex stands for the interpreter's lock, held where an application would hold it.
// Paths: / hello; /id?N the number; /hog?MS sleeps with the lock; /echo the request body; /stream?N
// chunks of 1 KiB; /big?N bytes at once; /lent the same, lent; /slow?MS; /fail an application
// error; /head what the head said. LOOP=on: like a host with a loop of its own, which never waits;
// needed for more than one of the WebSocket sessions of websocket.h in a thread.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/panic.h"
#include "host/host.h"
#include "websocket.h"
#include "worker/worker.h"

#define THREADS_MAX 256

static struct bk_worker *the_worker;
static bool has_lock, is_loop, has_threads;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool holding;

static void
on_signal(int number)
{
    bk_worker_stop(the_worker, number == SIGINT);
}

static void
release(void *host, void *token)
{
    (void)host;
    free(token);
}

static void
take_lock(void)
{
    if (has_lock)
        pthread_mutex_lock(&lock);
    holding = has_lock;
}

static void
drop_lock(void)
{
    holding = false;
    if (has_lock)
        pthread_mutex_unlock(&lock);
}

static void *
pause_thread(void *host, unsigned thread)
{
    if (!holding)
        return NULL;
    drop_lock();
    return &lock;
}

static void
resume_thread(void *host, unsigned thread, void *paused)
{
    take_lock();
}

static struct bk_host_ops ops = {
    .abi = BK_HOST_ABI, .size = sizeof ops, .name = "null", .flags = BK_HOST_WEBSOCKET,
    .pause = pause_thread, .resume = resume_thread,
    .release = release};

static int
wait_for(struct bk_exchange *x, enum bk_wait what)
{
    int result;
    drop_lock();
    while ((result = bk_exchange_wait(x, what)) == -EINTR)
        ;
    take_lock();
    return result;
}

static void
field(struct bk_exchange *x, const char *name, const char *value)
{
    const char *why;
    if (bk_answer_field(x, bk_str_of(name), bk_str_of(value), &why) < 0)
        bk_panic(__FILE__, __LINE__, "the null application's fields are valid");
}

static void
begin(struct bk_exchange *x, int status, const char *reason)
{
    const char *why;
    if (bk_answer_begin(x, status, bk_str_of(reason), &why) == -EINVAL)
        bk_panic(__FILE__, __LINE__, "the null application's status is valid");
    field(x, "Content-Type", "text/plain; charset=utf-8");
}

static void
hello(struct bk_exchange *x)
{
    begin(x, 200, "OK");
    field(x, "Content-Length", "13");
    bk_answer_push(x, "Hello, World!", 13, NULL);
}

static void
echo(struct bk_exchange *x)
{
    char buffer[16384];
    begin(x, 200, "OK");
    for (;;) {
        ssize_t n = bk_body_read(x, buffer, sizeof buffer);
        if (n == -EAGAIN) {
            wait_for(x, BK_WAIT_BODY);
            continue;
        }
        if (n <= 0)
            return;
        bk_answer_push(x, buffer, (size_t)n, NULL);
        if (bk_exchange_call(x)->body_buffered)
            continue;
        if (bk_answer_flush(x) > 0)
            wait_for(x, BK_WAIT_DRAIN);
    }
}

static void
stream(struct bk_exchange *x, unsigned long count)
{
    char piece[1024];
    memset(piece, 's', sizeof piece);
    begin(x, 200, "OK");
    for (unsigned long i = 0; i < count; i++) {
        if (bk_answer_push(x, piece, sizeof piece, NULL) < 0)
            return;
        int full = bk_answer_flush(x);
        if (full > 0)
            full = wait_for(x, BK_WAIT_DRAIN);
        if (full < 0)
            return;
    }
}

static void
big(struct bk_exchange *x, unsigned long size, bool lent)
{
    char *bytes = malloc(size + 1);
    if (!bytes)
        return bk_exchange_fail(x, "app-raised", BK_STR("MemoryError"), (struct bk_str){NULL, 0});
    memset(bytes, 'b', size);
    begin(x, 200, "OK");
    bk_answer_push(x, bytes, size, lent ? bytes : NULL);
    if (!lent)
        free(bytes);
}

static void
describe(struct bk_exchange *x)
{
    const struct bk_call *call = bk_exchange_call(x);
    char text[512], peer[46];
    unsigned port;
    size_t len = bk_exchange_peer(x, peer, &port);
    struct bk_str target = bk_head_str(call->head, call->head->target, call->head->target_len);
    int n =
        snprintf(text, sizeof text, "target=%.*s fields=%u nth=%u peer=%.*s https=%d body=%llu\n",
                 (int)target.len, target.at, call->head->field_count, call->nth, (int)len, peer,
                 call->https, (unsigned long long)call->body_length);
    begin(x, 200, "OK");
    bk_answer_push(x, text, (size_t)n, NULL);
}

// Answers and commits; a session is committed when it ends.
static void
application(struct bk_exchange *x)
{
    struct bk_exchange_ref ref = bk_exchange_call(x)->ref;
    const struct bk_head *head = bk_exchange_call(x)->head;
    struct bk_str path = bk_head_str(head, head->path, head->path_len);
    char digits[24] = "";
    if (head->query_len && head->query_len < sizeof digits)
        memcpy(digits, head->base + head->query, head->query_len);
    unsigned long number = strtoul(digits, NULL, 10);
    if (bk_exchange_call(x)->websocket) {
        null_websocket(x, path, number, is_loop);
        return;
    }
    if (bk_str_equal(path, BK_STR("/echo")))
        echo(x);
    else if (bk_str_equal(path, BK_STR("/stream")))
        stream(x, number);
    else if (bk_str_equal(path, BK_STR("/big")) || bk_str_equal(path, BK_STR("/lent")))
        big(x, number, path.at[1] == 'l');
    else if (bk_str_equal(path, BK_STR("/slow")) || bk_str_equal(path, BK_STR("/hog"))) {
        if (path.at[1] == 's')
            drop_lock();
        nanosleep(&(struct timespec){(time_t)(number / 1000), (long)(number % 1000) * 1000000},
                  NULL);
        if (path.at[1] == 's')
            take_lock();
        hello(x);
    } else if (bk_str_equal(path, BK_STR("/id"))) {
        begin(x, 200, "OK");
        bk_answer_push(x, digits, strlen(digits), NULL);
    } else if (bk_str_equal(path, BK_STR("/fail")))
        bk_exchange_fail(x, "app-raised", BK_STR("Failure"), BK_STR("here"));
    else if (bk_str_equal(path, BK_STR("/head")))
        describe(x);
    else
        hello(x);
    BK_ASSERT(bk_exchange_at(bk_worker_engine(the_worker), ref) == x);  // nobody else had it
    bk_exchange_commit(x);
}

// Waits for nothing but the next turn: sessions resume by events.
static void
serve_as_loop(struct bk_engine *engine)
{
    int flags;
    do {
        struct bk_exchange *x;
        struct bk_event event;
        flags = bk_engine_turn(engine, -1);
        while ((x = bk_engine_next(engine)))
            application(x);
        while (bk_engine_event(engine, &event))
            null_websocket_event(engine, &event);
    } while (!(flags & BK_TURN_STOP));
}

static void
serve_alone(struct bk_engine *engine)
{
    struct bk_exchange *x;
    while (!(bk_engine_turn(engine, -1) & BK_TURN_STOP))
        while ((x = bk_engine_next(engine)))
            application(x);
}

static void *
serve(void *number)
{
    struct bk_engine *engine = bk_worker_engine(the_worker);
    unsigned me = (unsigned)(uintptr_t)number;
    struct bk_exchange *x;
    while (!(bk_engine_turn_as(engine, me, -1) & BK_TURN_STOP)) {
        take_lock();
        while ((x = bk_engine_next_as(engine, me)))
            application(x);
        drop_lock();
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    const char *pairs[64];
    unsigned count = 0;
    char why[256];
    for (int i = 1; i < argc && count < 31; i++) {
        char *sign = strchr(argv[i], '=');
        if (!sign) {
            fprintf(stderr, "usage: bk-null [key=value]...\n");
            return 2;
        }
        *sign = 0;
        if (strcmp(argv[i], "GIL") == 0) {
            has_lock = true;
            continue;
        }
        if (strcmp(argv[i], "LOOP") == 0) {
            is_loop = true;
            ops.flags |= BK_HOST_LOOP;
            continue;
        }
        has_threads |= strcmp(argv[i], "threads") == 0;
        pairs[2 * count] = argv[i];
        pairs[2 * count++ + 1] = sign + 1;
    }
    if (bk_worker_alone(pairs, count, &the_worker, why, sizeof why) < 0) {
        fprintf(stderr, "bk-null: error: %s\n", why);
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    struct bk_engine *engine = bk_worker_engine(the_worker);
    if (bk_engine_attach(engine, &ops, NULL) < 0 || bk_worker_ready(the_worker, BK_STR("")) < 0)
        return 1;
    struct bk_str address = bk_worker_address(the_worker);
    printf("listening on %.*s\n", (int)address.len, address.at);
    fflush(stdout);
    if (is_loop) {
        serve_as_loop(engine);
        bk_worker_free(the_worker);
        return 0;
    }
    if (!has_threads) {  // also what WebSocket sessions need: they belong to one caller
        serve_alone(engine);
        bk_worker_free(the_worker);
        return 0;
    }
    unsigned threads = (unsigned)atoi(bk_worker_setting(the_worker, "threads").at);
    if (bk_worker_threads(the_worker, threads) < 0)
        return 1;
    pthread_t handles[THREADS_MAX];
    for (unsigned i = 1; i < threads && i < THREADS_MAX; i++)
        if (pthread_create(&handles[i], NULL, serve, (void *)(uintptr_t)(i + 1)))
            return 1;
    serve((void *)(uintptr_t)1);
    for (unsigned i = 1; i < threads && i < THREADS_MAX; i++)
        pthread_join(handles[i], NULL);
    bk_worker_free(the_worker);
    return 0;
}
