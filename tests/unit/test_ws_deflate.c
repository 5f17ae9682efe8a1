#include "check.h"

#include "proto/ws_deflate.h"

// The answer to one Sec-WebSocket-Extensions line, "none" or "malformed".
static const char *
negotiate(const char *line)
{
    static char answer[BK_WS_DEFLATE_ANSWER_MAX + 1];
    struct bk_ws_deflate deflate;
    // An exact allocation, for AddressSanitizer.
    size_t len = strlen(line);
    char *copy = malloc(len ? len : 1);
    memcpy(copy, line, len);
    int found = bk_ws_deflate_negotiate((struct bk_str){copy, len}, &deflate);
    free(copy);
    if (found <= 0)
        return found == 0 ? "none" : "malformed";
    answer[bk_ws_deflate_answer(answer, &deflate)] = 0;
    return answer;
}

TEST(offers)
{
    static const char *const rows[][2] = {
        {"permessage-deflate", "permessage-deflate"},
        {"  permessage-deflate\t", "permessage-deflate"},
        {"permessage-deflate; client_max_window_bits",
         "permessage-deflate; client_max_window_bits=12"},
        {"permessage-deflate; client_max_window_bits=10",
         "permessage-deflate; client_max_window_bits=10"},
        {"permessage-deflate; client_max_window_bits=\"10\"",
         "permessage-deflate; client_max_window_bits=10"},
        {"permessage-deflate; client_max_window_bits=8",
         "permessage-deflate; client_max_window_bits=8"},
        {"permessage-deflate;server_max_window_bits=15",
         "permessage-deflate; server_max_window_bits=12"},
        {"permessage-deflate;server_max_window_bits=9",
         "permessage-deflate; server_max_window_bits=9"},
        {"permessage-deflate;server_no_context_takeover",
         "permessage-deflate; server_no_context_takeover"},
        {"permessage-deflate;client_no_context_takeover",
         "permessage-deflate; client_no_context_takeover"},
        {"permessage-deflate; client_max_window_bits; server_max_window_bits=11; "
         "server_no_context_takeover; "
         "client_no_context_takeover",
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
         "server_max_window_bits=11; "
         "client_max_window_bits=12"},
        // Several offers: the first that can be taken.
        {"permessage-deflate; server_max_window_bits=8, permessage-deflate", "permessage-deflate"},
        {"permessage-deflate; mux=4, permessage-deflate; server_max_window_bits=10",
         "permessage-deflate; server_max_window_bits=10"},
        {"x-webkit-deflate-frame, foo; a=b; c=\"d\", permessage-deflate", "permessage-deflate"},
        {", ,permessage-deflate,,", "permessage-deflate"},
        // Declined.
        {"", "none"},
        {"Permessage-Deflate", "none"},
        {"permessage-deflate; server_max_window_bits", "none"},
        {"permessage-deflate; server_max_window_bits=8", "none"},
        {"permessage-deflate; server_max_window_bits=16", "none"},
        {"permessage-deflate; server_max_window_bits=012", "none"},
        {"permessage-deflate; server_max_window_bits=x", "none"},
        {"permessage-deflate; client_max_window_bits=7", "none"},
        {"permessage-deflate; client_no_context_takeover=1", "none"},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", "none"},
        // Not a list at all.
        {";", "malformed"},
        {"permessage-deflate;", "malformed"},
        {"permessage-deflate; client_max_window_bits=", "malformed"},
        {"permessage-deflate; client_max_window_bits=\"", "malformed"},
        {"permessage-deflate; client_max_window_bits=\"12", "malformed"},
        {"permessage-deflate foo", "malformed"},
        {"permessage-deflate, \"", "malformed"},
        {"permessage-deflate=1", "malformed"},
    };
    for (unsigned i = 0; i < BK_COUNT(rows); i++)
        CHECK_STR(negotiate(rows[i][0]), rows[i][1]);
}

// Deflates and inflates a run of messages in one session.
static void
round_trips(struct bk_ws_deflate deflate, size_t cut)
{
    struct bk_ws_deflater *deflater;
    struct bk_ws_inflater *inflater;
    deflate.client_bits = deflate.server_bits;
    deflate.client_no_takeover = deflate.server_no_takeover;
    CHECK_INT(bk_ws_deflater_new(&deflate, &deflater), 0);
    CHECK_INT(bk_ws_inflater_new(&deflate, &inflater), 0);
    unsigned seed = 1;
    for (size_t size = 0; size < 200000; size = size * 3 + 1) {
        char *data = malloc(size ? size : 1);
        for (size_t i = 0; i < size; i++) {
            seed = seed * 1103515245 + 12345;
            data[i] = (char)(i % 3 ? 'a' + i % 7 : (seed >> 20) & 0xff);
        }
        struct bk_buf packed = {0}, back = {0};
        CHECK_INT(bk_ws_deflate(deflater, (struct bk_str){data, size}, &packed), 0);
        CHECK(packed.len >= 1);
        size_t step = cut ? cut : packed.len;
        for (size_t at = 0; at < packed.len; at += step) {
            size_t piece = packed.len - at < step ? packed.len - at : step;
            CHECK_INT(bk_ws_inflate(inflater, (struct bk_str){packed.at + at, piece},
                                    at + piece == packed.len, &back, size),
                      0);
        }
        CHECK_INT(back.len, size);
        CHECK(size == 0 || memcmp(back.at, data, size) == 0);
        free(data);
        bk_buf_release(&packed);
        bk_buf_release(&back);
    }
    bk_ws_deflater_free(deflater);
    bk_ws_inflater_free(inflater);
}

TEST(round_trips_with_every_window)
{
    for (uint8_t bits = 9; bits <= 15; bits++) {
        for (unsigned takeover = 0; takeover < 2; takeover++) {
            struct bk_ws_deflate deflate = {
                .on = true, .server_no_takeover = takeover, .server_bits = bits};
            round_trips(deflate, 0);
            round_trips(deflate, 7);
        }
    }
}

TEST(a_second_message_is_shorter_only_with_takeover)
{
    for (unsigned takeover = 0; takeover < 2; takeover++) {
        struct bk_ws_deflate deflate = {
            .on = true, .server_no_takeover = !takeover, .server_bits = 12};
        struct bk_ws_deflater *deflater;
        struct bk_buf first = {0}, second = {0};
        CHECK_INT(bk_ws_deflater_new(&deflate, &deflater), 0);
        struct bk_str text = BK_STR("nothing in this sentence is said twice, I believe");
        CHECK_INT(bk_ws_deflate(deflater, text, &first), 0);
        CHECK_INT(bk_ws_deflate(deflater, text, &second), 0);
        CHECK(takeover ? second.len < first.len / 2 : second.len == first.len);
        bk_buf_release(&first);
        bk_buf_release(&second);
        bk_ws_deflater_free(deflater);
    }
}

// 64 MB of zeros in 64 KB: stopped at the limit, with no more memory than that.
TEST(a_bomb_costs_its_limit)
{
    struct bk_ws_deflate deflate = {.on = true, .server_bits = 15, .client_bits = 15};
    struct bk_ws_deflater *deflater;
    struct bk_ws_inflater *inflater;
    struct bk_buf packed = {0}, back = {0};
    size_t size = 64 << 20, most = 1 << 20;
    char *zeros = calloc(1, size);
    CHECK_INT(bk_ws_deflater_new(&deflate, &deflater), 0);
    CHECK_INT(bk_ws_inflater_new(&deflate, &inflater), 0);
    CHECK_INT(bk_ws_deflate(deflater, (struct bk_str){zeros, size}, &packed), 0);
    CHECK(packed.len < 100000);
    CHECK_INT(bk_ws_inflate(inflater, (struct bk_str){packed.at, packed.len}, true, &back, most),
              -EMSGSIZE);
    CHECK(back.size <= most + 1);
    free(zeros);
    bk_buf_release(&packed);
    bk_buf_release(&back);
    bk_ws_deflater_free(deflater);
    bk_ws_inflater_free(inflater);
}

TEST(ends_of_streams_are_counted)
{
    struct bk_ws_deflate deflate = {.on = true, .client_bits = 15};
    struct bk_ws_inflater *inflater;
    struct bk_buf back = {0};
    CHECK_INT(bk_ws_inflater_new(&deflate, &inflater), 0);
    char ends[400];  // an empty final block, again and again
    for (unsigned i = 0; i < sizeof ends; i += 2)
        memcpy(ends + i, "\x03\x00", 2);
    CHECK_INT(bk_ws_inflate(inflater, (struct bk_str){ends, 20}, true, &back, 10), 0);
    CHECK_INT(bk_ws_inflate(inflater, (struct bk_str){ends, sizeof ends}, true, &back, 10),
              -EPROTO);
    bk_buf_release(&back);
    bk_ws_inflater_free(inflater);
}
