// The one native helper thread of a worker: listens to the master's channel, also while the
// application holds the main thread, and ends an orphan. It blocks all signals and never touches a
// host object.
#pragma once

#include "base/compiler.h"
#include "config/config.h"

struct bk_engine;
struct bk_keyring;
struct bk_orders;

// Starts the thread on the worker's end of the channel (borrowed). `keyring` goes with certificates
// that come later, may be NULL.
int bk_orders_start(struct bk_engine *engine, const struct bk_config *config,
                    const struct bk_keyring *keyring, int channel_fd, struct bk_orders **ret) BK_MUST_CHECK;
// Stops and joins it. Accepts NULL.
void bk_orders_stop(struct bk_orders *orders);
// In a forked child, where the thread is not: closes the descriptor.
void bk_orders_abandon(struct bk_orders *orders);
