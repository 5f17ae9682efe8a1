// Jobs on native threads: each runs once, `done` runs on the loop thread, and the end waits for
// what runs.
#include "loop/offload.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "check.h"

#define JOBS 2000

static struct bk_loop loop;
static struct bk_offload *offload;
static pthread_t loop_thread;

struct task {
    struct bk_job job;
    int value;
    unsigned worked, done;
};

static struct task tasks[JOBS];
static unsigned done_count;

static void
collect(struct bk_loop *woken_loop)
{
    bk_offload_collect(offload);
}

static void
start(unsigned threads)
{
    CHECK_INT(bk_loop_init(&loop), 0);
    loop.woken = collect;
    loop_thread = pthread_self();
    CHECK_INT(bk_offload_new(&loop, threads, &offload), 0);
}

static void
stop(void)
{
    bk_offload_free(offload);
    bk_loop_release(&loop);
}

static void
work(struct bk_job *job)
{
    struct task *task = BK_OUTER(job, struct task, job);
    sigset_t blocked;
    CHECK(!pthread_equal(pthread_self(), loop_thread));
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
    CHECK(sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGCHLD) == 1);
    task->worked++;
    task->value *= 2;
}

static void
done(struct bk_job *job)
{
    struct task *task = BK_OUTER(job, struct task, job);
    CHECK(pthread_equal(pthread_self(), loop_thread));
    CHECK_INT(task->worked, 1);
    task->done++;
    done_count++;
}

static void
run_all(unsigned threads)
{
    start(threads);
    for (int i = 0; i < JOBS; i++) {
        tasks[i] = (struct task){.job = {.work = work, .done = done}, .value = i};
        CHECK_INT(bk_offload_submit(offload, &tasks[i].job), 0);
        if (i % 100 == 0)
            bk_loop_turn(&loop, 0);
    }
    while (done_count < JOBS)
        CHECK(bk_loop_turn(&loop, -1) >= 0);
    for (int i = 0; i < JOBS; i++) {
        CHECK_INT(tasks[i].done, 1);
        CHECK_INT(tasks[i].value, 2 * i);
    }
    stop();
}

TEST(each_job_once_with_one_thread)
{
    run_all(1);
}

TEST(each_job_once_with_many_threads)
{
    run_all(16);
}

static void
done_submits(struct bk_job *job)
{
    struct task *task = BK_OUTER(job, struct task, job);
    done_count++;
    task->worked = 0;
    if (done_count < 50)
        CHECK_INT(bk_offload_submit(offload, job), 0);
    else
        free(task);
}

TEST(done_may_submit_again_and_free)
{
    struct task *task = calloc(1, sizeof *task);
    CHECK(task != NULL);
    start(2);
    task->job.work = work;
    task->job.done = done_submits;
    CHECK_INT(bk_offload_submit(offload, &task->job), 0);
    while (done_count < 50)
        CHECK(bk_loop_turn(&loop, -1) >= 0);
    stop();
}

static void
run_one(void)
{
    done_count = 0;
    tasks[0] = (struct task){.job = {.work = work, .done = done}};
    CHECK_INT(bk_offload_submit(offload, &tasks[0].job), 0);
    while (done_count < 1)
        CHECK(bk_loop_turn(&loop, -1) >= 0);
}

static unsigned
count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned count = 0;
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

TEST(idle_thread_is_used_again)
{
    start(16);
    run_one();
    unsigned threads = count_threads();
    for (unsigned i = 0; i < 50; i++)
        run_one();
    CHECK_INT(count_threads(), threads);
    stop();
}

// Jobs that wait for each other: only as many threads as there are jobs let them all pass.
static pthread_barrier_t barrier;

static void
meet(struct bk_job *job)
{
    pthread_barrier_wait(&barrier);
    BK_OUTER(job, struct task, job)->worked++;
}

TEST(jobs_run_side_by_side)
{
    for (unsigned round = 0; round < 30; round++) {
        start(4);
        if (round % 2)
            run_one();  // now one thread waits for work: it may not be counted on four times
        CHECK(pthread_barrier_init(&barrier, NULL, 4) == 0);
        done_count = 0;
        for (unsigned i = 0; i < 4; i++) {
            tasks[i] = (struct task){.job = {.work = meet, .done = done}};
            CHECK_INT(bk_offload_submit(offload, &tasks[i].job), 0);
        }
        while (done_count < 4)
            CHECK(bk_loop_turn(&loop, -1) >= 0);
        stop();
        pthread_barrier_destroy(&barrier);
    }
}

static _Atomic bool hold_started, freeing, hold_ended;

// The job's way to know that bk_offload_free has set its stop mark and waits: its thread sleeps,
// and nothing before the join makes it sleep.
static bool
main_thread_sleeps(void)
{
    char text[512], path[64];
    FILE *file;
    size_t len;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
    file = fopen(path, "re");
    CHECK(file != NULL);
    len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] == ' ' && name_end[2] == 'S';
}

static void
hold(struct bk_job *job)
{
    atomic_store(&hold_started, true);
    while (!atomic_load(&freeing) || !main_thread_sleeps())
        sched_yield();
    atomic_store(&hold_ended, true);
}

static void
never(struct bk_job *job)
{
    check_fail(__FILE__, __LINE__, "a dropped job", "was called");
}

TEST(free_waits_for_running_and_drops_queued)
{
    struct task running = {.job = {.work = hold, .done = never}};
    struct task queued = {.job = {.work = never, .done = never}};
    start(1);
    CHECK_INT(bk_offload_submit(offload, &running.job), 0);
    while (!atomic_load(&hold_started))
        sched_yield();
    CHECK_INT(bk_offload_submit(offload, &queued.job), 0);
    atomic_store(&freeing, true);
    bk_offload_free(offload);
    CHECK(atomic_load(&hold_ended));
    bk_loop_release(&loop);
}

TEST(no_thread_without_a_job)
{
    start(16);
    stop();
    bk_offload_free(NULL);
    CHECK_INT(bk_offload_new(&loop, 0, &offload), -EINVAL);
    CHECK_INT(bk_offload_new(&loop, 17, &offload), -EINVAL);
}
