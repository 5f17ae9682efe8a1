// The header memo: most keep-alive clients send the same field lines with every request. A hit
// needs the identical bytes on the same connection, so nothing is shared between clients.
#include "memo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

int
bkpp_memo_init(struct bkpp_memo *memo, unsigned count)
{
    memo->slots = calloc(count, sizeof *memo->slots);
    memo->slot_count = count;
    return memo->slots ? 0 : -ENOMEM;
}

static void
forget(struct bkpp_memo *memo, struct bkpp_memo_slot *slot)
{
    if (!slot->taken)
        return;
    free(slot->bytes);
    slot->bytes = NULL;
    slot->room = 0;
    if (slot->version && !slot->leaving) {
        slot->leaving = true;
        memo->leaving++;
    }
    slot->version = 0;
    slot->taken = false;
    memo->filled--;
}

void
bkpp_memo_release(struct bkpp_memo *memo)
{
    for (unsigned i = 0; memo->slots && i < memo->slot_count; i++)
        forget(memo, &memo->slots[i]);
    free(memo->slots);
    memo->slots = NULL;
}

static void
read_peer(struct bkpp_memo_slot *slot, const struct bk_exchange *x)
{
    unsigned port = 0;
    slot->addr_len = (uint8_t)bk_exchange_peer(x, slot->addr, &port);
    slot->port_len = slot->addr_len ? (uint8_t)bk_str_format_u64(slot->port, port) : 0;
}

struct bkpp_memo_slot *
bkpp_memo_slot(struct bkpp_memo *memo, const struct bk_exchange *x, const struct bk_call *call)
{
    struct bkpp_memo_slot *slot = &memo->slots[call->connection & (memo->slot_count - 1)];
    slot->used = memo->now;
    slot->fresh = slot->connection != call->connection || !slot->taken;
    if (bk_likely(!slot->fresh))
        return slot;
    forget(memo, slot);
    slot->connection = call->connection;
    slot->taken = true;
    memo->filled++;
    read_peer(slot, x);
    return slot;
}

bool
bkpp_memo_fits(const struct bkpp_memo_slot *slot, const struct bk_call *call, bool *ret_same)
{
    const struct bk_head *head = call->head;
    if (!slot->version || slot->block_len != head->block_len || slot->listener != call->listener ||
        slot->minor != head->minor || slot->https != call->https ||
        slot->trusted != call->peer_trusted ||
        (head->flags & (BK_HEAD_ABSOLUTE | BK_HEAD_CHUNKED)) ||
        memcmp(slot->bytes, head->base + head->block, head->block_len) != 0)
        return false;
    const char *method = slot->bytes + slot->block_len, *target = method + slot->method_len;
    *ret_same = slot->target_len == head->target_len && slot->method_len == head->method_len &&
                memcmp(method, head->base + head->method, head->method_len) == 0 &&
                memcmp(target, head->base + head->target, head->target_len) == 0;
    return true;
}

bool
bkpp_memo_keep(struct bkpp_memo *memo, struct bkpp_memo_slot *slot, const struct bk_call *call)
{
    const struct bk_head *head = call->head;
    // One request alone says nothing about the next; and a slot that two connections take from each
    // other is not worth it.
    if (!memo->on || slot->fresh || head->block_len > BKPP_MEMO_BLOCK ||
        head->target_len > BKPP_MEMO_BLOCK || head->method_len > 64 ||
        (head->flags & (BK_HEAD_ABSOLUTE | BK_HEAD_CHUNKED)))
        return false;
    uint32_t need = head->block_len + head->method_len + head->target_len;
    if (slot->room < need) {
        char *bytes = realloc(slot->bytes, need);
        if (!bytes)
            return false;
        slot->bytes = bytes;
        slot->room = need;
    }
    memcpy(slot->bytes, head->base + head->block, head->block_len);
    memcpy(slot->bytes + head->block_len, head->base + head->method, head->method_len);
    memcpy(slot->bytes + head->block_len + head->method_len, head->base + head->target,
           head->target_len);
    slot->block_len = head->block_len;
    slot->method_len = head->method_len;
    slot->target_len = head->target_len;
    slot->listener = call->listener;
    slot->minor = head->minor;
    slot->https = call->https;
    slot->trusted = call->peer_trusted;
    slot->version = ++memo->version;
    return true;
}

void
bkpp_memo_turn(struct bkpp_memo *memo)
{
    memo->now = bk_clock_mono();
    if (!memo->filled || memo->now < memo->next_sweep)
        return;
    memo->next_sweep = memo->now + UINT64_C(1000000000);
    for (unsigned i = 0; i < memo->slot_count; i++)
        if (memo->slots[i].taken && memo->slots[i].used + BKPP_MEMO_IDLE < memo->now)
            forget(memo, &memo->slots[i]);
}

int
bkpp_memo_leaving(struct bkpp_memo *memo)
{
    for (unsigned i = 0; memo->leaving && i < memo->slot_count; i++) {
        struct bkpp_memo_slot *slot = &memo->slots[i];
        if (!slot->leaving)
            continue;
        slot->leaving = false;
        memo->leaving--;
        // Taken by another connection meanwhile, and that one's environ is there: it stays.
        if (!slot->version)
            return (int)i;
    }
    return -1;
}
