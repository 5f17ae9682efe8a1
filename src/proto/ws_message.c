// Pieces of frames into messages. Called by serve/to_ws.c.
#include "proto/ws_message.h"

#include <errno.h>

#include "base/banned.h"

#define RESERVE_AT_ONCE (64 * 1024)  // of what a frame announces, before its bytes are here

static int take_piece(struct bk_ws_reader *reader, const struct bk_ws_piece *piece,
                      struct bk_ws_fault *fault);
static int fail(struct bk_ws_fault *fault, unsigned code, const char *why);

void
bk_ws_reader_init(struct bk_ws_reader *reader, uint64_t max, const struct bk_ws_deflate *deflate)
{
    *reader = (struct bk_ws_reader){.frames.max = max};
    if (deflate) {
        reader->deflate = *deflate;
        reader->frames.deflate = deflate->on;
    }
}

void
bk_ws_reader_release(struct bk_ws_reader *reader)
{
    bk_ws_inflater_free(reader->inflater);
    bk_buf_release(&reader->message);
    reader->inflater = NULL;
}

int
bk_ws_reader_next(struct bk_ws_reader *reader, char *in, size_t len, size_t *ret_used,
                  struct bk_ws_event *ret, struct bk_ws_fault *fault)
{
    *ret_used = 0;
    for (;;) {
        struct bk_ws_piece piece;
        size_t used;
        int item = bk_ws_frames_next(&reader->frames, in + *ret_used, len - *ret_used, &used,
                                     &piece, fault);
        if (item < 0)
            return item;
        *ret_used += used;
        if (item == BK_WS_MORE)
            return BK_WS_MORE;
        *ret = (struct bk_ws_event){.kind = piece.kind, .data = piece.data};
        if (item == BK_WS_CLOSE) {
            int error = bk_ws_close_parse(piece.data, &ret->code, &ret->data, fault);
            return error < 0 ? error : item;
        }
        if (item != BK_WS_DATA)
            return item;
        int error = take_piece(reader, &piece, fault);
        if (error < 0 || piece.last)
            return error < 0 ? error : BK_WS_DATA;
    }
}

static int
take_piece(struct bk_ws_reader *reader, const struct bk_ws_piece *piece, struct bk_ws_fault *fault)
{
    struct bk_buf *message = &reader->message;
    size_t before = message->len;
    int error = 0;
    if (piece->compressed) {
        if (!reader->inflater)
            error = bk_ws_inflater_new(&reader->deflate, &reader->inflater);
        if (!error && (piece->data.len || piece->last))
            error = bk_ws_inflate(reader->inflater, piece->data, piece->last, message,
                                  reader->frames.max);
    } else {
        uint64_t soon = piece->data.len + piece->left;
        if (soon > RESERVE_AT_ONCE)
            soon = piece->data.len > RESERVE_AT_ONCE ? piece->data.len : RESERVE_AT_ONCE;
        error = bk_buf_reserve(message, (size_t)soon, reader->frames.max);
        if (!error)
            error = bk_buf_append(message, piece->data, reader->frames.max);
    }
    if (error == -ENOMEM)
        return error;
    // The text first, also in front of broken deflate: what is wrong must not depend on where the
    // bytes were cut.
    size_t more = message->len - before;
    if (piece->kind == BK_WS_OP_TEXT) {
        struct bk_str fresh = {more ? message->at + before : NULL, more};
        if (!bk_utf8_feed(&reader->utf8, fresh) ||
            (!error && piece->last && !bk_utf8_whole(&reader->utf8)))
            return fail(fault, BK_WS_BAD_DATA, "text that is not UTF-8");
    }
    if (error == -EMSGSIZE)
        return fail(fault, BK_WS_TOO_BIG, "message too big when inflated");
    if (error < 0)
        return fail(fault, BK_WS_BAD_DATA, "compressed data that is no deflate");
    return 0;
}

static int
fail(struct bk_ws_fault *fault, unsigned code, const char *why)
{
    *fault = (struct bk_ws_fault){code, why};
    return -EPROTO;
}
