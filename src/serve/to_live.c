// --live-path: the server's own word that this worker's loop turns. Answered where the request was
// read, so also while every thread of the application is busy.
#include "serve/engine.h"

bool
bk__to_live(struct bk_exchange *x)
{
    static const char text[] = "alive\n";
    const char *path = x->engine->config->live_path, *why;
    if (bk_likely(!path) ||
        (x->head.method_id != BK_METHOD_GET && x->head.method_id != BK_METHOD_HEAD) ||
        !bk_str_equal(bk_head_str(&x->head, x->head.path, x->head.path_len), bk_str_of(path)))
        return false;
    x->page = true;
    x->state = BK_EXCHANGE_SENDING;
    if (bk_answer_begin(x, 200, BK_STR("OK"), &why) < 0 ||
        bk_answer_field(x, BK_STR("Content-Type"), BK_STR("text/plain"), &why) < 0 ||
        bk_answer_field(x, BK_STR("Cache-Control"), BK_STR("no-store"), &why) < 0 ||
        bk_answer_push(x, text, sizeof text - 1, NULL) < 0 || bk__transmit_open(x, true) < 0)
        bk__conn_close(x->conn);
    else
        bk__transmit_finish(x);
    return true;
}
