// The pull loop's side of the engine: one call brings the next request, one gives the answer back
// and brings the one after.
#include "door.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool take(struct bkpp_place *place);

static struct bkpp_place *
place_of(struct bkpp_door *door)
{
    return BK_OUTER(door, struct bkpp_place, door);
}

struct bkpp_door *
bkpp_door_new(struct bk_worker *worker, unsigned thread, unsigned slots, const char *mount,
              size_t mount_len)
{
    struct bkpp_place *place = calloc(1, sizeof *place);
    if (!place)
        return NULL;
    pthread_mutex_init(&place->lock, NULL);
    place->worker = worker;
    place->engine = bk_worker_engine(worker);
    place->thread = thread;
    struct bk_str memo = bk_worker_setting(worker, "header_memo");
    place->memo.on = !bk_str_equal(memo, BK_STR("off")) && !bk_str_equal(memo, BK_STR("false"));
    place->mount = malloc(mount_len + 1);
    place->mount_len = mount_len;
    place->door.marks = calloc(BKPP_MARKS_MAX, sizeof *place->door.marks);
    if (!place->mount || !place->door.marks || bkpp_memo_init(&place->memo, slots) < 0) {
        bkpp_door_free(&place->door);
        return NULL;
    }
    memcpy(place->mount, mount, mount_len);
    return &place->door;
}

void
bkpp_door_free(struct bkpp_door *door)
{
    if (!door)
        return;
    struct bkpp_place *place = place_of(door);
    bkpp_memo_release(&place->memo);
    free(place->mount);
    free(door->marks);
    free(door->text);
    pthread_mutex_destroy(&place->lock);
    free(place);
}

// ---- the way in ---------------------------------------------------------------------------------

static void
show_busy(struct bkpp_place *place, bool on)
{
    if (place->busy != on)
        bkpp_title_busy(place->busy = on);
}

int
bkpp_pull(struct bkpp_door *door, int wait_ms)
{
    struct bkpp_place *place = place_of(door);
    if (bkpp_is_child())
        return BKPP_GONE;
    if (take(place))
        return BKPP_REQUEST;
    show_busy(place, false);
    if (place->turn_flags & BK_TURN_STOP)
        return BKPP_STOP;
    if (wait_ms < 0 && place->memo.filled)
        wait_ms = 5000;  // idle connections are forgotten even when nothing happens
    place->turn_flags = bk_engine_turn_as(place->engine, place->thread, wait_ms);
    bkpp_memo_turn(&place->memo);
    door->forgotten = place->memo.leaving;
    if (take(place)) {
        show_busy(place, true);
        return BKPP_REQUEST;
    }
    return place->turn_flags & BK_TURN_STOP ? BKPP_STOP : 0;
}

// The next exchange that Python has to see.
static bool
take(struct bkpp_place *place)
{
    struct bk_exchange *x;
    while ((x = bk_engine_next_as(place->engine, place->thread))) {
        int result = bkpp_environ_fill(place, x, false);
        if (bk_likely(result == 0)) {
            bkpp_door_show(place, x);
            return true;
        }
        if (result > 0)
            bkpp_answer_text(x, 404, BK_STR("There is nothing at this path.\n"));
        else
            bk_exchange_warn(x, "app-raised", BK_STR("no memory for the request"));
        bk_exchange_commit(x);
    }
    return false;
}

void
bkpp_answer_text(struct bk_exchange *x, int status, struct bk_str text)
{
    const char *why;
    if (bk_answer_begin(x, status, bk_str_of(bk_status_reason(status)), &why) < 0 ||
        bk_answer_field(x, BK_STR("Content-Type"), BK_STR("text/plain; charset=utf-8"), &why) < 0)
        return;
    bk_answer_push(x, text.at, text.len, NULL);
}

void
bkpp_door_show(struct bkpp_place *place, struct bk_exchange *x)
{
    const struct bk_call *call = bk_exchange_call(x);
    struct bkpp_door *door = &place->door;
    door->ticket = (uint64_t)call->ref.generation << 32 | call->ref.index;
    door->flags = (call->has_body ? BKPP_BODY : 0u) |
                  (call->body_buffered ? BKPP_BODY_BUFFERED : 0u) |
                  (call->head->method_id == BK_METHOD_HEAD ? BKPP_HEAD_ONLY : 0u) |
                  (call->https ? BKPP_HTTPS : 0u) | (call->websocket ? BKPP_WEBSOCKET : 0u);
    door->template_index = call->listener * 2u + call->https;
    door->body_length = call->body_length;
    door->open = 1;
}

int
bkpp_describe(struct bkpp_door *door, uint64_t ticket)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    error = bkpp_environ_fill(place_of(door), x, true);
    bkpp_door_leave(door);
    return error > 0 ? -EINVAL : error;
}

int
bkpp_forgotten(struct bkpp_door *door)
{
    struct bkpp_place *place = place_of(door);
    int slot = bkpp_memo_leaving(&place->memo);
    door->forgotten = place->memo.leaving;
    return slot;
}

// ---- the way out --------------------------------------------------------------------------------

struct bk_exchange *
bkpp_door_enter(struct bkpp_door *door, uint64_t ticket, int *ret_error)
{
    struct bkpp_place *place = place_of(door);
    *ret_error = -ECHILD;
    if (bkpp_is_child())
        return NULL;
    pthread_mutex_lock(&place->lock);
    struct bk_exchange_ref ref = {(uint32_t)ticket, (uint32_t)(ticket >> 32)};
    struct bk_exchange *x = bk_exchange_at(place->engine, ref);
    if (bk_likely(x && !place->waiting))
        return x;
    *ret_error = x ? -EBUSY : -ESTALE;
    pthread_mutex_unlock(&place->lock);
    return NULL;
}

void
bkpp_door_leave(struct bkpp_door *door)
{
    pthread_mutex_unlock(&place_of(door)->lock);
}

int
bkpp_commit(struct bkpp_door *door, uint64_t ticket)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    door->open = 0;
    bk_exchange_commit(x);
    bkpp_door_leave(door);
    return 0;
}

int
bkpp_finish(struct bkpp_door *door, uint64_t ticket, const char *data, size_t len, int wait_ms)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error == -ECHILD ? BKPP_GONE : error;
    error = len ? bk_answer_push(x, data, len, NULL) : 0;
    if (bk_likely(error != -ENOMEM)) {
        door->open = 0;
        bk_exchange_commit(x);
    }
    bkpp_door_leave(door);
    return bk_likely(error != -ENOMEM) ? bkpp_pull(door, wait_ms) : error;
}

int
bkpp_wait(struct bkpp_door *door, uint64_t ticket, int what)
{
    struct bkpp_place *place = place_of(door);
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    place->waiting = true;
    bkpp_door_leave(door);
    // Only this thread commits it, and that is here.
    error = bk_exchange_wait(x, what == 1 ? BK_WAIT_BODY : BK_WAIT_DRAIN);
    if (bkpp_is_child())
        return -ECHILD;
    pthread_mutex_lock(&place->lock);
    place->waiting = false;
    bkpp_door_leave(door);
    return error;
}
