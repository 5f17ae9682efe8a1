// Called by workers when they begin and when certificates change, and by barkeep-engine.
#include "certs/certs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "process/bundle.h"

#define PAIRS_MAX 1000

_Static_assert(BK_KEYRING_KEY == BK_TLS_TICKET_KEY, "the keyring's keys are those of tickets");

static bool ticket_key(void *self, unsigned age, unsigned char out[BK_TLS_TICKET_KEY]);

int
bk_certs_make(const struct bk_heritage *bundle, const struct bk_keyring *keys, struct bk_tls **ret,
              struct bk_tls_fault *fault)
{
    static const size_t size = sizeof(struct bk_tls_pair);
    struct bk_str record;
    unsigned count = 0;
    while (count < PAIRS_MAX && bk_heritage_get(bundle, BK_HERITAGE_CERTIFICATE, count, &record))
        count++;
    struct bk_tls_pair *pairs = calloc(count ? count : 1, size);
    if (!pairs)
        return -ENOMEM;
    struct bk_tls_settings settings = {
        .pairs = pairs,
        .count = count,
        .verify = bk_certs_verify(bk_bundle_setting(bundle, "cert_reqs")),
        .ciphers = bk_bundle_setting(bundle, "ciphers"),
        .only_13 = strcmp(bk_bundle_setting(bundle, "tls_min_version"), "1.3") == 0,
        .tickets = strcmp(bk_bundle_setting(bundle, "tls_tickets"), "off") != 0,
        .ticket_keys = keys ? ticket_key : NULL,
        .ticket_self = (void *)(uintptr_t)keys,
    };
    for (unsigned i = 0; i < count; i++) {
        if (bk_heritage_get(bundle, BK_HERITAGE_CERTIFICATE, i, &record))
            bk_bundle_split(record, &pairs[i].certificate_name, &pairs[i].certificate);
        if (bk_heritage_get(bundle, BK_HERITAGE_KEY, i, &record))
            bk_bundle_split(record, &pairs[i].key_name, &pairs[i].key);
    }
    if (bk_heritage_get(bundle, BK_HERITAGE_CA, 0, &record))
        bk_bundle_split(record, &settings.ca_name, &settings.ca);
    int error = bk_tls_new(&settings, ret, fault);
    free(pairs);
    return error;
}

static bool
ticket_key(void *self, unsigned age, unsigned char out[BK_TLS_TICKET_KEY])
{
    return bk_keyring_get(self, age, out);
}

enum bk_tls_verify
bk_certs_verify(const char *word)
{
    if (strcmp(word, "required") == 0 || strcmp(word, "2") == 0)
        return BK_TLS_VERIFY_REQUIRED;
    if (strcmp(word, "optional") == 0 || strcmp(word, "1") == 0)
        return BK_TLS_VERIFY_OPTIONAL;
    return BK_TLS_VERIFY_NONE;
}
