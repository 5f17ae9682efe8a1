// Reading from a connection. Called by conn.c and the engine.
#pragma once

struct bk_conn;

// Reads and parses as far as possible. The connection may be dead afterwards.
void bk__receive(struct bk_conn *conn);
// Gives the receive buffer back (unless the exchange owns it) and forgets what is in it.
void bk__receive_drop(struct bk_conn *conn);
