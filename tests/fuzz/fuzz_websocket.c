// WebSocket frames: the transcript of any bytes must not depend on how they are cut; messages keep
// their limit, text is UTF-8. The first byte chooses limit and compression, the second the cuts; a
// byte 'E' in front takes the rest as a Sec-WebSocket-Extensions value, 'C' as text to deflate and
// inflate.
#include <stdint.h>

#include "../ws_drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static size_t
all(void *self)
{
    return 0;
}

static size_t
one(void *self)
{
    return 1;
}

static size_t
some(void *self)
{
    unsigned *seed = self;
    *seed = *seed * 1103515245 + 12345;
    return 1 + (*seed >> 16) % 37;
}

static struct ws_transcript
run(struct bk_str bytes, unsigned how, size_t (*next_cut)(void *), unsigned seed)
{
    static const struct bk_ws_deflate deflate = {.on = true, .server_bits = 12, .client_bits = 15};
    struct ws_transcript t = {0};
    struct bk_ws_reader reader;
    uint64_t max = how & 2 ? 100 : 100000;
    bk_ws_reader_init(&reader, max, how & 1 ? &deflate : NULL);
    ws_add(&t, BK_STR(""));
    if (bytes.len)
        ws_drive(&t, &reader, bytes, next_cut, &seed);
    MUST(reader.message.size <= max + 1 || reader.message.size <= 64);
    bk_ws_reader_release(&reader);
    return t;
}

static void
try_cuts(struct bk_str bytes, unsigned how, unsigned seed)
{
    struct ws_transcript whole = run(bytes, how, all, 0), bytewise = run(bytes, how, one, 0),
                         cut = run(bytes, how, some, seed);
    MUST(whole.len == bytewise.len && memcmp(whole.text, bytewise.text, whole.len) == 0);
    MUST(whole.len == cut.len && memcmp(whole.text, cut.text, whole.len) == 0);
    free(whole.text);
    free(bytewise.text);
    free(cut.text);
}

static void
try_extensions(struct bk_str line)
{
    struct bk_ws_deflate deflate, again;
    char answer[BK_WS_DEFLATE_ANSWER_MAX];
    if (bk_ws_deflate_negotiate(line, &deflate) != 1)
        return;
    MUST(deflate.on && deflate.server_bits >= 9 && deflate.server_bits <= 12 &&
         deflate.client_bits >= 8 && deflate.client_bits <= 15);
    size_t len = bk_ws_deflate_answer(answer, &deflate);
    MUST(len < sizeof answer);
    // The answer is an offer that gives itself.
    MUST(bk_ws_deflate_negotiate((struct bk_str){answer, len}, &again) == 1);
    MUST(again.server_bits == deflate.server_bits && again.client_bits == deflate.client_bits &&
         again.server_no_takeover == deflate.server_no_takeover);
}

static void
try_compression(struct bk_str text)
{
    struct bk_ws_deflate deflate = {.on = true, .server_bits = 9, .client_bits = 9};
    struct bk_ws_deflater *deflater;
    struct bk_ws_inflater *inflater;
    MUST(bk_ws_deflater_new(&deflate, &deflater) == 0 &&
         bk_ws_inflater_new(&deflate, &inflater) == 0);
    for (unsigned i = 0; i < 3; i++) {
        struct bk_buf packed = {0}, back = {0};
        MUST(bk_ws_deflate(deflater, text, &packed) == 0);
        MUST(bk_ws_inflate(inflater, (struct bk_str){packed.at, packed.len}, true, &back,
                           text.len) == 0);
        MUST(back.len == text.len && (text.len == 0 || memcmp(back.at, text.at, text.len) == 0));
        bk_buf_release(&packed);
        bk_buf_release(&back);
    }
    bk_ws_deflater_free(deflater);
    bk_ws_inflater_free(inflater);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    char *copy = malloc(size - 1);
    memcpy(copy, data + 1, size - 1);
    if (data[0] == 'E')
        try_extensions((struct bk_str){copy, size - 1});
    else if (data[0] == 'C')
        try_compression((struct bk_str){copy, size - 1});
    else
        try_cuts((struct bk_str){copy + 1, size - 2}, data[0], (uint8_t)copy[0]);
    free(copy);
    return 0;
}
