// The master's part of TLS: it reads certificates and keys (workers may not be able to), has them
// looked at by a child that has OpenSSL, hands them to workers as bytes, and does so again when
// the files change. It also makes the keys of session tickets and changes them.
#pragma once

#include "base/compiler.h"
#include "config/config.h"
#include "net/addr.h"

struct bk_certificates;
struct bk_heritage;
struct bk_master_pool;

// Before anything is bound: true when there is nothing to do or all is well, else bk_master_fail
// has said what is wrong.
bool bk_certificates_open(struct bk_master_pool *pool);
void bk_certificates_close(struct bk_master_pool *pool);
// Looks at the files: changed ones go to new workers, and at once to those that serve. Broken ones
// change nothing and are told once, `anew`: again. By the timer once a minute, and when workers are
// replaced.
void bk_certificates_refresh(struct bk_master_pool *pool, bool anew);
// Adds what a worker inherits; the descriptors are to be kept over exec.
int bk_certificates_leave(const struct bk_master_pool *pool,
                          struct bk_heritage *heritage) BK_MUST_CHECK;
void bk_certificates_keep(const struct bk_master_pool *pool);
// What an address without a scheme speaks.
enum bk_scheme bk_certificates_scheme(const struct bk_config *config, enum bk_scheme asked);
