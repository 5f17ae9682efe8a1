// permessage-deflate. Both directions keep their zlib state between messages unless the
// negotiation said otherwise; then it is given back after each message.
#include "proto/ws_deflate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "proto/headers.h"

#include "base/banned.h"

#define MEMORY_LEVEL 5     // 2^14 bytes for the hash chains
#define INFLATE_STEP 1024  // least room offered to inflate
#define STREAMS_MAX 64     // deflate streams that one message may end and begin again

// ---- negotiation ----

static int read_extension(struct bk_str *line, bool *ret_ours, struct bk_ws_deflate *offer);
static int read_parameter(struct bk_str *line, struct bk_str *ret_name, struct bk_str *ret_value);
static bool take_parameter(struct bk_ws_deflate *offer, unsigned *seen, struct bk_str name,
                           struct bk_str value);

int
bk_ws_deflate_negotiate(struct bk_str line, struct bk_ws_deflate *ret)
{
    bool found = false;
    line = bk_str_trim(line);
    while (line.len) {
        struct bk_ws_deflate offer;
        bool ours;
        int error = read_extension(&line, &ours, &offer);
        if (error < 0)
            return error;
        if (ours && offer.on && !found) {  // the rest is still read: it must be well-formed
            *ret = offer;
            found = true;
        }
    }
    return found;
}

static void
skip_blanks(struct bk_str *line)
{
    while (line->len && (*line->at == ' ' || *line->at == '\t')) {
        line->at++;
        line->len--;
    }
}

// Takes one byte away when it is the next.
static bool
take_byte(struct bk_str *line, char byte)
{
    skip_blanks(line);
    if (!line->len || *line->at != byte)
        return false;
    line->at++;
    line->len--;
    skip_blanks(line);
    return true;
}

static bool
take_token(struct bk_str *line, struct bk_str *ret)
{
    size_t len = 0;
    while (len < line->len && bk_token_valid((struct bk_str){line->at + len, 1}))
        len++;
    *ret = (struct bk_str){line->at, len};
    line->at += len;
    line->len -= len;
    return len > 0;
}

// One extension with its parameters and the comma behind it. *ret_ours: it is permessage-deflate;
// offer->on: and can be accepted as it is (RFC 7692 §5.1: an offer is taken whole or declined).
static int
read_extension(struct bk_str *line, bool *ret_ours, struct bk_ws_deflate *offer)
{
    struct bk_str name, value;
    unsigned seen = 0;
    *offer =
        (struct bk_ws_deflate){.on = true, .server_bits = BK_WS_WINDOW_BITS, .client_bits = 15};
    *ret_ours = false;
    while (take_byte(line, ','))  // empty list elements are allowed (RFC 9110 §5.6.1)
        continue;
    if (!line->len)
        return 0;
    if (!take_token(line, &name))
        return -EPROTO;
    *ret_ours = bk_str_equal(name, BK_STR("permessage-deflate"));
    while (take_byte(line, ';')) {
        int error = read_parameter(line, &name, &value);
        if (error < 0)
            return error;
        if (*ret_ours && !take_parameter(offer, &seen, name, value))
            offer->on = false;
    }
    skip_blanks(line);
    return !line->len || take_byte(line, ',') ? 0 : -EPROTO;
}

// name [= token or "quoted token"]; value.at is NULL without "=".
static int
read_parameter(struct bk_str *line, struct bk_str *ret_name, struct bk_str *ret_value)
{
    *ret_value = (struct bk_str){NULL, 0};
    if (!take_token(line, ret_name))
        return -EPROTO;
    if (!take_byte(line, '='))
        return 0;
    bool quoted = line->len && *line->at == '"';
    if (quoted) {
        line->at++;
        line->len--;
    }
    if (!take_token(line, ret_value))  // also inside quotes only a token is allowed (RFC 6455 §9.1)
        return -EPROTO;
    if (quoted && (!line->len || *line->at != '"'))
        return -EPROTO;
    if (quoted) {
        line->at++;
        line->len--;
    }
    return 0;
}

// 8 to 15 without a leading zero; 0 when it is something else.
static uint8_t
window_bits(struct bk_str value)
{
    uint64_t bits;
    if (value.len == 0 || value.at[0] == '0' || bk_str_parse_u64(value, 15, &bits) < 0 || bits < 8)
        return 0;
    return (uint8_t)bits;
}

static bool
take_parameter(struct bk_ws_deflate *offer, unsigned *seen, struct bk_str name, struct bk_str value)
{
    static const char *const names[] = {"server_no_context_takeover", "client_no_context_takeover",
                                        "server_max_window_bits", "client_max_window_bits"};
    unsigned which = 0;
    while (which < BK_COUNT(names) && !bk_str_equal(name, bk_str_of(names[which])))
        which++;
    if (which == BK_COUNT(names) || *seen & 1u << which)
        return false;
    *seen |= 1u << which;
    uint8_t bits = value.at ? window_bits(value) : 0;
    switch (which) {
    case 0:
        offer->server_no_takeover = true;
        return !value.at;
    case 1:
        offer->client_no_takeover = true;
        return !value.at;
    case 2:
        // zlib cannot write raw deflate with a window of 256 bytes.
        if (bits < 9)
            return false;
        offer->say_server_bits = true;
        offer->server_bits = bits < BK_WS_WINDOW_BITS ? bits : BK_WS_WINDOW_BITS;
        return true;
    default:
        if (value.at && !bits)
            return false;
        offer->say_client_bits = true;
        offer->client_bits = bits && bits < BK_WS_WINDOW_BITS ? bits : BK_WS_WINDOW_BITS;
        return true;
    }
}

size_t
bk_ws_deflate_answer(char out[BK_WS_DEFLATE_ANSWER_MAX], const struct bk_ws_deflate *deflate)
{
    char server[32] = "", client[32] = "";
    if (deflate->say_server_bits)
        snprintf(server, sizeof server, "; server_max_window_bits=%u", deflate->server_bits);
    if (deflate->say_client_bits)
        snprintf(client, sizeof client, "; client_max_window_bits=%u", deflate->client_bits);
    return (size_t)snprintf(out, BK_WS_DEFLATE_ANSWER_MAX, "permessage-deflate%s%s%s%s",
                            deflate->server_no_takeover ? "; server_no_context_takeover" : "",
                            deflate->client_no_takeover ? "; client_no_context_takeover" : "",
                            server, client);
}

// ---- from the client ----

struct bk_ws_inflater {
    z_stream stream;
    bool open;      // inflateInit2 was called
    bool takeover;  // the window lives on between messages
    uint8_t bits;
    unsigned streams;  // that this message ended
};

static int inflate_piece(struct bk_ws_inflater *inflater, struct bk_str in, struct bk_buf *into,
                         size_t most);

int
bk_ws_inflater_new(const struct bk_ws_deflate *deflate, struct bk_ws_inflater **ret)
{
    struct bk_ws_inflater *inflater = calloc(1, sizeof *inflater);
    if (!inflater)
        return -ENOMEM;
    inflater->takeover = !deflate->client_no_takeover;
    // A client that was told 8 may be zlib, which then uses 9.
    inflater->bits = deflate->client_bits < 9 ? 9 : deflate->client_bits;
    *ret = inflater;
    return 0;
}

static void
close_inflate(struct bk_ws_inflater *inflater)
{
    if (inflater->open)
        inflateEnd(&inflater->stream);
    inflater->open = false;
}

void
bk_ws_inflater_free(struct bk_ws_inflater *inflater)
{
    if (inflater)
        close_inflate(inflater);
    free(inflater);
}

int
bk_ws_inflate(struct bk_ws_inflater *inflater, struct bk_str in, bool last, struct bk_buf *into,
              size_t most)
{
    if (!inflater->open) {
        memset(&inflater->stream, 0, sizeof inflater->stream);
        if (inflateInit2(&inflater->stream, -inflater->bits) != Z_OK)
            return -ENOMEM;
        inflater->open = true;
    }
    int error = inflate_piece(inflater, in, into, most);
    if (error == 0 && last) {  // the end that the sender cut off (RFC 7692 §7.2.2)
        error = inflate_piece(inflater, (struct bk_str){"\0\0\xff\xff", 4}, into, most);
        inflater->streams = 0;
        if (!inflater->takeover)
            close_inflate(inflater);
    }
    return error;
}

static int
inflate_piece(struct bk_ws_inflater *inflater, struct bk_str in, struct bk_buf *into, size_t most)
{
    z_stream *stream = &inflater->stream;
    stream->next_in = (Bytef *)(uintptr_t)in.at;
    stream->avail_in = (uInt)in.len;
    for (;;) {
        // Room for four times the input to begin with; one byte above the limit is enough to know
        // that there is more.
        size_t want =
            stream->avail_in > INFLATE_STEP / 4 ? (size_t)stream->avail_in * 4 : INFLATE_STEP;
        size_t left = most + 1 - into->len;
        if (want > left)
            want = left;
        if (bk_buf_reserve(into, want, most + 1) < 0)
            return -ENOMEM;
        size_t room = into->size - into->len < left ? into->size - into->len : left;
        stream->next_out = (Bytef *)into->at + into->len;
        stream->avail_out = (uInt)room;
        int done = inflate(stream, Z_SYNC_FLUSH);
        into->len += room - stream->avail_out;
        if (into->len > most)
            return -EMSGSIZE;
        if (done == Z_STREAM_END) {
            // A sender may end its stream with a message (RFC 7692 §7.2.3.5): the next block begins
            // a new one.
            if (++inflater->streams > STREAMS_MAX || inflateReset(stream) != Z_OK)
                return -EPROTO;
        } else if (done == Z_MEM_ERROR) {
            return -ENOMEM;
        } else if (done != Z_OK && done != Z_BUF_ERROR) {
            return -EPROTO;
        }
        if (stream->avail_in == 0 && (stream->avail_out > 0 || done == Z_BUF_ERROR))
            return 0;
    }
}

// ---- to the client ----

struct bk_ws_deflater {
    z_stream stream;
    bool open;
    bool takeover;
    uint8_t bits;
};

int
bk_ws_deflater_new(const struct bk_ws_deflate *deflate, struct bk_ws_deflater **ret)
{
    struct bk_ws_deflater *deflater = calloc(1, sizeof *deflater);
    if (!deflater)
        return -ENOMEM;
    deflater->takeover = !deflate->server_no_takeover;
    deflater->bits = deflate->server_bits;
    *ret = deflater;
    return 0;
}

static void
close_deflate(struct bk_ws_deflater *deflater)
{
    if (deflater->open)
        deflateEnd(&deflater->stream);
    deflater->open = false;
}

void
bk_ws_deflater_free(struct bk_ws_deflater *deflater)
{
    if (deflater)
        close_deflate(deflater);
    free(deflater);
}

int
bk_ws_deflate(struct bk_ws_deflater *deflater, struct bk_str in, struct bk_buf *into)
{
    z_stream *stream = &deflater->stream;
    if (!deflater->open) {
        memset(stream, 0, sizeof *stream);
        if (deflateInit2(stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -deflater->bits, MEMORY_LEVEL,
                         Z_DEFAULT_STRATEGY) != Z_OK)
            return -ENOMEM;
        deflater->open = true;
    }
    size_t start = into->len, fed = 0;
    int error = 0;
    do {
        size_t piece = in.len - fed < 1u << 30 ? in.len - fed : 1u << 30;
        stream->next_in = (Bytef *)(uintptr_t)(in.at + fed);
        stream->avail_in = (uInt)piece;
        fed += piece;
        do {
            if (bk_buf_reserve(into, piece / 2 + 64, SIZE_MAX / 2) < 0)
                return -ENOMEM;
            size_t room = into->size - into->len < 1u << 30 ? into->size - into->len : 1u << 30;
            stream->next_out = (Bytef *)into->at + into->len;
            stream->avail_out = (uInt)room;
            int done = deflate(stream, fed < in.len ? Z_NO_FLUSH : Z_SYNC_FLUSH);
            if (done != Z_OK && done != Z_BUF_ERROR)
                error = -EPROTO;
            into->len += room - stream->avail_out;
        } while (!error && stream->avail_out == 0);
    } while (!error && fed < in.len);
    if (!error && into->len - start >= 4)
        into->len -= 4;                // 00 00 ff ff: the receiver puts it back
    if (!error && into->len == start)  // a message must have at least one byte: an empty block
        error = bk_buf_append(into, (struct bk_str){"\0", 1}, SIZE_MAX / 2);
    if (!deflater->takeover)
        close_deflate(deflater);
    return error;
}
