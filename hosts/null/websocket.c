// WebSocket sessions of the null host. A session is its exchange's reference and a few numbers,
// found again by the index.
#include "websocket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/panic.h"

enum kind { ECHO, FLOOD, DEAF };
static bool loop;  // else each session has a thread, which may wait

struct session {
    struct bk_exchange_ref ref;
    enum kind kind;
    unsigned long left;  // FLOOD: messages to send
};

static struct session *sessions;  // owns, by exchange index; of a loop only
static unsigned session_count;

static void go_on(struct bk_exchange *x, struct session *session);

static struct session *
session_of(struct bk_exchange_ref ref)
{
    if (ref.index >= session_count) {
        unsigned count = (ref.index + 1) * 2;
        sessions = realloc(sessions, count * sizeof *sessions);
        if (!sessions)
            bk_panic(__FILE__, __LINE__, "out of memory");
        memset(sessions + session_count, 0, (count - session_count) * sizeof *sessions);
        session_count = count;
    }
    return &sessions[ref.index];
}

static void
deny(struct bk_exchange *x)
{
    const char *why;
    if (bk_answer_begin(x, 403, BK_STR("Forbidden"), &why) == -EINVAL)
        bk_panic(__FILE__, __LINE__, "the null application's status is valid");
    bk_answer_push(x, "no\n", 3, NULL);
    bk_exchange_commit(x);
}

// One message of bytes that stay ours until they are sent; null.c's release frees them.
static void
lend(struct bk_exchange *x, unsigned long size)
{
    char *bytes = malloc(size + 1);
    if (!bytes)
        bk_panic(__FILE__, __LINE__, "out of memory");
    memset(bytes, 'l', size);
    bk_ws_send(x, BK_WS_TEXT, bytes, size, bytes);
}

void
null_websocket(struct bk_exchange *x, struct bk_str path, unsigned long number, bool is_loop)
{
    static const struct bk_str names[] = {{"X-Host", 6}, {"Connection", 10}},
                               values[] = {{"null", 4}, {"close", 5}};
    struct bk_str protocol = {NULL, 0};
    const char *why;
    if (bk_str_equal(path, BK_STR("/ws/deny"))) {
        deny(x);
        return;
    }
    if (bk_str_equal(path, BK_STR("/ws/sub")))
        bk_ws_protocols(x, &protocol, 1);
    int error = bk_ws_accept(x, protocol, names, values, BK_COUNT(names), &why);
    if (error < 0) {
        if (error == -EINVAL)
            bk_panic(__FILE__, __LINE__, "the null application accepts rightly");
        bk_exchange_commit(x);
        return;
    }
    struct session own, *session = is_loop ? session_of(bk_exchange_call(x)->ref) : &own;
    loop = is_loop;
    *session = (struct session){.ref = bk_exchange_call(x)->ref, .left = number};
    if (bk_str_equal(path, BK_STR("/ws/flood")))
        session->kind = FLOOD;
    else if (bk_str_equal(path, BK_STR("/ws/lent")))
        lend(x, number);
    else if (bk_str_equal(path, BK_STR("/ws/deaf")))
        session->kind = DEAF;
    else if (bk_str_equal(path, BK_STR("/ws/close")))
        bk_ws_close(x, (unsigned)number, BK_STR("as you wish"));
    else if (bk_str_equal(path, BK_STR("/ws/fail"))) {
        bk_exchange_fail(x, "app-raised", BK_STR("Failure"), BK_STR("here"));
        bk_exchange_commit(x);
        return;
    }
    go_on(x, session);
}

void
null_websocket_event(struct bk_engine *engine, const struct bk_event *event)
{
    struct bk_exchange *x = bk_exchange_at(engine, event->ref);
    if (x)
        go_on(x, session_of(event->ref));
}

// > 0: the output is full. Commits nothing.
static int
answer(struct bk_exchange *x, struct session *session, const struct bk_ws_message *message)
{
    return session->kind == ECHO ? bk_ws_send(x, (enum bk_ws_kind)message->kind, message->data.at,
                                              message->data.len, NULL)
                                 : 0;
}

// True: later; an event will tell.
static bool
later(struct bk_exchange *x, unsigned what)
{
    if (loop)
        return bk_exchange_watch(x, what) == 0;
    while (bk_exchange_wait(x, (enum bk_wait)what) == -EINTR)
        ;
    return false;
}

static void
go_on(struct bk_exchange *x, struct session *session)
{
    static const char piece[1024] = "flood";
    for (;;) {
        struct bk_ws_message message;
        int full = 0;
        if (session->kind == DEAF) {
            if (!later(x, BK_WAIT_GONE))
                bk_exchange_commit(x);
            return;
        }
        if (session->kind == FLOOD && session->left) {
            full = bk_ws_send(x, BK_WS_BINARY, piece, sizeof piece, NULL);
            session->left = full < 0 ? 0 : session->left - 1;
            if (full <= 0)
                continue;
        } else {
            int got = bk_ws_receive(x, &message);
            if (got == 0) {
                bk_exchange_commit(x);
                return;
            }
            if (got == 1) {
                full = answer(x, session, &message);
                if (full <= 0)
                    continue;
            }
        }
        if (later(x, full > 0 ? BK_WAIT_DRAIN : BK_WAIT_MESSAGE))
            return;
    }
}
