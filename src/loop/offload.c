// Threads for calls that block on a disk or a name server. Called by the engine for spill files and
// cold sendfile, by the loop's owner to collect; the threads themselves see only the job.
#include "loop/offload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/banned.h"

#define THREADS_MAX 16
#define STACK_SIZE (512 * 1024)  // getaddrinfo loads modules that are not shy with their stack

struct queue {
    struct bk_job *first, **last;  // borrows the jobs
};

struct bk_offload {
    struct bk_loop *loop;  // borrows
    pthread_mutex_t lock;  // guards all below
    pthread_cond_t work;
    struct queue waiting, finished;
    unsigned limit, started, idle, queued;
    bool stop;
    pthread_t threads[THREADS_MAX];
};

static int start_thread(struct bk_offload *offload);
static void *run(void *self);
static void empty(struct queue *queue);
static void append(struct queue *queue, struct bk_job *job);
static struct bk_job *pop(struct queue *queue);

int
bk_offload_new(struct bk_loop *loop, unsigned threads, struct bk_offload **ret)
{
    struct bk_offload *offload;
    if (threads < 1 || threads > THREADS_MAX)
        return -EINVAL;
    offload = calloc(1, sizeof *offload);
    if (!offload)
        return -ENOMEM;
    offload->loop = loop;
    offload->limit = threads;
    empty(&offload->waiting);
    empty(&offload->finished);
    pthread_mutex_init(&offload->lock, NULL);  // cannot fail for default attributes on Linux
    pthread_cond_init(&offload->work, NULL);
    *ret = offload;
    return 0;
}

void
bk_offload_free(struct bk_offload *offload)
{
    if (!offload)
        return;
    pthread_mutex_lock(&offload->lock);
    offload->stop = true;
    pthread_cond_broadcast(&offload->work);
    pthread_mutex_unlock(&offload->lock);
    for (unsigned i = 0; i < offload->started; i++)
        pthread_join(offload->threads[i], NULL);
    pthread_cond_destroy(&offload->work);
    pthread_mutex_destroy(&offload->lock);
    free(offload);
}

int
bk_offload_submit(struct bk_offload *offload, struct bk_job *job)
{
    int error = 0;
    pthread_mutex_lock(&offload->lock);
    // A thread counts as idle until it has woken, so compare with what is queued for the idle ones
    // already.
    if (offload->idle <= offload->queued && offload->started < offload->limit)
        error = start_thread(offload);
    if (error < 0 && offload->started > 0)
        error = 0;  // fewer threads than wished for are still enough
    if (error == 0) {
        append(&offload->waiting, job);
        offload->queued++;
        pthread_cond_signal(&offload->work);
    }
    pthread_mutex_unlock(&offload->lock);
    return error;
}

void
bk_offload_collect(struct bk_offload *offload)
{
    struct queue finished;
    struct bk_job *job;
    empty(&finished);
    pthread_mutex_lock(&offload->lock);
    if (offload->finished.first) {
        finished = offload->finished;
        empty(&offload->finished);
    }
    pthread_mutex_unlock(&offload->lock);
    while (finished.first) {
        job = finished.first;
        finished.first = job->next;
        job->next = NULL;
        job->done(job);
    }
}

// With the lock held. The new thread inherits a signal mask with everything blocked, so that no
// handler of the application ever runs on it.
static int
start_thread(struct bk_offload *offload)
{
    sigset_t all, old;
    pthread_attr_t attr;
    int error;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    error = pthread_create(&offload->threads[offload->started], &attr, run, offload);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error)
        return -EAGAIN;
    offload->started++;
    return 0;
}

static void *
run(void *self)
{
    struct bk_offload *offload = self;
    pthread_mutex_lock(&offload->lock);
    for (;;) {
        struct bk_job *job;
        while (!offload->stop && !offload->waiting.first) {
            offload->idle++;
            pthread_cond_wait(&offload->work, &offload->lock);
            offload->idle--;
        }
        if (offload->stop)
            break;
        job = pop(&offload->waiting);
        offload->queued--;
        pthread_mutex_unlock(&offload->lock);
        job->work(job);
        pthread_mutex_lock(&offload->lock);
        append(&offload->finished, job);
        // Under the lock: bk_offload_free cannot let the loop go before it.
        bk_loop_wake(offload->loop);
    }
    pthread_mutex_unlock(&offload->lock);
    return NULL;
}

static void
empty(struct queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void
append(struct queue *queue, struct bk_job *job)
{
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
}

static struct bk_job *
pop(struct queue *queue)
{
    struct bk_job *job = queue->first;
    queue->first = job->next;
    if (!queue->first)
        queue->last = &queue->first;
    job->next = NULL;
    return job;
}
