// The header memo (pitfalls 20): most keep-alive clients send the same field lines with every
// request, so the environ made from them is kept and copied. A hit needs the identical bytes on the
// same connection, so nothing is ever shared between clients, and the kept dict is never handed
// out.
#include "memo.h"

#include "bkpy_host.h"

#include "base/clock.h"

static void
forget_environ(struct bkpy_memo_slot *slot)
{
    Py_CLEAR(slot->dict);
    PyMem_Free(slot->bytes);
    slot->bytes = NULL;
    slot->room = 0;
}

static void
forget(struct bkpy_memo *memo, struct bkpy_memo_slot *slot)
{
    if (!slot->taken)
        return;
    forget_environ(slot);
    Py_CLEAR(slot->addr);
    Py_CLEAR(slot->port);
    slot->taken = false;
    memo->filled--;
}

void
bkpy_memo_release(struct bkpy_memo *memo)
{
    for (unsigned i = 0; memo->slots && i < memo->slot_count; i++)
        forget(memo, &memo->slots[i]);
    PyMem_Free(memo->slots);
    memo->slots = NULL;
}

// Fills in the peer's address; -1 with an exception.
static int
read_peer(struct bkpy_memo_slot *slot, const struct bk_exchange *x)
{
    char text[46];
    unsigned port = 0;
    size_t len = bk_exchange_peer(x, text, &port);
    slot->addr = PyUnicode_DecodeLatin1(text, (Py_ssize_t)len, NULL);
    if (!slot->addr)
        return -1;
    if (len) {
        char digits[20];
        slot->port =
            PyUnicode_DecodeLatin1(digits, (Py_ssize_t)bk_str_format_u64(digits, port), NULL);
        if (!slot->port)
            return -1;
    }
    return 0;
}

struct bkpy_memo_slot *
bkpy_memo_slot(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call)
{
    struct bkpy_memo *memo = &host->memo;
    if (bk_unlikely(!memo->slots)) {
        memo->slots = PyMem_Calloc(memo->slot_count, sizeof(*memo->slots));
        if (!memo->slots) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    struct bkpy_memo_slot *slot = &memo->slots[call->connection & (memo->slot_count - 1)];
    slot->used = memo->now;
    slot->fresh = slot->connection != call->connection || !slot->taken;
    if (bk_likely(!slot->fresh))
        return slot;
    forget(memo, slot);
    slot->connection = call->connection;
    slot->taken = true;
    memo->filled++;
    if (read_peer(slot, x) < 0) {
        forget(memo, slot);
        return NULL;
    }
    return slot;
}

bool
bkpy_memo_fits(const struct bkpy_memo_slot *slot, const struct bk_call *call, bool *ret_same)
{
    const struct bk_head *head = call->head;
    if (!slot->dict || slot->block_len != head->block_len || slot->listener != call->listener
        || slot->minor != head->minor || slot->https != call->https
        || slot->trusted != call->peer_trusted
        || (head->flags & (BK_HEAD_ABSOLUTE | BK_HEAD_CHUNKED))
        || memcmp(slot->bytes, head->base + head->block, head->block_len) != 0)
        return false;
    const char *method = slot->bytes + slot->block_len, *target = method + slot->method_len;
    *ret_same = slot->target_len == head->target_len && slot->method_len == head->method_len
                && memcmp(method, head->base + head->method, head->method_len) == 0
                && memcmp(target, head->base + head->target, head->target_len) == 0;
    return true;
}

void
bkpy_memo_keep(struct bkpy_host *host, struct bkpy_memo_slot *slot, const struct bk_call *call,
               PyObject *dict)
{
    const struct bk_head *head = call->head;
    // One request alone says nothing about the next; and a slot that two connections take from each
    // other is not worth it.
    if (!host->memo.on || slot->fresh || head->block_len > BKPY_MEMO_BLOCK
        || head->target_len > BKPY_MEMO_BLOCK || head->method_len > 64
        || (head->flags & (BK_HEAD_ABSOLUTE | BK_HEAD_CHUNKED)))
        return;
    uint32_t need = head->block_len + head->method_len + head->target_len;
    if (slot->room < need) {
        char *bytes = PyMem_Realloc(slot->bytes, need);
        if (!bytes)
            return;
        slot->bytes = bytes;
        slot->room = need;
    }
    PyObject *copy = PyDict_Copy(dict);
    if (!copy) {
        PyErr_Clear();
        return;
    }
    Py_XSETREF(slot->dict, copy);
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
}

void
bkpy_memo_turn(struct bkpy_memo *memo)
{
    memo->now = bk_clock_mono();
    if (!memo->filled || memo->now < memo->next_sweep)
        return;
    memo->next_sweep = memo->now + UINT64_C(1000000000);
    for (unsigned i = 0; i < memo->slot_count; i++)
        if (memo->slots[i].taken && memo->slots[i].used + BKPY_MEMO_IDLE < memo->now)
            forget(memo, &memo->slots[i]);
}
