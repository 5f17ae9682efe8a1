// Called by worker.c at the beginning and by orders.c when the master has new ones.
#include "worker/certificates.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "certs/certs.h"
#include "process/bundle.h"
#include "serve/engine.h"
#include "tls/tls_make.h"

static int number_of(const struct bk_heritage *heritage, enum bk_heritage_tag tag);
static int use(struct bk_engine *engine, const struct bk_heritage *bundle,
               const struct bk_keyring *keyring, char *ret_why, size_t room);

int
bk_certificates_inherit(struct bk_engine *engine, const struct bk_heritage *heritage,
                        struct bk_keyring **ret_keyring, char *ret_why, size_t room)
{
    struct bk_heritage *bundle = NULL;
    int fd = number_of(heritage, BK_HERITAGE_BUNDLE), keys, error;
    if (fd < 0)
        return 0;
    keys = number_of(heritage, BK_HERITAGE_KEYRING);
    error = bk_keyring_open(keys, ret_keyring);
    if (error < 0 && keys >= 0)
        close(keys);
    if (error == 0)
        error = bk_heritage_open(fd, &bundle);
    close(fd);
    if (error == 0)
        error = use(engine, bundle, *ret_keyring, ret_why, room);
    bk_heritage_free(bundle);
    return error;
}

static int
number_of(const struct bk_heritage *heritage, enum bk_heritage_tag tag)
{
    struct bk_str record;
    uint64_t number;
    if (!bk_heritage_get(heritage, tag, 0, &record) ||
        bk_str_parse_u64(record, INT32_MAX, &number) < 0)
        return -1;
    return (int)number;
}

static int
use(struct bk_engine *engine, const struct bk_heritage *bundle, const struct bk_keyring *keyring,
    char *ret_why, size_t room)
{
    struct bk_tls_fault fault;
    struct bk_tls *tls;
    int error = bk_certs_make(bundle, keyring, &tls, &fault);
    if (error < 0)
        snprintf(ret_why, room, "%s", fault.key ? fault.text : bk_err_name(-error));
    else
        bk_engine_set_tls(engine, tls);
    return error;
}

int
bk_certificates_alone(struct bk_engine *engine, const struct bk_config *config, char *ret_why,
                      size_t room)
{
    struct bk_bundle_want want = {
        .certificates = (const char *const *)config->certfile.items,
        .certificate_count = config->certfile.count,
        .keys = (const char *const *)config->keyfile.items,
        .key_count = config->keyfile.count,
        .ca = config->ca_certs,
        .ciphers = config->ciphers,
        .verify = config->cert_reqs,
        .least = config->tls_min_version,
        .tickets = config->tls_tickets,
    };
    struct bk_bundle_fault fault;
    struct bk_heritage *bundle = NULL;
    char *made = NULL;
    int error = 0;
    if (want.certificate_count == 0 && !config->tls_selfsigned) {
        snprintf(ret_why, room, "an https address needs certfile and keyfile, or tls_selfsigned");
        return -EINVAL;
    }
    if (want.certificate_count == 0)
        error = bk_tls_make_certificate(BK_STR("localhost,127.0.0.1,::1"), &made);
    want.made = made;
    if (error == 0 && (error = bk_bundle_read(&want, &bundle, &fault)) == -EINVAL)
        snprintf(ret_why, room, "%s '%s': %s", fault.option, fault.name, bk_err_name(fault.error));
    if (error == 0)
        error = use(engine, bundle, NULL, ret_why, room);
    bk_heritage_free(bundle);
    free(made);
    return error;
}

void
bk_certificates_renew(struct bk_engine *engine, const struct bk_keyring *keyring, int fd)
{
    struct bk_heritage *bundle = NULL;
    char why[500] = "";
    int error = bk_heritage_open(fd, &bundle);
    close(fd);
    if (error == 0)
        error = use(engine, bundle, keyring, why, sizeof why);
    bk_heritage_free(bundle);
    if (error < 0)
        bk_log(BK_LOG_ERROR, "tls-certificate-kept",
               "new certificates cannot be used, the old ones stay: %s",
               *why ? why : bk_err_name(-error));
}

enum bk_scheme
bk_certificates_scheme(const struct bk_config *config, enum bk_scheme asked)
{
    if (asked != BK_SCHEME_DEFAULT)
        return asked;
    return config->certfile.count || config->tls_selfsigned ? BK_SCHEME_HTTPS : BK_SCHEME_HTTP;
}
