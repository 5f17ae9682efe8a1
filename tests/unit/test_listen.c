// Listening sockets of each kind: flags, stale and live unix sockets, adopted descriptors, what is
// left behind.
#include "net/listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "check.h"

static struct bk_listener listener;
static const struct bk_listen_options options = {.backlog = 16, .unix_mode = 0660};

static int
open_at(const char *text, const struct bk_listen_options *with, struct bk_listener *ret)
{
    struct bk_bind bind_to;
    const char *why;
    CHECK_INT(bk_bind_parse(bk_str_of(text), &bind_to, &why), 0);
    return bk_listen_open(&bind_to, with, ret);
}

static void
check_flags(int fd)
{
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static void
enter_new_directory(void)
{
    static char template[] = "/tmp/barkeep-listen-XXXXXX";
    CHECK(mkdtemp(template) != NULL);
    CHECK(chdir(template) == 0);
}

static void
leave_directory(void)
{
    char path[4096];
    CHECK(getcwd(path, sizeof path) != NULL);
    CHECK_INT(rmdir(path), 0);  // only works when nothing was left in it
}

static int
connect_to(const struct bk_listener *to)
{
    int fd = socket(to->addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_INT(connect(fd, &to->addr.sa, to->addr.len), 0);
    return fd;
}

TEST(tcp_any_port)
{
    char text[100], expected[100];
    int value = 0;
    socklen_t len = sizeof value;
    CHECK_INT(open_at("127.0.0.1:0", &options, &listener), 0);
    check_flags(listener.fd);
    CHECK_INT(listener.scheme, BK_SCHEME_HTTP);
    CHECK(listener.addr.in.sin_port != 0);
    bk_addr_text(text, sizeof text, listener.scheme, &listener.addr);
    snprintf(expected, sizeof expected, "http://127.0.0.1:%u", ntohs(listener.addr.in.sin_port));
    CHECK_STR(text, expected);
    int client = connect_to(&listener);
    int peer = accept(listener.fd, NULL, NULL);
    CHECK(peer >= 0);
    CHECK(getsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &value, &len) == 0);
    CHECK(value);  // inherited
    close(peer);
    close(client);
    bk_listen_close(&listener, true);
    CHECK_INT(listener.fd, -1);
    bk_listen_close(&listener, true);
}

TEST(port_in_use)
{
    struct bk_listener second = {.fd = 4711};
    char text[100];
    CHECK_INT(open_at("127.0.0.1:0", &options, &listener), 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(listener.addr.in.sin_port));
    CHECK_INT(open_at(text, &options, &second), -EADDRINUSE);
    CHECK_INT(second.fd, 4711);
    bk_listen_close(&listener, false);
    CHECK_INT(open_at(text, &options, &second), 0);
    bk_listen_close(&second, false);
}

TEST(port_in_time_wait_can_be_had)
{
    char text[100];
    CHECK_INT(open_at("127.0.0.1:0", &options, &listener), 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(listener.addr.in.sin_port));
    int client = connect_to(&listener), peer = accept(listener.fd, NULL, NULL);
    close(peer);  // first to close: TIME_WAIT stays on our port
    close(client);
    bk_listen_close(&listener, false);
    CHECK_INT(open_at(text, &options, &listener), 0);
    bk_listen_close(&listener, false);
}

TEST(reuse_port_and_its_probe)
{
    struct bk_listen_options shared = options;
    struct bk_listener second;
    struct bk_bind bind_to;
    const char *why;
    char text[100];
    shared.reuse_port = true;
    CHECK_INT(open_at("127.0.0.1:0", &shared, &listener), 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(listener.addr.in.sin_port));
    CHECK_INT(bk_bind_parse(bk_str_of(text), &bind_to, &why), 0);
    CHECK_INT(bk_listen_probe(&bind_to), -EADDRINUSE);
    CHECK_INT(bk_listen_open(&bind_to, &shared, &second), 0);
    CHECK_INT(bk_listen_open(&bind_to, &options, &second), -EADDRINUSE);
    bk_listen_close(&listener, false);
    bk_listen_close(&second, false);
    CHECK_INT(bk_listen_probe(&bind_to), 0);
    CHECK_INT(bk_listen_probe(&(struct bk_bind){.kind = BK_BIND_UNIX, .host = "x"}), 0);
}

TEST(ipv6)
{
    int error = open_at("[::1]:0", &options, &listener);
    if (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL)
        return;  // this machine has no IPv6
    CHECK_INT(error, 0);
    CHECK_INT(listener.addr.sa.sa_family, AF_INET6);
    close(connect_to(&listener));
    bk_listen_close(&listener, false);
}

TEST(foreign_address)
{
    int error = open_at("192.0.2.1:8000", &options, &listener);  // TEST-NET, nobody has it
    CHECK_INT(error, -EADDRNOTAVAIL);
}

TEST(unix_socket)
{
    struct stat st;
    enter_new_directory();
    mode_t mask = umask(077);
    CHECK_INT(open_at("unix:web.sock", &options, &listener), 0);
    CHECK_INT(umask(mask), 077);
    check_flags(listener.fd);
    CHECK_INT(stat("web.sock", &st), 0);
    CHECK_INT(st.st_mode & 07777, 0660);  // also under a strict umask
    CHECK_INT(listener.ino, st.st_ino);
    CHECK_INT(listener.dev, st.st_dev);
    close(connect_to(&listener));
    bk_listen_close(&listener, true);
    CHECK_INT(access("web.sock", F_OK), -1);
    leave_directory();
}

TEST(live_unix_socket_is_not_taken)
{
    struct bk_listener second = {.fd = 4711};
    enter_new_directory();
    CHECK_INT(open_at("unix:web.sock", &options, &listener), 0);
    CHECK_INT(open_at("unix:web.sock", &options, &second), -EADDRINUSE);
    close(connect_to(&listener));  // still there
    bk_listen_close(&listener, true);
    leave_directory();
}

TEST(live_unix_socket_with_a_full_queue_is_not_taken)
{
    struct bk_listen_options narrow = {.backlog = 0, .unix_mode = 0600};
    struct bk_listener second;
    enter_new_directory();
    CHECK_INT(open_at("unix:web.sock", &narrow, &listener), 0);
    int client = connect_to(&listener);
    CHECK_INT(open_at("unix:web.sock", &options, &second), -EADDRINUSE);
    close(client);
    bk_listen_close(&listener, true);
    leave_directory();
}

TEST(stale_unix_socket_is_replaced)
{
    struct stat st;
    enter_new_directory();
    CHECK_INT(open_at("unix:web.sock", &options, &listener), 0);
    bk_listen_close(&listener, false);  // as a killed master leaves it
    CHECK_INT(stat("web.sock", &st), 0);
    CHECK_INT(open_at("unix:web.sock", &options, &listener), 0);
    close(connect_to(&listener));
    bk_listen_close(&listener, true);
    leave_directory();
}

TEST(other_files_are_not_touched)
{
    enter_new_directory();
    int fd = open("web.sock", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK_INT(open_at("unix:web.sock", &options, &listener), -ENOTSOCK);
    CHECK_INT(access("web.sock", F_OK), 0);
    unlink("web.sock");
    CHECK_INT(symlink("nowhere", "web.sock"), 0);
    CHECK_INT(open_at("unix:web.sock", &options, &listener), -ENOTSOCK);
    unlink("web.sock");
    CHECK_INT(mkdir("web.sock", 0700), 0);
    CHECK_INT(open_at("unix:web.sock", &options, &listener), -ENOTSOCK);
    rmdir("web.sock");
    CHECK_INT(open_at("unix:no/web.sock", &options, &listener), -ENOENT);
    leave_directory();
}

TEST(socket_of_somebody_else_is_not_unlinked)
{
    struct bk_listener second;
    enter_new_directory();
    CHECK_INT(open_at("unix:web.sock", &options, &listener), 0);
    CHECK_INT(rename("web.sock", "old.sock"), 0);
    CHECK_INT(open_at("unix:web.sock", &options, &second), 0);
    bk_listen_close(&listener, true);
    CHECK_INT(access("web.sock", F_OK), 0);
    CHECK_INT(access("old.sock", F_OK), 0);
    unlink("old.sock");
    bk_listen_close(&second, true);
    leave_directory();
}

TEST(held_lock_means_in_use)
{
    enter_new_directory();
    int lock = open("web.sock.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(lock >= 0 && flock(lock, LOCK_EX) == 0);
    CHECK_INT(open_at("unix:web.sock", &options, &listener), -EADDRINUSE);
    CHECK_INT(access("web.sock", F_OK), -1);
    close(lock);
    // One left over from a crash is taken over.
    CHECK_INT(open_at("unix:web.sock", &options, &listener), 0);
    CHECK_INT(access("web.sock.lock", F_OK), -1);
    bk_listen_close(&listener, true);
    leave_directory();
}

// Many at once over a stale socket: exactly one may win, and the winner's file is the one in the
// directory.
TEST(race_for_a_stale_socket)
{
    int gate[2], results[2], winners = 0, losers = 0;
    pid_t children[6];
    char byte;
    enter_new_directory();
    for (unsigned round = 0; round < 10; round++) {
        CHECK_INT(open_at("unix:web.sock", &options, &listener), 0);
        bk_listen_close(&listener, false);
        CHECK(pipe(gate) == 0 && pipe(results) == 0);
        for (unsigned i = 0; i < 6; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                close(gate[1]);
                close(results[0]);
                CHECK_INT(read(gate[0], &byte, 1), 0);  // all start when the gate closes
                int error = open_at("unix:web.sock", &options, &listener);
                byte = error == 0 ? 'w' : error == -EADDRINUSE ? 'l' : '?';
                CHECK(write(results[1], &byte, 1) == 1);
                if (error == 0)
                    pause();
                _exit(0);
            }
        }
        close(gate[0]);
        close(results[1]);
        close(gate[1]);
        winners = losers = 0;
        for (unsigned i = 0; i < 6; i++) {
            CHECK_INT(read(results[0], &byte, 1), 1);
            winners += byte == 'w';
            losers += byte == 'l';
        }
        CHECK_INT(winners, 1);
        CHECK_INT(losers, 5);
        struct bk_addr addr;
        struct bk_bind there = {.kind = BK_BIND_UNIX, .host = "web.sock"};
        CHECK_INT(bk_bind_resolve(&there, &addr), 0);
        int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_INT(connect(client, &addr.sa, addr.len), 0);
        close(client);
        close(results[0]);
        for (unsigned i = 0; i < 6; i++) {
            kill(children[i], SIGKILL);
            CHECK(waitpid(children[i], NULL, 0) == children[i]);
        }
        unlink("web.sock");
    }
    leave_directory();
}

TEST(abstract)
{
    char text[64];
    struct bk_listener second;
    snprintf(text, sizeof text, "unix:@barkeep-test-%d", (int)getpid());
    CHECK_INT(open_at(text, &options, &listener), 0);
    check_flags(listener.fd);
    char shown[100];
    bk_addr_text(shown, sizeof shown, listener.scheme, &listener.addr);
    CHECK_STR(shown, text);
    CHECK_INT(open_at(text, &options, &second), -EADDRINUSE);
    close(connect_to(&listener));
    bk_listen_close(&listener, true);
    CHECK_INT(open_at(text, &options, &listener), 0);
    bk_listen_close(&listener, true);
}

static int
adopt(int fd)
{
    char text[32];
    snprintf(text, sizeof text, "uwsgi://fd://%d", fd);
    return open_at(text, &options, &listener);
}

TEST(adopted)
{
    struct bk_addr any = {.len = sizeof any.in, .in = {.sin_family = AF_INET}};
    any.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, &any.sa, any.len) == 0);
    CHECK_INT(adopt(fd), -EINVAL);  // does not listen yet
    CHECK(listen(fd, 5) == 0);
    CHECK_INT(adopt(fd), 0);
    CHECK_INT(listener.fd, fd);
    CHECK_INT(listener.scheme, BK_SCHEME_UWSGI);
    CHECK(listener.addr.in.sin_port != 0);
    check_flags(fd);
    close(connect_to(&listener));
    bk_listen_close(&listener, true);
    CHECK_INT(adopt(fd), -EBADF);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_INT(adopt(fd), -EPROTOTYPE);
    CHECK_INT(fcntl(fd, F_GETFD), 0);  // a refused one stays open and as it was
    close(fd);
    fd = open("/dev/null", O_RDONLY);
    CHECK_INT(adopt(fd), -ENOTSOCK);
    close(fd);
}

TEST(adopted_unix_socket_is_never_unlinked)
{
    struct bk_listener maker;
    enter_new_directory();
    CHECK_INT(open_at("unix:web.sock", &options, &maker), 0);
    CHECK_INT(adopt(dup(maker.fd)), 0);
    bk_listen_close(&listener, true);
    CHECK_INT(access("web.sock", F_OK), 0);
    bk_listen_close(&maker, true);
    leave_directory();
}

TEST(queue)
{
    unsigned waiting = 99, limit = 99;
    int clients[3];
    CHECK_INT(open_at("127.0.0.1:0", &options, &listener), 0);
    CHECK_INT(bk_listen_queue(&listener, &waiting, &limit), 0);
    CHECK_INT(waiting, 0);
    CHECK_INT(limit, 16);
    for (unsigned i = 0; i < 3; i++)
        clients[i] = connect_to(&listener);
    while (waiting < 3)  // the last ACK may still be on its way through the kernel
        CHECK_INT(bk_listen_queue(&listener, &waiting, &limit), 0);
    CHECK_INT(waiting, 3);
    for (unsigned i = 0; i < 3; i++)
        close(clients[i]);
    bk_listen_close(&listener, false);
    CHECK_INT(open_at("unix:@barkeep-test-queue", &options, &listener), 0);
    clients[0] = connect_to(&listener);
    if (bk_listen_queue(&listener, &waiting, &limit) == 0) {  // the kernel may lack unix_diag
        CHECK_INT(waiting, 1);
        CHECK_INT(limit, 16);
    }
    close(clients[0]);
    bk_listen_close(&listener, false);
}

TEST(somaxconn_is_a_sane_number)
{
    CHECK(bk_listen_somaxconn() >= 1);
}
