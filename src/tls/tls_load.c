// PEM bytes into contexts, and in words what is wrong with them.
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls/tls_internal.h"

struct reading {
    const struct bk_tls_settings *settings;
    const struct bk_tls_pair *pair;
    struct bk_tls_fault *fault;
    X509 *leaf;      // owns
    EVP_PKEY *key;   // owns
    char *names;     // owns
    bool encrypted;  // the key asked for a password
};

static int read_leaf(struct reading *reading);
static int read_key(struct reading *reading);
static int read_names(struct reading *reading);
static int make_certificate(struct bk_tls *tls, struct reading *reading, unsigned n);
static int add_chain(SSL_CTX *ctx, struct reading *reading);
static void describe(struct bk__tls_certificate *into, const struct reading *reading, unsigned n);
static int refuse(struct reading *reading, const char *key, struct bk_str name, const char *what);

int
bk__tls_load_pair(struct bk_tls *tls, const struct bk_tls_settings *settings, unsigned n,
                  struct bk_tls_fault *fault)
{
    struct reading reading = {.settings = settings, .pair = &settings->pairs[n], .fault = fault};
    int error = read_leaf(&reading);
    if (error == 0)
        error = read_key(&reading);
    if (error == 0 && !X509_check_private_key(reading.leaf, reading.key)) {
        const struct bk_tls_pair *pair = reading.pair;
        fault->key = "tls-key-mismatch";
        snprintf(fault->text, sizeof fault->text, "%.*s does not belong to %.*s",
                 (int)pair->key_name.len, pair->key_name.at, (int)pair->certificate_name.len,
                 pair->certificate_name.at);
        error = -EINVAL;
    }
    if (error == 0)
        error = read_names(&reading);
    if (error == 0)
        error = make_certificate(tls, &reading, n);
    X509_free(reading.leaf);
    EVP_PKEY_free(reading.key);
    free(reading.names);
    return error;
}

static BIO *
bytes_of(struct bk_str text)
{
    return BIO_new_mem_buf(text.at, (int)text.len);
}

static int
read_leaf(struct reading *reading)
{
    BIO *bio = bytes_of(reading->pair->certificate);
    if (!bio)
        return -ENOMEM;
    reading->leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (reading->leaf)
        return 0;
    bool empty = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const char *why = bk__tls_reason();
    return refuse(reading, "tls-certificate-file", reading->pair->certificate_name,
                  empty ? "holds no certificate in PEM form" : why);
}

// Nobody is there to be asked.
static int
on_password(char *into, int room, int writing, void *self)
{
    struct reading *reading = self;
    reading->encrypted = true;
    return -1;
}

static int
read_key(struct reading *reading)
{
    const struct bk_tls_pair *pair = reading->pair;
    BIO *bio = bytes_of(pair->key.len ? pair->key : pair->certificate);
    if (!bio)
        return -ENOMEM;
    reading->key = PEM_read_bio_PrivateKey(bio, NULL, on_password, reading);
    BIO_free(bio);
    if (reading->key)
        return 0;
    struct bk_str text = pair->key.len ? pair->key : pair->certificate;
    bool empty = !memmem(text.at, text.len, " PRIVATE KEY-----", 17);
    const char *why = bk__tls_reason();
    if (reading->encrypted)
        why = "is protected by a password, and there is nobody to ask; "
              "openssl pkey -in FILE -out FILE takes it off";
    else if (empty && !pair->key.len)
        why = "holds no private key; --keyfile names the file that does";
    else if (empty)
        why = "holds no private key in PEM form";
    return refuse(reading, "tls-certificate-file",
                  pair->key.len ? pair->key_name : pair->certificate_name, why);
}

// DNS names of the certificate, else its common name (what certificates of old had).
static int
read_names(struct reading *reading)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(reading->leaf, NID_subject_alt_name, NULL, NULL);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        GENERAL_NAMES_free(all);
        return -ENOMEM;
    }
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        if (name->type != GEN_DNS)
            continue;
        const unsigned char *at = ASN1_STRING_get0_data(name->d.dNSName);
        int size = ASN1_STRING_length(name->d.dNSName);
        if (size <= 0 || memchr(at, 0, (size_t)size))
            continue;
        for (int k = 0; k < size; k++)
            fputc(tolower(at[k]), out);
        fputc(0, out);
    }
    GENERAL_NAMES_free(all);
    fflush(out);
    char common[256];
    X509_NAME *subject = X509_get_subject_name(reading->leaf);
    if (len == 0 && X509_NAME_get_text_by_NID(subject, NID_commonName, common, sizeof common) > 0) {
        for (char *c = common; *c; c++)
            fputc(tolower((unsigned char)*c), out);
        fputc(0, out);
    }
    fputc(0, out);
    if (fclose(out) != 0) {
        free(text);
        return -ENOMEM;
    }
    reading->names = text;
    return 0;
}

static bool
same_names(const char *a, const char *b)
{
    while (*a && strcmp(a, b) == 0) {
        a += strlen(a) + 1;
        b += strlen(b) + 1;
    }
    return !*a && !*b;
}

static int
make_certificate(struct bk_tls *tls, struct reading *reading, unsigned n)
{
    struct bk__tls_certificate *into = NULL;
    int type = EVP_PKEY_get_base_id(reading->key), error = 0;
    for (unsigned i = 0; i < tls->count && !into; i++)
        if (*reading->names && tls->certificates[i].key_type != type &&
            same_names(tls->certificates[i].names, reading->names))
            into = &tls->certificates[i];
    bool joins = into;
    if (!joins) {
        into = &tls->certificates[tls->count];
        error = bk__tls_context(tls, reading->settings, &into->ctx, reading->fault);
        if (error < 0)
            return error;
        tls->count++;
        into->key_type = type;
        into->names = reading->names;
        reading->names = NULL;
        describe(into, reading, n);
    }
    if (!SSL_CTX_use_certificate(into->ctx, reading->leaf))
        return refuse(reading, "tls-certificate-file", reading->pair->certificate_name,
                      bk__tls_reason());
    if (!SSL_CTX_use_PrivateKey(into->ctx, reading->key))
        return refuse(reading, "tls-certificate-file", reading->pair->key_name, bk__tls_reason());
    return add_chain(into->ctx, reading);
}

static int
add_chain(SSL_CTX *ctx, struct reading *reading)
{
    BIO *bio = bytes_of(reading->pair->certificate);
    X509 *leaf = bio ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL, *next;
    int error = leaf ? 0 : -ENOMEM;
    while (error == 0 && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (!SSL_CTX_add0_chain_cert(ctx, next)) {
            X509_free(next);
            error = refuse(reading, "tls-certificate-file", reading->pair->certificate_name,
                           bk__tls_reason());
        }
    }
    ERR_clear_error();
    X509_free(leaf);
    BIO_free(bio);
    return error;
}

static int64_t
seconds_of(const ASN1_TIME *moment)
{
    struct tm parts;
    return ASN1_TIME_to_tm(moment, &parts) ? (int64_t)timegm(&parts) : 0;
}

static void
describe(struct bk__tls_certificate *into, const struct reading *reading, unsigned n)
{
    struct bk_tls_validity *validity = &into->validity;
    size_t len = 0;
    for (const char *at = into->names; *at && len < sizeof validity->names; at += strlen(at) + 1)
        len += (size_t)snprintf(validity->names + len, sizeof validity->names - len, "%s%s",
                                len ? ", " : "", at);
    validity->pair = n;
    validity->from = seconds_of(X509_get0_notBefore(reading->leaf));
    validity->until = seconds_of(X509_get0_notAfter(reading->leaf));
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes;
    if (bio && PEM_write_bio_X509(bio, reading->leaf)) {
        into->pem_len = (size_t)BIO_get_mem_data(bio, &bytes);
        into->pem = strndup(bytes, into->pem_len);
    }
    BIO_free(bio);
}

int
bk__tls_load_ca(SSL_CTX *ctx, const struct bk_tls_settings *settings, struct bk_tls_fault *fault)
{
    BIO *bio = bytes_of(settings->ca);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    unsigned count = 0;
    X509 *ca;
    if (!bio)
        return -ENOMEM;
    while ((ca = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL))) {
        X509_STORE_add_cert(store, ca);  // one that is there already is no error
        SSL_CTX_add_client_CA(ctx, ca);
        X509_free(ca);
        count++;
    }
    BIO_free(bio);
    bool empty = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const char *why = bk__tls_reason();
    if (count && empty)
        return 0;
    fault->key = "tls-certificate-file";
    snprintf(fault->text, sizeof fault->text, "--ca-certs '%.*s': %s", (int)settings->ca_name.len,
             settings->ca_name.at, empty ? "holds no certificate in PEM form" : why);
    return -EINVAL;
}

const char *
bk__tls_reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return text ? text : "OpenSSL refused it";
}

static int
refuse(struct reading *reading, const char *key, struct bk_str name, const char *what)
{
    bool is_key = reading->pair->key.len && name.at == reading->pair->key_name.at;
    reading->fault->key = key;
    snprintf(reading->fault->text, sizeof reading->fault->text, "--%s '%.*s': %s",
             is_key ? "keyfile" : "certfile", (int)name.len, name.at, what);
    return -EINVAL;
}
