// What one thread that runs the application shares with the objects of its requests; the Worker object has the first.
// Plain C, counted: Python objects that outlive the Worker (a kept wsgi.input, say) still find a host that answers
// "over". Everything here is touched with the GIL held, except where it says otherwise.
#pragma once

#include "module.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "base/log.h"
#include "environ.h"
#include "host/host.h"
#include "memo.h"
#include "release.h"
#include "worker/worker.h"

struct bkpy_host {
    unsigned refs;
    struct bkpy_state *state;  // borrows `module`
    PyObject *module;          // ref
    struct bk_worker *worker;  // borrows the Worker object; NULL once that is gone
    struct bk_engine *engine;  // borrows worker; NULL once that is gone, and in a forked child
    struct bkpy_host *first;   // borrows: the Worker's own, which the others belong to
    struct bkpy_host *next;    // the next thread's; the Worker object has a reference to each
    unsigned number, threads;  // of this thread, from 1, and of all that run the application
    unsigned long thread;      // the thread that serves; 0: none does
    bool turning;              // the engine works on this thread's behalf without the GIL
    bool raised;               // RequestTimeout is on its way to this thread, see insight.c
    bool alone;                // no master: Ctrl-C and sys.exit() end serve()
    struct bk_log_limit hop_limit;

    PyObject *app;             // ref while serving
    PyObject *leaving;         // ref: SystemExit or KeyboardInterrupt raised by the application
    PyObject *start_response, *write, *input, *early_hints;  // ref: objects of the last request, for reuse
    struct bkpy_environ environ;
    struct bkpy_memo memo;
    struct bkpy_release release;
    struct bkpy_asgi *asgi;    // owns; NULL: this worker serves no ASGI application
    struct bkpy_green *green;  // owns; NULL: requests are no greenlets
    PyObject *after;           // ref: called with environ when a request is over; NULL: nobody wants to know
    PyObject **log_keys;       // owns, refs: environ keys the access log asks for
    unsigned log_count;
};

// What is known about one request, many of which may be under way, lies in the exchange's bk_note: `error` is the
// errno of the last failed read of its body, 0: none; and `flags`:
enum {
    BKPY_BROKE_RULE = 1,  // the pending exception says that the application broke a rule of WSGI
    BKPY_SPOILED = 2,     // the last start_response failed half-way
    BKPY_OVERDUE = 4,     // --timeout is over, an exception was raised in it
};

struct bkpy_host *bkpy_host_new(PyObject *module, struct bk_worker *worker);
void bkpy_host_unref(struct bkpy_host *host);
// worker.c: the host of a Worker object (borrowed), or NULL with TypeError.
struct bkpy_host *bkpy_worker_host(PyObject *worker);
// Drops all Python references held here, so that no cycle keeps the application alive.
void bkpy_host_clear(struct bkpy_host *host);

static inline PyObject *
bkpy_word(const struct bkpy_host *host, enum bkpy_word word)
{
    return host->state->words[word];
}

// Waits for body bytes or room, GIL dropped, signal handlers run. 0, -EPIPE: the client is gone, or -ECANCELED with
// an
// exception raised. Only the serving thread may wait.
int bkpy_host_wait(struct bkpy_host *host, struct bk_exchange *x, enum bk_wait what);

// ---- objects that stand for one exchange --------------------------------------------------------

struct bkpy_handle {
    PyObject_HEAD
    vectorcallfunc call;
    struct bkpy_host *host;  // ref
    struct bk_exchange_ref exchange;
};

// A new handle in *slot (which keeps a reference for reuse); new reference, or NULL with MemoryError.
PyObject *bkpy_handle_new(struct bkpy_host *host, PyObject **slot, PyTypeObject *type, vectorcallfunc call,
                          struct bk_exchange_ref exchange);
void bkpy_handle_dealloc(PyObject *self);
// The exchange while its request runs. Otherwise NULL and `error` is raised: the request is over, or another thread
// uses it.
struct bk_exchange *bkpy_handle_exchange(PyObject *self, PyObject *error);

// The same with reuse: when nobody kept the object of the last request it is given out again. New reference.
static inline PyObject *
bkpy_handle_take(struct bkpy_host *host, PyObject **slot, PyTypeObject *type, vectorcallfunc call,
                 struct bk_exchange_ref exchange)
{
    PyObject *last = *slot;
    if (bk_unlikely(!last || Py_REFCNT(last) != 1))
        return bkpy_handle_new(host, slot, type, call, exchange);
    ((struct bkpy_handle *)last)->exchange = exchange;
    return Py_NewRef(last);
}

// ---- one entry point per object file ------------------------------------------------------------

// settings.c: key and value after key and value into `pairs`, `room` of them at most; they borrow objects that go into
// the list `owners`. List items are pairs of their own. -1 with an exception.
int bkpy_settings_read(PyObject *settings, PyObject *owners, const char **pairs, unsigned room, unsigned *count);
// start_response.c
PyObject *bkpy_start_response_take(struct bkpy_host *host, struct bk_exchange_ref exchange);
// early_hints.c
PyObject *bkpy_early_hints_take(struct bkpy_host *host, struct bk_exchange_ref exchange);
// errors.c: the wsgi.errors object, one per worker.
PyObject *bkpy_errors_new(struct bkpy_state *state);
// file_wrapper.c: the answer is a wsgi.file_wrapper. 1: sent as a file range, 0: has to be iterated, -1 with an
// exception.
int bkpy_file_wrapper_send(struct bkpy_host *host, struct bk_exchange *x, PyObject *wrapper);
// serving.c: what one thread needs before its first request of a WSGI application. -1 with an exception.
int bkpy_serving_prepare(struct bkpy_host *host, PyObject *app, unsigned threads);
// serving.c: tells the engine how many threads there will be; serve() does it at the latest. -1 with an exception.
int bkpy_serving_begin(struct bkpy_host *host, unsigned count);
// serving.c: runs the application until the engine is drained; with `green` under gevent, see bkpy_green_serve. -1 with
// an exception.
int bkpy_serving_run(PyObject *worker, struct bkpy_host *host, PyObject *app, PyObject *green);
// serving.c: bk_host_ops.pause and resume.
void *bkpy_serving_pause(void *first, unsigned number);
void bkpy_serving_resume(void *first, unsigned number, void *paused);
// serving.c: (number, app), what one of several threads does.
PyObject *bkpy_serving_thread(struct bkpy_host *first, PyObject *args);
// wsgi.c: runs one exchange through the application and commits it. Never leaves an exception pending: one that shall
// end the
// worker is in host->leaving.
void bkpy_wsgi_run(struct bkpy_host *host, struct bk_exchange *x);
// wsgi.c: appends body bytes, flushes, waits for room. 0, 1: the client is gone, -1 with an exception.
int bkpy_wsgi_push(struct bkpy_host *host, struct bk_exchange *x, PyObject *item);
int bkpy_wsgi_flush(struct bkpy_host *host, struct bk_exchange *x);
// failure.c: the pending exception ends the exchange: answers, logs. Clears it.
void bkpy_failure_answer(struct bkpy_host *host, struct bk_exchange *x);
// failure.c: was it ended by --timeout-policy raise? Then the answer is 504 and that is in the log.
bool bkpy_failure_overdue(struct bkpy_host *host, struct bk_exchange *x, PyObject *exception);
// failure.c: one line and a traceback about an exception that belongs to no running exchange.
void bkpy_failure_log(PyObject *exception, const char *where);
// failure.c: without a master SystemExit and KeyboardInterrupt end the serving: true, and it is on its way.
bool bkpy_failure_leave(struct bkpy_host *host, PyObject *exception);
// failure.c: the pending exception came from close(), the answer is out already: logs it. Clears it.
void bkpy_failure_close(struct bkpy_host *host, PyObject *dict);
// failure.c: a Python signal handler raised between two requests. True: logged or noted, go on; false: it is still
// pending and ends serve().
bool bkpy_failure_signal(struct bkpy_host *host);
