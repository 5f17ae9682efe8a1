// Who the client is behind trusted proxies: X-Forwarded-For from its end, as far as the proxies are
// ours. For hosts whose interface wants the client and not the peer (ASGI).
#include <arpa/inet.h>

#include "serve/engine.h"

// 0 when it is none.
static unsigned
read_port(const char *from, const char *to)
{
    uint64_t port;
    return bk_str_parse_u64((struct bk_str){from, (size_t)(to - from)}, 65535, &port) < 0
               ? 0
               : (unsigned)port;
}

// The address of an element without brackets, port and spaces; false when it is none.
static bool
read_address(struct bk_str element, char out[46], unsigned *ret_port)
{
    unsigned char bytes[16];
    struct bk_str text = bk_str_trim(element);
    unsigned port = 0;
    const char *end = text.len ? memchr(text.at, ']', text.len) : NULL;
    if (text.len && text.at[0] == '[' && end) {
        const char *colon = end + 1;
        if (colon < text.at + text.len && *colon == ':')
            port = read_port(colon + 1, text.at + text.len);
        text = (struct bk_str){text.at + 1, (size_t)(end - text.at - 1)};
    } else if (text.len) {
        const char *colon = memchr(text.at, ':', text.len);
        if (colon && !memchr(colon + 1, ':', (size_t)(text.at + text.len - colon - 1))) {
            port = read_port(colon + 1, text.at + text.len);
            text.len = (size_t)(colon - text.at);
        }
    }
    if (text.len == 0 || text.len > 45)
        return false;
    memcpy(out, text.at, text.len);
    out[text.len] = 0;
    *ret_port = port;
    return inet_pton(AF_INET, out, bytes) == 1 || inet_pton(AF_INET6, out, bytes) == 1;
}

// Takes the last element of a comma list off its end; false when there is none left.
static bool
pop_element(struct bk_str *list, struct bk_str *ret)
{
    if (!list->at)
        return false;
    const char *comma = list->len ? memrchr(list->at, ',', list->len) : NULL;
    const char *from = comma ? comma + 1 : list->at;
    *ret = (struct bk_str){from, (size_t)(list->at + list->len - from)};
    *list =
        comma ? (struct bk_str){list->at, (size_t)(comma - list->at)} : (struct bk_str){NULL, 0};
    return true;
}

size_t
bk_exchange_client(const struct bk_exchange *x, char out[46], unsigned *ret_port)
{
    const struct bk_head *head = &x->head;
    size_t len = 0;
    for (unsigned i = head->field_count; x->call.peer_trusted && i-- > 0;) {
        const struct bk_field *field = &head->fields[i];
        if (field->id != BK_HEADER_X_FORWARDED_FOR || field->flags & BK_FIELD_UNDERSCORE)
            continue;
        struct bk_str list = bk_head_str(head, field->value, field->value_len), element;
        while (pop_element(&list, &element)) {
            char text[46];
            unsigned port;
            if (!read_address(element, text, &port)) // the rest is nothing a proxy of ours wrote
                return len ? len : bk_exchange_peer(x, out, ret_port);
            len = strlen(text);
            memcpy(out, text, len);
            *ret_port = port;
            if (!bk_nets_contain_text(&x->engine->trusted, (struct bk_str){text, len}))
                return len;
        }
    }
    return len ? len : bk_exchange_peer(x, out, ret_port);
}
