// What the application hands over: head, body, files, failures; and what it reads of the request's
// body. Each call finds the exchange by its ticket, so objects that outlive their request hear that
// it is over.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "door.h"

#define INTERIM_MAX 64

static int put_fields(struct bkpp_door *door, struct bk_exchange *x, struct bk_str fields,
                      unsigned count);
static void next_field(struct bk_str *rest, struct bk_str *ret_name, struct bk_str *ret_value);
static bool adds_up(struct bk_str fields, unsigned count);
static void warn_hop(struct bkpp_door *door, struct bk_exchange *x, struct bk_str name);

int
bkpp_begin(struct bkpp_door *door, uint64_t ticket, int status, const char *reason,
           size_t reason_len, const char *fields, size_t len, unsigned count)
{
    struct bk_str text =
        reason_len ? (struct bk_str){reason, reason_len} : bk_str_of(bk_status_reason(status));
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    door->why = "not valid";
    door->wrong = count;
    result = bk_answer_begin(x, status, text, &door->why);
    if (bk_likely(result >= 0))
        result = adds_up((struct bk_str){fields, len}, count)
                     ? put_fields(door, x, (struct bk_str){fields, len}, count)
                     : -EILSEQ;
    bkpp_door_leave(door);
    return result;
}

static int
put_fields(struct bkpp_door *door, struct bk_exchange *x, struct bk_str fields, unsigned count)
{
    struct bk_str name, value;
    for (unsigned i = 0; i < count; i++) {
        next_field(&fields, &name, &value);
        int result = bk_answer_field(x, name, value, &door->why);
        if (bk_likely(result >= 0))
            continue;
        if (result == -EPERM) {
            warn_hop(door, x, name);
            continue;
        }
        door->wrong = i;
        return result;
    }
    return 0;
}

// "name NUL value NUL name NUL value": a NUL of the application's own makes one too many.
static bool
adds_up(struct bk_str fields, unsigned count)
{
    unsigned found = 0;
    if (!count)
        return fields.len == 0;
    for (const char *at = fields.at, *end = at + fields.len;
         at && (at = memchr(at, 0, (size_t)(end - at))); at++)
        found++;
    return found == 2 * count - 1;
}

// The bytes up to the next NUL, or all that are left.
static struct bk_str
cut(struct bk_str *rest)
{
    const char *end = rest->len ? memchr(rest->at, 0, rest->len) : NULL;
    struct bk_str part = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t step = part.len + (end != NULL);
    *rest = (struct bk_str){rest->at + step, rest->len - step};
    return part;
}

static void
next_field(struct bk_str *rest, struct bk_str *ret_name, struct bk_str *ret_value)
{
    *ret_name = cut(rest);
    *ret_value = cut(rest);
}

bool
bkpp_fields_split(struct bk_str fields, unsigned count, struct bk_str *names, struct bk_str *values)
{
    if (!adds_up(fields, count))
        return false;
    for (unsigned i = 0; i < count; i++)
        next_field(&fields, &names[i], &values[i]);
    return true;
}

// An application that sets a hop-by-hop field is told so once a minute; the field itself is the
// server's business.
static void
warn_hop(struct bkpp_door *door, struct bk_exchange *x, struct bk_str name)
{
    struct bkpp_place *place = BK_OUTER(door, struct bkpp_place, door);
    unsigned held;
    if (bk_str_equal_nocase(name, BK_STR("Connection")) ||
        bk_str_equal_nocase(name, BK_STR("Keep-Alive")))
        return;  // harmless habits
    if (!bk_log_limited(&place->hop_limit, bk_clock_mono(), &held))
        return;
    char line[200];
    int len = snprintf(
        line, sizeof line,
        "the application's header '%.*s' was left out: connections are the server's business",
        (int)(name.len > 40 ? 40 : name.len), name.at);
    bk_exchange_warn(x, "app-response", (struct bk_str){line, (size_t)len});
}

int
bkpp_interim(struct bkpp_door *door, uint64_t ticket, const char *fields, size_t len,
             unsigned count)
{
    struct bk_str names[INTERIM_MAX], values[INTERIM_MAX];
    int result;
    if (count > INTERIM_MAX)
        return -E2BIG;
    if (!bkpp_fields_split((struct bk_str){fields, len}, count, names, values))
        return -EILSEQ;
    for (unsigned i = 0; i < count; i++) {
        door->wrong = i;
        if (!bk_token_valid(names[i]) || !bk_value_valid(values[i]))
            return -EILSEQ;
    }
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_answer_sent(x) ? -EALREADY
             : count           ? bk_answer_interim(x, 103, names, values, count)
                               : 0;
    bkpp_door_leave(door);
    return result;
}

// ---- body ---------------------------------------------------------------------------------------

int
bkpp_push(struct bkpp_door *door, uint64_t ticket, const char *data, size_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_answer_push(x, data, len, NULL);
    bkpp_door_leave(door);
    return result;
}

int
bkpp_write(struct bkpp_door *door, uint64_t ticket, const char *data, size_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_answer_push(x, data, len, NULL);
    if (result >= 0)
        result = bk_answer_flush(x);
    bkpp_door_leave(door);
    return result > 0 ? 1 : result;
}

int
bkpp_push_file(struct bkpp_door *door, uint64_t ticket, int fd, uint64_t offset, uint64_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x) {
        close(fd);
        return result;
    }
    result = bk_answer_push_file(x, fd, offset, len);
    bkpp_door_leave(door);
    return result;
}

// ---- words about it -----------------------------------------------------------------------------

int
bkpp_state(struct bkpp_door *door, uint64_t ticket)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = (bk_answer_begun(x) ? BKPP_IS_BEGUN : 0) | (bk_answer_sent(x) ? BKPP_IS_SENT : 0) |
             (bk_exchange_gone(x) ? BKPP_IS_GONE : 0);
    bkpp_door_leave(door);
    return result;
}

int
bkpp_fail(struct bkpp_door *door, uint64_t ticket, const char *key, const char *kind,
          const char *text, size_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    bk_exchange_fail(x, key, bk_str_of(kind), (struct bk_str){text, len});
    bkpp_door_leave(door);
    return 0;
}

int
bkpp_warn(struct bkpp_door *door, uint64_t ticket, const char *key, const char *text, size_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    bk_exchange_warn(x, key, (struct bk_str){text, len});
    bkpp_door_leave(door);
    return 0;
}

int
bkpp_log_value(struct bkpp_door *door, uint64_t ticket, unsigned n, const char *text, size_t len)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    bk_exchange_log_environ(x, n, (struct bk_str){text, len});
    bkpp_door_leave(door);
    return 0;
}

// ---- the request's body -------------------------------------------------------------------------

int64_t
bkpp_read(struct bkpp_door *door, uint64_t ticket, char *into, size_t room)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    ssize_t got = bk_body_read(x, into, room);
    bkpp_door_leave(door);
    return got;
}

int64_t
bkpp_readline(struct bkpp_door *door, uint64_t ticket, char *into, size_t room, int *ret_ended)
{
    int error;
    size_t len = 0;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    *ret_ended = 0;
    ssize_t got = 0;
    while (len < room && !*ret_ended) {
        struct bk_str bytes = {0};
        got = bk_body_peek(x, &bytes);
        if (got <= 0)
            break;
        size_t take = bytes.len < room - len ? bytes.len : room - len;
        const char *newline = memchr(bytes.at, '\n', take);
        if (newline)
            take = (size_t)(newline - bytes.at) + 1;
        *ret_ended = newline != NULL;
        memcpy(into + len, bytes.at, take);
        len += take;
        bk_body_skip(x, take);
    }
    bkpp_door_leave(door);
    if (len)
        return (int64_t)len;  // an error comes again at the next call
    *ret_ended |= got == 0;
    return got < 0 ? got : 0;
}

int64_t
bkpp_tell(struct bkpp_door *door, uint64_t ticket)
{
    int error;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &error);
    if (!x)
        return error;
    int64_t position = (int64_t)bk_body_tell(x);
    bkpp_door_leave(door);
    return position;
}

int
bkpp_seek(struct bkpp_door *door, uint64_t ticket, uint64_t position)
{
    int result;
    struct bk_exchange *x = bkpp_door_enter(door, ticket, &result);
    if (!x)
        return result;
    result = bk_body_seek(x, position);
    bkpp_door_leave(door);
    return result;
}
