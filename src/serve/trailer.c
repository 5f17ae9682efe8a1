// Trailer fields of an answer (RFC 9110 §6.5, RFC 9112 §7.1.2): checked when the application hands
// them over, sent behind the last chunk. Called by hosts (host/host.h).
#include <errno.h>

#include "serve/engine.h"

#define TRAILERS_MAX 8192

static bool is_forbidden(enum bk_header id);

int
bk_answer_trailer(struct bk_exchange *x, struct bk_str name, struct bk_str value,
                  const char **ret_why)
{
    struct bk_answer *answer = &x->answer;
    if (!bk_token_valid(name) || !bk_value_valid(value)) {
        *ret_why = "the name is not a token, or the value has a control character";
        return -EINVAL;
    }
    if (is_forbidden(bk_header_id(name.at, name.len))) {
        *ret_why = "not allowed in trailers";
        return -EINVAL;
    }
    if (!bk_answer_takes_trailers(x))
        return 0;
    if (!answer->trailers && !(answer->trailers = bk_arena_text(&x->arena, TRAILERS_MAX)))
        return -ENOMEM;
    if (name.len + value.len + 4 > TRAILERS_MAX - answer->trailers_len)
        return -EMSGSIZE;
    char *at = answer->trailers + answer->trailers_len;
    at = mempcpy(at, name.at, name.len);
    at = mempcpy(at, ": ", 2);
    if (value.len)
        at = mempcpy(at, value.at, value.len);
    at = mempcpy(at, "\r\n", 2);
    answer->trailers_len = (uint32_t)(at - answer->trailers);
    return 0;
}

bool
bk_answer_takes_trailers(const struct bk_exchange *x)
{
    return x->head.minor >= 1 && x->head.flags & BK_HEAD_TRAILERS_OK;
}

// Fields that say how a message is framed, routed, cached or to be understood, and credentials.
static bool
is_forbidden(enum bk_header id)
{
    static const uint8_t forbidden[] = {
        BK_HEADER_AGE,
        BK_HEADER_CACHE_CONTROL,
        BK_HEADER_CONNECTION,
        BK_HEADER_CONTENT_ENCODING,
        BK_HEADER_CONTENT_LENGTH,
        BK_HEADER_CONTENT_RANGE,
        BK_HEADER_CONTENT_TYPE,
        BK_HEADER_DATE,
        BK_HEADER_HOST,
        BK_HEADER_KEEP_ALIVE,
        BK_HEADER_LOCATION,
        BK_HEADER_PROXY_CONNECTION,
        BK_HEADER_SET_COOKIE,
        BK_HEADER_TE,
        BK_HEADER_TRAILER,
        BK_HEADER_TRANSFER_ENCODING,
        BK_HEADER_UPGRADE,
        BK_HEADER_VARY,
        BK_HEADER_WWW_AUTHENTICATE,
    };
    for (unsigned i = 0; i < sizeof forbidden; i++)
        if (forbidden[i] == id)
            return true;
    return false;
}
