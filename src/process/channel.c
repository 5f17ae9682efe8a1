// The channel between the master and one worker. Used by the master's loop on one side, by the
// worker's native helper thread (and its boot) on the other. A frame is a 4-byte type in native
// order and the text: both ends are one machine.
#include "process/channel.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int
bk_channel_pair(int ret_fds[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
        return -errno;
    return 0;
}

int
bk_channel_send(int fd, enum bk_message type, struct bk_str text)
{
    return bk_channel_send_fd(fd, type, text, -1);
}

int
bk_channel_send_fd(int fd, enum bk_message type, struct bk_str text, int pass_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } room = {0};
    uint32_t word = (uint32_t)type;
    struct iovec parts[2] = {{&word, sizeof word}, {NULL, 0}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;

    if (text.len > BK_CHANNEL_MAX - sizeof word)
        text.len = BK_CHANNEL_MAX - sizeof word;
    parts[1].iov_base = (void *)(uintptr_t)text.at;
    parts[1].iov_len = text.len;
    if (pass_fd >= 0) {
        room.aligned = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&room.aligned), &pass_fd, sizeof pass_fd);
        message.msg_control = room.bytes;
        message.msg_controllen = sizeof room.bytes;
    }
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 0;
    return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
}

int
bk_channel_receive(int fd, char *buffer, size_t room, struct bk_str *ret_text)
{
    int passed;
    int type = bk_channel_receive_fd(fd, buffer, room, ret_text, &passed);
    if (passed >= 0)
        close(passed);
    return type;
}

static void
take_fd(struct msghdr *message, int *ret_fd)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
        control->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(control), sizeof *ret_fd);
}

int
bk_channel_receive_fd(int fd, char *buffer, size_t room, struct bk_str *ret_text, int *ret_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    uint32_t word = 0;
    struct iovec parts[2] = {{&word, sizeof word}, {buffer, room - 1}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;

    *ret_fd = -1;

    // A peer that died with unread messages leaves one ECONNRESET in front of what it had sent
    // itself; read on.
    do {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return -errno;
    if (n == 0)
        return 0;
    take_fd(&message, ret_fd);
    if (n < (ssize_t)sizeof word || word == 0 || word > INT32_MAX)
        return -EPROTO;
    size_t len = (size_t)n - sizeof word;
    buffer[len] = '\0';
    *ret_text = (struct bk_str){buffer, len};
    return (int)word;
}

struct bk_str
bk_channel_field(struct bk_str text, const char *key)
{
    size_t key_len = strlen(key);
    const char *at = text.at, *end = text.at + text.len;

    while (at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        if (!eol)
            eol = end;
        bool rest = end - at >= 5 && memcmp(at, "text=", 5) == 0;
        if ((size_t)(eol - at) > key_len && memcmp(at, key, key_len) == 0 && at[key_len] == '=') {
            at += key_len + 1;
            return (struct bk_str){at, (size_t)((rest ? end : eol) - at)};
        }
        if (rest || eol == end)
            break;
        at = eol + 1;
    }
    return (struct bk_str){NULL, 0};
}
