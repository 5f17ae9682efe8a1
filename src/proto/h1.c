// The HTTP/1.x codec: head, body, next head. serve/conn drives it through codec.h and owns the
 // bytes.
#include "proto/codec.h"

#include "base/banned.h"

static int next_body(struct bk_codec *codec, struct bk_str in, size_t *ret_used,
                     struct bk_str *ret_data, struct bk_fault *fault);

static void
reset(struct bk_codec *codec)
{
    bk_h1_parse_reset(&codec->h1.parser);
    codec->h1.in_body = false;
}

static int
next(struct bk_codec *codec, struct bk_str in, const struct bk_codec_limits *limits,
     struct bk_head *head, size_t *ret_used, struct bk_str *ret_data, struct bk_fault *fault)
{
    *ret_used = 0;
    *ret_data = (struct bk_str){NULL, 0};
    if (codec->h1.in_body)
        return next_body(codec, in, ret_used, ret_data, fault);
    ssize_t len = bk_h1_parse_head(&codec->h1.parser, in.at, in.len, &limits->h1, head, fault);
    if (len <= 0)
        return len < 0 ? (int)len : BK_ITEM_MORE;
    int error = bk_h1_body_begin(&codec->h1.body, head, &limits->body, fault);
    if (error < 0)
        return error;
    codec->h1.in_body = true;
    *ret_used = (size_t)len;
    return BK_ITEM_HEAD;
}

static int
next_body(struct bk_codec *codec, struct bk_str in, size_t *ret_used, struct bk_str *ret_data,
          struct bk_fault *fault)
{
    int done = bk_h1_body_feed(&codec->h1.body, in, ret_used, ret_data, fault);
    if (done < 0)
        return done;
    if (done) {
        reset(codec);
        return BK_ITEM_END;
    }
    return ret_data->len ? BK_ITEM_DATA : BK_ITEM_MORE;
}

const struct bk_codec_ops bk_codec_h1 = {
    .name = "HTTP/1.1",
    .reset = reset,
    .next = next,
    .head_bound = bk_h1_write_bound,
    .write_head = bk_h1_write_head,
};
