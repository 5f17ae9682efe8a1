// The control socket: an abstract unix socket, barkeep/UID/PID. A line comes in, "barkeepctl 1
// COMMAND [WORDS]"; an answer goes out, "barkeep 1 CODE [KEY]" and then what to show, to the end of
// the connection. Every line gets one.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/desk_internal.h"
#include "master/words.h"

#include "base/banned.h"

#define GREETING "barkeepctl 1 "
#define TRIES 8 // names; containers that share a network namespace may have equal pids

static bool send_away(struct bk__caller *caller, int code, enum bk_key key, const char *text);
static bool wants_stats(struct bk__caller *caller, const char *words);

int
bk__control_open(struct bk_desk *desk, unsigned user)
{
    char why[BK_WORDS_ROOM];
    int rc = -EADDRINUSE, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    for (unsigned i = 0; fd >= 0 && i < TRIES && rc == -EADDRINUSE; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char *name = address.sun_path + 1; // abstract: begins with NUL
        int len = snprintf(name, sizeof address.sun_path - 1, "barkeep/%u/%d", user, (int)getpid());
        if (i > 0)
            len += snprintf(name + len, sizeof address.sun_path - 1 - (size_t)len, ".%u", i);
        socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
        rc = bind(fd, (struct sockaddr *)&address, size) < 0 ? -errno : 0;
    }
    if (fd < 0 || (rc == 0 && listen(fd, 16) < 0))
        rc = -errno;
    if (rc < 0) {
        bk_log(BK_LOG_DEBUG, NULL, "no control socket: %s", bk_words_error(rc, why));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    desk->control_watch.fd = fd;
    return 0;
}

// The same user, or root. Whose pid we cannot see (it is 0 then) lives in another container: it may
// look.
bool
bk__control_admit(struct bk__caller *caller)
{
    struct ucred who;
    socklen_t len = sizeof who;

    if (getsockopt(caller->watch.fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 ||
        (who.uid != 0 && who.uid != geteuid()))
        return send_away(caller, 1, BK_KEY_CONTROL_FOREIGN,
                         "this server belongs to another user\n");
    caller->may_act = who.pid != 0;
    return true;
}

void
bk__control_read(struct bk__caller *caller)
{
    char *eol = memchr(caller->in, '\n', caller->in_len);
    struct bk_str line = {caller->in, eol ? (size_t)(eol - caller->in) : 0};
    struct bk_wish *wish;

    if (!eol && caller->in_len < sizeof caller->in)
        return;
    if (!eol || !bk_str_starts(line, BK_STR(GREETING)) || memchr(line.at, '\0', line.len)) {
        send_away(caller, 2, BK_KEY_CONTROL_COMMAND,
                  "that is no line of a barkeepctl that this server knows\n");
        return;
    }
    *eol = '\0';
    const char *words = caller->in + strlen(GREETING);
    if (wants_stats(caller, words))
        return;
    wish = bk_wish_new(BK_WISH_COMMAND, words);
    if (!wish) {
        send_away(caller, 1, BK_KEY_INTERNAL, "out of memory\n");
        return;
    }
    wish->asker = caller->number;
    wish->may_act = caller->may_act;
    caller->asked = true;
    // A reload may take minutes; who asked may go, which is noticed.
    bk_timer_cancel(&caller->desk->loop.wheel, &caller->timer);
    bk_hatch_wish(caller->desk->hatch, wish);
}

// "stats json" and its like need nothing from the main thread that others do not need too.
static bool
wants_stats(struct bk__caller *caller, const char *words)
{
    static const char *const names[BK_DOC_COUNT] = {"stats json", "stats uwsgi",
                                                    "stats prometheus"};

    for (unsigned i = 0; i < BK_DOC_COUNT; i++) {
        if (strcmp(words, names[i]) != 0)
            continue;
        caller->head_len = (size_t)snprintf(caller->head, sizeof caller->head, "barkeep 1 0\n");
        bk__caller_want(caller, (enum bk_doc_format)i);
        return true;
    }
    return false;
}

void
bk__control_answer(struct bk__caller *caller, int code, const char *key, struct bk_buf *text)
{
    caller->head_len =
        (size_t)snprintf(caller->head, sizeof caller->head, "barkeep 1 %d %s\n", code, key);
    bk__caller_answer(caller, text, NULL);
}

static bool
send_away(struct bk__caller *caller, int code, enum bk_key key, const char *text)
{
    struct bk_buf copy = {0};

    if (bk_buf_append(&copy, bk_str_of(text), BK_DESK_REQUEST) == 0)
        bk__control_answer(caller, code, bk_message(key)->key, &copy);
    bk_buf_release(&copy);
    return false;
}
