// A native thread that keeps a worker's input and output going while the application does not let
// go: it looks whether the loop's owner is stuck outside the engine, and turns the loop in its
// place until a thread is free (serve/baton.h). It runs no Python, blocks all signals, and sleeps
// while the loop waits for events.
#pragma once

#include "base/compiler.h"

struct bk_engine;
struct bk_watcher;

// The engine has a baton (bk_engine_threads) and outlives the thread.
int bk_watcher_start(struct bk_engine *engine, struct bk_watcher **ret) BK_MUST_CHECK;
// Stops and joins it. Accepts NULL.
void bk_watcher_stop(struct bk_watcher *watcher);
// In a forked child, where the thread is not: closes the descriptor.
void bk_watcher_abandon(struct bk_watcher *watcher);
