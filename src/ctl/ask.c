// One question and its answer.
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/ctl.h"

#include "base/banned.h"

static int connect_to(const struct bk_ctl_server *server);
static int send_line(int fd, const char *words);
static int receive(int fd, struct bk_buf *text);
static int read_head(struct bk_ctl_answer *answer);

int
bk_ctl_ask(const struct bk_ctl_server *server, const char *words, struct bk_ctl_answer *ret)
{
    int rc, fd = connect_to(server);

    *ret = (struct bk_ctl_answer){0};
    if (fd < 0)
        return fd;
    rc = send_line(fd, words);
    if (rc == 0)
        rc = receive(fd, &ret->text);
    close(fd);
    if (rc == 0)
        rc = read_head(ret);
    if (rc < 0)
        bk_buf_release(&ret->text);
    return rc;
}

// Abstract names can be taken by anybody: who answers must be the user it says, or root.
static int
connect_to(const struct bk_ctl_server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(server->name);
    struct ucred who;
    socklen_t size = sizeof who;
    int error, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    memcpy(address.sun_path + 1, server->name, len);
    if (connect(fd, (struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) {
        error = -errno;
        close(fd);
        return error;
    }
    if (who.uid == 0 || (who.uid == server->user && (who.uid == geteuid() || geteuid() == 0)))
        return fd;
    close(fd);
    return -EPERM;
}

static int
send_line(int fd, const char *words)
{
    char line[1024];
    int len = snprintf(line, sizeof line, "barkeepctl 1 %s\n", words);

    if (len < 0 || (size_t)len >= sizeof line)
        return -EMSGSIZE;
    // A server that has ended says so by the end of the connection; what it said before is still
    // there.
    return send(fd, line, (size_t)len, MSG_NOSIGNAL) < 0 && errno != EPIPE ? -errno : 0;
}

static int
receive(int fd, struct bk_buf *text)
{
    for (;;) {
        int rc = bk_buf_reserve(text, 16384, BK_CTL_ANSWER_MAX);
        if (rc < 0)
            return rc;
        ssize_t n = recv(fd, text->at + text->len, text->size - text->len - 1, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        text->len += (size_t)n;
    }
    text->at[text->len] = '\0';
    return text->len > 0 ? 0 : -EPIPE;
}

// "barkeep 1 CODE [KEY]" and the text behind it.
static int
read_head(struct bk_ctl_answer *answer)
{
    char *eol = memchr(answer->text.at, '\n', answer->text.len);

    if (!eol)
        return -EPROTO;
    *eol = '\0';
    if (sscanf(answer->text.at, "barkeep 1 %d %63s", &answer->code, answer->key) < 1)
        return -EPROTO;
    answer->text.len -= (size_t)(eol + 1 - answer->text.at);
    memmove(answer->text.at, eol + 1, answer->text.len + 1);
    return 0;
}

int
bk_ctl_look(const struct bk_ctl_server *server, struct bk_tree *ret)
{
    struct bk_ctl_answer answer;
    int rc = bk_ctl_ask(server, "stats json", &answer);

    if (rc < 0)
        return rc;
    if (answer.code != 0) {
        bk_buf_release(&answer.text);
        return -EPROTO;
    }
    return bk_tree_parse(answer.text.at, answer.text.len, ret); // which owns the text now
}
