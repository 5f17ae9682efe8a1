// Until the engine speaks WebSocket (host.h): nothing is a session.
#include "asgi.h"

__attribute__((weak)) unsigned
bk_ws_protocols(const struct bk_exchange *x, struct bk_str *into, unsigned room)
{
    return 0;
}

__attribute__((weak)) int
bk_ws_accept(struct bk_exchange *x, struct bk_str subprotocol, const struct bk_str *names,
             const struct bk_str *values, unsigned count, const char **ret_why)
{
    return -EPIPE;
}

__attribute__((weak)) int
bk_ws_receive(struct bk_exchange *x, struct bk_ws_message *ret)
{
    return 0;
}

__attribute__((weak)) int
bk_ws_send(struct bk_exchange *x, enum bk_ws_kind kind, const void *data, size_t len, void *token)
{
    return -EPIPE;
}

__attribute__((weak)) int
bk_ws_close(struct bk_exchange *x, unsigned code, struct bk_str reason)
{
    return 0;
}
