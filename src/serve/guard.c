// Refuse early, and decide whom to believe: underscore names, forwarding headers of trusted peers,
// the request id.
#include "serve/guard.h"

#include <errno.h>

#include "serve/engine.h"

static int apply_underscores(struct bk_exchange *x, struct bk_fault *fault);
static int believe_proxy(struct bk_exchange *x, struct bk_fault *fault);

int
bk__guard_check(struct bk_exchange *x, struct bk_fault *fault)
{
    const struct bk_head *head = &x->head;
    bool underscores = false;
    x->call.https = x->engine->accept.listeners[x->call.listener].info.https;
    for (unsigned i = 0; i < head->field_count; i++)
        underscores |= head->fields[i].flags & BK_FIELD_UNDERSCORE;
    if (bk_unlikely(underscores) && apply_underscores(x, fault) < 0)
        return -EPROTO;
    return x->call.peer_trusted ? believe_proxy(x, fault) : 0;
}

static bool
forwarder_may_send(const struct bk_exchange *x, struct bk_str name)
{
    const struct bk_text_list *names = &x->engine->config->forwarder_headers;
    if (!x->call.peer_trusted)
        return false;
    for (unsigned i = 0; i < names->count; i++) {
        struct bk_str item = bk_str_of(names->items[i]);
        if (bk_str_equal(item, BK_STR("*")) || bk_str_equal_nocase(item, name))
            return true;
    }
    return false;
}

// X_Forwarded_For and X-Forwarded-For would be one key in the environ: such names never get through
// by default.
static int
apply_underscores(struct bk_exchange *x, struct bk_fault *fault)
{
    struct bk_guard *guard = &x->engine->guard;
    struct bk_head *head = &x->head;
    unsigned kept = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        struct bk_field field = head->fields[i];
        struct bk_str name = bk_head_str(head, field.name, field.name_len);
        if (!(field.flags & BK_FIELD_UNDERSCORE) || guard->underscore == BK_UNDERSCORE_PASS ||
            forwarder_may_send(x, name)) {
            head->fields[kept++] = field;
            continue;
        }
        if (guard->underscore == BK_UNDERSCORE_REFUSE)
            return bk_fault_set(fault, 400, "underscore in a header name");
        if (!guard->said) {
            char shown[128];
            size_t len = bk_str_escape(shown, sizeof shown, name);
            guard->said = true;
            bk_log(BK_LOG_WARNING, "header-dropped",
                   "header '%.*s' was dropped for its underscore (said once); --header-map "
                   "dangerous passes such names",
                   (int)len, shown);
        }
    }
    head->field_count = (uint16_t)kept;
    return 0;
}

static int
believe_proxy(struct bk_exchange *x, struct bk_fault *fault)
{
    const struct bk_guard *guard = &x->engine->guard;
    const struct bk_head *head = &x->head;
    int verdict = -1;  // -1: no header said anything
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        struct bk_str value = bk_head_str(head, field->value, field->value_len);
        if (field->id == BK_HEADER_X_REQUEST_ID && value.len > 0 && value.len <= 128)
            x->id = value;
        else if (field->id == BK_HEADER_X_FORWARDED_FOR)
            x->forwarded = (uint16_t)(i + 1);
        else if (bk_unlikely(field->id == BK_HEADER_X_REQUEST_START))
            bk__scoreboard_proxy(x, value);
        for (unsigned k = 0; k < guard->rule_count; k++) {
            const struct bk_scheme_rule *rule = &guard->rules[k];
            if (field->id != rule->id ||
                (rule->id == BK_HEADER_OTHER &&
                 !bk_str_equal_nocase(bk_head_str(head, field->name, field->name_len), rule->name)))
                continue;
            int https = bk_str_equal_nocase(value, rule->value);
            if (verdict >= 0 && verdict != https)
                return bk_fault_set(fault, 400, "the proxy's scheme headers disagree");
            verdict = https;
        }
    }
    if (verdict >= 0)
        x->call.https = verdict;
    return 0;
}

void
bk__guard_init(struct bk_guard *guard, const struct bk_config *config)
{
    for (unsigned i = 0;
         i < config->secure_scheme_headers.count && guard->rule_count < BK_SCHEME_RULES_MAX; i++) {
        struct bk_str item = bk_str_of(config->secure_scheme_headers.items[i]);
        const char *sign = memchr(item.at, '=', item.len);
        if (!sign)
            continue;
        struct bk_scheme_rule *rule = &guard->rules[guard->rule_count++];
        rule->name = bk_str_trim((struct bk_str){item.at, (size_t)(sign - item.at)});
        rule->value =
            bk_str_trim((struct bk_str){sign + 1, item.len - (size_t)(sign + 1 - item.at)});
        rule->id = bk_header_id(rule->name.at, rule->name.len);
    }
    if (strcmp(config->header_map, "refuse") == 0)
        guard->underscore = BK_UNDERSCORE_REFUSE;
    else if (strcmp(config->header_map, "dangerous") == 0)
        guard->underscore = BK_UNDERSCORE_PASS;
}
