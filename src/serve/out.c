// The output queue of one exchange. Used by answer.c (which fills it) and transmit.c (which empties
// it).
#include "serve/out.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "serve/engine.h"

#define ROOM_SIZE BK_BLOCK_SIZE

static struct bk_part *new_part(struct bk_exchange *x, enum bk_part_kind kind);
static void free_part(struct bk_exchange *x, struct bk_part *part);
static void append(struct bk_out *out, struct bk_part *part);
static int find_room(struct bk_exchange *x);

void
bk__out_init(struct bk_out *out)
{
    out->first = out->last = NULL;
    out->queued = 0;
    out->room = out->room_end = out->home = out->home_end = out->headroom = NULL;
    out->inline_used = 0;
}

// The free rest of the exchange's block becomes the place to copy into: request and answer share
// one block.
static void
settle_home(struct bk_exchange *x)
{
    struct bk_out *out = &x->out;
    out->home = out->room = x->arena.at;
    out->home_end = out->room_end = x->arena.end;
    x->arena.at = x->arena.end;
}

void
bk__out_keep_headroom(struct bk_exchange *x, size_t size)
{
    struct bk_out *out = &x->out;
    if (!out->home)
        settle_home(x);
    if (out->first || (size_t)(out->room_end - out->room) < size)
        return;
    out->headroom = out->room;
    out->headroom_size = (uint32_t)size;
    out->room += size;
}

int
bk__out_copy(struct bk_exchange *x, const void *data, size_t len)
{
    struct bk_out *out = &x->out;
    if (!out->home)
        settle_home(x);
    const char *from = data;
    while (len) {
        if (out->room == out->room_end) {
            int error = find_room(x);
            if (error < 0)
                return error;
        }
        size_t room = (size_t)(out->room_end - out->room);
        size_t piece = len < room ? len : room;
        struct bk_part *last = out->last;
        if (!last || last->kind != BK_PART_BYTES || last->at + last->len != out->room) {
            last = new_part(x, BK_PART_BYTES);
            if (!last)
                return -ENOMEM;
            last->at = out->room;
            append(out, last);
        }
        memcpy(out->room, from, piece);
        last->len += piece;
        out->queued += piece;
        out->room += piece;
        from += piece;
        len -= piece;
    }
    return 0;
}

// A fresh heap block; the part that begins in it frees it.
static int
find_room(struct bk_exchange *x)
{
    struct bk_out *out = &x->out;
    char *block = malloc(ROOM_SIZE);
    struct bk_part *part = block ? new_part(x, BK_PART_BYTES) : NULL;
    if (!part) {
        free(block);
        return -ENOMEM;
    }
    part->at = block;
    part->token = block;
    append(out, part);
    out->room = block;
    out->room_end = block + ROOM_SIZE;
    return 0;
}

int
bk__out_prepend(struct bk_exchange *x, const char *at, size_t len)
{
    struct bk_out *out = &x->out;
    struct bk_part *first = out->first;
    if (first && first->kind == BK_PART_BYTES && !first->token && at == out->headroom &&
        first->at == out->headroom + out->headroom_size && first->len <= BK_COPY_MAX) {
        memmove(out->headroom + len, first->at, first->len);
        if (first == out->last && out->room == first->at + first->len)
            out->room = out->headroom + len + first->len;
        first->at = out->headroom;
        first->len += len;
        out->queued += len;
        return 0;
    }
    struct bk_part *part = new_part(x, BK_PART_BYTES);
    if (!part)
        return -ENOMEM;
    part->at = at;
    part->len = len;
    part->next = out->first;
    out->first = part;
    if (!out->last)
        out->last = part;
    out->queued += len;
    return 0;
}

int
bk__out_give(struct bk_exchange *x, char *block, size_t len)
{
    struct bk_part *part = new_part(x, BK_PART_BYTES);
    if (!part)
        return -ENOMEM;
    part->at = block;
    part->len = len;
    part->token = block;
    append(&x->out, part);
    x->out.queued += len;
    return 0;
}

int
bk__out_lend(struct bk_exchange *x, const void *data, size_t len, void *token)
{
    struct bk_part *part = new_part(x, BK_PART_LENT);
    if (!part)
        return -ENOMEM;
    part->at = data;
    part->len = len;
    part->token = token;
    append(&x->out, part);
    x->out.queued += len;
    return 0;
}

int
bk__out_file(struct bk_exchange *x, int fd, off_t offset, uint64_t len)
{
    struct bk_part *part = new_part(x, BK_PART_FILE);
    if (!part)
        return -ENOMEM;
    part->fd = fd;
    part->offset = offset;
    part->len = len;
    append(&x->out, part);
    x->out.queued += len;
    return 0;
}

int
bk__out_read(struct bk_exchange *x, char *block, size_t len)
{
    struct bk_part *file = x->out.first, *part = new_part(x, BK_PART_BYTES);
    if (!part)
        return -ENOMEM;
    part->at = part->token = block;
    part->len = len;
    part->next = file;
    file->offset += (off_t)len;
    file->len -= len;
    x->out.first = part;
    return 0;
}

void
bk__out_consume(struct bk_exchange *x, size_t sent)
{
    struct bk_out *out = &x->out;
    out->queued -= sent;
    while (out->first) {
        struct bk_part *part = out->first;
        if (sent < part->len) {
            if (part->kind != BK_PART_FILE)
                part->at += sent;
            part->len -= sent;
            return;
        }
        sent -= part->len;
        out->first = part->next;
        if (!out->first)
            out->last = NULL;
        free_part(x, part);
    }
    // Everything is gone: copies start over at the block, so a long stream of small pieces needs no
    // further memory.
    out->room = out->home;
    out->room_end = out->home_end;
    out->headroom = NULL;
}

void
bk__out_drop(struct bk_exchange *x)
{
    struct bk_out *out = &x->out;
    while (out->first) {
        struct bk_part *part = out->first;
        out->first = part->next;
        free_part(x, part);
    }
    out->last = NULL;
    out->queued = 0;
    out->room = out->home;
    out->room_end = out->home_end;
    out->headroom = NULL;
}

static struct bk_part *
new_part(struct bk_exchange *x, enum bk_part_kind kind)
{
    struct bk_out *out = &x->out;
    struct bk_part *part = NULL;
    for (unsigned i = 0; i < BK_PARTS_INLINE; i++) {
        if (!(out->inline_used & 1u << i)) {
            out->inline_used |= (uint8_t)(1u << i);
            part = &out->parts[i];
            part->heap = false;
            break;
        }
    }
    if (!part) {
        part = malloc(sizeof *part);
        if (!part)
            return NULL;
        part->heap = true;
    }
    part->next = NULL;
    part->kind = (uint8_t)kind;
    part->at = NULL;
    part->len = 0;
    part->token = NULL;
    part->fd = -1;
    return part;
}

static void
free_part(struct bk_exchange *x, struct bk_part *part)
{
    if (part->kind == BK_PART_LENT) {
        if (part->token)
            x->engine->ops->release(x->engine->host, part->token);
    } else if (part->kind == BK_PART_FILE) {
        close(part->fd);
    } else if (part->token) {
        free(part->token);
    }
    if (part->heap)
        free(part);
    else
        x->out.inline_used &= (uint8_t)~(1u << (part - x->out.parts));
}

static void
append(struct bk_out *out, struct bk_part *part)
{
    if (out->last)
        out->last->next = part;
    else
        out->first = part;
    out->last = part;
}
