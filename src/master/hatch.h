// Between two threads of the master: the desk (desk.h), which talks to people and their tools, and
// the main thread, which knows and decides. The desk passes a wish through the hatch, the main
// thread grants it, at once or much later, and passes it back. Neither ever waits for the other.
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"
#include "loop/loop.h"

enum bk_wish_kind {
    BK_WISH_ROSTER,  // who is there? Answered in `roster`
    BK_WISH_COMMAND, // a command of barkeepctl, in `words`. Answered in `code`, `key`, `text`
};

#define BK_WISH_ANSWER_MAX (1024 * 1024)

struct bk_wish {
    struct bk_wish *next;
    enum bk_wish_kind kind;
    char *words;              // owns: "worker 2 kill"
    bool may_act;             // else only commands that change nothing
    unsigned asker;           // the desk's: who waits for it, 0: nobody any more
    int code;                 // 0: done; else barkeepctl's exit code
    const char *key;          // of messages.def, "" when it has none
    struct bk_buf text;       // owns: what to show, whole lines
    struct bk_roster *roster; // owns
    unsigned generation;      // the main thread's: which reload it waits for
};

struct bk_hatch {
    pthread_mutex_t lock;
    struct bk_loop *main, *desk;      // borrows; woken when something lies here for them
    struct bk_wish *wishes, *granted; // owns, last come first
};

void bk_hatch_init(struct bk_hatch *hatch, struct bk_loop *main, struct bk_loop *desk);
void bk_hatch_release(struct bk_hatch *hatch);

// NULL when out of memory. `words` is copied, NULL: none.
struct bk_wish *bk_wish_new(enum bk_wish_kind kind, const char *words);
void bk_wish_free(struct bk_wish *wish);

// Desk: hands over a wish; takes what was granted, in the order it was, as a list.
void bk_hatch_wish(struct bk_hatch *hatch, struct bk_wish *wish);
struct bk_wish *bk_hatch_granted(struct bk_hatch *hatch);
// Main thread: takes all wishes, in order; hands one back.
struct bk_wish *bk_hatch_wishes(struct bk_hatch *hatch);
void bk_hatch_grant(struct bk_hatch *hatch, struct bk_wish *wish);
