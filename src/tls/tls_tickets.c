// Session tickets (RFC 5077, RFC 8446 §2.2) under keys that all workers share, so that a client may
// come back to any of them. A key is used for a time and accepted for as long again.
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "tls/tls_internal.h"

#define NAME 16
#define CIPHER_KEY 32

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int sealing);
static bool set_mac(EVP_MAC_CTX *mac, unsigned char *key);

int
bk__tls_tickets(struct bk_tls *tls, SSL_CTX *ctx)
{
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) ? 0 : -1;
}

// 1: done; 2: done, and the client shall have a new one; 0: no ticket, a full handshake; -1:
// failed.
static int
on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
          EVP_MAC_CTX *mac, int sealing)
{
    const struct bk_tls *tls = bk__tls_of(ssl);
    unsigned char key[BK_TLS_TICKET_KEY];
    int result = 0;
    if (sealing) {
        if (!tls->ticket_keys(tls->ticket_self, 0, key))
            return 0;
        memcpy(name, key, NAME);
        result = RAND_bytes(iv, EVP_CIPHER_get_iv_length(tls->ticket_cipher)) == 1 &&
                         EVP_EncryptInit_ex2(cipher, tls->ticket_cipher, key + NAME, iv, NULL) &&
                         set_mac(mac, key + NAME + CIPHER_KEY)
                     ? 1
                     : -1;
    }
    for (unsigned age = 0; !sealing && age < 2; age++) {
        if (!tls->ticket_keys(tls->ticket_self, age, key) || memcmp(name, key, NAME) != 0)
            continue;
        bool fine = EVP_DecryptInit_ex2(cipher, tls->ticket_cipher, key + NAME, iv, NULL) &&
                    set_mac(mac, key + NAME + CIPHER_KEY);
        // In TLS 1.3 each ticket is used once: the client needs another one in any case.
        bool renew = age > 0 || SSL_version(ssl) >= TLS1_3_VERSION;
        result = !fine ? -1 : renew ? 2 : 1;
        break;
    }
    OPENSSL_cleanse(key, sizeof key);
    return result;
}

static bool
set_mac(EVP_MAC_CTX *mac, unsigned char *key)
{
    static char sha256[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key,
                                          BK_TLS_TICKET_KEY - NAME - CIPHER_KEY),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, parameters);
}
