// All that crosses exec from the master to a worker: one sealed memfd, self-describing (magic, layout, TLV), plus the
// descriptors it names. A worker accepts this and the previous layout and says which versions disagree otherwise.
#pragma once

#include <stdbool.h>

#include "base/compiler.h"
#include "base/str.h"

#define BK_HERITAGE_MAGIC 0x70656b6b72616221ull
#define BK_HERITAGE_LAYOUT 1

// Record tags. Unknown tags are skipped. Integers are decimal text, so that a dump can be read by people.
enum bk_heritage_tag {
    BK_HERITAGE_VERSION = 1,   // version of the master
    BK_HERITAGE_SETTING,       // key NUL value NUL origin
    BK_HERITAGE_LISTENER,      // fd SP scheme SP text of the bound address
    BK_HERITAGE_CHANNEL,       // fd of this worker's end of the channel
    BK_HERITAGE_SCOREBOARD,    // fd SP slot
    BK_HERITAGE_LOGRING,       // fd SP ring index SP wake eventfd
    BK_HERITAGE_WORKER,        // number (1..), stable over replacements
    BK_HERITAGE_MASTER,        // pid of the master
    BK_HERITAGE_ARGUMENT,      // one of the user's arguments: sys.argv, [0] first
    BK_HERITAGE_PATH,          // entry of sys.path that the invoker's bootstrap had added
    BK_HERITAGE_BUNDLE,        // fd of certificates and keys, see bundle.h
    BK_HERITAGE_KEYRING,       // fd of the keys of TLS session tickets
    BK_HERITAGE_CERTIFICATE,   // in a bundle: name NUL PEM
    BK_HERITAGE_KEY,           // in a bundle: name NUL PEM; both empty: it is in the certificate's file
    BK_HERITAGE_CA,            // in a bundle: name NUL PEM
};

struct bk_heritage;  // being written, or read

struct bk_heritage *bk_heritage_new(void);
void bk_heritage_free(struct bk_heritage *heritage);
// Appends a record; -ENOMEM.
int bk_heritage_add(struct bk_heritage *heritage, enum bk_heritage_tag tag, struct bk_str value) BK_MUST_CHECK;
int bk_heritage_addf(struct bk_heritage *heritage, enum bk_heritage_tag tag, const char *format, ...) BK_PRINTF(3, 4)
    BK_MUST_CHECK;
// Writes it into a new sealed memfd (not CLOEXEC: meant to be inherited; MFD_NOEXEC_SEAL where the kernel knows it).
int bk_heritage_seal(const struct bk_heritage *heritage, int *ret_fd) BK_MUST_CHECK;
// Reads a memfd. -EPROTONOSUPPORT when the layout is none we know: *ret then still gives the version record if
// there is one.
int bk_heritage_open(int fd, struct bk_heritage **ret) BK_MUST_CHECK;
// n-th record with this tag; false when there is none. *ret borrows the heritage.
bool bk_heritage_get(const struct bk_heritage *heritage, enum bk_heritage_tag tag, unsigned n, struct bk_str *ret);
