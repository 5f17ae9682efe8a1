#include "check.h"

#include "proto/h1_body.h"

static struct bk_h1_body body;
static struct bk_h1_body_limits limits;
static struct bk_fault fault;
static char data[4096];
static size_t data_len, used_len;

static int
begin(uint32_t flags, uint64_t length, uint64_t max)
{
    struct bk_head head = {.flags = flags, .content_length = length};
    fault = (struct bk_fault){0, NULL};
    data_len = used_len = 0;
    limits = (struct bk_h1_body_limits){max, 4096, 8192, 256 * 1024};
    return bk_h1_body_begin(&body, &head, &limits, &fault);
}

// Feeds all of `in` as a connection would: 1 complete, 0 more, or the fault's status.
static int
feed(const char *in)
{
    struct bk_str rest = bk_str_of(in), got;
    for (;;) {
        size_t used = 0;
        int done = bk_h1_body_feed(&body, rest, &used, &got, &fault);
        if (done < 0)
            return fault.status;
        CHECK(used <= rest.len);
        if (got.len)
            CHECK(got.at >= rest.at && got.at + got.len <= rest.at + used);
        if (got.len)
            memcpy(data + data_len, got.at, got.len);
        data_len += got.len;
        used_len += used;
        rest = (struct bk_str){rest.at + used, rest.len - used};
        if (done || rest.len == 0)
            return done;
        CHECK(used > 0);
    }
}

#define CHECK_DATA(text) CHECK_TEXT(((struct bk_str){data, data_len}), text)

TEST(no_body)
{
    CHECK_INT(begin(0, 0, UINT64_MAX), 0);
    CHECK_INT(feed("GET / HTTP/1.1"), 1);
    CHECK_INT(used_len, 0);
    CHECK_INT(begin(BK_HEAD_HAS_LENGTH, 0, 0), 0);
    CHECK_INT(feed(""), 1);
}

TEST(a_length)
{
    CHECK_INT(begin(BK_HEAD_HAS_LENGTH, 5, 5), 0);
    CHECK_INT(feed(""), 0);
    CHECK_INT(feed("he"), 0);
    CHECK_INT(feed("lloGET /"), 1);
    CHECK_DATA("hello");
    CHECK_INT(used_len, 5);
    CHECK_INT(body.total, 5);
    CHECK_INT(feed("more"), 1);  // it stays complete and takes nothing
    CHECK_INT(used_len, 5);
}

TEST(a_length_above_the_limit)
{
    CHECK_INT(begin(BK_HEAD_HAS_LENGTH, 6, 5), -EPROTO);
    CHECK_INT(fault.status, 413);
    CHECK_INT(begin(BK_HEAD_HAS_LENGTH, UINT64_MAX, UINT64_MAX), 0);
}

TEST(chunks)
{
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    CHECK_INT(feed("5\r\nhello\r\n00A;x=\"y\"\r\n 0123456789"), 400);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    CHECK_INT(feed("5\r\nhello\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nTrail: er\r\n\r\nGET"), 1);
    CHECK_DATA("hello0123456789");
    CHECK_INT(body.total, 15);
    CHECK_INT(used_len,
              strlen("5\r\nhello\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nTrail: er\r\n\r\n"));
}

TEST(a_big_chunk_is_handed_on_as_it_comes)
{
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    CHECK_INT(feed("7fffffffffffffff\r\nabc"), 0);
    CHECK_DATA("abc");
    CHECK_INT(feed("def"), 0);
    CHECK_DATA("abcdef");
    CHECK(body.left == INT64_MAX - 6);
}

TEST(sums_do_not_wrap)
{
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    CHECK_INT(feed("1\r\na\r\n7fffffffffffffff\r\n"), 413);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    CHECK_INT(feed("1\r\na\r\nffffffffffffffff\r\n"), 413);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, 3), 0);
    CHECK_INT(feed("2\r\nab\r\n2\r\n"), 413);
    CHECK_DATA("ab");
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, 3), 0);
    CHECK_INT(feed("2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), 1);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, 0), 0);
    CHECK_INT(feed("0\r\n\r\n"), 1);
}

static int
feed_tiny(unsigned count, const char *chunk)
{
    int status = 0;
    for (unsigned i = 0; i < count && status == 0; i++) {
        data_len = 0;
        status = feed(chunk);
    }
    return status;
}

TEST(tiny_chunks_are_counted)
{
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    CHECK_INT(feed_tiny(256 * 1024, "1\r\nx\r\n"), 0);
    CHECK_INT(feed_tiny(1, "1\r\nx\r\n"), 413);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    CHECK_INT(feed_tiny(256 * 1024, "1\r\nx\r\n"), 0);
    CHECK_INT(feed("10\r\n0123456789abcdef\r\n"), 0);  // a chunk that is not tiny forgives
    CHECK_INT(feed_tiny(1000, "1\r\nx\r\n"), 0);
}

TEST(limits_of_what_is_dropped)
{
    static const char text[] = "1;abc\r\nx\r\n1;d\r\nx\r\n0\r\nX: y\r\n\r\n";
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    limits = (struct bk_h1_body_limits){UINT64_MAX, 6, 4, 2};
    CHECK_INT(feed(text), 1);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    limits.extensions = 5;
    CHECK_INT(feed(text), 413);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    limits.trailers = 3;
    CHECK_INT(feed(text), 431);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    limits.tiny = 1;
    CHECK_INT(feed(text), 413);
    CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
    limits = (struct bk_h1_body_limits){UINT64_MAX, 0, 0, 0};  // none at all
    CHECK_INT(feed("10\r\n0123456789abcdef\r\n0\r\n\r\n"), 1);
}

TEST(forbidden_trailers)
{
    static const char *const bad[] = {"Content-Length",
                                      "Transfer-Encoding",
                                      "host",
                                      "Authorization",
                                      "CONNECTION",
                                      "Cookie",
                                      "Trailer",
                                      "te",
                                      "Upgrade",
                                      "Expect",
                                      "Content-Type",
                                      "Content-Range",
                                      "Proxy-Authorization"};
    static const char *const good[] = {
        "X-Checksum",
        "Server-Timing",
        "ETag",
        "Content-Lengths",
        "Content_Length",
        "Contentlength",
        "A-Name-That-Is-Longer-Than-The-Room-For-Names-In-The-State"};
    char text[256];
    for (unsigned i = 0; i < BK_COUNT(bad) + BK_COUNT(good); i++) {
        bool refused = i < BK_COUNT(bad);
        snprintf(text, sizeof text, "0\r\nX: y\r\n%s: 1\r\n\r\n",
                 refused ? bad[i] : good[i - BK_COUNT(bad)]);
        CHECK_INT(begin(BK_HEAD_CHUNKED, 0, UINT64_MAX), 0);
        CHECK_INT(feed(text), refused ? 400 : 1);
    }
}
