// worker.h for the scripted engine of fake_engine.c, and the functions the tests call.
#include "fake_engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int
bk_worker_inherit(int heritage_fd, struct bk_worker **ret, char *ret_why, size_t why_room)
{
    snprintf(ret_why, why_room, "no master here, fd %d", heritage_fd);
    return -EPROTONOSUPPORT;
}

int
bk_worker_alone(const char *const *pairs, unsigned count, struct bk_worker **ret, char *ret_why,
                size_t why_room)
{
    struct bk_worker *worker = calloc(1, sizeof(*worker));
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(pairs[2 * i], "nonsense") == 0) {
            snprintf(ret_why, why_room, "no setting 'nonsense'");
            free(worker);
            return -EINVAL;
        }
        if (asprintf(&worker->settings[worker->setting_count++], "%s=%s", pairs[2 * i],
                     pairs[2 * i + 1])
            < 0)
            abort();
    }
    worker->listeners[0] = (struct bk_listener_info){
        BK_STR("127.0.0.1"), BK_STR("8000"), false, BK_STR("http://127.0.0.1:8000")};
    worker->listeners[1] = (struct bk_listener_info){
        BK_STR("/run/web.sock"), BK_STR(""), false, BK_STR("unix:/run/web.sock")};
    fake_script.worker = worker;
    *ret = worker;
    return 0;
}

void
bk_worker_free(struct bk_worker *worker)
{
    for (unsigned i = 0; i < worker->setting_count; i++)
        free(worker->settings[i]);
    free(worker);
    fake_script.worker = NULL;
}

struct bk_str
bk_worker_setting(struct bk_worker *worker, const char *key)
{
    size_t len = strlen(key);
    for (unsigned i = worker->setting_count; i-- > 0;)
        if (strncmp(worker->settings[i], key, len) == 0 && worker->settings[i][len] == '=')
            return bk_str_of(worker->settings[i] + len + 1);
    return (struct bk_str){0};
}

bool
bk_worker_argument(struct bk_worker *worker, unsigned n, struct bk_str *ret)
{
    *ret = n ? BK_STR("two") : BK_STR("one");
    return n < 2;
}

bool
bk_worker_path(struct bk_worker *worker, unsigned n, struct bk_str *ret)
{
    return false;
}

void
bk_worker_counts(const struct bk_worker *worker, uint64_t *ret_requests, uint64_t *ret_errors)
{
    *ret_requests = *ret_errors = 0;
}

unsigned
bk_worker_number(const struct bk_worker *worker)
{
    return 7;
}

struct bk_str
bk_worker_address(const struct bk_worker *worker)
{
    return BK_STR("http://127.0.0.1:8000");
}

void
bk_worker_failed(struct bk_worker *worker, int code, const char *key, struct bk_str brief,
                 bool whole, struct bk_str said)
{
    snprintf(worker->said, sizeof(worker->said), "failed %d %s %.*s", code, key, (int)said.len,
             said.at);
}

void
bk_worker_insight(struct bk_worker *worker, const struct bk_insight *insight, void *self)
{
}

int
bk_worker_files(struct bk_worker *worker, struct bk_str names)
{
    snprintf(worker->said, sizeof(worker->said), "files %.*s", (int)names.len, names.at);
    return 0;
}

void
bk_worker_debugging(struct bk_worker *worker, bool on)
{
    snprintf(worker->said, sizeof(worker->said), "debugging %s", on ? "on" : "off");
}

int
bk_worker_ready(struct bk_worker *worker, struct bk_str facts)
{
    snprintf(worker->said, sizeof(worker->said), "ready %.*s", (int)facts.len, facts.at);
    return 0;
}

int
bk_worker_threads(struct bk_worker *worker, unsigned count)
{
    return 0;
}

void
bk_worker_hold(struct bk_worker *worker, uint64_t *ret_token)
{
}

void
bk_worker_release(struct bk_worker *worker, uint64_t token)
{
}

struct bk_engine *
bk_worker_engine(struct bk_worker *worker)
{
    return &worker->engine;
}

void
bk_worker_stop(struct bk_worker *worker, bool quick)
{
    worker->engine.stop = true;
    snprintf(worker->said, sizeof(worker->said), "stop %s", quick ? "quick" : "graceful");
}

void
bk_worker_abandon(struct bk_worker *worker)
{
    worker->engine.dead = true;
}

// ---- for the tests ------------------------------------------------------------------------------

PyObject *
bkpy_fake_script(PyObject *module, PyObject *requests)
{
    if (!PyList_Check(requests)) {
        PyErr_SetString(PyExc_TypeError, "script takes a list of dicts");
        return NULL;
    }
    Py_XSETREF(fake_script.requests, PySequence_List(requests));
    Py_XSETREF(fake_script.results, PyList_New(0));
    fake_script.at = 0;
    if (fake_script.worker)
        fake_script.worker->engine.stop = false;
    Py_RETURN_NONE;
}

PyObject *
bkpy_fake_results(PyObject *module, PyObject *unused)
{
    return Py_XNewRef(fake_script.results);
}

PyObject *
bkpy_fake_said(PyObject *module, PyObject *unused)
{
    return Py_BuildValue("(sN)", fake_script.worker->said,
                         PyBool_FromLong(fake_script.worker->engine.turned_with_gil));
}
