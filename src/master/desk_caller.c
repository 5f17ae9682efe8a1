// One client of the desk, from accept to close: bounded in number, bytes and time.
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "master/desk_internal.h"

#include "base/banned.h"

#define AT_ONCE 32                 // connections taken in one go
#define PATIENCE (10 * BK_SEC)     // for a whole visit
#define GRACE (300 * BK_MSEC)      // silent so long: it wants no HTTP, just the text
#define GRACE_UWSGI (50 * BK_MSEC) // uwsgitop never says anything
#define FRESH (200 * BK_MSEC)      // a text is given out again for so long
#define NO_DESCRIPTORS (200 * BK_MSEC)

static bool take_in(struct bk_desk *desk, int fd, bool controller);
static void pause_over(struct bk_timer *timer);
static void make_room(struct bk_desk *desk, bool controller);
static void ready(struct bk_watch *watch, uint32_t events);
static void receive(struct bk__caller *caller);
static void look(struct bk__caller *caller, bool eof);
static void send_some(struct bk__caller *caller);
static ssize_t send_parts(struct bk__caller *caller);
static void timed_out(struct bk_timer *timer);
static void bury(struct bk_doomed *doomed);

void
bk__caller_accept(struct bk_desk *desk, int listener, bool controller)
{
    for (unsigned i = 0; i < AT_ONCE; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (!take_in(desk, fd, controller))
                close(fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            // Level-triggered: without a pause the loop would spin. Both listeners rest.
            bk_loop_change(&desk->loop, &desk->stats_watch, 0);
            bk_loop_change(&desk->loop, &desk->control_watch, 0);
            bk_timer_init(&desk->pause, pause_over);
            bk_timer_set(&desk->loop.wheel, &desk->pause, bk_clock_mono() + NO_DESCRIPTORS);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void
pause_over(struct bk_timer *timer)
{
    struct bk_desk *desk = BK_OUTER(timer, struct bk_desk, pause);

    bk_loop_change(&desk->loop, &desk->stats_watch, EPOLLIN);
    bk_loop_change(&desk->loop, &desk->control_watch, EPOLLIN);
}

static bool
take_in(struct bk_desk *desk, int fd, bool controller)
{
    uint64_t now = bk_clock_mono();
    struct bk__caller *caller;

    make_room(desk, controller);
    caller = calloc(1, sizeof *caller);
    if (!caller)
        return false;
    caller->desk = desk;
    caller->controller = controller;
    caller->number = ++desk->next_number ? desk->next_number : ++desk->next_number;
    caller->format = controller ? BK_DOC_JSON : desk->format;
    caller->deadline = now + PATIENCE;
    caller->watch = (struct bk_watch){.ready = ready, .fd = fd};
    bk_timer_init(&caller->timer, timed_out);
    if (bk_loop_add(&desk->loop, &caller->watch, EPOLLIN | EPOLLRDHUP) < 0) {
        free(caller);
        return false;
    }
    bk_list_append(&desk->callers, &caller->node);
    *(controller ? &desk->controller_count : &desk->caller_count) += 1;
    uint64_t grace = desk->format == BK_DOC_UWSGI ? GRACE_UWSGI : GRACE;
    bk_timer_set(&desk->loop.wheel, &caller->timer, controller ? caller->deadline : now + grace);
    if (controller)
        bk__control_admit(caller);
    return true;
}

// The oldest has had the most time; an honest client is done in a few milliseconds.
static void
make_room(struct bk_desk *desk, bool controller)
{
    unsigned count = controller ? desk->controller_count : desk->caller_count;
    unsigned most = controller ? BK_DESK_CONTROLLERS : BK_DESK_CALLERS;

    if (count < most)
        return;
    for (struct bk_list *at = desk->callers.next; at != &desk->callers; at = at->next) {
        struct bk__caller *caller = BK_OUTER(at, struct bk__caller, node);
        if (caller->controller != controller)
            continue;
        bk__caller_close(caller);
        return;
    }
}

static void
ready(struct bk_watch *watch, uint32_t events)
{
    struct bk__caller *caller = BK_OUTER(watch, struct bk__caller, watch);

    if (caller->answering)
        send_some(caller);
    else
        receive(caller);
}

static void
receive(struct bk__caller *caller)
{
    char dropped[512];
    // Asked and waiting: more bytes are nobody's, only the end matters.
    bool full = caller->asked || caller->in_len == sizeof caller->in;
    char *into = full ? dropped : caller->in + caller->in_len;
    size_t room = full ? sizeof dropped : sizeof caller->in - caller->in_len;
    ssize_t n = recv(caller->watch.fd, into, room, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0 || (n == 0 && (caller->controller || caller->in_len > 0))) {
        bk__caller_close(caller);
        return;
    }
    if (n > 0 && full && !caller->asked) {
        bk__caller_close(caller);
        return;
    }
    if (!full)
        caller->in_len += (size_t)n;
    if (!caller->asked)
        look(caller, n == 0);
    else if (n == 0) // it has said all it will; the answer is still wanted
        bk_loop_change(&caller->desk->loop, &caller->watch, 0);
}

static void
look(struct bk__caller *caller, bool eof)
{
    int what;

    if (caller->controller) {
        bk__control_read(caller);
        return;
    }
    what = eof ? 1 : bk__http_read(caller);
    if (what > 0) {
        if (eof) // nothing more comes: without this the end would be told again and again
            bk_loop_change(&caller->desk->loop, &caller->watch, 0);
        bk__caller_want(caller, caller->format);
    } else if (what < 0) {
        bk__caller_answer(caller, NULL, NULL);
    }
}

void
bk__caller_want(struct bk__caller *caller, enum bk_doc_format format)
{
    struct bk_desk *desk = caller->desk;
    struct bk__doc *doc = desk->docs[format];

    caller->format = format;
    bk_timer_set(&desk->loop.wheel, &caller->timer, caller->deadline);
    if (doc && bk_clock_mono() - doc->made < FRESH) {
        bk__caller_answer(caller, NULL, doc);
        return;
    }
    caller->asked = caller->wants_doc = true;
    bk__desk_ask_roster(desk);
}

void
bk__caller_answer(struct bk__caller *caller, struct bk_buf *text, struct bk__doc *doc)
{
    struct bk_desk *desk = caller->desk;

    caller->wants_doc = false;
    caller->answering = true;
    if (doc) {
        doc->refs++;
        caller->doc = doc;
    }
    if (text) {
        caller->text = *text;
        *text = (struct bk_buf){0};
    }
    if (caller->http && doc)
        bk__http_head(caller, doc->text.len);
    caller->deadline = bk_clock_mono() + PATIENCE;
    bk_timer_set(&desk->loop.wheel, &caller->timer, caller->deadline);
    send_some(caller);
}

static void
send_some(struct bk__caller *caller)
{
    char dropped[512];

    for (;;) {
        ssize_t n = send_parts(caller);
        if (n > 0) {
            caller->sent += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (!caller->watching_out)
                bk_loop_change(&caller->desk->loop, &caller->watch, EPOLLOUT);
            caller->watching_out = true;
            return;
        }
        break;
    }
    // Bytes left unread would turn our FIN into a reset, which may overtake the answer.
    while (recv(caller->watch.fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0)
        ;
    bk__caller_close(caller);
}

// 0: all is out. At most one piece a call; the desk is not in a hurry.
static ssize_t
send_parts(struct bk__caller *caller)
{
    const struct bk_buf *text = caller->doc ? &caller->doc->text : &caller->text;
    size_t len = caller->head_only ? 0 : text->len, at;

    if (caller->sent < caller->head_len)
        return send(caller->watch.fd, caller->head + caller->sent, caller->head_len - caller->sent,
                    MSG_NOSIGNAL | (len > 0 ? MSG_MORE : 0));
    at = caller->sent - caller->head_len;
    return at < len ? send(caller->watch.fd, text->at + at, len - at, MSG_NOSIGNAL) : 0;
}

// Silent since it came: it wants the text as it is. Otherwise its time is over.
static void
timed_out(struct bk_timer *timer)
{
    struct bk__caller *caller = BK_OUTER(timer, struct bk__caller, timer);
    uint64_t now = bk_clock_mono();

    if (now >= caller->deadline)
        bk__caller_close(caller);
    else if (!caller->controller && !caller->asked && !caller->answering && caller->in_len == 0)
        bk__caller_want(caller, caller->format);
    else
        bk_timer_set(&caller->desk->loop.wheel, timer, caller->deadline);
}

struct bk__caller *
bk__caller_find(struct bk_desk *desk, unsigned number)
{
    for (struct bk_list *at = desk->callers.next; at != &desk->callers; at = at->next) {
        struct bk__caller *caller = BK_OUTER(at, struct bk__caller, node);
        if (caller->number == number)
            return caller;
    }
    return NULL;
}

void
bk__caller_close(struct bk__caller *caller)
{
    struct bk_desk *desk = caller->desk;

    if (caller->dead)
        return;
    caller->dead = true;
    bk_timer_cancel(&desk->loop.wheel, &caller->timer);
    bk_loop_remove(&desk->loop, &caller->watch);
    close(caller->watch.fd);
    bk_list_remove(&caller->node);
    *(caller->controller ? &desk->controller_count : &desk->caller_count) -= 1;
    bk__doc_unref(caller->doc);
    bk_buf_release(&caller->text);
    bk_loop_doom(&desk->loop, &caller->doomed, bury);
}

static void
bury(struct bk_doomed *doomed)
{
    free(BK_OUTER(doomed, struct bk__caller, doomed));
}
