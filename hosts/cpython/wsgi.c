// One exchange through a WSGI application (PEP 3333): environ, call, answer, commit, close().
// Called by worker.c for each exchange the engine hands out, with the GIL.
#include "bkpy_host.h"

#include <errno.h>

#include "green.h"
#include "insight.h"

#define LEND_ABOVE 4096  // the engine copies what is shorter (BK_COPY_MAX)

static PyObject *call_app(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
                          PyObject **ret_environ);
static int answer(struct bkpy_host *host, struct bk_exchange *x, PyObject *result);
static void note_atoms(struct bkpy_host *host, struct bk_exchange *x, PyObject *dict);
static void call_after(struct bkpy_host *host, PyObject *dict);
static void close_result(struct bkpy_host *host, PyObject *result, PyObject *dict);

void
bkpy_wsgi_run(struct bkpy_host *host, struct bk_exchange *x)
{
    const struct bk_call *call = bk_exchange_call(x);
    PyObject *dict = NULL;
    PyObject *result = call_app(host, x, call, &dict);
    int done = result ? answer(host, x, result) : -1;
    if (bk_unlikely(done < 0))
        bkpy_failure_answer(host, x);
    if (bk_unlikely(host->raised))
        bkpy_insight_settle(host);
    if (bk_unlikely(host->log_count) && dict)
        note_atoms(host, x, dict);
    if (bk_unlikely(bk_exchange_note(x)->object != NULL))
        bkpy_green_forsake(host, x);
    if (bk_likely(host->engine != NULL))  // else: a forked child, see serve()
        bk_exchange_commit(x);
    if (result)
        close_result(host, result, dict);
    if (bk_unlikely(host->after != NULL) && dict)
        call_after(host, dict);
    Py_XDECREF(dict);
}

// The application's result, or NULL: with an exception, or without one when the answer is already
// there.
static PyObject *
call_app(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
         PyObject **ret_environ)
{
    int made = bkpy_environ_make(host, x, call, ret_environ);
    if (bk_unlikely(made))
        return NULL;
    PyObject *arguments[3] = {NULL, *ret_environ, bkpy_start_response_take(host, call->ref)};
    if (bk_unlikely(!arguments[2]))
        return NULL;
    PyObject *result =
        PyObject_Vectorcall(host->app, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(arguments[2]);
    return result;
}

// ---- body ---------------------------------------------------------------------------------------

static int
break_rule(struct bk_exchange *x, PyObject *type, const char *format, const char *detail)
{
    PyErr_Format(type, format, detail);
    bk_exchange_note(x)->flags |= BKPY_BROKE_RULE;
    return -1;
}

static int
check_begun(struct bk_exchange *x)
{
    bool spoiled = bk_exchange_note(x)->flags & BKPY_SPOILED;
    if (bk_likely(bk_answer_begun(x) && !spoiled))
        return 0;
    return break_rule(x, PyExc_AssertionError,
                      spoiled ? "the application ignored the exception of start_response%s"
                                    : "the application did not call start_response%s",
                      "");
}

int
bkpy_wsgi_push(struct bkpy_host *host, struct bk_exchange *x, PyObject *item)
{
    size_t len = (size_t)PyBytes_GET_SIZE(item);
    struct bkpy_lent *token = NULL;
    if (len > LEND_ABOVE && PyBytes_CheckExact(item)) {
        token = bkpy_release_lend(&host->first->release, item);
        if (!token)
            return -1;
    }
    int result = bk_answer_push(x, PyBytes_AS_STRING(item), len, token);
    if (bk_likely(result >= 0))
        return 0;
    if (result != -ENOMEM)
        return 1;
    PyErr_NoMemory();
    return -1;
}

int
bkpy_wsgi_flush(struct bkpy_host *host, struct bk_exchange *x)
{
    int queued = bk_answer_flush(x);
    if (bk_unlikely(queued > 0))
        queued = bkpy_host_wait(host, x, BK_WAIT_DRAIN);
    if (bk_likely(queued == 0))
        return 0;
    if (queued == -ENOMEM)
        PyErr_NoMemory();
    return queued == -ECANCELED || queued == -ENOMEM ? -1 : 1;
}

// One item of the answer: 0, 1: the client is gone, -1 with an exception.
static int
push_item(struct bkpy_host *host, struct bk_exchange *x, PyObject *item)
{
    if (bk_unlikely(!PyBytes_Check(item)))
        return break_rule(x, PyExc_TypeError,
                          "the application's answer must consist of bytes, not %.100s",
                          Py_TYPE(item)->tp_name);
    if (PyBytes_GET_SIZE(item) == 0)
        return 0;  // PEP 3333: an empty item says nothing yet, not even that the head may go
    if (check_begun(x) < 0)
        return -1;
    return bkpy_wsgi_push(host, x, item);
}

// A list or tuple of bytes: all at once, so that head and body leave in one write
// with a Content-Length.
static int
answer_whole(struct bkpy_host *host, struct bk_exchange *x, PyObject *const *items,
             Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        int result = push_item(host, x, items[i]);
        if (bk_unlikely(result))
            return result;
    }
    return check_begun(x);
}

// Each item is on its way before the next one is asked for.
static int
answer_iterable(struct bkpy_host *host, struct bk_exchange *x, PyObject *iterable)
{
    // bytes are iterable, into integers; saying so at once is kinder than an error about an int.
    if ((!Py_TYPE(iterable)->tp_iter && !PySequence_Check(iterable)) || PyBytes_Check(iterable)
        || PyUnicode_Check(iterable))
        return break_rule(x, PyExc_TypeError,
                          "the application returned %.100s, not an iterable of bytes",
                          Py_TYPE(iterable)->tp_name);
    PyObject *iterator = PyObject_GetIter(iterable), *item;
    if (!iterator)
        return -1;
    bool head_only = bk_exchange_call(x)->head->method_id == BK_METHOD_HEAD;
    int result = 0;
    while (result == 0 && (item = PyIter_Next(iterator))) {
        if (bk_unlikely(!host->engine))
            result = 1;
        else
            result = push_item(host, x, item);
        if (result == 0 && PyBytes_GET_SIZE(item)) {
            result = bkpy_wsgi_flush(host, x);
            if (result == 0 && head_only)
                result = 1;  // all that can be sent was sent
        }
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred())
        return -1;
    return result || !host->engine ? 0 : check_begun(x);
}

static int
answer(struct bkpy_host *host, struct bk_exchange *x, PyObject *result)
{
    if (bk_unlikely(!host->engine))
        return 0;
    PyTypeObject *type = Py_TYPE(result);
    int done;
    if (bk_likely(type == &PyList_Type))
        done = answer_whole(host, x, PySequence_Fast_ITEMS(result), PyList_GET_SIZE(result));
    else if (type == &PyTuple_Type)
        done = answer_whole(host, x, PySequence_Fast_ITEMS(result), PyTuple_GET_SIZE(result));
    else if (type == host->state->file_wrapper_type
             && (done = bkpy_file_wrapper_send(host, x, result)) != 0)
        ;
    else
        done = answer_iterable(host, x, result);
    return done < 0 ? -1 : 0;
}

// ---- after the answer ---------------------------------------------------------------------------

// Exactly once, on every path, after the answer is on its way: close() often does the work the
// client need not wait for.
static void
close_result(struct bkpy_host *host, PyObject *result, PyObject *dict)
{
    PyTypeObject *type = Py_TYPE(result);
    if (type != &PyList_Type && type != &PyTuple_Type) {
        PyObject *method, *nothing;
        int found = bkpy_attribute(result, bkpy_word(host, BKPY_WORD_CLOSE), &method);
        if (found > 0) {
            nothing = PyObject_CallNoArgs(method);
            Py_DECREF(method);
            Py_XDECREF(nothing);
            if (!nothing)
                found = -1;
        }
        if (found < 0)
            bkpy_failure_close(host, dict);
    }
    Py_DECREF(result);
}

// Whatever happened: the hook post_request counts requests. It catches what it raises itself.
static void
call_after(struct bkpy_host *host, PyObject *dict)
{
    PyObject *nothing = PyObject_CallOneArg(host->after, dict);
    Py_XDECREF(nothing);
    if (!nothing && host->engine)
        bkpy_failure_close(host, dict);
    PyErr_Clear();
}

// Values for %({NAME}e)s in the access log.
static void
note_atoms(struct bkpy_host *host, struct bk_exchange *x, PyObject *dict)
{
    for (unsigned i = 0; i < host->log_count; i++) {
        PyObject *value = PyDict_GetItemWithError(dict, host->log_keys[i]);
        PyObject *text = value ? PyObject_Str(value) : NULL;
        PyObject *bytes =
            text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
        if (bytes && host->engine)
            bk_exchange_log_environ(
                x, i, (struct bk_str){PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)});
        Py_XDECREF(text);
        Py_XDECREF(bytes);
        PyErr_Clear();
    }
}
