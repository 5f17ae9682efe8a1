// Shared by the files of this folder only.
#pragma once

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "tls/tls_ctx.h"

struct bk__tls_certificate {
    SSL_CTX *ctx;  // owns
    char *names;   // owns: lower-case names, each with its NUL, an empty one at the end
    int key_type;  // EVP_PKEY_base_id of the first key
    char *pem;     // owns: the certificate itself, for applications
    size_t pem_len;
    struct bk_tls_validity validity;
};

struct bk_tls {
    _Atomic unsigned refs;
    struct bk__tls_certificate *certificates;  // owns
    unsigned count;
    enum bk_tls_verify verify;
    bk_tls_ticket_fn ticket_keys;
    void *ticket_self;          // borrows
    EVP_CIPHER *ticket_cipher;  // owns
};

// tls_load.c: makes certificates[count] of one pair; or, when an earlier one has the same names and
// another kind of key, adds it there. -EINVAL with *fault, -ENOMEM.
int bk__tls_load_pair(struct bk_tls *tls, const struct bk_tls_settings *settings, unsigned n,
                      struct bk_tls_fault *fault);
int bk__tls_load_ca(SSL_CTX *ctx, const struct bk_tls_settings *settings,
                    struct bk_tls_fault *fault);
// The newest reason in this thread's error queue, in words, and an empty queue.
const char *bk__tls_reason(void);
// tls_ctx.c: a context with everything but a certificate.
int bk__tls_context(struct bk_tls *tls, const struct bk_tls_settings *settings, SSL_CTX **ret,
                    struct bk_tls_fault *fault);
// tls_tickets.c
int bk__tls_tickets(struct bk_tls *tls, SSL_CTX *ctx);
// The certificate for a name as a client sends it; the first one when nobody has it.
const struct bk__tls_certificate *bk__tls_choose(const struct bk_tls *tls, const char *name);
// tls.c: the set a connection began with.
struct bk_tls *bk__tls_of(const SSL *ssl);
