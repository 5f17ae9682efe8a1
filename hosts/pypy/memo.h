// The header memo of one thread (pitfalls 20): field lines of each connection's last request, and
// the peer's address in text. The environ made from them lies in Python, in a list by slot;
// `version` ties the two together.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "host/host.h"

#define BKPP_MEMO_BLOCK 4096  // field lines longer than this are not remembered
#define BKPP_MEMO_IDLE (5 * UINT64_C(1000000000))

struct bkpp_memo_slot {
    uint64_t connection;
    uint64_t used;     // monotonic ns, of the turn
    uint64_t version;  // of what is remembered; 0: nothing
    char addr[46];
    uint8_t addr_len;
    char port[20];
    uint8_t port_len;  // 0 for unix sockets
    char *bytes;       // owns: the field lines, then method and target
    uint32_t block_len, target_len, method_len, room;
    uint16_t listener;
    uint8_t minor;
    bool taken;  // else the slot is empty
    bool https, trusted;
    bool fresh;    // this request took the slot over: remembering begins with the next
    bool leaving;  // Python has yet to drop its part
};

struct bkpp_memo {
    bool on;              // --header-memo
    unsigned slot_count;  // power of two
    unsigned filled;      // slots in use
    unsigned leaving;     // slots with .leaving
    uint64_t now, next_sweep, version;
    struct bkpp_memo_slot *slots;  // owns
};

// -ENOMEM. `count` is a power of two.
int bkpp_memo_init(struct bkpp_memo *memo, unsigned count) BK_MUST_CHECK;
void bkpp_memo_release(struct bkpp_memo *memo);
// The slot of this connection with the address filled in. A slot taken over from another forgets
// that one.
struct bkpp_memo_slot *bkpp_memo_slot(struct bkpp_memo *memo, const struct bk_exchange *x,
                                      const struct bk_call *call);
// Does the slot's environ fit this request but for method and target? *ret_same: those are the same
// as well.
bool bkpp_memo_fits(const struct bkpp_memo_slot *slot, const struct bk_call *call, bool *ret_same);
// Remembers these field lines under a new version. False: not this request.
bool bkpp_memo_keep(struct bkpp_memo *memo, struct bkpp_memo_slot *slot,
                    const struct bk_call *call);
// Once per turn: takes the time, forgets connections not seen for 5 s.
void bkpp_memo_turn(struct bkpp_memo *memo);
// The next slot whose environ Python shall drop; -1: none.
int bkpp_memo_leaving(struct bkpp_memo *memo);
