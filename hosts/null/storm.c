// A client for bk-null that behaves badly: random requests over many connections, answers not read
// for a while, bodies that come late, connections dropped in the middle. Checks that each answer
// belongs to its request. One process, one thread, so that the server has the other CPUs.
//   bk-storm PORT EXCHANGES [SEED]     exit status 0 when every answer was right
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNS 64
#define ROOM 65536
#define STALL_SECONDS 60

enum kind { ID, SLEEP, HOG, STREAM, LENT, ECHO, LIVE, FAIL, KINDS };

struct conn {
    int fd;
    enum kind kind;
    bool busy, chunked, headed;
    unsigned number;            // what ID shall answer, or the size of the body
    uint64_t late_at;           // ECHO: when the rest of its body is sent
    uint64_t deaf_until;        // reads nothing before
    uint64_t length, received;  // body bytes
    size_t len;
    char buffer[ROOM];  // head and, of short answers, the body; tail of chunked ones
};

static struct conn conns[CONNS];
static struct sockaddr_in server = {.sin_family = AF_INET};
static unsigned seed = 1, next_number;
static uint64_t asked, answered, dropped;

static void
fail(const struct conn *conn, const char *what)
{
    fprintf(stderr, "bk-storm: %s: kind %d number %u, %zu bytes: %.200s\n", what, conn->kind,
            conn->number, conn->len, conn->buffer);
    exit(1);
}

static uint64_t
now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static unsigned
roll(unsigned sides)
{
    return (unsigned)rand_r(&seed) % sides;
}

static void
send_all(struct conn *conn, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(conn->fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            continue;
        if (n < 0)
            fail(conn, "cannot send");
        text += n;
        len -= (size_t)n;
    }
}

static void
open_conn(struct conn *conn, int epoll_fd)
{
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&server, sizeof server) < 0)
        fail(conn, strerror(errno));
    fcntl(conn->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conn->fd, &event);
    conn->busy = false;
}

static void
ask(struct conn *conn)
{
    static const enum kind often[] = {ID,   ID,  ID,   ID,   ID,   SLEEP, STREAM, STREAM,
                                      LENT, HOG, ECHO, ECHO, LIVE, FAIL,  ID,     ID};
    char text[256];
    int len = 0;
    conn->kind = often[roll(sizeof often / sizeof *often)];
    conn->busy = true;
    conn->headed = conn->chunked = false;
    conn->len = 0;
    conn->received = conn->length = 0;
    conn->late_at = 0;
    conn->deaf_until = roll(20) ? 0 : now_us() + roll(3000);
    switch (conn->kind) {
    case ID:
        conn->number = ++next_number;
        len = snprintf(text, sizeof text, "GET /id?%u HTTP/1.1\r\nHost: a\r\n\r\n", conn->number);
        break;
    case SLEEP:
    case HOG:
        conn->number = conn->kind == HOG ? roll(3) : roll(12);
        len = snprintf(text, sizeof text, "GET /%s?%u HTTP/1.1\r\nHost: a\r\n\r\n",
                       conn->kind == HOG ? "hog" : "slow", conn->number);
        break;
    case STREAM:
        conn->number = roll(5) ? 3 : 300;
        len =
            snprintf(text, sizeof text, "GET /stream?%u HTTP/1.1\r\nHost: a\r\n\r\n", conn->number);
        break;
    case LENT:
        conn->number = roll(200000) + 1;
        len = snprintf(text, sizeof text, "GET /lent?%u HTTP/1.1\r\nHost: a\r\n\r\n", conn->number);
        break;
    case ECHO:
        conn->number = roll(3) ? 20 : 60000;
        conn->late_at = now_us() + roll(800);
        len = snprintf(text, sizeof text,
                       "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %u\r\n%s\r\n0123456789",
                       conn->number, roll(4) ? "" : "Expect: 100-continue\r\n");
        break;
    case LIVE:
    case FAIL:
    case KINDS:
        len = snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n",
                       conn->kind == LIVE ? "-/live" : "fail");
        break;
    }
    asked++;
    send_all(conn, text, (size_t)len);
}

static void
send_rest(struct conn *conn)
{
    static char rest[60000];
    memset(rest, 'e', sizeof rest);
    conn->late_at = 0;
    send_all(conn, rest, conn->number - 10);
}

static void
check(struct conn *conn)
{
    char number[16];
    uint64_t want = 13;
    if (conn->kind == STREAM)
        want = 0;
    else if (conn->kind == LENT || conn->kind == ECHO)
        want = conn->number;
    else if (conn->kind == LIVE)
        want = 6;
    else if (conn->kind == ID)
        want = (uint64_t)snprintf(number, sizeof number, "%u", conn->number);
    if (conn->kind == FAIL ? strncmp(conn->buffer, "HTTP/1.1 500", 12) != 0
                           : strncmp(conn->buffer, "HTTP/1.1 200", 12) != 0)
        fail(conn, "wrong status");
    if (!conn->chunked && conn->kind != FAIL && conn->received != want)
        fail(conn, "wrong length");
    if (conn->chunked && conn->kind == STREAM && conn->received < conn->number * 1024u)
        fail(conn, "a stream ended early");
    if (conn->kind == ID && memcmp(conn->buffer + conn->len - want, number, want) != 0)
        fail(conn, "an answer of another request");
    answered++;
    conn->busy = false;
}

// A head that is complete: skips interim ones.
static void
read_head(struct conn *conn)
{
    char *end;
    conn->buffer[conn->len] = 0;
    while ((end = strstr(conn->buffer, "\r\n\r\n"))) {
        size_t len = (size_t)(end + 4 - conn->buffer);
        if (strncmp(conn->buffer, "HTTP/1.1 100", 12) == 0) {
            memmove(conn->buffer, conn->buffer + len, conn->len - len + 1);
            conn->len -= len;
            continue;
        }
        const char *length = strstr(conn->buffer, "Content-Length: ");
        conn->headed = true;
        conn->chunked = !length;
        conn->length = length ? strtoull(length + 16, NULL, 10) : 0;
        conn->received = conn->len - len;
        return;
    }
}

static bool
is_complete(const struct conn *conn)
{
    if (!conn->headed)
        return false;
    if (!conn->chunked)
        return conn->received >= conn->length;
    return conn->len >= 5 && memcmp(conn->buffer + conn->len - 5, "0\r\n\r\n", 5) == 0;
}

// False: the server closed the connection.
static bool
receive(struct conn *conn)
{
    for (;;) {
        if (conn->len > ROOM - 4096) {  // the body of a long answer: only its end is looked at
            memmove(conn->buffer + 512, conn->buffer + conn->len - 16, 16);
            conn->len = 528;
        }
        ssize_t n = recv(conn->fd, conn->buffer + conn->len, ROOM - 1 - conn->len, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        if (!conn->busy)
            fail(conn, "bytes nobody asked for");
        conn->len += (size_t)n;
        if (conn->headed)
            conn->received += (uint64_t)n;
        else
            read_head(conn);
        if (is_complete(conn)) {
            bool closes = strstr(conn->buffer, "Connection: close") != NULL;
            check(conn);
            return !closes;
        }
    }
}

static void
drop(struct conn *conn, int epoll_fd)
{
    struct linger reset = {1, 0};
    if (roll(2))
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(conn->fd);
    if (conn->busy)
        dropped++;
    open_conn(conn, epoll_fd);
}

static void
act(struct conn *conn, int epoll_fd, uint64_t wanted)
{
    uint64_t now = now_us();
    if (!conn->busy) {
        if (asked < wanted)
            ask(conn);
    } else if (conn->late_at && now >= conn->late_at) {
        send_rest(conn);
    } else if (roll(400) == 0) {
        drop(conn, epoll_fd);
    } else if (conn->deaf_until && now >= conn->deaf_until) {
        conn->deaf_until = 0;
        if (!receive(conn))
            drop(conn, epoll_fd);
    }
}

int
main(int argc, char **argv)
{
    uint64_t wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 0, progress = now_us(), last = 0;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (argc < 3 || epoll_fd < 0)
        return 2;
    seed = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
    server.sin_port = htons((uint16_t)atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (unsigned i = 0; i < CONNS; i++)
        open_conn(&conns[i], epoll_fd);
    while (answered + dropped < wanted) {
        struct epoll_event events[CONNS];
        int count = epoll_wait(epoll_fd, events, CONNS, 1);
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;
            if (conn->deaf_until == 0 && !receive(conn)) {
                if (conn->busy && conn->kind != FAIL)
                    fail(conn, "closed by the server");
                drop(conn, epoll_fd);
            }
        }
        for (unsigned i = 0; i < CONNS; i++)
            act(&conns[i], epoll_fd, wanted);
        if (answered + dropped != last)
            progress = now_us();
        last = answered + dropped;
        if (now_us() - progress > STALL_SECONDS * 1000000ull)
            fail(&conns[0], "no answer for a minute");
    }
    printf("answered %llu, dropped %llu\n", (unsigned long long)answered,
           (unsigned long long)dropped);
    return 0;
}
