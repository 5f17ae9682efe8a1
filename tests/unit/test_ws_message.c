#include "check.h"

#include "../ws_drive.h"

#define MAX 1000

static size_t
one_size(void *self)
{
    return *(size_t *)self;
}

// First piece of the given size, then the rest.
static size_t
first_size(void *self)
{
    size_t *cut = self, now = *cut;
    *cut = 0;
    return now;
}

static const struct bk_ws_deflate deflate_on = {.on = true, .server_bits = 12, .client_bits = 15};

static struct ws_transcript
run(struct bk_str bytes, const struct bk_ws_deflate *deflate, size_t (*next_cut)(void *),
    size_t cut)
{
    struct ws_transcript t = {0};
    struct bk_ws_reader reader;
    bk_ws_reader_init(&reader, MAX, deflate);
    ws_add(&t, BK_STR(""));
    if (bytes.len)
        ws_drive(&t, &reader, bytes, next_cut, &cut);
    bk_ws_reader_release(&reader);
    return t;
}

// Whole, byte by byte, and cut in two at every place.
static void
expect(const struct bk_buf *bytes, const struct bk_ws_deflate *deflate, const char *transcript)
{
    struct bk_str all = {bytes->at, bytes->len};
    struct ws_transcript t = run(all, deflate, one_size, 0);
    CHECK_TEXT(((struct bk_str){t.text, t.len}), transcript);
    free(t.text);
    t = run(all, deflate, one_size, 1);
    CHECK_TEXT(((struct bk_str){t.text, t.len}), transcript);
    free(t.text);
    for (size_t cut = 1; cut < all.len; cut++) {
        t = run(all, deflate, first_size, cut);
        CHECK_TEXT(((struct bk_str){t.text, t.len}), transcript);
        free(t.text);
    }
}

struct frame {
    unsigned first;
    const char *payload;
    size_t len;
};

#define FRAME(first, payload) {(first), (payload), sizeof(payload) - 1}

static void
expect_frames(const struct frame *frames, unsigned count, const struct bk_ws_deflate *deflate,
              const char *transcript)
{
    struct bk_buf bytes = {0};
    for (unsigned i = 0; i < count; i++)
        ws_frame(&bytes, frames[i].first, (struct bk_str){frames[i].payload, frames[i].len});
    expect(&bytes, deflate, transcript);
    bk_buf_release(&bytes);
}

#define EXPECT(transcript, ...)                                                                    \
    do {                                                                                           \
        static const struct frame rows[] = {__VA_ARGS__};                                          \
        expect_frames(rows, BK_COUNT(rows), NULL, (transcript));                                   \
    } while (0)
#define EXPECT_DEFLATE(transcript, ...)                                                            \
    do {                                                                                           \
        static const struct frame rows[] = {__VA_ARGS__};                                          \
        expect_frames(rows, BK_COUNT(rows), &deflate_on, (transcript));                            \
    } while (0)

TEST(messages_in_one_frame)
{
    EXPECT("text 5 hello\nbinary 3 abc\ntext 0 \n", FRAME(0x81, "hello"), FRAME(0x82, "abc"),
           FRAME(0x81, ""));
}

TEST(fragments_with_control_frames_between)
{
    EXPECT("ping 1 p\ntext 6 abcdef\npong 0 \nclose 1000 bye\n", FRAME(0x01, "ab"), FRAME(0x00, ""),
           FRAME(0x89, "p"), FRAME(0x00, "cd"), FRAME(0x80, "ef"), FRAME(0x8a, ""),
           FRAME(0x88, "\x03\xe8"
                       "bye"),
           FRAME(0x81, "never read"));
}

TEST(long_frames)
{
    char payload[701] = "", expected[800];
    struct bk_buf bytes = {0};
    for (unsigned i = 0; i < 700; i++)
        payload[i] = (char)('a' + i % 26);
    ws_frame(&bytes, 0x82, (struct bk_str){payload, 700});
    int len = snprintf(expected, sizeof expected, "binary 700 %.700s\n", payload);
    CHECK_INT(len, 712);
    expect(&bytes, NULL, expected);
    bk_buf_release(&bytes);
}

TEST(what_a_frame_may_not_be)
{
    EXPECT("fault 1002 a reserved bit is set\n", FRAME(0xc1, "x"));
    EXPECT("fault 1002 a reserved bit is set\n", FRAME(0xa1, "x"));
    EXPECT("fault 1002 a reserved bit is set\n", FRAME(0x91, "x"));
    EXPECT("fault 1002 unknown opcode\n", FRAME(0x83, "x"));
    EXPECT("fault 1002 unknown opcode\n", FRAME(0x8b, "x"));
    EXPECT("fault 1002 a control frame in fragments\n", FRAME(0x09, "x"));
    EXPECT("fault 1002 a continuation of no message\n", FRAME(0x80, "x"));
    EXPECT("fault 1002 a continuation of no message\n", FRAME(0x00, "x"));
    EXPECT("fault 1002 a new message inside another\n", FRAME(0x01, "x"), FRAME(0x81, "y"));
    EXPECT("fault 1002 a close frame of one byte\n", FRAME(0x88, "x"));
    EXPECT("fault 1002 a close code that may not be sent\n", FRAME(0x88, "\x03\xee"));
    EXPECT("fault 1007 a close reason that is not UTF-8\n", FRAME(0x88, "\x03\xe8\xc0"));
    EXPECT_DEFLATE("fault 1002 a compressed control frame\n", FRAME(0xc9, "x"));
    EXPECT_DEFLATE("text 1 x\nfault 1002 a compression bit inside a message\n", FRAME(0x81, "x"),
                   FRAME(0x01, "x"), FRAME(0xc0, "y"));
}

static void
expect_raw(const char *bytes, size_t len, const char *transcript)
{
    struct bk_buf buf = {(char *)(uintptr_t)bytes, len, len};
    expect(&buf, NULL, transcript);
}

TEST(lengths_and_masks)
{
    expect_raw("\x81\x01x", 3, "fault 1002 a frame is not masked\n");
    expect_raw("\x89\xfe\x00\x80....", 8, "fault 1002 a control frame of more than 125 bytes\n");
    expect_raw("\x81\xfe\x00\x7d....", 8, "fault 1002 a frame length not in its shortest form\n");
    expect_raw("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff....", 14,
               "fault 1002 a frame length not in its shortest form\n");
    expect_raw("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00....", 14,
               "fault 1002 a frame length not in its shortest form\n");
    // Too big is said by the announcement, before a byte of it is here.
    expect_raw("\x81\xff\x00\x00\x00\x01\x00\x00\x00\x00....", 14, "fault 1009 message too big\n");
    expect_raw("\x81\xfe\x03\xe9....", 8, "fault 1009 message too big\n");
    expect_raw("\x81\xfe\x03\xe8....", 8, "");
}

TEST(fragments_count_together)
{
    char half[501] = {0};
    struct bk_buf bytes = {0};
    ws_frame(&bytes, 0x02, (struct bk_str){half, 500});
    ws_frame(&bytes, 0x80, (struct bk_str){half, 501});
    struct ws_transcript t = run((struct bk_str){bytes.at, bytes.len}, NULL, one_size, 0);
    CHECK_TEXT(((struct bk_str){t.text, t.len}), "fault 1009 message too big\n");
    free(t.text);
    bk_buf_release(&bytes);
}

TEST(empty_fragments_have_an_end)
{
    struct bk_buf bytes = {0};
    ws_frame(&bytes, 0x01, BK_STR(""));
    for (unsigned i = 0; i < 2000; i++)
        ws_frame(&bytes, 0x00, BK_STR(""));
    struct ws_transcript t = run((struct bk_str){bytes.at, bytes.len}, NULL, one_size, 0);
    CHECK_TEXT(((struct bk_str){t.text, t.len}), "fault 1008 too many empty fragments\n");
    free(t.text);
    bk_buf_release(&bytes);
}

TEST(text_is_checked_as_it_comes)
{
    EXPECT("text 5 k\xce\xba\xc3\xa9\n", FRAME(0x81, "k\xce\xba\xc3\xa9"));
    EXPECT("text 2 \xc3\xa9\n", FRAME(0x01, "\xc3"), FRAME(0x80, "\xa9"));
    EXPECT("fault 1007 text that is not UTF-8\n", FRAME(0x81, "\xc3"));
    EXPECT("fault 1007 text that is not UTF-8\n", FRAME(0x01, "\xed\xa0"));
    EXPECT("fault 1007 text that is not UTF-8\n", FRAME(0x01, "fine"), FRAME(0x00, "\xf4\x90"));
    EXPECT("binary 2 \xed\xa0\n", FRAME(0x82, "\xed\xa0"));
    EXPECT_DEFLATE("fault 1007 text that is not UTF-8\n",
                   FRAME(0xc1, "\x00\x01\x00\xfe\xff\xff\x00"));
}

TEST(deflated_messages)
{
    // The examples of RFC 7692 §7.2.3.
    EXPECT_DEFLATE("text 5 Hello\n", FRAME(0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00"));
    EXPECT_DEFLATE("text 5 Hello\n", FRAME(0x41, "\xf2\x48\xcd"), FRAME(0x80, "\xc9\xc9\x07\x00"));
    EXPECT_DEFLATE("text 5 Hello\ntext 5 Hello\n", FRAME(0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00"),
                   FRAME(0xc1, "\xf2\x00\x11\x00\x00"));
    EXPECT_DEFLATE("text 5 Hello\n", FRAME(0xc1, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"));
    EXPECT_DEFLATE("text 5 Hello\n", FRAME(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"));
    EXPECT_DEFLATE("text 5 Hello\n",
                   FRAME(0xc1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"));
    EXPECT_DEFLATE("text 0 \n", FRAME(0xc1, "\x00"));
    EXPECT_DEFLATE("text 3 raw\n", FRAME(0x81, "raw"));
    EXPECT_DEFLATE("fault 1007 compressed data that is no deflate\n", FRAME(0xc1, "\xff\xff\xff"));
}
