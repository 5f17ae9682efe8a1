// A worker's certificates: inherited from the master as bytes, renewed by it, or read alone.
#pragma once

#include "base/compiler.h"
#include "config/config.h"
#include "net/addr.h"
#include "process/heritage.h"
#include "process/keyring.h"

struct bk_engine;

// Gives the engine what the heritage holds, if anything; *ret_keyring then has the keys of tickets,
// the caller's to free after the engine. Negative errno with *ret_why.
int bk_certificates_inherit(struct bk_engine *engine, const struct bk_heritage *heritage,
                            struct bk_keyring **ret_keyring, char *ret_why,
                            size_t room) BK_MUST_CHECK;
// Reads the files of the settings, or makes a certificate. Negative errno with *ret_why.
int bk_certificates_alone(struct bk_engine *engine, const struct bk_config *config, char *ret_why,
                          size_t room) BK_MUST_CHECK;
// Others from now on. Closes `fd`. A bundle that cannot be used changes nothing: the master has
// looked at it before. Any thread.
void bk_certificates_renew(struct bk_engine *engine, const struct bk_keyring *keyring, int fd);
// What an address without a scheme speaks.
enum bk_scheme bk_certificates_scheme(const struct bk_config *config, enum bk_scheme asked);
