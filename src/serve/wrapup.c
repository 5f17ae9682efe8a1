// The last step: the answer is out (or lost). Counts, logs, and decides what becomes of the
// connection.
#include "serve/engine.h"

static enum bk_conn_end connection_end(const struct bk_exchange *x);

void
bk__wrapup(struct bk_exchange *x)
{
    struct bk_counters *counters = x->engine->counters;
    struct bk_conn *conn = x->conn;
    int status = x->answer.status;
    bk_count(&counters->requests, 1);
    if (bk_unlikely(status >= 400))
        bk_count(status < 500 ? &counters->responses_4xx : &counters->responses_5xx, 1);
    if (bk_likely(status >= 100 && status < 100 + BK_STATS_STATUSES))
        bk_count(&x->engine->slot->statuses[status - 100], 1);
    if (bk_likely(x->started != 0))
        bk_count(&bk__scoreboard_thread(x)->bytes_out, x->sent);
    bk__access_log_write(x);
    enum bk_conn_end end = conn ? connection_end(x) : BK_CONN_CLOSE;
    bk__exchange_free(x);
    if (conn)
        bk__conn_next(conn, end);
}

static enum bk_conn_end
connection_end(const struct bk_exchange *x)
{
    const struct bk_conn *conn = x->conn;
    if (x->answer.failed)
        return BK_CONN_CUT;  // the client must see the cut, not a clean end
    if (!x->answer.close && !conn->closing) {
        if (bk_likely(conn->request_done))
            return BK_CONN_KEEP;
        return x->continued ? BK_CONN_SKIP : BK_CONN_LINGER;
    }
    // A client that asked for the end sends nothing more: no need to wait for it. Else linger, or
    // unread bytes become a reset.
    bool asked = !(x->head.flags & BK_HEAD_KEEP_ALIVE);
    if (asked && conn->request_done && !conn->closing && conn->in_len == conn->in_at &&
        !conn->readable)
        return BK_CONN_CLOSE;
    return BK_CONN_LINGER;
}
