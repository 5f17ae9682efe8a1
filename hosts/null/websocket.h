// The null host's WebSocket applications: as a host with a loop of its own would run them (nothing
// waits, events resume), or with a thread for each session.
#pragma once

#include "host/host.h"

// A request with call.websocket; commits it, now or when the session ends. Paths: /ws/deny a 403;
// /ws/flood?N messages of 1 KiB, as fast as the client takes them; /ws/lent?N one message of N
// bytes, lent; /ws/close?CODE; /ws/deaf never receives; /ws/fail an application error; /ws/sub
// takes the first subprotocol; every other: an echo.
void null_websocket(struct bk_exchange *x, struct bk_str path, unsigned long number, bool is_loop);
// An event of bk_engine_event.
void null_websocket_event(struct bk_engine *engine, const struct bk_event *event);
