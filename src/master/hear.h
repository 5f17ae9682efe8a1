// What members say over their channels, and the orders they are given. Called from the loop.
#pragma once

#include "master/state.h"

// A member was just born: listens to its channel and starts the clock of --startup-timeout.
void bk_hear_begin(struct bk_member *member);
// Reads what is left on the channel and closes it. Before the member is freed, so that no last words are lost.
void bk_hear_end(struct bk_member *member);
// Sends an order; a member that cannot be reached any more is dealt with when it is reaped.
void bk_hear_order(struct bk_member *member, enum bk_message order, const char *text);
// SIGKILL, remembered as ours.
void bk_hear_kill(struct bk_member *member);
