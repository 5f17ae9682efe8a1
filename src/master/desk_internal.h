// Shared by the files of the desk. Everything here belongs to the desk's thread.
#pragma once

#include <stdatomic.h>

#include "loop/offload.h"
#include "master/desk.h"
#include "master/hatch.h"
#include "master/roster.h"
#include "master/state.h"

#define BK_DESK_CALLERS 64     // --stats clients at once; one more and the oldest has to go
#define BK_DESK_CONTROLLERS 16 // of barkeepctl
#define BK_DESK_REQUEST 4096   // bytes of a client's request

enum bk_doc_format { BK_DOC_JSON, BK_DOC_UWSGI, BK_DOC_PROMETHEUS, BK_DOC_COUNT };

// A finished text that several clients may be reading.
struct bk__doc {
    unsigned refs;
    uint64_t made; // monotonic ns
    struct bk_buf text;
};

struct bk__caller {
    struct bk_list node;   // in desk->callers, oldest first
    struct bk_watch watch; // .fd owns
    struct bk_timer timer;
    struct bk_doomed doomed;
    struct bk_desk *desk;
    unsigned number; // bk_wish.asker
    bool controller; // of the control socket
    bool may_act;
    bool http, head_only, dead, watching_out;
    bool asked;     // has said what it wants
    bool wants_doc; // and that is a text about the next roster
    enum bk_doc_format format;
    uint64_t deadline;
    char in[BK_DESK_REQUEST];
    size_t in_len;
    char head[256]; // goes in front of the text
    size_t head_len;
    struct bk__doc *doc; // ref
    struct bk_buf text;  // owns: in place of doc
    size_t sent;         // of head and text together
    bool answering;
};

// What /proc says of a worker, kept because asking costs the worker something.
struct bk__memory {
    pid_t pid;
    uint64_t at, pss_at; // monotonic ns
    uint64_t rss, vsz, pss;
};

struct bk__statsd;

struct bk_desk {
    pthread_t thread;
    bool started;
    struct bk_loop loop;
    struct bk_hatch *hatch;              // borrows
    const struct bk_segment *scoreboard; // borrows
    unsigned slot_count;
    struct bk_ledger *ledger;                   // borrows
    struct bk_listener stats;                   // .fd -1: there is none
    struct bk_watch stats_watch, control_watch; // control_watch.fd owns, -1: there is none
    enum bk_doc_format format;                  // --stats-format
    struct bk_list callers;
    unsigned caller_count, controller_count, next_number;
    struct bk__doc *docs[BK_DOC_COUNT]; // ref: the last ones made
    bool asked;                         // a wish for the roster is out
    struct bk__memory *memory;          // owns: by slot
    struct bk_offload *offload;         // owns
    struct bk__statsd *statsd;          // owns; NULL: nobody gets any
    struct bk_timer pause;              // accepting goes on after it
    _Atomic bool stop;
    uint64_t stop_by;
};

// desk.c
void bk__desk_ask_roster(struct bk_desk *desk);
void bk__doc_unref(struct bk__doc *doc);

// desk_caller.c: one client, of either socket.
void bk__caller_accept(struct bk_desk *desk, int listener, bool controller);
// Its text is there. `text` goes over to the caller; NULL and a `doc`: that is sent.
void bk__caller_answer(struct bk__caller *caller, struct bk_buf *text, struct bk__doc *doc);
void bk__caller_close(struct bk__caller *caller);
struct bk__caller *bk__caller_find(struct bk_desk *desk, unsigned number);
// It wants the statistics; a fresh text is sent at once, else when the roster is there.
void bk__caller_want(struct bk__caller *caller, enum bk_doc_format format);

// desk_http.c: what came in. 0: not enough yet. 1: `caller->format` is wanted; -1: `head` has the
// whole answer.
int bk__http_read(struct bk__caller *caller);
// Puts the head in front of a text of `len` bytes.
void bk__http_head(struct bk__caller *caller, size_t len);

// desk_control.c
int bk__control_open(struct bk_desk *desk, unsigned user);
// May this process ask, and act? Else says why not and sends it away.
bool bk__control_admit(struct bk__caller *caller);
// Looks at what came in; asks the main thread when it is a whole line.
void bk__control_read(struct bk__caller *caller);
void bk__control_answer(struct bk__caller *caller, int code, const char *key, struct bk_buf *text);

// desk_report.c. NULL when out of memory. Takes the roster's report over.
struct bk_report *bk__desk_report(struct bk_desk *desk, struct bk_roster *roster);

// desk_statsd.c
int bk__statsd_open(struct bk_desk *desk, const struct bk_config *config, const char **ret_why);
void bk__statsd_close(struct bk_desk *desk);
void bk__statsd_start(struct bk_desk *desk);
// A report is there: sends what has happened since the last one.
void bk__statsd_push(struct bk_desk *desk, const struct bk_report *report);
