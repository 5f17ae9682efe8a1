// --tls-selfsigned.
#include "tls/tls_make.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAYS 90

static X509 *make(EVP_PKEY *key, struct bk_str names);
static bool add_extension(X509 *certificate, int nid, const char *value);
static bool add_names(X509 *certificate, struct bk_str names);
static char *in_pem(X509 *certificate, EVP_PKEY *key);

int
bk_tls_make_certificate(struct bk_str names, char **ret)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = key ? make(key, names) : NULL;
    char *text = certificate ? in_pem(certificate, key) : NULL;
    X509_free(certificate);
    EVP_PKEY_free(key);
    if (!text)
        return -ENOMEM;
    *ret = text;
    return 0;
}

static X509 *
make(EVP_PKEY *key, struct bk_str names)
{
    X509 *certificate = X509_new();
    X509_NAME *name = certificate ? X509_get_subject_name(certificate) : NULL;
    int64_t serial = 0;
    if (!certificate || RAND_bytes((unsigned char *)&serial, 7) != 1)
        return certificate;
    bool fine =
        X509_set_version(certificate, X509_VERSION_3) &&
        ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), serial | 1) &&
        // A clock that is a little behind shall not refuse it.
        X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), DAYS * 86400L) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                   (const unsigned char *)"barkeep development", -1, -1, 0) &&
        X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key) &&
        add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
        add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
        add_names(certificate, names) && X509_sign(certificate, key, EVP_sha256()) > 0;
    if (fine)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static bool
add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool fine = extension && X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return fine;
}

static bool
add_names(X509 *certificate, struct bk_str names)
{
    char list[2048];
    size_t len = 0;
    struct bk_str name;
    while (bk_str_next_item(&names, ',', &name)) {
        char text[256];
        unsigned char bytes[16];
        snprintf(text, sizeof text, "%.*s", (int)name.len, name.at);
        if (!*text || strpbrk(text, ":;=\"'") != strchr(text, ':'))
            continue;
        bool address =
            inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
        if ((strchr(text, ':') && !address) || len + strlen(text) + 6 > sizeof list)
            continue;
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s:%s", len ? "," : "",
                                address ? "IP" : "DNS", text);
    }
    return len && add_extension(certificate, NID_subject_alt_name, list);
}

static char *
in_pem(X509 *certificate, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes, *text = NULL;
    if (bio && PEM_write_bio_X509(bio, certificate) &&
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
        long len = BIO_get_mem_data(bio, &bytes);
        text = strndup(bytes, (size_t)len);
    }
    BIO_free(bio);
    return text;
}
