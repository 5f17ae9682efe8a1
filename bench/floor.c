// The least a server on one core can spend per request: an epoll loop that reads whatever came and
// sends a constant answer, parsing nothing. scorecard.py starts it as `floor PORT`. A request with
// "Connection: close" is honoured.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n" \
    "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: floor\r\n"
static const char answer[] = HEAD "\r\nHello, World!";
static const char last_answer[] = HEAD "Connection: close\r\n\r\nHello, World!";

static int listen_on(int port);
static void watch(int epoll, int fd);
static void accept_all(int epoll, int listener);
static void serve(int fd);

int
main(int argc, char **argv)
{
    int listener = listen_on(argc > 1 ? atoi(argv[1]) : 8100), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || epoll < 0) {
        perror("floor");
        return 1;
    }
    watch(epoll, listener);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(events[i].data.fd);
        }
    }
}

static int
listen_on(int port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&here, sizeof here) < 0 || listen(fd, 2048) < 0)
        return -1;
    return fd;
}

static void
watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void
accept_all(int epoll, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(epoll, fd);
    }
}

static void
serve(int fd)
{
    char request[8192];
    ssize_t got = recv(fd, request, sizeof request - 1, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close(fd);
        return;
    }
    request[got] = 0;
    if (!strstr(request, "Connection: close")) {
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
        return;
    }
    send(fd, last_answer, sizeof last_answer - 1, MSG_NOSIGNAL);
    close(fd);
}
