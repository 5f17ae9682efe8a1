// The server's own answers: refusals and the 500 page. Plain text, no byte of the request repeated.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/panic.h"
#include "serve/engine.h"

void
bk__to_page(struct bk_exchange *x, int status, const char *why)
{
    x->page = true;
    x->state = BK_EXCHANGE_SENDING;
    if (status == 0) {
        bk__conn_close(x->conn);
        return;
    }
    bk__to_page_fill(x, status, why);
    x->answer.close = true;
    if (bk__transmit_open(x, true) < 0) {
        bk__conn_close(x->conn);
        return;
    }
    bk__transmit_finish(x);
}

void
bk__to_page_fill(struct bk_exchange *x, int status, const char *why)
{
    const char *refused;
    char body[256];
    int len;
    struct bk_str reason = bk_str_of(bk_status_reason(status));
    x->why = why;
    x->answer.has_length = false;
    int begun = bk_answer_begin(x, status, reason, &refused);
    BK_ASSERT(begun != -EINVAL);
    if (status >= 500) {
        struct bk_str id = bk_exchange_id(x);
        if (bk_answer_field(x, BK_STR("X-Request-ID"), id, &refused) < 0)
            return;
        len = snprintf(body, sizeof body, "%.*s (request %.*s)\n", (int)reason.len, reason.at,
                       (int)id.len, id.at);
    } else {
        len = snprintf(body, sizeof body, why ? "%.*s: %s\n" : "%.*s\n", (int)reason.len, reason.at,
                       why);
    }
    if (bk_answer_field(x, BK_STR("Content-Type"), BK_STR("text/plain; charset=utf-8"), &refused) <
        0)
        return;
    if (status == 503 &&
        bk_answer_field(x, BK_STR("Retry-After"), BK_STR("1"), &refused) < 0)
        return;
    if (status == 426 && (bk__answer_line(x, BK_STR("Upgrade"), BK_STR("websocket")) < 0 ||
                          bk__answer_line(x, BK_STR("Sec-WebSocket-Version"), BK_STR("13")) < 0))
        return;
    if (bk_answer_push(x, body, (size_t)len, NULL) < 0)
        x->answer.failed = true;
}

void
bk__to_page_foreign(const struct bk_conn *conn, struct bk_str bytes, struct bk_fault *fault)
{
    static struct bk_log_limit tls_limit, uwsgi_limit;
    const char *address = conn->engine->accept.listeners[conn->listener].text;
    uint64_t now = conn->engine->loop.now;
    char client[64];
    unsigned held;
    if (bytes.len >= 2 && bytes.at[0] == 0x16 && bytes.at[1] == 3) {
        fault->why = "this port speaks plain HTTP, not TLS";
        if (bk_log_limited(&tls_limit, now, &held))
            bk_log(BK_LOG_WARNING, "wrong-protocol",
                   "a TLS handshake arrived on %s from %s: use http://, or give --certfile",
                   address, bk__conn_client(conn, client) + strlen("client "));
    } else if (bytes.len >= 4 && bytes.at[0] == 0) {
        fault->why = "This port speaks HTTP. In nginx: proxy_pass http://...";
        if (bk_log_limited(&uwsgi_limit, now, &held))
            bk_log(BK_LOG_WARNING, "wrong-protocol",
                   "a uwsgi packet arrived on %s from %s: in nginx, use proxy_pass http://",
                   address, bk__conn_client(conn, client) + strlen("client "));
    }
}
