// A few native threads for calls that block on a disk (spill writes, getaddrinfo). They block all
// signals and never touch loop objects: a job's `work` runs there, its `done` on the loop, in the
// turn after.
#pragma once

#include "base/compiler.h"
#include "loop/loop.h"

struct bk_job;
typedef void (*bk_job_fn)(struct bk_job *job);
struct bk_job {
    struct bk_job *next;
    bk_job_fn work;  // on an offload thread
    bk_job_fn done;  // on the loop thread; may free the job
};

struct bk_offload;
// Threads start with the first job. At most `threads` (1..16).
int bk_offload_new(struct bk_loop *loop, unsigned threads, struct bk_offload **ret) BK_MUST_CHECK;
// Waits for running jobs; queued ones are dropped, and of these and of finished ones `done` is no
// longer called: their owner frees them. Accepts NULL. A forked child leaves it alone (its threads
// are not there).
void bk_offload_free(struct bk_offload *offload);
// Hands over `job` (borrowed until `done`), from any thread. -EAGAIN when no thread can be started.
int bk_offload_submit(struct bk_offload *offload, struct bk_job *job) BK_MUST_CHECK;
// Runs `done` of finished jobs; the owner of the loop calls it from loop->woken.
void bk_offload_collect(struct bk_offload *offload);
