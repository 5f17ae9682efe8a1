// See deadlines.h. Called by worker.c.
#include "worker/deadlines.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/channel.h"
#include "serve/engine.h"

#define LONGEST_PAUSE (5 * BK_SEC)
#define SHORTEST_PAUSE (10 * BK_MSEC)
#define BOOTING (30 * BK_SEC)     // between two lines about a long import
#define SLOW_AGAIN BK_SEC         // between two lines about slow requests
#define DUMP_AGAIN (2 * BK_SEC)   // all stacks are not shown again so soon
#define GIVE_IN (5 * BK_SEC)      // an exception has no effect: the worker is replaced
#define WEDGED (5 * BK_SEC)       // without progress of Python for so long nothing is waited for
#define LAST_WORDS (2 * BK_SEC)   // for the end of a worker whose requests are overdue
#define LAST_PAUSE (50 * BK_MSEC) // while that is near
#define SEEN_MAX 64
#define STACKS_MAX 40960

enum policy { POLICY_LOG, POLICY_REPLACE, POLICY_RAISE };

struct bk_deadlines {
    pthread_t thread;
    pthread_mutex_t lock;             // owns: of what the calls above set
    pthread_cond_t changed;           // owns
    struct bk_engine *engine;         // borrows
    const struct bk_config *config;   // borrows
    const struct bk_insight *insight; // borrows the host; NULL: no stacks
    void *host;
    unsigned worker;
    int channel_fd; // borrows; -1: no master
    bool stop, serving, paused;
    // From here on of the thread alone.
    enum policy policy;
    uint64_t timeout, slow, least; // ns, 0: off; least: of those that are on
    uint64_t born, booting;        // when the next line about the import is due
    uint64_t slow_next;            // no line about a slow request before
    uint64_t dumped;               // when all stacks were shown
    uint64_t asked;                // the loop was asked to turn then; 0: it was not, or it did
    bool stuck_told;               // that the loop is stuck was said
    const char *why; // the master has to know that this worker is to be replaced; literal
    bool told;       // and does
    uint64_t ending; // only overdue requests are left: they have until then; 0: not yet
    unsigned raised_count;
    struct {
        struct bk_running request;
        uint64_t until;
    } raised[SEEN_MAX]; // by whom the exception has to be felt
    struct bk_running seen[SEEN_MAX];
    char stacks[STACKS_MAX];
};

static void *keep_time(void *self);
static uint64_t look(struct bk_deadlines *d);
static uint64_t look_at_import(struct bk_deadlines *d, uint64_t now);
static uint64_t look_at_requests(struct bk_deadlines *d, uint64_t now);
static void say_slow(struct bk_deadlines *d, const struct bk_running *request);
static void expire(struct bk_deadlines *d, const struct bk_running *request, uint64_t now,
                   unsigned others);
static uint64_t look_at_raised(struct bk_deadlines *d, uint64_t now);
static uint64_t look_at_loop(struct bk_deadlines *d, uint64_t now);
static void say_stuck(struct bk_deadlines *d, uint64_t turned, uint64_t now);
static uint64_t look_at_end(struct bk_deadlines *d, uint64_t now);
static void tell_master(struct bk_deadlines *d, const char *why);
static struct bk_str stacks_of(struct bk_deadlines *d, const struct bk_running *request, bool all);

int
bk_deadlines_start(struct bk_engine *engine, const struct bk_config *config, unsigned worker,
                   int channel_fd, struct bk_deadlines **ret)
{
    struct bk_deadlines *d = calloc(1, sizeof *d);
    pthread_condattr_t clock;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (!d)
        return -ENOMEM;
    d->engine = engine;
    d->config = config;
    d->worker = worker;
    d->channel_fd = channel_fd;
    d->born = bk_clock_mono();
    d->booting = d->born + BOOTING;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &clock);
    pthread_condattr_destroy(&clock);
    bk_peek_prepare();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    int error = pthread_create(&d->thread, &attributes, keep_time, d);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        free(d);
        return -error;
    }
    *ret = d;
    return 0;
}

void
bk_deadlines_insight(struct bk_deadlines *d, const struct bk_insight *insight, void *self)
{
    pthread_mutex_lock(&d->lock);
    d->insight = insight;
    d->host = self;
    pthread_mutex_unlock(&d->lock);
}

void
bk_deadlines_serve(struct bk_deadlines *d, bool asgi)
{
    const struct bk_config *config = d->config;
    const char *policy = config->timeout_policy;
    pthread_mutex_lock(&d->lock);
    d->timeout = config->timeout;
    d->slow = config->slow_request;
    d->least = d->timeout && (!d->slow || d->timeout < d->slow) ? d->timeout : d->slow;
    d->policy = strcmp(policy, "log") == 0 || (asgi && strcmp(policy, "auto") == 0) ? POLICY_LOG
                : strcmp(policy, "raise") == 0 ? POLICY_RAISE
                                               : POLICY_REPLACE;
    d->serving = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void
bk_deadlines_pause(struct bk_deadlines *d, bool on)
{
    pthread_mutex_lock(&d->lock);
    d->paused = on;
    pthread_mutex_unlock(&d->lock);
}

void
bk_deadlines_stop(struct bk_deadlines *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static void *
keep_time(void *self)
{
    struct bk_deadlines *d = self;
    pthread_mutex_lock(&d->lock);
    while (!d->stop) {
        // Only this thread looks; the lock is for the few words that others set.
        pthread_mutex_unlock(&d->lock);
        uint64_t pause = look(d);
        pthread_mutex_lock(&d->lock);
        if (d->stop)
            break;
        uint64_t until = bk_clock_mono() + (pause < SHORTEST_PAUSE ? SHORTEST_PAUSE : pause);
        struct timespec at = {.tv_sec = (time_t)(until / BK_SEC),
                              .tv_nsec = (long)(until % BK_SEC)};
        pthread_cond_timedwait(&d->changed, &d->lock, &at);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static uint64_t
least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// Returns how long nothing can happen that has to be seen.
static uint64_t
look(struct bk_deadlines *d)
{
    uint64_t now = bk_clock_mono();
    pthread_mutex_lock(&d->lock);
    bool serving = d->serving, paused = d->paused;
    pthread_mutex_unlock(&d->lock);
    atomic_store_explicit(&d->engine->slot->beat, now, memory_order_relaxed);
    if (paused) {
        d->asked = 0;
        return BK_SEC;
    }
    if (!serving)
        return look_at_import(d, now);
    uint64_t pause = LONGEST_PAUSE;
    pause = least_of(pause, look_at_requests(d, now));
    pause = least_of(pause, look_at_raised(d, now));
    pause = least_of(pause, look_at_loop(d, now));
    return least_of(pause, look_at_end(d, now));
}

static uint64_t
look_at_import(struct bk_deadlines *d, uint64_t now)
{
    if (now >= d->booting) {
        struct bk_str stacks = stacks_of(d, NULL, false);
        size_t room = stacks.len + 16;
        char *text = malloc(room);
        d->booting += BOOTING;
        if (text && d->channel_fd >= 0) {
            int len = snprintf(text, room, "text=%.*s", (int)stacks.len, stacks.at);
            (void)bk_channel_send(d->channel_fd, BK_MESSAGE_BOOTING,
                                  (struct bk_str){text, (size_t)len});
        }
        free(text);
    }
    return least_of(LONGEST_PAUSE, d->booting - now);
}

// ---- requests ----

static uint64_t
look_at_requests(struct bk_deadlines *d, uint64_t now)
{
    // Half a limit is the age at which a request is seen coming; from then on the pause ends when
    // its time does.
    uint64_t half = d->least / 2, pause = half;
    uint64_t since = atomic_load_explicit(&d->engine->slot->in_app_since, memory_order_relaxed);
    if (!d->least)
        return LONGEST_PAUSE;
    if (!since || since > now || now - since < half)
        return since && since <= now ? least_of(pause, since + d->least - now) : pause;
    unsigned running, overdue;
    unsigned count = bk_peek(d->engine, half, d->seen, SEEN_MAX, &running, &overdue);
    for (unsigned i = 0; i < count; i++) {
        struct bk_running *request = &d->seen[i];
        if (d->timeout && request->age >= d->timeout) {
            overdue++;
            expire(d, request, now, running > overdue ? running - overdue : 0);
            continue;
        }
        if (d->timeout)
            pause = least_of(pause, d->timeout - request->age);
        if (!d->slow || request->slow_told)
            continue;
        if (request->age < d->slow) {
            pause = least_of(pause, d->slow - request->age);
        } else if (now >= d->slow_next) {
            say_slow(d, request);
            d->slow_next = now + SLOW_AGAIN;
        } else {
            pause = least_of(pause, d->slow_next - now);
        }
    }
    return pause;
}

static const char *
place_of(const struct bk_deadlines *d, const struct bk_running *request, char out[48])
{
    if (request->thread)
        snprintf(out, 48, "worker %u thread %u", d->worker, request->thread);
    else
        snprintf(out, 48, "worker %u", d->worker);
    return out;
}

static void
say_slow(struct bk_deadlines *d, const struct bk_running *request)
{
    char place[48];
    struct bk_str stacks = stacks_of(d, request, false);
    if (!bk_peek_runs(d->engine, request))
        return; // it has ended meanwhile: its last line says so
    bk_peek_told(d->engine, request);
    bk_log_detail(BK_LOG_WARNING, "request-slow", stacks, "request %s %s runs for %.1f s in %s",
                  request->id, request->request, (double)request->age / (double)BK_SEC,
                  place_of(d, request, place));
}

// "60", "0.25": as it was written.
static const char *
limit_of(const struct bk_deadlines *d, char out[32])
{
    snprintf(out, 32, "%.10g", (double)d->timeout / (double)BK_SEC);
    return out;
}

static void
say_expired(struct bk_deadlines *d, const struct bk_running *request, const char *what, bool all)
{
    char limit[32], *detail;
    struct bk_str stacks = stacks_of(d, request, all);
    int len = asprintf(&detail, "after %.1f s, %llu bytes in, %llu bytes out, %s\n%.*s%s",
                       (double)request->age / (double)BK_SEC, (unsigned long long)request->bytes_in,
                       (unsigned long long)request->bytes_out, request->client, (int)stacks.len,
                       stacks.at, all ? "" : "\n(the stacks of all threads are above)");
    if (len < 0)
        detail = NULL;
    bk_log_detail(BK_LOG_ERROR, "request-timeout",
                  (struct bk_str){detail ? detail : "", detail ? (size_t)len : 0},
                  "request %s %s passed --timeout %s s, %s", request->id, request->request,
                  limit_of(d, limit), what);
    free(detail);
}

static void
expire(struct bk_deadlines *d, const struct bk_running *request, uint64_t now, unsigned others)
{
    char what[160];
    bool all = !d->dumped || now - d->dumped > DUMP_AGAIN;
    enum policy policy = d->policy;
    if (!bk_peek_runs(d->engine, request))
        return;
    bk_peek_overdue(d->engine, request);
    if (policy == POLICY_RAISE && d->insight && d->raised_count < SEEN_MAX) {
        snprintf(what, sizeof what, "RequestTimeout is raised in it");
    } else if (policy == POLICY_LOG || d->channel_fd < 0) {
        policy = POLICY_LOG;
        snprintf(what, sizeof what, "worker %u goes on with it%s", d->worker,
                 d->channel_fd < 0 ? " (there is no master to replace it)" : "");
    } else if (others) {
        policy = POLICY_REPLACE;
        snprintf(what, sizeof what, "worker %u drains its %u other request%s, then is replaced",
                 d->worker, others, others == 1 ? "" : "s");
    } else {
        policy = POLICY_REPLACE;
        snprintf(what, sizeof what, "worker %u has no other requests and is replaced", d->worker);
    }
    say_expired(d, request, what, all);
    if (all)
        d->dumped = now;
    if (policy == POLICY_REPLACE) {
        tell_master(d, "timeout");
    } else if (policy == POLICY_RAISE) {
        d->insight->interrupt(d->host, request);
        d->raised[d->raised_count].request = *request;
        d->raised[d->raised_count++].until = now + GIVE_IN;
    }
}

// An exception reaches Python code only: a call into C that does not come back never feels it.
static uint64_t
look_at_raised(struct bk_deadlines *d, uint64_t now)
{
    uint64_t pause = LONGEST_PAUSE;
    for (unsigned i = d->raised_count; i-- > 0;) {
        const struct bk_running *request = &d->raised[i].request;
        bool runs = bk_peek_runs(d->engine, request);
        if (runs && now < d->raised[i].until) {
            pause = least_of(pause, d->raised[i].until - now);
            continue;
        }
        if (runs) {
            bk_log(BK_LOG_ERROR, "request-timeout",
                   "request %s %s did not end at its RequestTimeout, worker %u is replaced",
                   request->id, request->request, d->worker);
            tell_master(d, "timeout");
        }
        d->raised[i] = d->raised[--d->raised_count];
    }
    return pause;
}

// ---- the loop ----

// A loop that waits for events is none that is stuck: to know, it is asked to turn once. Of several
// threads one always does, or the watcher.
static uint64_t
look_at_loop(struct bk_deadlines *d, uint64_t now)
{
    uint64_t turned = atomic_load_explicit(&d->engine->slot->turned, memory_order_relaxed);
    uint64_t limit = d->timeout, age = turned < now ? now - turned : 0;
    if (!limit || !turned)
        return LONGEST_PAUSE;
    if (d->asked && turned >= d->asked) {
        if (d->stuck_told)
            bk_log(BK_LOG_WARNING, "loop-stuck", "the loop of worker %u turns again, after %.1f s",
                   d->worker, (double)(turned - d->asked) / (double)BK_SEC);
        d->asked = 0;
        d->stuck_told = false;
    }
    if (!d->asked) {
        if (age < limit / 2)
            return limit / 2 - age;
        d->asked = now;
        bk_loop_wake(&d->engine->loop);
        return limit / 2;
    }
    if (age < limit)
        return limit - age;
    if (!d->stuck_told && !bk_engine_is_stopping(d->engine))
        say_stuck(d, turned, now);
    return LONGEST_PAUSE;
}

static void
say_stuck(struct bk_deadlines *d, uint64_t turned, uint64_t now)
{
    bool replace = strcmp(d->config->timeout_policy, "log") != 0 && d->channel_fd >= 0;
    d->stuck_told = true;
    bk_log_detail(BK_LOG_ERROR, "loop-stuck", stacks_of(d, NULL, true),
                  "the loop of worker %u has not turned for %.1f s%s", d->worker,
                  (double)(now - turned) / (double)BK_SEC, replace ? ", it is replaced" : "");
    if (replace)
        tell_master(d, "stuck");
}

// ---- the end of a worker that has overdue requests ----

// Told to drain: as soon as nothing is left but what has had its time, that is cut off. And nothing
// is waited for when Python does not get on.
static uint64_t
look_at_end(struct bk_deadlines *d, uint64_t now)
{
    unsigned running, overdue;
    const struct bk_slot *slot = d->engine->slot;
    if (d->why && !d->told)
        tell_master(d, d->why);
    if (!d->told || !bk_engine_is_stopping(d->engine))
        return d->why && !d->told ? BK_SEC : LONGEST_PAUSE;
    if (!d->asked) {
        d->asked = now;
        bk_loop_wake(&d->engine->loop);
    }
    bool stuck = now - d->asked > WEDGED &&
                 atomic_load_explicit(&slot->turned, memory_order_relaxed) < d->asked;
    bool wedged = stuck || (d->insight && d->insight->wedged(d->host) > WEDGED);
    bk_peek(d->engine, UINT64_MAX, d->seen, SEEN_MAX, &running, &overdue);
    bool only = running == overdue &&
                atomic_load_explicit(&slot->connections, memory_order_relaxed) <= overdue;
    if (wedged || (d->ending && now >= d->ending)) {
        bk_log(BK_LOG_WARNING, "worker-stuck", "worker %u ends with %u request%s cut off%s",
               d->worker, running, running == 1 ? "" : "s",
               wedged ? ": Python has not got on for 5 s" : "");
        _exit(0);
    }
    if (only && !d->ending) {
        d->ending = now + LAST_WORDS;
        bk_engine_order(d->engine, BK_ORDER_QUIT);
    }
    return LAST_PAUSE;
}

static void
tell_master(struct bk_deadlines *d, const char *why)
{
    char text[64];
    if (d->told || d->channel_fd < 0)
        return;
    d->why = why;
    snprintf(text, sizeof text, "why=%s", why);
    d->told = bk_channel_send(d->channel_fd, BK_MESSAGE_RECYCLE, bk_str_of(text)) == 0;
    atomic_store(&d->engine->slot->step_back, 1);
}

static struct bk_str
stacks_of(struct bk_deadlines *d, const struct bk_running *request, bool all)
{
    pthread_mutex_lock(&d->lock);
    const struct bk_insight *insight = d->insight;
    pthread_mutex_unlock(&d->lock);
    size_t len = 0;
    if (insight)
        len = insight->stacks(d->host, request, all, d->stacks, sizeof d->stacks);
    return (struct bk_str){d->stacks, len};
}
