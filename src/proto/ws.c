// The WebSocket handshake. serve/to_ws.c asks before the application sees the request.
#include "proto/ws.h"

#include <errno.h>

#include "base/digest.h"
#include "proto/headers.h"

#include "base/banned.h"

#define KEY_SIZE 24  // base64 of 16 bytes
#define PROTOCOLS_MAX 64

static bool key_valid(struct bk_str key);

static struct bk_str
value_of(const struct bk_head *head, const struct bk_field *field)
{
    return field ? bk_head_str(head, field->value, field->value_len) : (struct bk_str){NULL, 0};
}

bool
bk_ws_asked(const struct bk_head *head)
{
    if (!(head->flags & BK_HEAD_UPGRADE))
        return false;
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].id == BK_HEADER_UPGRADE &&
            bk_value_lists(value_of(head, &head->fields[i]), BK_STR("websocket")))
            return true;
    return false;
}

int
bk_ws_check(const struct bk_head *head, struct bk_ws_deflate *ret_deflate, struct bk_fault *fault)
{
    *ret_deflate = (struct bk_ws_deflate){0};
    if (head->method_id != BK_METHOD_GET)
        return bk_fault_set(fault, 400, "a WebSocket handshake must be a GET");
    if (head->flags & BK_HEAD_CHUNKED || head->content_length)
        return bk_fault_set(fault, 400, "a WebSocket handshake with a body");
    unsigned versions = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        struct bk_str value = value_of(head, field), item;
        if (field->id == BK_HEADER_SEC_WEBSOCKET_VERSION) {
            if (!bk_str_equal(value, BK_STR("13")))
                return bk_fault_set(fault, 426, "only WebSocket version 13 is spoken here");
            versions++;
        } else if (field->id == BK_HEADER_SEC_WEBSOCKET_PROTOCOL) {
            while (bk_str_next_item(&value, ',', &item))
                if (item.len && !bk_token_valid(item))
                    return bk_fault_set(fault, 400, "a WebSocket subprotocol that is no token");
        } else if (field->id == BK_HEADER_SEC_WEBSOCKET_EXTENSIONS) {
            struct bk_ws_deflate offer;
            int found = bk_ws_deflate_negotiate(value, &offer);
            if (found < 0)
                return bk_fault_set(fault, 400, "malformed Sec-WebSocket-Extensions");
            if (found && !ret_deflate->on)
                *ret_deflate = offer;
        }
    }
    if (versions == 0)
        return bk_fault_set(fault, 426, "no Sec-WebSocket-Version");
    if (versions > 1)
        return bk_fault_set(fault, 400, "Sec-WebSocket-Version twice");
    const struct bk_field *key = bk_head_find(head, BK_HEADER_SEC_WEBSOCKET_KEY);
    if (!key)
        return bk_fault_set(fault, 400, "no Sec-WebSocket-Key");
    if (!key_valid(value_of(head, key)))
        return bk_fault_set(fault, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
    if (bk_ws_offered(head, NULL, 0) > PROTOCOLS_MAX)
        return bk_fault_set(fault, 400, "too many WebSocket subprotocols");
    return 0;
}

// 22 letters and two pads; of the last letter only two bits are data.
static bool
key_valid(struct bk_str key)
{
    if (key.len != KEY_SIZE || key.at[22] != '=' || key.at[23] != '=')
        return false;
    for (unsigned i = 0; i < 22; i++) {
        char c = key.at[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && c != '+' && c != '/')
            return false;
    }
    return true;
}

void
bk_ws_accept_value(const struct bk_head *head, char out[BK_WS_ACCEPT_SIZE])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[KEY_SIZE + sizeof guid - 1];
    uint8_t digest[BK_SHA1_SIZE];
    memcpy(text, value_of(head, bk_head_find(head, BK_HEADER_SEC_WEBSOCKET_KEY)).at, KEY_SIZE);
    memcpy(text + KEY_SIZE, guid, sizeof guid - 1);
    bk_digest_sha1(digest, (struct bk_str){text, sizeof text});
    bk_digest_base64(out, digest, sizeof digest);
}

unsigned
bk_ws_offered(const struct bk_head *head, struct bk_str *into, unsigned room)
{
    unsigned count = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != BK_HEADER_SEC_WEBSOCKET_PROTOCOL)
            continue;
        struct bk_str rest = value_of(head, &head->fields[i]), item;
        while (bk_str_next_item(&rest, ',', &item)) {
            if (!item.len)
                continue;
            if (count < room)
                into[count] = item;
            count++;
        }
    }
    return count;
}
