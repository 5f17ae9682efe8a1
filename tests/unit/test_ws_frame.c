#include "check.h"

#include "../ws_drive.h"

TEST(heads_in_their_shortest_form)
{
    static const struct {
        uint64_t len;
        const char *head;
        size_t size;
    } rows[] = {
        {0, "\x81\x00", 2},
        {125, "\x81\x7d", 2},
        {126, "\x81\x7e\x00\x7e", 4},
        {65535, "\x81\x7e\xff\xff", 4},
        {65536, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10},
        {UINT64_C(0x123456789abcdef0), "\x81\x7f\x12\x34\x56\x78\x9a\xbc\xde\xf0", 10},
    };
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        char out[BK_WS_HEAD_MAX];
        CHECK_INT(bk_ws_frame_head(out, BK_WS_OP_TEXT, false, rows[i].len), rows[i].size);
        CHECK(memcmp(out, rows[i].head, rows[i].size) == 0);
    }
    char out[BK_WS_HEAD_MAX];
    CHECK_INT(bk_ws_frame_head(out, BK_WS_OP_BINARY, true, 1), 2);
    CHECK_INT((uint8_t)out[0], 0xc2);
    CHECK_INT(bk_ws_frame_head(out, BK_WS_OP_PONG, false, 5), 2);
    CHECK_INT((uint8_t)out[0], 0x8a);
}

TEST(unmasking_at_every_offset_and_length)
{
    static const uint8_t mask[4] = {1, 0x20, 0x80, 0xff};
    for (size_t len = 0; len < 70; len++) {
        for (unsigned at = 0; at < 4; at++) {
            char *data = calloc(1, len + 1);
            bk_ws_unmask(data, len, mask, at);
            for (size_t i = 0; i < len; i++)
                CHECK_INT((uint8_t)data[i], mask[(i + at) & 3]);
            CHECK_INT(data[len], 0);
            free(data);
        }
    }
}

TEST(close_codes)
{
    static const uint16_t good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                    1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    static const uint16_t bad[] = {0,    1,    999,  1004, 1005, 1006, 1015,
                                   1016, 1100, 2000, 2999, 5000, 65535};
    for (unsigned i = 0; i < BK_COUNT(good); i++)
        CHECK(bk_ws_code_valid(good[i]));
    for (unsigned i = 0; i < BK_COUNT(bad); i++)
        CHECK(!bk_ws_code_valid(bad[i]));
}

TEST(close_payloads)
{
    struct bk_ws_fault fault;
    struct bk_str reason;
    unsigned code;
    CHECK_INT(bk_ws_close_parse(BK_STR(""), &code, &reason, &fault), 0);
    CHECK_INT(code, BK_WS_NO_CODE);
    CHECK_INT(bk_ws_close_parse(BK_STR("\x03\xe8"), &code, &reason, &fault), 0);
    CHECK_INT(code, 1000);
    CHECK_INT(reason.len, 0);
    CHECK_INT(bk_ws_close_parse(BK_STR("\x13\x87no"), &code, &reason, &fault), 0);
    CHECK_INT(code, 4999);
    CHECK_TEXT(reason, "no");
    CHECK_INT(bk_ws_close_parse(BK_STR("\x03"), &code, &reason, &fault), -EPROTO);
    CHECK_INT(fault.code, BK_WS_PROTOCOL);
    CHECK_INT(bk_ws_close_parse(BK_STR("\x03\xed"), &code, &reason, &fault), -EPROTO);
    CHECK_INT(fault.code, BK_WS_PROTOCOL);
    CHECK_INT(bk_ws_close_parse(BK_STR("\x03\xe8\xff"), &code, &reason, &fault), -EPROTO);
    CHECK_INT(fault.code, BK_WS_BAD_DATA);
}

TEST(a_long_reason_is_cut_between_characters)
{
    char out[BK_WS_CONTROL_MAX], reason[200];
    for (unsigned i = 0; i < sizeof reason; i += 2)
        memcpy(reason + i, "\xc3\xa9", 2);
    size_t len = bk_ws_close_write(out, 1008, (struct bk_str){reason, sizeof reason});
    CHECK_INT(len, 2 + 122);
    CHECK(bk_utf8_valid((struct bk_str){out + 2, len - 2}));
    CHECK_INT(bk_ws_close_write(out, 1000, (struct bk_str){NULL, 0}), 2);
    CHECK(memcmp(out, "\x03\xe8", 2) == 0);
}
