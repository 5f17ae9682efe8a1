// Sets of certificates. Made by the worker from what the master read, and by the check before any
// worker starts.
#include "tls/tls_ctx.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tls/tls_internal.h"

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3.0 or newer is needed"
#endif

// Authenticated ciphers with a key of the moment only. A list by the user may say otherwise.
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"
#define NAME_MAX_LEN 253

static int restrict_versions(SSL_CTX *ctx, const struct bk_tls_settings *settings,
                             struct bk_tls_fault *fault);
static int set_ciphers(SSL_CTX *ctx, const char *list, struct bk_tls_fault *fault);
static int set_verify(SSL_CTX *ctx, const struct bk_tls_settings *settings,
                      struct bk_tls_fault *fault);
static int set_session_scope(SSL_CTX *ctx, const struct bk_tls_settings *settings);
static int on_server_name(SSL *ssl, int *alert, void *self);
static int on_protocols(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                        const unsigned char *in, unsigned in_len, void *self);

int
bk_tls_new(const struct bk_tls_settings *settings, struct bk_tls **ret, struct bk_tls_fault *fault)
{
    // Without an exit handler of its own: other threads may still be at work then.
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
    ERR_clear_error();
    struct bk_tls *tls = calloc(1, sizeof *tls);
    *fault = (struct bk_tls_fault){0};
    if (!tls)
        return -ENOMEM;
    tls->refs = 1;
    tls->verify = settings->verify;
    tls->ticket_keys = settings->ticket_keys;
    tls->ticket_self = settings->ticket_self;
    tls->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    tls->certificates = calloc(settings->count, sizeof *tls->certificates);
    int error = tls->certificates && tls->ticket_cipher ? 0 : -ENOMEM;
    for (unsigned i = 0; error == 0 && i < settings->count; i++)
        error = bk__tls_load_pair(tls, settings, i, fault);
    if (error == 0 && tls->count == 0)
        error = -EINVAL;
    ERR_clear_error();
    if (error < 0) {
        bk_tls_unref(tls);
        return error;
    }
    *ret = tls;
    return 0;
}

int
bk__tls_context(struct bk_tls *tls, const struct bk_tls_settings *settings, SSL_CTX **ret,
                struct bk_tls_fault *fault)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return -ENOMEM;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    // What a write could not place is offered again, from another place and with more behind it.
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, settings->tickets ? 1 : 0);
    if (!settings->tickets)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_alpn_select_cb(ctx, on_protocols, NULL);
    int error = restrict_versions(ctx, settings, fault);
    if (error == 0)
        error = set_verify(ctx, settings, fault);
    if (error == 0)
        error = set_session_scope(ctx, settings);
    if (error == 0 && settings->tickets && settings->ticket_keys)
        error = bk__tls_tickets(tls, ctx);
    if (error < 0) {
        SSL_CTX_free(ctx);
        return error;
    }
    *ret = ctx;
    return 0;
}

static int
restrict_versions(SSL_CTX *ctx, const struct bk_tls_settings *settings, struct bk_tls_fault *fault)
{
    if (!SSL_CTX_set_min_proto_version(ctx, settings->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION))
        return -ENOMEM;
    return set_ciphers(ctx, settings->ciphers && *settings->ciphers ? settings->ciphers : CIPHERS,
                       fault);
}

// Names of TLS 1.3 and those before it live in two lists.
static int
set_ciphers(SSL_CTX *ctx, const char *list, struct bk_tls_fault *fault)
{
    size_t room = strlen(list) + 1;
    char *old = calloc(1, room), *suites = calloc(1, room);
    int error = old && suites ? 0 : -ENOMEM;
    for (const char *at = list; error == 0 && *at;) {
        size_t len = strcspn(at, ":, ");
        char *into = strncmp(at, "TLS_", 4) == 0 ? suites : old;
        if (len) {
            if (*into)
                strcat(into, ":");
            strncat(into, at, len);
        }
        at += len + (at[len] != '\0');
    }
    if (error == 0 && ((*old && !SSL_CTX_set_cipher_list(ctx, old)) ||
                       (*suites && !SSL_CTX_set_ciphersuites(ctx, suites)))) {
        fault->key = "option-value";
        snprintf(fault->text, sizeof fault->text,
                 "--ciphers '%s': no cipher that OpenSSL knows and allows", list);
        error = -EINVAL;
    }
    ERR_clear_error();
    free(old);
    free(suites);
    return error;
}

static int
set_verify(SSL_CTX *ctx, const struct bk_tls_settings *settings, struct bk_tls_fault *fault)
{
    if (settings->verify == BK_TLS_VERIFY_NONE)
        return 0;
    int mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;
    if (settings->verify == BK_TLS_VERIFY_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
    return bk__tls_load_ca(ctx, settings, fault);
}

// A ticket is good only where its client would have been let in by a full handshake: under the same
// authorities and the same demand (CVE-2025-23419 was a server that forgot).
static int
set_session_scope(SSL_CTX *ctx, const struct bk_tls_settings *settings)
{
    unsigned char digest[EVP_MAX_MD_SIZE], demand = (unsigned char)settings->verify;
    unsigned len = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool fine =
        md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, &demand, 1) &&
        EVP_DigestUpdate(md, settings->ca.at, settings->ca.len) &&
        EVP_DigestFinal_ex(md, digest, &len) && SSL_CTX_set_session_id_context(ctx, digest, len);
    EVP_MD_CTX_free(md);
    return fine ? 0 : -ENOMEM;
}

struct bk_tls *
bk_tls_ref(struct bk_tls *tls)
{
    atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void
bk_tls_unref(struct bk_tls *tls)
{
    if (!tls || atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; tls->certificates && i < tls->count; i++) {
        SSL_CTX_free(tls->certificates[i].ctx);
        free(tls->certificates[i].names);
        free(tls->certificates[i].pem);
    }
    EVP_CIPHER_free(tls->ticket_cipher);
    free(tls->certificates);
    free(tls);
}

bool
bk_tls_validity(const struct bk_tls *tls, unsigned n, struct bk_tls_validity *ret)
{
    if (n >= tls->count)
        return false;
    *ret = tls->certificates[n].validity;
    return true;
}

const char *
bk_tls_library(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

// ---- asked for by the client ----

static bool
has_name(const struct bk__tls_certificate *certificate, const char *name)
{
    for (const char *at = certificate->names; *at; at += strlen(at) + 1)
        if (strcmp(at, name) == 0)
            return true;
    return false;
}

// An exact name wins over a wildcard, whatever the order of the certificates.
const struct bk__tls_certificate *
bk__tls_choose(const struct bk_tls *tls, const char *name)
{
    char lower[NAME_MAX_LEN + 2];
    size_t len = strlen(name);
    if (len && name[len - 1] == '.')
        len--;
    if (tls->count == 1 || len == 0 || len > NAME_MAX_LEN)
        return &tls->certificates[0];
    for (size_t i = 0; i < len; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    lower[len] = '\0';
    for (unsigned i = 0; i < tls->count; i++)
        if (has_name(&tls->certificates[i], lower))
            return &tls->certificates[i];
    char *dot = strchr(lower, '.');
    if (!dot || dot == lower)
        return &tls->certificates[0];
    dot[-1] = '*';
    for (unsigned i = 0; i < tls->count; i++)
        if (has_name(&tls->certificates[i], dot - 1))
            return &tls->certificates[i];
    return &tls->certificates[0];
}

static int
on_server_name(SSL *ssl, int *alert, void *self)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct bk_tls *tls = bk__tls_of(ssl);
    if (!name || tls->count == 1)
        return name ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
    SSL_CTX *ctx = bk__tls_choose(tls, name)->ctx;
    if (ctx != SSL_get_SSL_CTX(ssl) && !SSL_set_SSL_CTX(ssl, ctx))
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

// Our order decides. A client that offers protocols, but none of ours, means another server: it is
// refused, so that it cannot be brought to speak to us by somebody in between (ALPACA).
static int
on_protocols(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
             unsigned in_len, void *self)
{
    static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}
