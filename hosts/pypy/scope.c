// One request as marks for an ASGI scope: the fields in order, then the target, the client, the
// mount point. What the application may change is made anew by Python each time.
#include <errno.h>
#include <string.h>

#include "door.h"
#include "proto/target.h"

static void put_fields(struct bkpp_place *place, const struct bk_call *call,
                       struct bk_str *ret_mount);
static void put_client(struct bkpp_place *place, const struct bk_exchange *x);
static void put_target(struct bkpp_place *place, const struct bk_call *call);

int
bkpp_scope_fill(struct bkpp_place *place, struct bk_exchange *x, bool whole)
{
    const struct bk_call *call = bk_exchange_call(x);
    struct bkpp_door *door = &place->door;
    struct bkpp_memo_slot *slot = bkpp_memo_slot(&place->memo, x, call);
    struct bk_str mount = {place->mount, place->mount_len};
    bool same = false;
    if (bkpp_marks_begin(place, call->head) < 0)
        return -ENOMEM;
    door->slot = (int32_t)(slot - place->memo.slots);
    door->memo = BKPP_MEMO_NONE;
    if (!whole && place->memo.on && bkpp_memo_fits(slot, call, &same)) {
        door->hits++;
        door->memo = BKPP_MEMO_HIT;
        if (!same)
            put_target(place, call);
    } else {
        door->misses++;
        put_fields(place, call, &mount);
        bkpp_mark_put(place, BKPP_KEY_PROTOCOL, call->head->minor ? BK_STR("1.1") : BK_STR("1.0"));
        put_client(place, x);
        put_target(place, call);
        if (mount.len)  // the path is looked at each time
            bkpp_mark_put(place, BKPP_KEY_SCRIPT_NAME, mount);
        else if (!call->websocket && bkpp_memo_keep(&place->memo, slot, call))
            door->memo = BKPP_MEMO_KEEP;
    }
    door->memo_version = slot->version;
    return 0;
}

// In lower case, letters only.
static void
put_name(struct bkpp_place *place, struct bk_str name)
{
    bkpp_mark_put(place, BKPP_KEY_NAME, name);
    char *at = place->door.text + place->door.text_len - name.len;
    for (size_t i = 0; i < name.len; i++)
        at[i] = at[i] >= 'A' && at[i] <= 'Z' ? (char)(at[i] + 32) : at[i];
}

// Of an absolute target the authority is the host (RFC 9112 §3.2.2). SCRIPT_NAME of a trusted proxy
// is the root path, not a header; other names with '_' that the policy let through stay as they
// are.
static void
put_fields(struct bkpp_place *place, const struct bk_call *call, struct bk_str *ret_mount)
{
    const struct bk_head *head = call->head;
    bool absolute = head->flags & BK_HEAD_ABSOLUTE;
    if (absolute) {
        put_name(place, BK_STR("host"));
        bkpp_mark_put(place, BKPP_KEY_END, bk_head_str(head, head->authority, head->authority_len));
    }
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        struct bk_str name = bk_head_str(head, field->name, field->name_len);
        struct bk_str value = bk_head_str(head, field->value, field->value_len);
        if (bk_unlikely(field->flags & BK_FIELD_UNDERSCORE) && call->peer_trusted &&
            bk_str_equal_nocase(name, BK_STR("SCRIPT_NAME"))) {
            *ret_mount = value;
            continue;
        }
        if (absolute && field->id == BK_HEADER_HOST)
            continue;
        put_name(place, name);
        bkpp_mark_put(place, BKPP_KEY_END, value);
    }
}

// Behind a trusted proxy the address is the one it names, its port unknown: 0. Nothing for unix
// sockets.
static void
put_client(struct bkpp_place *place, const struct bk_exchange *x)
{
    char text[46], digits[20];
    unsigned port = 0;
    size_t len = bk_exchange_client(x, text, &port);
    if (!len)
        return;
    bkpp_mark_put(place, BKPP_KEY_REMOTE_ADDR, (struct bk_str){text, len});
    bkpp_mark_put(place, BKPP_KEY_REMOTE_PORT,
                  (struct bk_str){digits, bk_str_format_u64(digits, port)});
}

static void
put_target(struct bkpp_place *place, const struct bk_call *call)
{
    const struct bk_head *head = call->head;
    struct bkpp_door *door = &place->door;
    struct bk_str path = bk_head_str(head, head->path, head->path_len);
    bool plain;
    if (!path.len)  // "GET http://host": an empty path is the root
        path = BK_STR("/");
    bkpp_mark_put(place, BKPP_KEY_METHOD, bk_head_str(head, head->method, head->method_len));
    bkpp_mark_put(place, BKPP_KEY_QUERY, bk_head_str(head, head->query, head->query_len));
    bkpp_mark_put(place, BKPP_KEY_RAW_URI, path);
    struct bkpp_mark *mark = &door->marks[door->count++];
    *mark = (struct bkpp_mark){.key = BKPP_KEY_PATH, .at = door->text_len};
    mark->len = (uint32_t)bk_target_decode(door->text + door->text_len, path, &plain);
    if (plain) {
        memcpy(door->text + door->text_len, path.at, path.len);
        mark->len = (uint32_t)path.len;
    }
    door->text_len += mark->len;
}
