// The environ dict of a request (PEP 3333): a template of constants, filled from the head.
#pragma once

#include "module.h"

#include <stdbool.h>

#include "host/host.h"

struct bkpy_host;

#define BKPY_NAMES 256      // cached keys of field names that are not in the table
#define BKPY_NAME_MAX 54    // longer ones are made anew each time

struct bkpy_name {
    PyObject *key;          // ref, NULL: empty slot
    uint8_t len;
    char name[BKPY_NAME_MAX];
};

struct bkpy_environ {
    PyObject **templates;   // owns, refs: two per listener (http, https)
    unsigned count;
    PyObject *errors;       // ref: wsgi.errors
    PyObject *mount;        // ref: SCRIPT_NAME as str, "" at the root
    char *mount_bytes;      // owns: the same in latin-1
    size_t mount_len;
    struct bkpy_name *names;  // owns: BKPY_NAMES, direct-mapped by hash
};

// Prepares the constants; needs host->engine. -1 with an exception.
int bkpy_environ_start(struct bkpy_host *host);
void bkpy_environ_release(struct bkpy_environ *self);

// The environ of an exchange in *ret (new reference). 0; 1: the path lies outside SCRIPT_NAME; -1 with an exception.
int bkpy_environ_make(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call, PyObject **ret);
