// Facts of a connection, for environ and scope. See tls.h for the struct.
#pragma once

#include <openssl/ssl.h>

#include "tls/tls.h"

// Right after the handshake; NULL when out of memory.
struct bk_tls_facts *bk__tls_facts_new(SSL *ssl, struct bk_tls *tls);
