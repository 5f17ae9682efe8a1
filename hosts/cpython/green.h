// Requests as greenlets under gevent's hub (-k gevent).
#pragma once

#include "compat.h"

#include "host/host.h"

struct bkpy_host;

// Serves until the engine is drained. `options` is (hub, make, most, again, tell, wait): the hub's greenlet; class
// gevent.Greenlet or None for plain greenlets; most requests at once; again() has the hub call turn() soon; tell(n) is
// called when the engine was told to drain (1), to quit (2), and when it is drained (3); wait(fd, turn, left) has the
// hub call turn() when fd is readable, and returns at the end. -1 with an exception.
int bkpy_green_serve(struct bkpy_host *host, PyObject *worker, PyObject *options);
// bkpy_host_wait for greenlets: switches to the hub.
int bkpy_green_wait(struct bkpy_host *host, struct bk_exchange *x, enum bk_wait what);
// The request is over and another greenlet still waits for its client: that one will learn of it.
void bkpy_green_forsake(struct bkpy_host *host, struct bk_exchange *x);
// Is `exception` the end of a greenlet that --graceful-timeout left no more time?
bool bkpy_green_cut(struct bkpy_host *host, PyObject *exception);
// The greenlet of a request that runs; borrowed, NULL when it is over.
PyObject *bkpy_green_at(struct bkpy_host *host, struct bk_exchange_ref ref);
// Drops what may keep the application alive.
void bkpy_green_clear(struct bkpy_host *host);
void bkpy_green_release(struct bkpy_host *host);
