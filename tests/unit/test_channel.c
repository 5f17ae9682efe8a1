// Messages between master and worker: whole, in order, cut at the limit; EOF and fullness are told,
// never waited for.
#include "process/channel.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "check.h"

static char buffer[BK_CHANNEL_MAX + 1];

TEST(messages_arrive_whole_and_in_order)
{
    int fds[2];
    struct bk_str text;
    CHECK_INT(bk_channel_pair(fds), 0);
    CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
    CHECK_INT(bk_channel_receive(fds[0], buffer, sizeof buffer, &text), -EAGAIN);
    CHECK_INT(bk_channel_send(fds[1], BK_MESSAGE_READY, BK_STR("app=a:b\nkind=WSGI")), 0);
    CHECK_INT(bk_channel_send(fds[1], BK_MESSAGE_DRAINED, BK_STR("")), 0);
    CHECK_INT(bk_channel_receive(fds[0], buffer, sizeof buffer, &text), BK_MESSAGE_READY);
    CHECK_TEXT(text, "app=a:b\nkind=WSGI");
    CHECK_INT(bk_channel_receive(fds[0], buffer, sizeof buffer, &text), BK_MESSAGE_DRAINED);
    CHECK_INT(text.len, 0);
    close(fds[1]);
    CHECK_INT(bk_channel_receive(fds[0], buffer, sizeof buffer, &text), 0);
    CHECK_INT(bk_channel_send(fds[0], BK_MESSAGE_QUIT, BK_STR("")), -EPIPE);
}

TEST(last_words_survive_unread_orders)
{
    int fds[2];
    struct bk_str text;
    CHECK_INT(bk_channel_pair(fds), 0);
    CHECK_INT(bk_channel_send(fds[0], BK_MESSAGE_DRAIN, BK_STR("timeout_ms=1")), 0);
    CHECK_INT(bk_channel_send(fds[1], BK_MESSAGE_FAILED, BK_STR("code=4\ntext=gone")), 0);
    close(fds[1]);  // with the DRAIN unread: the kernel reports ECONNRESET first
    CHECK_INT(bk_channel_receive(fds[0], buffer, sizeof buffer, &text), BK_MESSAGE_FAILED);
    CHECK_TEXT(text, "code=4\ntext=gone");
    CHECK_INT(bk_channel_receive(fds[0], buffer, sizeof buffer, &text), 0);
}

TEST(long_texts_are_cut)
{
    int fds[2];
    struct bk_str text;
    char small[16];
    char *big = malloc(2 * BK_CHANNEL_MAX);
    memset(big, 'x', 2 * BK_CHANNEL_MAX);
    CHECK_INT(bk_channel_pair(fds), 0);
    CHECK_INT(bk_channel_send(fds[0], BK_MESSAGE_PING, (struct bk_str){big, 2 * BK_CHANNEL_MAX}),
              0);
    CHECK_INT(bk_channel_receive(fds[1], buffer, sizeof buffer, &text), BK_MESSAGE_PING);
    CHECK_INT(text.len, BK_CHANNEL_MAX - 4);
    CHECK_INT(bk_channel_send(fds[0], BK_MESSAGE_PING, BK_STR("0123456789abcdefghij")), 0);
    CHECK_INT(bk_channel_receive(fds[1], small, sizeof small, &text), BK_MESSAGE_PING);
    CHECK_TEXT(text, "0123456789abcde");
    free(big);
}

TEST(a_reader_that_sleeps_blocks_nobody)
{
    int fds[2], rc = 0;
    CHECK_INT(bk_channel_pair(fds), 0);
    for (int i = 0; i < 1000000 && rc == 0; i++)
        rc = bk_channel_send(fds[0], BK_MESSAGE_PING, BK_STR("."));
    CHECK_INT(rc, -EAGAIN);
}

TEST(frames_of_strangers)
{
    int fds[2];
    struct bk_str text;
    CHECK_INT(bk_channel_pair(fds), 0);
    CHECK_INT(send(fds[0], "ab", 2, 0), 2);
    CHECK_INT(bk_channel_receive(fds[1], buffer, sizeof buffer, &text), -EPROTO);
    CHECK_INT(send(fds[0], "\0\0\0\0", 4, 0), 4);
    CHECK_INT(bk_channel_receive(fds[1], buffer, sizeof buffer, &text), -EPROTO);
    CHECK_INT(send(fds[0], "\377\377\377\377", 4, 0), 4);
    CHECK_INT(bk_channel_receive(fds[1], buffer, sizeof buffer, &text), -EPROTO);
}

TEST(fields)
{
    struct bk_str text = BK_STR("code=4\nkey=app-module\nempty=\ntext=first\nkey=not this\nlast");
    CHECK_TEXT(bk_channel_field(text, "code"), "4");
    CHECK_TEXT(bk_channel_field(text, "key"), "app-module");
    CHECK_TEXT(bk_channel_field(text, "empty"), "");
    CHECK_TEXT(bk_channel_field(text, "text"), "first\nkey=not this\nlast");
    CHECK_TEXT(bk_channel_field(text, "last"), "");
    CHECK_TEXT(bk_channel_field(text, "cod"), "");
    CHECK_TEXT(bk_channel_field(text, "codes"), "");
    CHECK_TEXT(bk_channel_field(BK_STR(""), "x"), "");
    CHECK_TEXT(bk_channel_field((struct bk_str){NULL, 0}, "x"), "");
    CHECK_TEXT(bk_channel_field(BK_STR("kind=WSGI"), "kind"), "WSGI");
}
