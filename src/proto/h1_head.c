// What the fields of a request head mean for its connection: Host, framing, Connection, Expect,
// Upgrade, TE. Called by h1_parse.c when the last line is cut.
#include "proto/h1_internal.h"

#include <errno.h>

#include "proto/target.h"

#include "base/banned.h"

// Two of these in one request are two opinions: two readers could each believe another one (RFC
// 9110 §5.3, RFC 6455 §11.3). Fields that only inform (User-Agent, Referer) are left to the
// application.
const uint8_t bk__h1_single[BK_HEADER_COUNT] = {
    [BK_HEADER_AUTHORIZATION] = 1,
    [BK_HEADER_CONTENT_LENGTH] = 1,
    [BK_HEADER_CONTENT_RANGE] = 1,
    [BK_HEADER_CONTENT_TYPE] = 1,
    [BK_HEADER_EXPECT] = 1,
    [BK_HEADER_HOST] = 1,
    [BK_HEADER_IF_MODIFIED_SINCE] = 1,
    [BK_HEADER_IF_RANGE] = 1,
    [BK_HEADER_IF_UNMODIFIED_SINCE] = 1,
    [BK_HEADER_MAX_FORWARDS] = 1,
    [BK_HEADER_ORIGIN] = 1,
    [BK_HEADER_PROXY_AUTHORIZATION] = 1,
    [BK_HEADER_RANGE] = 1,
    [BK_HEADER_SEC_WEBSOCKET_KEY] = 1,
};

static int judge_host(struct bk_head *head, const struct bk__h1_found *found,
                      struct bk_fault *fault);
static int judge_codings(struct bk_head *head, const struct bk__h1_found *found,
                         struct bk_fault *fault);
static int judge_length(struct bk_head *head, const struct bk__h1_found *found,
                        struct bk_fault *fault);
static int judge_expect(struct bk_head *head, const struct bk__h1_found *found,
                        struct bk_fault *fault);
static void read_connection(struct bk_head *head, const struct bk__h1_found *found);
static void read_te(struct bk_head *head);

static inline bool
has(const struct bk__h1_found *found, unsigned id)
{
    return found->lines[id];
}

static inline struct bk_str
value_of(const struct bk_head *head, const struct bk_field *field)
{
    return bk_head_str(head, field->value, field->value_len);
}

static inline struct bk_str
last_value(const struct bk_head *head, const struct bk__h1_found *found, unsigned id)
{
    return value_of(head, &head->fields[found->where[id]]);
}

int
bk__h1_judge(struct bk_head *head, const struct bk__h1_found *found, struct bk_fault *fault)
{
    int error = 0;
    if (bk_unlikely(found->twice))
        return bk_fault_set(fault, 400, "a field that may come once came twice");
    error = judge_host(head, found, fault);
    if (!error && has(found, BK_HEADER_TRANSFER_ENCODING))
        error = judge_codings(head, found, fault);
    else if (!error && has(found, BK_HEADER_CONTENT_LENGTH))
        error = judge_length(head, found, fault);
    if (error)
        return error;
    if (head->minor >= 1)
        head->flags |= BK_HEAD_KEEP_ALIVE;
    if (has(found, BK_HEADER_CONNECTION))
        read_connection(head, found);
    if (has(found, BK_HEADER_TE))
        read_te(head);
    return has(found, BK_HEADER_EXPECT) ? judge_expect(head, found, fault) : 0;
}

static int
judge_host(struct bk_head *head, const struct bk__h1_found *found, struct bk_fault *fault)
{
    if (bk_unlikely(!has(found, BK_HEADER_HOST)))
        return head->minor >= 1 ? bk_fault_set(fault, 400, "no Host field") : 0;
    if (bk_unlikely(!bk_target_host_valid(last_value(head, found, BK_HEADER_HOST))))
        return bk_fault_set(fault, 400, "bad Host value");
    return 0;
}

// One walk over the list of all Transfer-Encoding lines (RFC 9112 §6.1, §6.3). Only "chunked" alone
// is spoken here.
static int
judge_codings(struct bk_head *head, const struct bk__h1_found *found, struct bk_fault *fault)
{
    unsigned chunked = 0, others = 0;
    bool chunked_last = false;
    if (head->minor == 0)
        return bk_fault_set(fault, 400, "Transfer-Encoding in HTTP/1.0");
    if (has(found, BK_HEADER_CONTENT_LENGTH))
        return bk_fault_set(fault, 400, "Content-Length and Transfer-Encoding together");
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != BK_HEADER_TRANSFER_ENCODING)
            continue;
        struct bk_str rest = value_of(head, &head->fields[i]), coding;
        while (bk_str_next_item(&rest, ',', &coding)) {
            if (!bk_token_valid(coding))
                return bk_fault_set(fault, 400, "malformed Transfer-Encoding");
            chunked_last = bk_str_equal_nocase(coding, BK_STR("chunked"));
            chunked += chunked_last;
            others += !chunked_last;
        }
    }
    if (chunked > 1)
        return bk_fault_set(fault, 400, "chunked twice");
    if (chunked && !chunked_last)
        return bk_fault_set(fault, 400, "chunked is not the last transfer coding");
    if (others)
        return bk_fault_set(fault, 501, "unknown transfer coding");
    head->flags |= BK_HEAD_CHUNKED;
    return 0;
}

static int
judge_length(struct bk_head *head, const struct bk__h1_found *found, struct bk_fault *fault)
{
    int error = bk_str_parse_u64(last_value(head, found, BK_HEADER_CONTENT_LENGTH), INT64_MAX,
                                 &head->content_length);
    if (error == -ERANGE)
        return bk_fault_set(fault, 413, "Content-Length beyond 63 bits");
    if (error < 0)
        return bk_fault_set(fault, 400, "Content-Length is not a number");
    head->flags |= BK_HEAD_HAS_LENGTH;
    return 0;
}

static unsigned read_options(struct bk_str list);

enum { SAYS_CLOSE = 1, SAYS_KEEP = 2, SAYS_UPGRADE = 4 };

// All Connection lines are one list; `close` anywhere in it wins (RFC 9112 §9.3).
static void
read_connection(struct bk_head *head, const struct bk__h1_found *found)
{
    unsigned said = 0, last = found->where[BK_HEADER_CONNECTION];
    for (unsigned i = found->lines[BK_HEADER_CONNECTION] > 1 ? 0 : last; i <= last; i++)
        if (head->fields[i].id == BK_HEADER_CONNECTION)
            said |= read_options(value_of(head, &head->fields[i]));
    if (said & SAYS_CLOSE)
        head->flags &= ~(uint32_t)BK_HEAD_KEEP_ALIVE;
    else if (said & SAYS_KEEP && head->minor == 0)
        head->flags |= BK_HEAD_KEEP_ALIVE | BK_HEAD_SAY_KEEP;
    if (said & SAYS_UPGRADE && head->minor >= 1 && has(found, BK_HEADER_UPGRADE))
        head->flags |= BK_HEAD_UPGRADE;
}

static unsigned
read_options(struct bk_str list)
{
    unsigned said = 0;
    struct bk_str item;
    if (bk_likely(list.len == 10 && memcmp(list.at, "keep-alive", 10) == 0))
        return SAYS_KEEP;
    while (bk_str_next_item(&list, ',', &item)) {
        if (item.len == 5 && bk_str_equal_nocase(item, BK_STR("close")))
            said |= SAYS_CLOSE;
        else if (item.len == 10 && bk_str_equal_nocase(item, BK_STR("keep-alive")))
            said |= SAYS_KEEP;
        else if (item.len == 7 && bk_str_equal_nocase(item, BK_STR("upgrade")))
            said |= SAYS_UPGRADE;
    }
    return said;
}

static void
read_te(struct bk_head *head)
{
    for (unsigned i = 0; head->minor >= 1 && i < head->field_count; i++)
        if (head->fields[i].id == BK_HEADER_TE &&
            bk_value_lists(value_of(head, &head->fields[i]), BK_STR("trailers")))
            head->flags |= BK_HEAD_TRAILERS_OK;
}

// RFC 9110 §10.1.1: an expectation of HTTP/1.0 is ignored, one we do not know is 417.
static int
judge_expect(struct bk_head *head, const struct bk__h1_found *found, struct bk_fault *fault)
{
    if (head->minor == 0)
        return 0;
    if (!bk_str_equal_nocase(last_value(head, found, BK_HEADER_EXPECT), BK_STR("100-continue")))
        return bk_fault_set(fault, 417, "unknown expectation");
    if (head->flags & BK_HEAD_CHUNKED || head->content_length > 0)
        head->flags |= BK_HEAD_EXPECT;
    return 0;
}
