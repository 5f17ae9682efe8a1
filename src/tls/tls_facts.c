// What an application may ask about a connection, gathered once, in the turn the handshake ends:
// later the connection may be gone while the application still runs.
#include "tls/tls_facts.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/tls_internal.h"

static bool add_client(struct bk_tls_facts *facts, SSL *ssl);
static const char *protocol_of(SSL *ssl);

struct bk_tls_facts *
bk__tls_facts_new(SSL *ssl, struct bk_tls *tls)
{
    struct bk_tls_facts *facts = calloc(1, sizeof *facts);
    if (!facts)
        return NULL;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    facts->refs = 1;
    facts->tls = bk_tls_ref(tls);
    facts->protocol = SSL_get_version(ssl);
    facts->cipher = cipher ? SSL_CIPHER_standard_name(cipher) : "";
    facts->version = (uint16_t)SSL_version(ssl);
    facts->suite = cipher ? SSL_CIPHER_get_protocol_id(cipher) : 0;
    facts->resumed = SSL_session_reused(ssl);
    facts->application = protocol_of(ssl);
    facts->asked = tls->verify != BK_TLS_VERIFY_NONE;
    facts->verify = "NONE";
    facts->server_name = strdup(name ? name : "");
    for (unsigned i = 0; i < tls->count; i++)
        if (tls->certificates[i].ctx == SSL_get_SSL_CTX(ssl))
            facts->certificate =
                (struct bk_str){tls->certificates[i].pem, tls->certificates[i].pem_len};
    if (!facts->server_name || (facts->asked && !add_client(facts, ssl))) {
        bk_tls_facts_unref(facts);
        return NULL;
    }
    return facts;
}

static const char *
protocol_of(SSL *ssl)
{
    static const char *const known[] = {"http/1.1", "http/1.0", "h2"};
    const unsigned char *at;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &at, &len);
    for (unsigned i = 0; i < BK_COUNT(known); i++)
        if (len == strlen(known[i]) && memcmp(at, known[i], len) == 0)
            return known[i];
    return "";
}

static char *
take(BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    char *text = strndup(bytes, len > 0 ? (size_t)len : 0);
    BIO_reset(bio);
    return text;
}

static char *
name_of(BIO *bio, X509_NAME *name, unsigned long flags)
{
    X509_NAME_print_ex(bio, name, 0, flags);
    return take(bio);
}

// With one demand for all an unverified certificate never gets here: the handshake has failed.
static bool
add_client(struct bk_tls_facts *facts, SSL *ssl)
{
    X509 *client = SSL_get0_peer_certificate(ssl);
    if (!client)
        return true;
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio)
        return false;
    facts->verify = SSL_get_verify_result(ssl) == X509_V_OK ? "SUCCESS" : "FAILED";
    unsigned long flags = XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB;
    facts->subject = name_of(bio, X509_get_subject_name(client), flags);
    facts->issuer = name_of(bio, X509_get_issuer_name(client), flags);
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(client), NULL);
    char *digits = number ? BN_bn2hex(number) : NULL;
    facts->serial = strdup(digits ? digits : "");
    OPENSSL_free(digits);
    BN_free(number);
    ASN1_TIME_print(bio, X509_get0_notBefore(client));
    facts->from = take(bio);
    ASN1_TIME_print(bio, X509_get0_notAfter(client));
    facts->until = take(bio);
    PEM_write_bio_X509(bio, client);
    facts->client_pem = take(bio);
    PEM_write_bio_X509(bio, client);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);  // a server's: without the client's own
    for (int i = 0; i < sk_X509_num(chain); i++)
        PEM_write_bio_X509(bio, sk_X509_value(chain, i));
    facts->chain_pem = take(bio);
    BIO_free(bio);
    ERR_clear_error();
    return facts->subject && facts->issuer && facts->serial && facts->from && facts->until &&
           facts->client_pem && facts->chain_pem;
}

struct bk_tls_facts *
bk_tls_facts_ref(struct bk_tls_facts *facts)
{
    atomic_fetch_add_explicit(&facts->refs, 1, memory_order_relaxed);
    return facts;
}

void
bk_tls_facts_unref(struct bk_tls_facts *facts)
{
    if (!facts || atomic_fetch_sub_explicit(&facts->refs, 1, memory_order_acq_rel) != 1)
        return;
    char *texts[] = {facts->server_name, facts->subject, facts->issuer,     facts->serial,
                     facts->from,        facts->until,   facts->client_pem, facts->chain_pem};
    for (unsigned i = 0; i < BK_COUNT(texts); i++)
        free(texts[i]);
    bk_tls_unref(facts->tls);
    free(facts);
}
