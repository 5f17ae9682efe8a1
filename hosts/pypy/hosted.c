// The engine under a loop of Python's: turns, wishes and their events, descriptors of the loop,
// WebSocket sessions.
#include <errno.h>
#include <string.h>

#include "door.h"
#include "loop/guests.h"

#define GUESTS_MAX 256
#define HEADERS_MAX 64
#define MEMO_IDLE_MS 5000  // idle connections are forgotten even when nothing happens

static struct bkpp_place *
place_of(struct bkpp_door *door)
{
    return BK_OUTER(door, struct bkpp_place, door);
}

int
bkpp_turn(struct bkpp_door *door, int wait_ms)
{
    struct bkpp_place *place = place_of(door);
    if (bkpp_is_child())
        return BKPP_GONE;
    if (place->memo.filled && (wait_ms < 0 || wait_ms > MEMO_IDLE_MS))
        wait_ms = MEMO_IDLE_MS;
    int flags = bk_engine_turn(place->engine, wait_ms);
    bkpp_memo_turn(&place->memo);
    door->forgotten = place->memo.leaving;
    return (flags & BK_TURN_READY ? BKPP_REQUEST : 0) | (flags & BK_TURN_STOP ? BKPP_STOP : 0) |
           (flags & BK_TURN_SIGNAL ? BKPP_SIGNAL : 0) | (flags & BK_TURN_EVENT ? BKPP_EVENT : 0) |
           (flags & BK_TURN_GUEST ? BKPP_GUEST : 0);
}

int
bkpp_next(struct bkpp_door *door, int as_scope)
{
    struct bkpp_place *place = place_of(door);
    struct bk_exchange *x;
    while (!bkpp_is_child() && (x = bk_engine_next(place->engine))) {
        int result =
            as_scope ? bkpp_scope_fill(place, x, false) : bkpp_environ_fill(place, x, false);
        if (bk_likely(result == 0)) {
            bkpp_door_show(place, x);
            return 1;
        }
        if (result > 0)
            bkpp_answer_text(x, 404, BK_STR("There is nothing at this path.\n"));
        else
            bk_exchange_warn(x, "app-raised", BK_STR("no memory for the request"));
        bk_exchange_commit(x);
    }
    return 0;
}

int
bkpp_describe_scope(struct bkpp_door *door, uint64_t ticket)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    error = bkpp_scope_fill(place_of(door), x, true);
    bkpp_door_leave(door);
    return error;
}

unsigned
bkpp_event(struct bkpp_door *door, uint64_t *ret_ticket)
{
    struct bk_event event;
    if (bkpp_is_child() || !bk_engine_event(place_of(door)->engine, &event))
        return 0;
    *ret_ticket = (uint64_t)event.ref.generation << 32 | event.ref.index;
    return event.what;
}

unsigned
bkpp_guests(struct bkpp_door *door, int *fds, uint32_t *events, unsigned room)
{
    struct bk_guest guests[GUESTS_MAX];
    if (bkpp_is_child())
        return 0;
    unsigned count =
        bk_engine_guests(place_of(door)->engine, guests, room < GUESTS_MAX ? room : GUESTS_MAX);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = guests[i].fd;
        events[i] = guests[i].events;
    }
    return count;
}

int
bkpp_guest_set(struct bk_worker *worker, int fd, uint32_t events)
{
    return bkpp_is_child() ? 0 : bk_engine_guest_set(bk_worker_engine(worker), fd, events);
}

unsigned
bkpp_stopping(struct bk_worker *worker)
{
    return bkpp_is_child() ? 0 : bk_engine_stopping(bk_worker_engine(worker));
}

int
bkpp_fd(struct bk_worker *worker)
{
    return bkpp_is_child() ? -ECHILD : bk_engine_fd(bk_worker_engine(worker));
}

void
bkpp_busy(int on)
{
    bkpp_title_busy(on);
}

unsigned
bkpp_watch(struct bkpp_door *door, uint64_t ticket, unsigned what)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return what;
    unsigned already = bk_exchange_watch(x, what);
    bkpp_door_leave(door);
    return already;
}

int64_t
bkpp_take_body(struct bkpp_door *door, uint64_t ticket, char *into, size_t room, int *ret_more)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    struct bk_str rest;
    ssize_t got = bk_body_read(x, into, room);
    *ret_more = got > 0 && bk_body_peek(x, &rest) != 0;
    bkpp_door_leave(door);
    return got;
}

int
bkpp_flush(struct bkpp_door *door, uint64_t ticket)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_answer_flush(x);
    bkpp_door_leave(door);
    return result > 0 ? 1 : result;
}

// ---- WebSocket ----------------------------------------------------------------------------------

int
bkpp_ws_protocols(struct bkpp_door *door, uint64_t ticket, char *out, size_t room)
{
    struct bk_str offered[64];
    size_t len = 0;
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    unsigned count = bk_ws_protocols(x, offered, BK_COUNT(offered));
    for (unsigned i = 0; i < count && i < BK_COUNT(offered) && len + offered[i].len + 1 <= room;
         i++) {
        if (len)
            out[len++] = 0;
        memcpy(out + len, offered[i].at, offered[i].len);
        len += offered[i].len;
    }
    bkpp_door_leave(door);
    return (int)len;
}

int
bkpp_ws_accept(struct bkpp_door *door, uint64_t ticket, const char *subprotocol,
               size_t subprotocol_len, const char *fields, size_t len, unsigned count)
{
    struct bk_str names[HEADERS_MAX], values[HEADERS_MAX];
    int result;
    door->why = "not valid";
    if (count > HEADERS_MAX ||
        !bkpp_fields_split((struct bk_str){fields, len}, count, names, values))
        return -EINVAL;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_ws_accept(x, (struct bk_str){subprotocol, subprotocol_len}, names, values, count,
                          &door->why);
    bkpp_door_leave(door);
    return result;
}

int
bkpp_ws_receive(struct bkpp_door *door, uint64_t ticket, struct bkpp_ws_message *ret)
{
    struct bk_ws_message message = {.code = 1006};
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_ws_receive(x, &message);
    *ret = (struct bkpp_ws_message){.kind = message.kind,
                                    .code = message.code,
                                    .data = message.data.at,
                                    .len = message.data.len};
    bkpp_door_leave(door);
    return result;
}

int
bkpp_ws_send(struct bkpp_door *door, uint64_t ticket, unsigned kind, const char *data, size_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_ws_send(x, kind == 1 ? BK_WS_TEXT : BK_WS_BINARY, data, len, NULL);
    bkpp_door_leave(door);
    return result > 0 ? 1 : result;
}

int
bkpp_ws_close(struct bkpp_door *door, uint64_t ticket, unsigned code, const char *reason,
              size_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_ws_close(x, code, (struct bk_str){reason, len});
    bkpp_door_leave(door);
    return result;
}
