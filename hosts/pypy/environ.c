// One request as marks and text, from which Python makes the environ (PEP 3333): one decoding, one
// slice for each value. What CGI says about names and repeated fields is decided here.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "door.h"
#include "proto/target.h"

_Static_assert(BK_HEADER_COUNT <= 128, "the bitmaps have 128 bits");
_Static_assert((int)BK_HEADER_COUNT < (int)BKPP_KEY_NAME, "keys of fields lie below the others");

struct bitmap {
    uint64_t words[2];
};

static void put_fields(struct bkpp_place *place, const struct bk_call *call);
static void put_underscored(struct bkpp_place *place, const struct bk_call *call);
static int put_rest(struct bkpp_place *place, const struct bk_call *call,
                    const struct bkpp_memo_slot *slot, struct bk_str *ret_given);
static int put_target(struct bkpp_place *place, const struct bk_call *call, struct bk_str mount);

int
bkpp_environ_fill(struct bkpp_place *place, struct bk_exchange *x, bool whole)
{
    const struct bk_call *call = bk_exchange_call(x);
    struct bkpp_door *door = &place->door;
    struct bkpp_memo_slot *slot = bkpp_memo_slot(&place->memo, x, call);
    struct bk_str mount = {place->mount, place->mount_len}, given = {0};
    bool same = false;
    int result = bkpp_marks_begin(place, call->head);
    if (result < 0)
        return result;
    door->slot = (int32_t)(slot - place->memo.slots);
    door->memo = BKPP_MEMO_NONE;
    if (!whole && place->memo.on && bkpp_memo_fits(slot, call, &same)) {
        door->hits++;
        door->memo = BKPP_MEMO_HIT;
        if (!same)
            result = put_target(place, call, mount);
    } else {
        door->misses++;
        put_fields(place, call);
        result = put_rest(place, call, slot, &given);
        if (result == 0 && !given.at && bkpp_memo_keep(&place->memo, slot, call))
            door->memo = BKPP_MEMO_KEEP;
    }
    door->memo_version = slot->version;
    bkpp_mark_put(place, BKPP_KEY_REQUEST_ID, bk_exchange_id(x));
    if (bk_unlikely(door->memo != BKPP_MEMO_HIT))
        put_underscored(place, call);
    return result;
}

// The values once, names in full, the target four times at most, and what the server adds.
int
bkpp_marks_begin(struct bkpp_place *place, const struct bk_head *head)
{
    place->door.count = place->door.weak_count = place->door.text_len = 0;
    size_t need =
        2 * (size_t)head->len + 4 * (size_t)head->target_len + 8 * (size_t)head->field_count + 2048;
    if (bk_likely(need <= place->text_room))
        return 0;
    char *text = realloc(place->door.text, need);
    if (!text)
        return -ENOMEM;
    place->door.text = text;
    place->text_room = need;
    return 0;
}

static void
append(struct bkpp_door *door, struct bk_str text)
{
    if (text.len)
        memcpy(door->text + door->text_len, text.at, text.len);
    door->text_len += (uint32_t)text.len;
}

static struct bkpp_mark *
begin(struct bkpp_place *place, unsigned key)
{
    struct bkpp_mark *mark = &place->door.marks[place->door.count++];
    *mark = (struct bkpp_mark){.key = key, .at = place->door.text_len};
    return mark;
}

void
bkpp_mark_put(struct bkpp_place *place, unsigned key, struct bk_str text)
{
    struct bkpp_mark *mark = begin(place, key);
    append(&place->door, text);
    mark->len = (uint32_t)text.len;
}

// "X-My-Thing" -> "HTTP_X_MY_THING". Names are tokens, so they are ASCII.
static void
put_name(struct bkpp_place *place, struct bk_str name)
{
    struct bkpp_door *door = &place->door;
    struct bkpp_mark *mark = begin(place, BKPP_KEY_NAME);
    append(door, BK_STR("HTTP_"));
    char *out = door->text + door->text_len;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        out[i] = c == '-' ? '_' : (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
    }
    door->text_len += (uint32_t)name.len;
    mark->len = (uint32_t)name.len + 5;
}

// ---- field lines --------------------------------------------------------------------------------

static bool
has(const struct bitmap *map, unsigned id)
{
    return map->words[id / 64] >> id % 64 & 1;
}

static void
add(struct bitmap *map, unsigned id)
{
    map->words[id / 64] |= UINT64_C(1) << id % 64;
}

static uint32_t
hash_of(struct bk_str name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        hash = (hash ^ (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c)) * 16777619u;
    }
    return hash ? hash : 1;
}

// The value at `at` with those of the same name behind it, in order: Cookie by "; " (RFC 6265), all
// others by ", " (RFC 9110 §5.3).
static void
put_value(struct bkpp_place *place, const struct bk_head *head, unsigned at, unsigned key,
          bool repeated, uint32_t *hashes)
{
    const struct bk_field *field = &head->fields[at];
    struct bkpp_door *door = &place->door;
    struct bkpp_mark *mark = begin(place, key);
    append(door, bk_head_str(head, field->value, field->value_len));
    struct bk_str name = bk_head_str(head, field->name, field->name_len);
    for (unsigned i = at + 1; repeated && i < head->field_count; i++) {
        const struct bk_field *other = &head->fields[i];
        if (other->id != field->id || (other->flags & BK_FIELD_UNDERSCORE))
            continue;
        if (field->id == BK_HEADER_OTHER) {
            if (hashes[i] != hashes[at] ||
                !bk_str_equal_nocase(name, bk_head_str(head, other->name, other->name_len)))
                continue;
            hashes[i] = 0;  // is done
        }
        append(door, field->id == BK_HEADER_COOKIE ? BK_STR("; ") : BK_STR(", "));
        append(door, bk_head_str(head, other->value, other->value_len));
    }
    mark->len = door->text_len - mark->at;
}

static void
put_known(struct bkpp_place *place, const struct bk_call *call, unsigned at, struct bitmap *seen,
          const struct bitmap *again)
{
    const struct bk_head *head = call->head;
    unsigned id = head->fields[at].id;
    bool counted = (head->flags & BK_HEAD_CHUNKED) && call->body_buffered;
    if (has(seen, id) || id == BK_HEADER_PROXY ||
        (counted && (id == BK_HEADER_TRANSFER_ENCODING || id == BK_HEADER_CONTENT_LENGTH)))
        return;
    add(seen, id);
    if (id == BK_HEADER_HOST && (head->flags & BK_HEAD_ABSOLUTE))
        return;  // RFC 9112 §3.2.2: the authority of the target replaces Host
    put_value(place, head, at, id, has(again, id) && id != BK_HEADER_HOST, NULL);
}

static void
put_fields(struct bkpp_place *place, const struct bk_call *call)
{
    const struct bk_head *head = call->head;
    struct bitmap met = {{0, 0}}, again = {{0, 0}}, seen = {{0, 0}};
    uint32_t hashes[BK_FIELDS_MAX];
    unsigned count = head->field_count < BK_FIELDS_MAX ? head->field_count : BK_FIELDS_MAX;
    for (unsigned i = 0; i < count; i++) {
        const struct bk_field *field = &head->fields[i];
        hashes[i] = 0;
        if (field->flags & BK_FIELD_UNDERSCORE)
            continue;
        if (field->id == BK_HEADER_OTHER)
            hashes[i] = hash_of(bk_head_str(head, field->name, field->name_len));
        else
            add(has(&met, field->id) ? &again : &met, field->id);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct bk_field *field = &head->fields[i];
        if (field->flags & BK_FIELD_UNDERSCORE)
            continue;
        if (field->id != BK_HEADER_OTHER) {
            put_known(place, call, i, &seen, &again);
        } else if (hashes[i]) {
            put_name(place, bk_head_str(head, field->name, field->name_len));
            put_value(place, head, i, BKPP_KEY_END, true, hashes);
        }
    }
    if (head->flags & BK_HEAD_ABSOLUTE)
        bkpp_mark_put(place, BK_HEADER_HOST,
                      bk_head_str(head, head->authority, head->authority_len));
    // A chunked body that is here in full has a length now; many applications read nothing without
    // it.
    if ((head->flags & BK_HEAD_CHUNKED) && call->body_buffered) {
        char digits[20];
        size_t len = bk_str_format_u64(digits, call->body_length);
        bkpp_mark_put(place, BK_HEADER_CONTENT_LENGTH, (struct bk_str){digits, len});
    }
}

// Names with '_' that the policy let through: they never replace or join the field spelled with
// '-'. SCRIPT_NAME is the mount point, see put_rest; PEP 3333 has no HTTP_CONTENT_LENGTH.
static void
put_underscored(struct bkpp_place *place, const struct bk_call *call)
{
    const struct bk_head *head = call->head;
    unsigned before = place->door.count;
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        struct bk_str name = bk_head_str(head, field->name, field->name_len);
        if (bk_likely(!(field->flags & BK_FIELD_UNDERSCORE)) ||
            bk_str_equal_nocase(name, BK_STR("SCRIPT_NAME")) ||
            bk_str_equal_nocase(name, BK_STR("CONTENT_LENGTH")) ||
            bk_str_equal_nocase(name, BK_STR("CONTENT_TYPE")))
            continue;
        put_name(place, name);
        bkpp_mark_put(place, BKPP_KEY_END, bk_head_str(head, field->value, field->value_len));
    }
    place->door.weak_count = place->door.count - before;
}

// ---- the rest of the head -----------------------------------------------------------------------

// Unix sockets have no name and port of their own: what the client called the server, as behind
// nginx.
static void
put_server(struct bkpp_place *place, const struct bk_call *call)
{
    struct bk_str name, port;
    bk_head_server(call->head, &name, &port);
    bkpp_mark_put(place, BKPP_KEY_SERVER_NAME, name.len ? name : BK_STR("localhost"));
    bkpp_mark_put(place, BKPP_KEY_SERVER_PORT,
                  port.len      ? port
                  : call->https ? BK_STR("443")
                                : BK_STR("80"));
}

static int
put_rest(struct bkpp_place *place, const struct bk_call *call, const struct bkpp_memo_slot *slot,
         struct bk_str *ret_given)
{
    const struct bk_head *head = call->head;
    struct bk_str mount = {place->mount, place->mount_len};
    bkpp_mark_put(place, BKPP_KEY_PROTOCOL, head->minor ? BK_STR("HTTP/1.1") : BK_STR("HTTP/1.0"));
    bkpp_mark_put(place, BKPP_KEY_REMOTE_ADDR, (struct bk_str){slot->addr, slot->addr_len});
    if (slot->port_len)
        bkpp_mark_put(place, BKPP_KEY_REMOTE_PORT, (struct bk_str){slot->port, slot->port_len});
    if (!bk_engine_listener(place->engine, call->listener)->server_port.len)
        put_server(place, call);
    for (unsigned i = 0; call->peer_trusted && i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        if ((field->flags & BK_FIELD_UNDERSCORE) &&
            bk_str_equal_nocase(bk_head_str(head, field->name, field->name_len),
                                BK_STR("SCRIPT_NAME")))
            *ret_given = bk_head_str(head, field->value, field->value_len);
    }
    if (ret_given->at) {
        mount = *ret_given;
        if (mount.len && mount.at[mount.len - 1] == '/')
            mount.len--;
        bkpp_mark_put(place, BKPP_KEY_SCRIPT_NAME, mount);
    }
    return put_target(place, call, mount);
}

// PATH_INFO: percent-decoded once, read as latin-1, without the mount point. 1: it lies outside.
static int
put_path(struct bkpp_place *place, const struct bk_head *head, struct bk_str mount)
{
    struct bkpp_door *door = &place->door;
    struct bk_str path = bk_head_str(head, head->path, head->path_len);
    bool plain;
    char *out = door->text + door->text_len;
    size_t len = bk_target_decode(out, path, &plain);
    struct bk_str text = plain ? path : (struct bk_str){out, len};
    if (!text.len && !mount.len) {
        bkpp_mark_put(place, BKPP_KEY_PATH,
                      BK_STR("/"));  // "GET http://host": an empty path is the root
        return 0;
    }
    if (text.len < mount.len || (mount.len && memcmp(text.at, mount.at, mount.len) != 0) ||
        (text.len > mount.len && mount.len && text.at[mount.len] != '/'))
        return 1;
    struct bkpp_mark *mark = begin(place, BKPP_KEY_PATH);
    mark->len = (uint32_t)(text.len - mount.len);
    memmove(out, text.at + mount.len, mark->len);
    door->text_len += mark->len;
    return 0;
}

static int
put_target(struct bkpp_place *place, const struct bk_call *call, struct bk_str mount)
{
    const struct bk_head *head = call->head;
    struct bk_str target = bk_head_str(head, head->target, head->target_len);
    bkpp_mark_put(place, BKPP_KEY_RAW_URI, target);
    bkpp_mark_put(place, BKPP_KEY_REQUEST_URI, target);
    bkpp_mark_put(place, BKPP_KEY_QUERY, bk_head_str(head, head->query, head->query_len));
    bkpp_mark_put(place, BKPP_KEY_METHOD, bk_head_str(head, head->method, head->method_len));
    return put_path(place, head, mount);
}
