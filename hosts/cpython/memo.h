// What the host remembers per connection: the client's address as strings, and the header memo: the last request's
// field
// lines with the environ made from them. When the next request brings the same bytes its environ is a copy.
#pragma once

#include "module.h"

#include <stdbool.h>

#include "host/host.h"

struct bkpy_host;

#define BKPY_MEMO_SLOTS 512                // power of two; direct-mapped by connection number
#define BKPY_MEMO_BLOCK 4096               // field lines longer than this are not remembered
#define BKPY_MEMO_IDLE (5 * UINT64_C(1000000000))

struct bkpy_memo_slot {
    uint64_t connection;
    uint64_t used;           // monotonic ns, of the turn
    PyObject *addr, *port;   // ref: REMOTE_ADDR; REMOTE_PORT or NULL for unix sockets
    PyObject *dict;       // ref, NULL: nothing remembered. Never given to an application, only copied
    char *bytes;             // owns: the field lines, then method SP target
    uint32_t block_len, target_len, method_len, room;
    uint16_t listener;
    uint8_t minor;
    bool taken;              // else the slot is empty
    bool https, trusted;
    bool fresh;              // this request took the slot over: remembering begins with the next
};

struct bkpy_memo {
    bool on;                 // --header-memo
    unsigned slot_count;     // power of two: the threads share BKPY_MEMO_SLOTS out among them
    unsigned filled;         // slots in use
    uint64_t now, next_sweep;
    struct bkpy_memo_slot *slots;  // owns: slot_count, made at the first request
    uint64_t hits, misses;
};

void bkpy_memo_release(struct bkpy_memo *memo);
// The slot of this connection with addr and port filled in, or NULL with an exception. A slot taken over from another
// connection forgets it.
struct bkpy_memo_slot *bkpy_memo_slot(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call);
// Does the slot's environ fit this request but for method and target? *ret_same: those are the same as well.
bool bkpy_memo_fits(const struct bkpy_memo_slot *slot, const struct bk_call *call, bool *ret_same);
// Remembers a finished environ (a copy of it). Nothing on failure: it is only a memo.
void bkpy_memo_keep(struct bkpy_host *host, struct bkpy_memo_slot *slot, const struct bk_call *call, PyObject *dict);
// Once per turn: takes the time, forgets connections not seen for 5 s.
void bkpy_memo_turn(struct bkpy_memo *memo);
