// What the application learns of TLS: variables as mod_ssl and uWSGI name them, the ASGI extension.
#pragma once

#include "module.h"

#include "host/host.h"

// Adds them to an environ; nothing without TLS. -1 with an exception.
int bkpy_secure_environ(struct bk_exchange *x, PyObject *environ);
// Adds "tls" to a scope's extensions. -1 with an exception.
int bkpy_secure_extension(struct bk_exchange *x, PyObject *extensions);
