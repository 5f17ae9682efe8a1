// Drives the WebSocket reader as a session does and writes down what it says, for unit tests and
// the fuzz target: the same bytes must give the same transcript however they are cut.
//
//     text 5 hello
//     binary 2 ab
//     ping 1 x
//     close 1000 bye
//     fault 1002 a frame is not masked        (last line)
//
// Every offer is a fresh allocation of the exact size, so that AddressSanitizer sees a read behind
// it.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ws_message.h"

struct ws_transcript {
    char *text;  // owns
    size_t len, room;
};

__attribute__((unused)) static void
ws_add(struct ws_transcript *t, struct bk_str bytes)
{
    if (t->len + bytes.len + 1 > t->room) {
        t->room = (t->len + bytes.len + 1) * 2;
        t->text = realloc(t->text, t->room);
    }
    if (bytes.len)
        memcpy(t->text + t->len, bytes.at, bytes.len);
    t->len += bytes.len;
    t->text[t->len] = 0;
}

__attribute__((format(printf, 2, 3))) static void
ws_say(struct ws_transcript *t, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ws_add(t, (struct bk_str){text, len < (int)sizeof text ? (size_t)len : sizeof text - 1});
}

static void
ws_note(struct ws_transcript *t, struct bk_ws_reader *reader, int item,
        const struct bk_ws_event *event)
{
    struct bk_str data =
        item == BK_WS_DATA ? (struct bk_str){reader->message.at, reader->message.len} : event->data;
    if (item == BK_WS_DATA)
        ws_say(t, "%s %zu ", event->kind == BK_WS_OP_TEXT ? "text" : "binary", data.len);
    else if (item == BK_WS_CLOSE)
        ws_say(t, "close %u ", event->code);
    else
        ws_say(t, "%s %zu ", item == BK_WS_PING ? "ping" : "pong", data.len);
    ws_add(t, data);
    ws_add(t, BK_STR("\n"));
    if (item == BK_WS_DATA)
        bk_buf_release(&reader->message);
}

// Offers `bytes` in pieces of the sizes that `next_cut` gives (0: all the rest). False: the reader
// said that the peer is at fault, or a close frame was read; what is behind it is not looked at.
__attribute__((unused)) static bool
ws_drive(struct ws_transcript *t, struct bk_ws_reader *reader, struct bk_str bytes,
         size_t (*next_cut)(void *), void *self)
{
    for (size_t at = 0; at < bytes.len;) {
        size_t piece = next_cut(self);
        if (piece == 0 || piece > bytes.len - at)
            piece = bytes.len - at;
        char *copy = malloc(piece);
        memcpy(copy, bytes.at + at, piece);
        at += piece;
        for (size_t done = 0; done < piece;) {
            struct bk_ws_event event;
            struct bk_ws_fault fault = {0, NULL};
            size_t used;
            int item = bk_ws_reader_next(reader, copy + done, piece - done, &used, &event, &fault);
            if (item < 0) {
                ws_say(t, "fault %u %s\n", fault.code,
                       item == -EPROTO ? fault.why : "out of memory");
                free(copy);
                return false;
            }
            done += used;
            if (item == BK_WS_MORE)
                break;
            ws_note(t, reader, item, &event);
            if (item == BK_WS_CLOSE) {
                free(copy);
                return false;
            }
        }
        free(copy);
    }
    return true;
}

// One client frame behind `out`, masked.
__attribute__((unused)) static void
ws_frame(struct bk_buf *out, unsigned first, struct bk_str payload)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    char head[14];
    size_t len = bk_ws_frame_head(head, BK_WS_OP_TEXT, false, payload.len);
    head[0] = (char)first;
    head[1] = (char)(head[1] | 0x80);
    memcpy(head + len, mask, 4);
    if (bk_buf_append(out, (struct bk_str){head, len + 4}, SIZE_MAX) < 0 ||
        bk_buf_append(out, payload, SIZE_MAX) < 0)
        abort();
    if (payload.len)
        bk_ws_unmask(out->at + out->len - payload.len, payload.len, mask, 0);
}
