// How many connections wait in a listener's accept queue. Called by the master, a few times a
// second at most.
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/listen.h"

#include "base/banned.h"

static int unix_queue(int fd, unsigned *ret_waiting, unsigned *ret_limit);
static int ask(int netlink, ino_t inode);
static int read_answer(int netlink, unsigned *ret_waiting, unsigned *ret_limit);

int
bk_listen_queue(const struct bk_listener *listener, unsigned *ret_waiting, unsigned *ret_limit)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    if (listener->addr.sa.sa_family == AF_UNIX)
        return unix_queue(listener->fd, ret_waiting, ret_limit);
    memset(&info, 0, sizeof info);
    if (getsockopt(listener->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return -errno;
    // For a listening socket the kernel reports its queue in these two fields.
    *ret_waiting = info.tcpi_unacked;
    *ret_limit = info.tcpi_sacked;
    return 0;
}

// sock_diag(7) answers within the call, so nothing here waits. Without the module unix_diag there
// is no answer.
static int
unix_queue(int fd, unsigned *ret_waiting, unsigned *ret_limit)
{
    struct stat facts;
    int rc, netlink;

    if (fstat(fd, &facts) < 0)
        return -errno;
    netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
    if (netlink < 0)
        return -errno;
    rc = ask(netlink, facts.st_ino);
    if (rc == 0)
        rc = read_answer(netlink, ret_waiting, ret_limit);
    close(netlink);
    return rc;
}

static int
ask(int netlink, ino_t inode)
{
    struct {
        struct nlmsghdr head;
        struct unix_diag_req body;
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST},
        .body = {.sdiag_family = AF_UNIX,
                 .udiag_states = UINT32_MAX,
                 .udiag_ino = (uint32_t)inode,
                 .udiag_show = UDIAG_SHOW_RQLEN,
                 .udiag_cookie = {UINT32_MAX, UINT32_MAX}}, // any
    };

    return send(netlink, &request, sizeof request, 0) < 0 ? -errno : 0;
}

static int
read_answer(int netlink, unsigned *ret_waiting, unsigned *ret_limit)
{
    union {
        struct nlmsghdr head;
        char bytes[4096];
    } answer;
    ssize_t n = recv(netlink, &answer, sizeof answer, 0);
    struct unix_diag_rqlen queue;

    if (n < 0)
        return -errno;
    if (!NLMSG_OK(&answer.head, (size_t)n) || answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return -ENOENT;
    struct unix_diag_msg *message = NLMSG_DATA(&answer.head);
    int left = (int)(answer.head.nlmsg_len - NLMSG_LENGTH(sizeof *message));
    // The kernel's macros take no pointer to const.
    for (struct rtattr *at = (struct rtattr *)(message + 1); RTA_OK(at, left);
         at = RTA_NEXT(at, left)) {
        if (at->rta_type != UNIX_DIAG_RQLEN || RTA_PAYLOAD(at) < sizeof queue)
            continue;
        memcpy(&queue, RTA_DATA(at), sizeof queue);
        *ret_waiting = queue.udiag_rqueue;
        *ret_limit = queue.udiag_wqueue;
        return 0;
    }
    return -ENOENT;
}
