// A certificate of our own, for development.
#pragma once

#include "base/compiler.h"
#include "base/str.h"

// Makes a key and a certificate for it that vouches for itself, good for 90 days, for these names
// and addresses ("localhost,127.0.0.1,::1"). Both in PEM, in one malloc'ed text that the caller
// frees. -ENOMEM.
int bk_tls_make_certificate(struct bk_str names, char **ret) BK_MUST_CHECK;
