// Functions of barkeep._engine_fake beside those of the real module; see fake_engine.c.
#pragma once

#include "module.h"

#include "host/host.h"
#include "worker/worker.h"

#define SLOTS 4
#define PARTS 64

struct buffer {
    char *at;
    size_t len, room;
};

struct bk_exchange {
    struct bk_call call;
    struct bk_head head;
    struct bk_field fields[BK_FIELDS_MAX];
    struct bk_note note;
    PyObject *request;  // ref: the script's dict
    PyObject *result;   // ref: dict for results()
    bool running, begun, sent, gone;
    char *body;                 // owns: all parts joined
    size_t ends[PARTS];         // end of each part in body
    unsigned part_count, here;  // parts that have arrived
    size_t position;
    int body_error;   // errno after the last part, 0: a clean end
    long gone_after;  // answer bytes after which the client is gone, -1: never
    long high;        // queued bytes above which flush says "wait"
    long signals;     // waits interrupted by SIGUSR1 first
    size_t queued, total;
    struct buffer out;
    struct lent {
        const void *data;
        size_t len, at;
        void *token;
    } lent[PARTS];
    unsigned lent_count;
    char id[20];
};

struct bk_engine {
    const struct bk_host_ops *ops;
    void *host;
    struct bk_exchange slots[SLOTS];
    unsigned next_slot;
    bool dead, stop, turned_with_gil;
    struct bk_exchange *ready;
};

struct bk_worker {
    struct bk_engine engine;
    struct bk_listener_info listeners[2];
    char *settings[64];  // "key=value"
    unsigned setting_count;
    char said[4096];  // what failed, booting, ready were told
};

// One script per process is enough for tests.
struct fake_script {
    PyObject *requests, *results;
    Py_ssize_t at;
    struct bk_worker *worker;
};
extern struct fake_script fake_script;

// script(requests): a list of dicts, see load() for the keys.
PyObject *bkpy_fake_script(PyObject *module, PyObject *requests);
// results(): one dict per exchange of the script.
PyObject *bkpy_fake_results(PyObject *module, PyObject *unused);
// said(): (what the worker was told last, whether the engine was ever turned with the GIL held).
PyObject *bkpy_fake_said(PyObject *module, PyObject *unused);
