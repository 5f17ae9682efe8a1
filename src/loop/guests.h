// Descriptors of a foreign loop (asyncio, tornado) in our epoll set, so that one epoll_wait serves
// both. They are known by number and level-triggered; what they wait for is their owner's business.
// A number that the owner closed without taking it out, and that accept() then gave to a connection
// of ours, is ours from then on: late changes of it do nothing.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct bk_loop;

struct bk_guest {
    int fd;
    uint32_t events;  // as from epoll, only what was asked for and ERR, HUP
};

// Watches `fd` for `events` (EPOLLIN, EPOLLOUT) from now on; 0: no longer. Errors as of epoll_ctl:
// -EBADF, -EPERM (a regular file), -EEXIST (the number is ours), -ENOMEM. Taking out what is not
// there is fine.
int bk_guests_set(struct bk_loop *loop, int fd, uint32_t events) BK_MUST_CHECK;
// The events of guests that the last turn found, at most BK_LOOP_BATCH: copies them and forgets
// them. Those taken out meanwhile are left away.
unsigned bk_guests_take(struct bk_loop *loop, struct bk_guest *out, unsigned room);
bool bk_guests_any(const struct bk_loop *loop);

// For loop.c. A watch of ours takes the number over.
void bk__guests_forget(struct bk_loop *loop, int fd);
void bk__guests_ready(struct bk_loop *loop, int fd, uint32_t events);
void bk__guests_release(struct bk_loop *loop);
