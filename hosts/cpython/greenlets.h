// The functions of the greenlet package that C code may call. It publishes them as a table behind a capsule; the
// places in it are a promise of that package since version 0.4 (greenlet.h there). Nothing of it is linked or included.
#pragma once

#include "compat.h"

enum bkpy_greenlets_place {
    BKPY_GREENLETS_EXIT = 2,     // PyObject *: class GreenletExit, borrowed
    BKPY_GREENLETS_NEW = 3,      // PyObject *(PyObject *run, PyObject *parent)
    BKPY_GREENLETS_CURRENT = 4,  // PyObject *(void), new reference
    BKPY_GREENLETS_SWITCH = 6,   // PyObject *(PyObject *self, PyObject *args, PyObject *keywords)
    BKPY_GREENLETS_ACTIVE = 10,  // int (PyObject *self)
};

struct bkpy_greenlets {
    void **table;  // borrows the package, which is never unloaded
};

// -1 with an ImportError or AttributeError.
static inline int
bkpy_greenlets_find(struct bkpy_greenlets *self)
{
    self->table = PyCapsule_Import("greenlet._C_API", 0);
    return self->table ? 0 : -1;
}

// greenlet.greenlet(run, parent)
static inline PyObject *
bkpy_greenlets_new(const struct bkpy_greenlets *self, PyObject *run, PyObject *parent)
{
    return ((PyObject * (*)(PyObject *, PyObject *)) self->table[BKPY_GREENLETS_NEW])(run, parent);
}

static inline PyObject *
bkpy_greenlets_current(const struct bkpy_greenlets *self)
{
    return ((PyObject * (*)(void)) self->table[BKPY_GREENLETS_CURRENT])();
}

// What the calling greenlet is switched back with, or NULL with what was thrown into it.
static inline PyObject *
bkpy_greenlets_switch(const struct bkpy_greenlets *self, PyObject *greenlet)
{
    typedef PyObject *switch_fn(PyObject *greenlet, PyObject *args, PyObject *keywords);
    return ((switch_fn *)self->table[BKPY_GREENLETS_SWITCH])(greenlet, NULL, NULL);
}

// Started and not over.
static inline bool
bkpy_greenlets_active(const struct bkpy_greenlets *self, PyObject *greenlet)
{
    return ((int (*)(PyObject *))self->table[BKPY_GREENLETS_ACTIVE])(greenlet);
}

static inline PyObject *
bkpy_greenlets_exit(const struct bkpy_greenlets *self)
{
    return self->table[BKPY_GREENLETS_EXIT];
}
