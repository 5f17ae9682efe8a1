// The parts of libbarkeep.so among themselves; what Python sees is door.cdef. A door belongs to one
// thread that runs the application, its calls come without any lock of Python's: `lock` keeps a
// request from ending while another thread of the application uses it.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "host/host.h"
#include "memo.h"
#include "worker/worker.h"

#pragma GCC visibility push(default)
#include "door.cdef"
#pragma GCC visibility pop

#define BKPP_MARKS_MAX (2 * BK_FIELDS_MAX + 32)

// A door with its private part. Owned by Python, freed by bkpp_door_free.
struct bkpp_place {
    struct bkpp_door door;     // first: Python has its address
    struct bk_worker *worker;  // borrows
    struct bk_engine *engine;  // borrows worker
    struct bkpp_memo memo;
    struct bk_log_limit hop_limit;
    pthread_mutex_t lock;  // around every use of an exchange but waiting
    bool waiting;          // under lock: this door's thread is in bk_exchange_wait
    bool busy;             // counted by bkpp_title_busy
    unsigned thread;
    int turn_flags;  // of the last turn
    char *mount;     // owns
    size_t mount_len, text_room;
};

// worker.c: true in a child that the application forked.
bool bkpp_is_child(void);
// title.c: counts threads that run the application.
void bkpp_title_busy(bool on);
// environ.c: fills the door from the exchange. 0; 1: the path lies outside the mount; -ENOMEM.
// `whole`: without the memo.
int bkpp_environ_fill(struct bkpp_place *place, struct bk_exchange *x, bool whole) BK_MUST_CHECK;
// The same for an ASGI scope: the fields in order with names in lower case, then what scope needs.
int bkpp_scope_fill(struct bkpp_place *place, struct bk_exchange *x, bool whole) BK_MUST_CHECK;
// environ.c: room for the text of a request; and a mark with its text. -ENOMEM.
int bkpp_marks_begin(struct bkpp_place *place, const struct bk_head *head) BK_MUST_CHECK;
void bkpp_mark_put(struct bkpp_place *place, unsigned key, struct bk_str text);
// door.c: the public part of a request that was handed out.
void bkpp_door_show(struct bkpp_place *place, struct bk_exchange *x);
// door.c: a short answer of the server's own.
void bkpp_answer_text(struct bk_exchange *x, int status, struct bk_str text);
// answer.c: fields as Python flattens them. False: the NULs do not add up.
bool bkpp_fields_split(struct bk_str fields, unsigned count, struct bk_str *names,
                       struct bk_str *values);
// door.c: the exchange with the door locked, or NULL unlocked with *ret_error. Unlock with
// bkpp_door_leave.
struct bk_exchange *bkpp_door_enter(struct bkpp_door *door, uint64_t ticket, int *ret_error);
void bkpp_door_leave(struct bkpp_door *door);
