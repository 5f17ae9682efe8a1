// A byte stream behind TLS: the vtable of net/stream.h over OpenSSL, on a non-blocking socket. One
// thread at a time; nothing here waits. A read drains what the kernel and the library hold, so that
// a short one means that the next event is the news, as with plain sockets.
#pragma once

#include <stdatomic.h>

#include "net/stream.h"
#include "tls/tls_ctx.h"

extern const struct bk_stream_ops bk_stream_tls;

// What is known of a connection after its handshake. Counted: it outlives the connection while
// somebody needs it. Texts of the client's certificate are NULL when it sent none.
struct bk_tls_facts {
    _Atomic unsigned refs;
    const char *protocol, *cipher;  // "TLSv1.3", "TLS_AES_256_GCM_SHA384": literals
    uint16_t version, suite;        // their numbers: 0x0304, 0x1302
    bool resumed;
    bool asked;                 // a certificate was asked for
    const char *verify;         // "NONE", "SUCCESS", or "FAILED:why" as a literal behind it
    const char *application;    // ALPN: "http/1.1", or "" when the client named nothing
    char *server_name;          // owns: SNI, "" when there was none
    struct bk_str certificate;  // ours, PEM; borrows `tls`
    char *subject, *issuer, *serial, *from, *until;  // owns: of the client's certificate
    char *client_pem;                                // owns
    char *chain_pem;     // owns: the client's and those above it that it sent
    struct bk_tls *tls;  // ref
};

// Makes `stream` a TLS server's over its fd; takes a reference of `tls`. -ENOMEM.
int bk_tls_begin(struct bk_stream *stream, struct bk_tls *tls) BK_MUST_CHECK;
// Goes on with the handshake. 0: done. -EAGAIN: bytes of the client are missing, or (wants_write)
// room for ours. -EPROTONOSUPPORT: the client does not speak TLS but something that begins with a
// letter, like HTTP; `stream` is a plain one now, and what was read is lost. Else it failed:
// *ret_why is a literal for the log.
int bk_tls_handshake(struct bk_stream *stream, const char **ret_why) BK_MUST_CHECK;
bool bk_tls_wants_write(const struct bk_stream *stream);
// A reference; NULL when out of memory or before the handshake's end.
struct bk_tls_facts *bk_tls_facts(const struct bk_stream *stream) BK_MUST_CHECK;
struct bk_tls_facts *bk_tls_facts_ref(struct bk_tls_facts *facts);
void bk_tls_facts_unref(struct bk_tls_facts *facts);
