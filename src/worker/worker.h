// One worker's life, seen from its host: boot from a heritage (exec'ed by the master) or alone
// (barkeep.run), say ready, serve, drain, exit. Owns the engine, the scoreboard slot, the log sink
// and the one native helper thread.
#pragma once

#include "base/compiler.h"
#include "base/str.h"
#include "host/host.h"
#include "worker/deadlines.h"

struct bk_worker;

// Takes over the fds the heritage names (CLOEXEC is set on all of them, `heritage_fd` is closed).
// -EPROTONOSUPPORT with *ret_why when master and package do not fit together [version-skew].
int bk_worker_inherit(int heritage_fd, struct bk_worker **ret, char *ret_why,
                      size_t why_room) BK_MUST_CHECK;
// Without a master: settings as key, value pairs (count of pairs); binds by itself. *ret_why gets
// the finished error text.
int bk_worker_alone(const char *const *pairs, unsigned count, struct bk_worker **ret, char *ret_why,
                    size_t why_room) BK_MUST_CHECK;
void bk_worker_free(struct bk_worker *worker);

// A setting in text by its key, "" when unset; list items joined by newlines. Borrows the worker.
struct bk_str bk_worker_setting(struct bk_worker *worker, const char *key);
// n-th of the user's arguments; false past the end.
bool bk_worker_argument(struct bk_worker *worker, unsigned n, struct bk_str *ret);
// n-th entry of the sys.path that a bootstrap had made for whoever started the master; false past
// the end.
bool bk_worker_path(struct bk_worker *worker, unsigned n, struct bk_str *ret);
unsigned bk_worker_number(const struct bk_worker *worker);
// Address of the first listener in text, for the start line of barkeep.run.
struct bk_str bk_worker_address(const struct bk_worker *worker);

// Answered requests so far, and how many of them failed (5xx, or the application raised).
void bk_worker_counts(const struct bk_worker *worker, uint64_t *ret_requests, uint64_t *ret_errors);

// Tells the master the boot failed; the caller then exits with `code`. `brief` is one line that says it in
// short, `whole` when there is no more to say; it may be empty. Without a master: logs it.
void bk_worker_failed(struct bk_worker *worker, int code, const char *key, struct bk_str brief,
                      bool whole, struct bk_str text);
// Names of imported files, one a line, less than BK_CHANNEL_MAX in all. Waits up to two seconds for the
// master to take what it was told before: -EAGAIN after that, -EPIPE when it is gone, 0 without one. From
// any thread.
int bk_worker_files(struct bk_worker *worker, struct bk_str names);
// What only the host can see, for lines about requests that run too long. Borrowed for the worker's life.
void bk_worker_insight(struct bk_worker *worker, const struct bk_insight *insight, void *self);
// A person is at a breakpoint of this process, or has left it.
void bk_worker_debugging(struct bk_worker *worker, bool on);
// The app is loaded: opens the doors (listeners go into the loop) and tells the master. `facts` are
// "key=value" lines.
int bk_worker_ready(struct bk_worker *worker, struct bk_str facts) BK_MUST_CHECK;
struct bk_engine *bk_worker_engine(struct bk_worker *worker);
// The application runs on `count` threads that pull with bk_engine_turn_as and bk_engine_next_as;
// also for one. Starts the watcher, a native thread that goes on with input and output while they
// are all busy. Not for hosted loops. Once; a second call does nothing.
int bk_worker_threads(struct bk_worker *worker, unsigned count) BK_MUST_CHECK;
// Around fork(): the engine stands still in between, so that the child finds its lists whole.
void bk_worker_hold(struct bk_worker *worker, uint64_t *ret_token);
void bk_worker_release(struct bk_worker *worker, uint64_t token);
// Asks for a graceful (or quick) stop from inside, e.g. Ctrl-C under barkeep.run.
// Async-signal-safe.
void bk_worker_stop(struct bk_worker *worker, bool quick);
// In a forked child of the app: closes every descriptor of ours, marks the engine dead.
// Async-signal-safe.
void bk_worker_abandon(struct bk_worker *worker);
