// What the worker's time keeper (worker/deadlines.h) asks of Python: stacks, a sign of life, an
// exception in a request.
#pragma once

#include "bkpy_host.h"

// Worker.watch_over(report, interrupt): from now on the questions are answered. Returns (fd, signal)
// for faulthandler.register, or NULL with an exception.
PyObject *bkpy_insight_begin(struct bkpy_host *host, PyObject *args);
// The Worker object goes. With the GIL.
void bkpy_insight_end(void);
// In a forked child: closes the descriptor. Async-signal-safe.
void bkpy_insight_forked(void);
// An exception for the request that ends now may still be on its way to this thread: takes it back.
void bkpy_insight_settle(struct bkpy_host *host);
