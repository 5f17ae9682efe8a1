// The TLS handshake of a connection, and what is known of it afterwards. Called by receive.c until
// it is done; then the connection is like any other, behind a stream of another kind.
#include <errno.h>
#include <stdio.h>

#include "serve/engine.h"
#include "serve/receive.h"

// A handshake is half a millisecond of arithmetic: so many in a turn, so that requests of others,
// which take microseconds, do not wait for a crowd of them.
#define HANDSHAKES_PER_TURN 8

static void adopt(struct bk_engine *engine);
static void done(struct bk_conn *conn);
static void foreign(struct bk_conn *conn);
static void failed(struct bk_conn *conn, const char *why);

void
bk_engine_set_tls(struct bk_engine *engine, struct bk_tls *tls)
{
    bk_tls_unref(atomic_exchange(&engine->tls_next, tls));
}

static void
adopt(struct bk_engine *engine)
{
    struct bk_tls *next = atomic_exchange(&engine->tls_next, NULL);
    if (!next)
        return;
    bk_tls_unref(engine->tls);
    engine->tls = next;
}

int
bk__handshake_begin(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    adopt(engine);
    if (!engine->tls)
        return -ENOENT;
    conn->secure = true;
    return bk_tls_begin(&conn->stream, engine->tls);
}

void
bk__handshake(struct bk_conn *conn)
{
    struct bk_engine *engine = conn->engine;
    const char *why;
    if (engine->handshake_turn != engine->loop.now) {
        engine->handshake_turn = engine->loop.now;
        engine->handshakes = 0;
    }
    if (engine->handshakes++ >= HANDSHAKES_PER_TURN) {
        bk__conn_later(conn);
        return;
    }
    int error = bk_tls_handshake(&conn->stream, &why);
    if (error == 0) {
        done(conn);
    } else if (error == -EAGAIN) {
        conn->readable = conn->readable && conn->eof && !bk_tls_wants_write(&conn->stream);
        if (bk_tls_wants_write(&conn->stream))
            bk__conn_watch_out(conn);
        else if (conn->readable)
            bk__conn_later(conn);  // the end of the connection is still to be read
    } else if (error == -EPROTONOSUPPORT) {
        foreign(conn);
    } else {
        failed(conn, why);
    }
}

static void
done(struct bk_conn *conn)
{
    struct bk_counters *counters = conn->engine->counters;
    struct bk_tls_facts *facts = bk_tls_facts(&conn->stream);
    bk_count(&counters->tls_handshakes, 1);
    bk_count(&counters->tls_resumed, facts && facts->resumed);
    bk_tls_facts_unref(facts);
    // The first request may have come in one packet with the handshake's end.
    conn->readable = true;
    bk__conn_set_step(conn, BK_STEP_HEAD);
    bk__receive(conn);
}

// Somebody typed http:// for https://: an answer in clear says so, as nginx does.
static void
foreign(struct bk_conn *conn)
{
    static struct bk_log_limit limit;
    struct bk_engine *engine = conn->engine;
    struct bk_accept_listener *listener = &engine->accept.listeners[conn->listener];
    struct bk_exchange *x = NULL;
    char client[64];
    unsigned held;
    if (bk_log_limited(&limit, engine->loop.now, &held))
        bk_log(BK_LOG_WARNING, "wrong-protocol", "HTTP arrived on %s from %s: use https://",
               listener->text, bk__conn_client(conn, client) + strlen("client "));
    conn->secure = false;
    conn->codec.ops->reset(&conn->codec);
    conn->in = bk_pool_take(&engine->blocks);
    conn->in_size = BK_BLOCK_SIZE;
    if (!conn->in || !(x = bk__exchange_new(conn))) {
        bk__conn_close(conn);
        return;
    }
    memset(&x->head, 0, sizeof x->head);
    x->head.base = x->block;
    x->head.fields = x->fields;
    bk__conn_refuse(conn, &(struct bk_fault){400, listener->hint});
}

// Scanners and clients that do not trust our certificate end here, at any rate: one line a minute.
static void
failed(struct bk_conn *conn, const char *why)
{
    static struct bk_log_limit limit;
    struct bk_engine *engine = conn->engine;
    char client[64];
    unsigned held;
    bk_count(&engine->counters->tls_failed, 1);
    if (bk_log_limited(&limit, engine->loop.now, &held))
        bk_log(BK_LOG_INFO, "tls-handshake", "the TLS handshake of %s on %s failed: %s%s",
               bk__conn_client(conn, client), engine->accept.listeners[conn->listener].text, why,
               held ? "; so did others within the last minute" : "");
    bk__conn_close(conn);
}

struct bk_str
bk_exchange_tls(const struct bk_exchange *x, enum bk_tls_fact which)
{
    const struct bk_tls_facts *facts = x->tls;
    if (!facts)
        return (struct bk_str){NULL, 0};
    switch (which) {
    case BK_TLS_PROTOCOL:
        return bk_str_of(facts->protocol);
    case BK_TLS_CIPHER:
        return bk_str_of(facts->cipher);
    case BK_TLS_SERVER_NAME:
        return *facts->server_name ? bk_str_of(facts->server_name) : (struct bk_str){NULL, 0};
    case BK_TLS_SERVER_CERTIFICATE:
        return facts->certificate;
    case BK_TLS_CLIENT_VERIFY:
        return facts->asked ? bk_str_of(facts->verify) : (struct bk_str){NULL, 0};
    case BK_TLS_CLIENT_SUBJECT:
        return bk_str_of(facts->subject);
    case BK_TLS_CLIENT_ISSUER:
        return bk_str_of(facts->issuer);
    case BK_TLS_CLIENT_SERIAL:
        return bk_str_of(facts->serial);
    case BK_TLS_CLIENT_FROM:
        return bk_str_of(facts->from);
    case BK_TLS_CLIENT_UNTIL:
        return bk_str_of(facts->until);
    case BK_TLS_CLIENT_CERTIFICATE:
        return bk_str_of(facts->client_pem);
    case BK_TLS_CLIENT_CHAIN:
        return bk_str_of(facts->chain_pem);
    }
    return (struct bk_str){NULL, 0};
}

bool
bk_exchange_tls_numbers(const struct bk_exchange *x, unsigned *ret_version, unsigned *ret_suite)
{
    if (!x->tls)
        return false;
    *ret_version = x->tls->version;
    *ret_suite = x->tls->suite;
    return true;
}
