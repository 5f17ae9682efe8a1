// Two secret keys in memory that the master writes and all workers read: the one in use and the one
// before it. Made at random, never on disk.
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

#define BK_KEYRING_KEY 80

struct bk_keyring;

// With a first key. The descriptor is the keyring's, CLOEXEC.
int bk_keyring_new(struct bk_keyring **ret) BK_MUST_CHECK;
int bk_keyring_fd(const struct bk_keyring *keyring);
// For reading; closes the descriptor, unless it fails.
int bk_keyring_open(int fd, struct bk_keyring **ret) BK_MUST_CHECK;
void bk_keyring_free(struct bk_keyring *keyring);
// A new key in use; the one before the last is gone. By the owner.
int bk_keyring_turn(struct bk_keyring *keyring) BK_MUST_CHECK;
// Key of age 0 or 1; false when there is none. Any process, any thread.
bool bk_keyring_get(const struct bk_keyring *keyring, unsigned age,
                    unsigned char out[BK_KEYRING_KEY]);
