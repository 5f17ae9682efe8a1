#include "check.h"

#include "proto/h1_write.h"

// Writes `answer` into an allocation of exactly the bound; AddressSanitizer sees one byte too many.
static struct bk_str
written(const struct bk_h1_answer *answer)
{
    static char *out;
    size_t bound = bk_h1_write_bound(answer);
    free(out);
    out = malloc(bound);
    size_t len = bk_h1_write_head(out, answer);
    CHECK(len <= bound);
    return (struct bk_str){out, len};
}

TEST(the_common_answer)
{
    struct bk_h1_answer answer = {
        .status = 200,
        .reason = BK_STR("OK"),
        .fields = BK_STR("Content-Type: text/plain\r\n"),
        .common = BK_STR("Server: barkeep\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"),
        .add_length = true,
        .content_length = 3,
        .framing = BK_FRAMING_LENGTH,
    };
    CHECK_TEXT(written(&answer),
               "HTTP/1.1 200 OK\r\nServer: barkeep\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"
               "Content-Type: text/plain\r\nContent-Length: 3\r\n\r\n");
}

TEST(chunked_and_keep_alive)
{
    struct bk_h1_answer answer = {
        .status = 404, .reason = BK_STR("Nope"), .framing = BK_FRAMING_CHUNKED, .say_keep = true};
    CHECK_TEXT(written(&answer),
               "HTTP/1.1 404 Nope\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n");
    answer = (struct bk_h1_answer){.status = 200,
                                   .reason = BK_STR("Fine"),
                                   .framing = BK_FRAMING_CLOSE,
                                   .close = true,
                                   .say_keep = true};
    CHECK_TEXT(written(&answer), "HTTP/1.1 200 Fine\r\nConnection: close\r\n\r\n");
}

TEST(an_empty_reason_keeps_its_space)
{
    struct bk_h1_answer answer = {.status = 299};
    CHECK_TEXT(written(&answer), "HTTP/1.1 299 \r\n\r\n");
    answer.status = 200;
    CHECK_TEXT(written(&answer), "HTTP/1.1 200 \r\n\r\n");
}

TEST(no_length_or_coding_where_there_can_be_no_body)
{
    static const int statuses[] = {100, 101, 103, 199, 204};
    for (unsigned i = 0; i < BK_COUNT(statuses); i++) {
        struct bk_h1_answer answer = {.status = statuses[i],
                                      .reason = BK_STR("x"),
                                      .framing = BK_FRAMING_CHUNKED,
                                      .add_length = true};
        struct bk_str text = written(&answer);
        CHECK(!memmem(text.at, text.len, "Length", 6) && !memmem(text.at, text.len, "Transfer", 8));
    }
    struct bk_h1_answer answer = {.status = 304,
                                  .reason = BK_STR("Not Modified"),
                                  .framing = BK_FRAMING_LENGTH,
                                  .add_length = true,
                                  .content_length = 7};
    CHECK_TEXT(written(&answer), "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
}

TEST(the_bound_holds_for_the_longest)
{
    struct bk_h1_answer answer = {.status = 999,
                                  .reason = BK_STR("R"),
                                  .fields = BK_STR("A: b\r\n"),
                                  .common = BK_STR("C: d\r\n"),
                                  .add_length = true,
                                  .content_length = UINT64_MAX,
                                  .framing = BK_FRAMING_CHUNKED,
                                  .say_keep = true};
    CHECK_TEXT(written(&answer),
               "HTTP/1.1 999 R\r\nC: d\r\nA: b\r\nContent-Length: 18446744073709551615\r\n"
               "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n");
}

TEST(chunk_sizes)
{
    static const uint64_t sizes[] = {0,
                                     1,
                                     9,
                                     10,
                                     15,
                                     16,
                                     255,
                                     256,
                                     4095,
                                     4096,
                                     65535,
                                     65536,
                                     0xdeadbeef,
                                     UINT64_MAX,
                                     UINT64_C(1) << 60,
                                     (UINT64_C(1) << 60) - 1};
    for (unsigned i = 0; i < BK_COUNT(sizes); i++) {
        char ours[BK_H1_CHUNK_MAX], theirs[32];
        snprintf(theirs, sizeof theirs, "%llx\r\n", (unsigned long long)sizes[i]);
        CHECK_TEXT(((struct bk_str){ours, bk_h1_write_chunk_size(ours, sizes[i])}), theirs);
    }
}

TEST(interim_answers)
{
    char out[64];
    size_t len = bk_h1_write_interim(out, sizeof out, 100, (struct bk_str){NULL, 0});
    CHECK_TEXT(((struct bk_str){out, len}), "HTTP/1.1 100 Continue\r\n\r\n");
    len = bk_h1_write_interim(out, sizeof out, 103, BK_STR("Link: </a>\r\n"));
    CHECK_TEXT(((struct bk_str){out, len}), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    memset(out, '#', sizeof out);
    CHECK_INT(bk_h1_write_interim(out, 24, 100, (struct bk_str){NULL, 0}), 0);
    CHECK(out[0] == '#');
    CHECK_INT(bk_h1_write_interim(out, 25, 100, (struct bk_str){NULL, 0}), 25);
    CHECK(out[25] == '#');
}
