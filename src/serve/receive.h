// Reading from a connection. Called by conn.c and the engine.
#pragma once

#include <sys/types.h>

#include "base/compiler.h"

struct bk_conn;

// Reads and parses as far as possible. The connection may be dead afterwards.
void bk__receive(struct bk_conn *conn);
// Gives the receive buffer back (unless the exchange owns it) and forgets what is in it.
void bk__receive_drop(struct bk_conn *conn);
// One read into engine->scratch, number `reads` (from 0) of this turn: bytes; -EAGAIN: no more now,
// an event or the next turn goes on; 0 or another negative errno: no more will come.
ssize_t bk__receive_scratch(struct bk_conn *conn, int reads);
// Bytes in engine->scratch that are for later (the next request, messages nobody has room for) wait in
// a buffer of the connection's own. -ENOMEM.
int bk__receive_keep(struct bk_conn *conn, const char *bytes, size_t len) BK_MUST_CHECK;
