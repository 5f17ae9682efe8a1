#include "check.h"

#include "base/buf.h"
#include "base/digest.h"

static const char *
sha1(struct bk_str data)
{
    static char text[41];
    uint8_t out[BK_SHA1_SIZE];
    bk_digest_sha1(out, data);
    for (unsigned i = 0; i < sizeof out; i++)
        snprintf(text + 2 * i, 3, "%02x", out[i]);
    return text;
}

TEST(sha1_of_the_standards)
{
    CHECK_STR(sha1(BK_STR("")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    CHECK_STR(sha1(BK_STR("abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
    CHECK_STR(sha1(BK_STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
              "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

TEST(sha1_at_the_block_edges)
{
    static char a[1000];
    memset(a, 'a', sizeof a);
    CHECK_STR(sha1((struct bk_str){a, 55}), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    CHECK_STR(sha1((struct bk_str){a, 56}), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    CHECK_STR(sha1((struct bk_str){a, 63}), "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    CHECK_STR(sha1((struct bk_str){a, 64}), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    CHECK_STR(sha1((struct bk_str){a, 65}), "11655326c708d70319be2610e8a57d9a5b959d3b");
    CHECK_STR(sha1((struct bk_str){a, 1000}), "291e9a6c66994949b57ba5e650361e98fc36b1ba");
}

TEST(base64)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"\xfb\xff\xbf", "+/+/"}};
    for (unsigned i = 0; i < BK_COUNT(rows); i++) {
        char out[64];
        size_t len = bk_digest_base64(out, rows[i][0], strlen(rows[i][0]));
        CHECK_INT(len, BK_BASE64_SIZE(strlen(rows[i][0])));
        CHECK_TEXT(((struct bk_str){out, len}), rows[i][1]);
    }
}

TEST(a_buffer_grows_to_its_ceiling)
{
    struct bk_buf buf = {0};
    for (unsigned i = 0; i < 1000; i++)
        CHECK_INT(bk_buf_append(&buf, BK_STR("x"), 1000), 0);
    CHECK_INT(bk_buf_append(&buf, BK_STR("x"), 1000), -EMSGSIZE);
    CHECK_INT(buf.len, 1000);
    CHECK_INT(buf.size, 1000);
    CHECK_INT(bk_buf_reserve(&buf, SIZE_MAX, SIZE_MAX), -EMSGSIZE);
    bk_buf_release(&buf);
    CHECK(buf.at == NULL && buf.len == 0);
}
