// Certificates and what goes with them, made ready for handshakes: one context of OpenSSL for each
// certificate, chosen by the name the client asks for (SNI). Made from bytes, never from files: who
// serves may not be able to read the keys. A set is never changed; a new one takes its place.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/str.h"

struct bk_tls_pair {
    struct bk_str certificate_name, key_name;  // for messages
    struct bk_str certificate;  // PEM: the certificate, then those between it and the root
    struct bk_str key;          // PEM; empty: it is in `certificate`
};

enum bk_tls_verify { BK_TLS_VERIFY_NONE, BK_TLS_VERIFY_OPTIONAL, BK_TLS_VERIFY_REQUIRED };

// Ticket keys of all workers: the one in use (age 0) or the one before it (age 1) into `out`; false
// when there is none. From the loop's thread.
#define BK_TLS_TICKET_KEY 80  // name (16), AES-256 key (32), HMAC key (32)
typedef bool (*bk_tls_ticket_fn)(void *self, unsigned age, unsigned char out[BK_TLS_TICKET_KEY]);

struct bk_tls_settings {
    const struct bk_tls_pair *pairs;  // the first one is for clients that name nobody we know
    unsigned count;
    struct bk_str ca_name, ca;  // PEM: who may sign the certificates of clients; may be empty
    enum bk_tls_verify verify;
    const char *ciphers;  // OpenSSL's list; TLS_... names are for TLS 1.3. NULL or "": our own
    bool only_13;         // TLS 1.3 is the least version, else 1.2
    bool tickets;
    bk_tls_ticket_fn ticket_keys;  // NULL: keys of this process alone
    void *ticket_self;             // borrows; must outlive the set
};

// What is wrong with the settings. `key` is one of messages.def's.
struct bk_tls_fault {
    const char *key;
    char text[500];
};

struct bk_tls;
// -EINVAL with *fault, -ENOMEM. Borrows nothing afterwards but ticket_self.
int bk_tls_new(const struct bk_tls_settings *settings, struct bk_tls **ret,
               struct bk_tls_fault *fault) BK_MUST_CHECK;
// Sets are counted: connections keep the one they began with. From any thread.
struct bk_tls *bk_tls_ref(struct bk_tls *tls);
void bk_tls_unref(struct bk_tls *tls);

// Of certificate `n`: the names it is for ("example.org, *.example.org", cut at room) and when it
// begins and ends to be valid (seconds since 1970). False past the last.
struct bk_tls_validity {
    char names[200];
    int64_t from, until;
    unsigned pair;  // index in the settings
};
bool bk_tls_validity(const struct bk_tls *tls, unsigned n, struct bk_tls_validity *ret);

// "OpenSSL 3.0.13" of the library that is loaded; a literal.
const char *bk_tls_library(void);
