// Certificates and keys as bytes: read once by whoever may read the files, carried in a sealed
// memfd of the heritage's form, made ready by certs/. Records: CERTIFICATE and KEY, the n-th of one
// belongs to the n-th of the other, and CA: each "name NUL bytes"; and SETTING as in the heritage.
#pragma once

#include "process/heritage.h"

#define BK_BUNDLE_FILE_MAX (1024 * 1024)

struct bk_bundle_want {
    const char *const *certificates;
    unsigned certificate_count;
    const char *const *keys;  // as many, or none: then the certificates' files hold them
    unsigned key_count;
    const char *ca;    // NULL: none
    const char *made;  // PEM of a certificate and its key, in place of files; NULL
    const char *ciphers, *verify, *least;  // --ciphers ("" too), --cert-reqs, --tls-min-version
    bool tickets;
};

struct bk_bundle_fault {
    const char *option;  // "certfile", "keyfile", "ca-certs"
    const char *name;    // borrows the want
    int error;           // errno; EISDIR, EFBIG and ENODATA (empty) too
};

// -EINVAL with *fault, -ENOMEM.
int bk_bundle_read(const struct bk_bundle_want *want, struct bk_heritage **ret,
                   struct bk_bundle_fault *fault) BK_MUST_CHECK;
// A number that changes when one of the files is changed or replaced, or the wishes change.
uint64_t bk_bundle_stamp(const struct bk_bundle_want *want);
// Name and bytes of a record.
void bk_bundle_split(struct bk_str record, struct bk_str *ret_name, struct bk_str *ret_bytes);
// Value of a SETTING record, "" when it is not there; NUL-terminated.
const char *bk_bundle_setting(const struct bk_heritage *bundle, const char *key);
