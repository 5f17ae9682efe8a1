// The parts of the door that the scripted engine does not play: loops and WebSockets. See
// fake_engine.c.
#include <errno.h>

#include "fake_engine.h"

#include "loop/guests.h"

int
bk_engine_fd(struct bk_engine *engine)
{
    return -ENOTSUP;
}

unsigned
bk_exchange_watch(struct bk_exchange *x, unsigned what)
{
    return 0;
}

bool
bk_engine_event(struct bk_engine *engine, struct bk_event *ret)
{
    return false;
}

int
bk_engine_guest_set(struct bk_engine *engine, int fd, uint32_t events)
{
    return -ENOTSUP;
}

unsigned
bk_engine_guests(struct bk_engine *engine, struct bk_guest *out, unsigned room)
{
    return 0;
}

unsigned
bk_engine_stopping(const struct bk_engine *engine)
{
    return 0;
}

size_t
bk_exchange_client(const struct bk_exchange *x, char out[46], unsigned *ret_port)
{
    return bk_exchange_peer(x, out, ret_port);
}

unsigned
bk_ws_protocols(const struct bk_exchange *x, struct bk_str *into, unsigned room)
{
    return 0;
}

int
bk_ws_accept(struct bk_exchange *x, struct bk_str subprotocol, const struct bk_str *names,
             const struct bk_str *values, unsigned count, const char **ret_why)
{
    return -EPIPE;
}

int
bk_ws_receive(struct bk_exchange *x, struct bk_ws_message *ret)
{
    return 0;
}

int
bk_ws_send(struct bk_exchange *x, enum bk_ws_kind kind, const void *data, size_t len, void *token)
{
    return -EPIPE;
}

int
bk_ws_close(struct bk_exchange *x, unsigned code, struct bk_str reason)
{
    return 0;
}

int
bk_answer_trailer(struct bk_exchange *x, struct bk_str name, struct bk_str value,
                  const char **ret_why)
{
    return 0;
}

bool
bk_answer_takes_trailers(const struct bk_exchange *x)
{
    return false;
}
