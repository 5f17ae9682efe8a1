// From a bundle (process/bundle.h) to certificates in use (tls/tls_ctx.h).
#pragma once

#include "process/heritage.h"
#include "process/keyring.h"
#include "tls/tls_ctx.h"

// `keys` may be NULL: tickets are then this process's own. It must outlive the set. -EINVAL with
// *fault, -ENOMEM.
int bk_certs_make(const struct bk_heritage *bundle, const struct bk_keyring *keys,
                  struct bk_tls **ret, struct bk_tls_fault *fault) BK_MUST_CHECK;
// The words of --cert-reqs.
enum bk_tls_verify bk_certs_verify(const char *word);
