// What becomes of an exception: the 500 page and one traceback in the log when the application is
// at fault, a 4xx when the client is, nothing when there is nobody left to answer. Called by
// wsgi.c.
#include "bkpy_host.h"

#include <errno.h>

#include "base/log.h"
#include "asgi.h"
#include "green.h"

#define TRACEBACK_MAX 32768  // bytes; of longer ones the end is kept, it says more

// The text of the exception, from the application's first frame on (there are no others below it),
// without the last newline and with control characters replaced. New bytes object, or NULL without
// an exception.
static PyObject *
format(PyObject *exception)
{
    PyObject *result = NULL, *joined = NULL, *empty = PyUnicode_FromString("");
    PyObject *traceback = PyException_GetTraceback(exception),
             *module = PyImport_ImportModule("traceback");
    PyObject *lines =
        module ? PyObject_CallMethod(module, "format_exception", "OOO", Py_TYPE(exception),
                                     exception, traceback ? traceback : Py_None)
               : NULL;
    if (lines && empty)
        joined = PyUnicode_Join(empty, lines);
    PyObject *bytes =
        joined ? PyUnicode_AsEncodedString(joined, "utf-8", "backslashreplace") : NULL;
    if (bytes) {
        const char *at = PyBytes_AS_STRING(bytes);
        Py_ssize_t len = PyBytes_GET_SIZE(bytes);
        while (len && at[len - 1] == '\n')
            len--;
        if (len > TRACEBACK_MAX) {
            at += len - TRACEBACK_MAX;
            len = TRACEBACK_MAX;
        }
        result = PyBytes_FromStringAndSize(at, len);
    }
    for (Py_ssize_t i = 0; result && i < PyBytes_GET_SIZE(result); i++) {
        char *c = PyBytes_AS_STRING(result) + i;
        if (((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f)
            *c = '?';
    }
    PyErr_Clear();
    Py_XDECREF(empty);
    Py_XDECREF(traceback);
    Py_XDECREF(module);
    Py_XDECREF(lines);
    Py_XDECREF(joined);
    Py_XDECREF(bytes);
    return result;
}

// "ValueError", "OperationalError".
static struct bk_str
kind_of(PyObject *exception)
{
    const char *name = Py_TYPE(exception)->tp_name, *dot = strrchr(name, '.');
    return bk_str_of(dot ? dot + 1 : name);
}

static void
fail(struct bkpy_host *host, struct bk_exchange *x, PyObject *exception)
{
    PyObject *text = format(exception);
    if (host->engine) {
        struct bk_str traceback = {0};
        if (text)
            traceback = (struct bk_str){PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)};
        bool broke_rule = bk_exchange_note(x)->flags & BKPY_BROKE_RULE;
        bk_exchange_fail(x, broke_rule ? "app-response" : "app-raised", kind_of(exception),
                         traceback);
    }
    Py_XDECREF(text);
}

// A short answer of the server's own, when nothing was sent yet.
static void
answer_text(struct bk_exchange *x, int status, struct bk_str text)
{
    const char *why;
    if (bk_answer_begin(x, status, bk_str_of(bk_status_reason(status)), &why) < 0
        || bk_answer_field(x, BK_STR("Content-Type"), BK_STR("text/plain; charset=utf-8"), &why)
               < 0)
        return;
    bk_answer_push(x, text.at, text.len, NULL);
}

// The client's fault, seen by the application as an OSError from wsgi.input or write(). False: it
// is not.
static bool
answer_client(struct bkpy_host *host, struct bk_exchange *x, PyObject *exception)
{
    if (!PyErr_GivenExceptionMatches(exception, PyExc_OSError))
        return false;
    int error = bk_exchange_note(x)->error;
    if (bk_exchange_gone(x) || error == ECONNRESET || error == EPIPE) {
        bk_log(BK_LOG_DEBUG, NULL, "the client left, the application stopped with %s",
               kind_of(exception).at);
        return true;
    }
    if (error != ETIMEDOUT && error != EPROTO && error != EFBIG)
        return false;
    if (bk_answer_sent(x))  // too late for a status: the client must see a cut answer
        bk_exchange_fail(x, "request-bad", kind_of(exception), (struct bk_str){0});
    else if (error == ETIMEDOUT)
        answer_text(x, 408, BK_STR("The request body stopped arriving.\n"));
    else if (error == EPROTO)
        answer_text(x, 400, BK_STR("The request body is not valid HTTP.\n"));
    else
        answer_text(x, 413, BK_STR("The request body is too large.\n"));
    return true;
}

// Without a master SystemExit and KeyboardInterrupt end serve(), but not before other requests are
// served. Under a master they are a failed request like any other: a view must not be able to stop
// the worker.
bool
bkpy_failure_leave(struct bkpy_host *host, PyObject *exception)
{
    bool interrupt = PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
    if (!host->alone || (!interrupt && !PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)))
        return false;
    if (!host->leaving)
        host->leaving = Py_NewRef(exception);
    bk_worker_stop(host->worker, interrupt);
    return true;
}

// In a child that the application forked no connection is ours any more. SystemExit goes on, all
// else is printed.
static void
end_child(struct bkpy_host *host, PyObject *exception)
{
    if (!PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)) {
        bkpy_exception_raise(Py_NewRef(exception));
        PyErr_Print();
    } else if (!host->leaving) {
        host->leaving = Py_NewRef(exception);
    }
}

bool
bkpy_failure_overdue(struct bkpy_host *host, struct bk_exchange *x, PyObject *exception)
{
    if (!(bk_exchange_note(x)->flags & BKPY_OVERDUE)
        || !(PyErr_GivenExceptionMatches(exception, host->state->request_timeout)
             || (host->asgi && PyErr_GivenExceptionMatches(exception, host->asgi->cancelled))))
        return false;
    PyObject *text = format(exception);
    struct bk_str traceback = {0};
    if (text)
        traceback = (struct bk_str){PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)};
    bk_exchange_fail(x, "request-timeout", BK_STR("RequestTimeout"), traceback);
    Py_XDECREF(text);
    return true;
}

void
bkpy_failure_answer(struct bkpy_host *host, struct bk_exchange *x)
{
    PyObject *exception = bkpy_exception_take();
    if (!host->engine) {
        if (exception)
            end_child(host, exception);
    } else if (!exception) {  // environ.c: the path is not below SCRIPT_NAME
        answer_text(x, 404, BK_STR("There is nothing at this path.\n"));
    } else if (bkpy_failure_leave(host, exception) && !bk_answer_sent(x)) {
        answer_text(x, 503, BK_STR("The server is stopping.\n"));
    } else if (bkpy_green_cut(host, exception)) {
        bk_exchange_warn(x, "request-cut", BK_STR("cut off at the end of --graceful-timeout"));
        if (!bk_answer_sent(x))
            answer_text(x, 503, BK_STR("The server is stopping.\n"));
    } else if (!bkpy_failure_overdue(host, x, exception) && !answer_client(host, x, exception)) {
        fail(host, x, exception);
    }
    Py_XDECREF(exception);
}

// Logs an exception that belongs to no running exchange.
void
bkpy_failure_log(PyObject *exception, const char *where)
{
    PyObject *text = format(exception);
    struct bk_str traceback = {0};
    if (text)
        traceback = (struct bk_str){PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)};
    bk_log_detail(BK_LOG_ERROR, "app-raised", traceback, "%s in the application, %s",
                  kind_of(exception).at, where);
    Py_XDECREF(text);
}

bool
bkpy_failure_signal(struct bkpy_host *host)
{
    if (host->alone || !host->engine)
        return false;
    PyObject *exception = bkpy_exception_take();
    if (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)) {
        if (!host->leaving)
            host->leaving = Py_NewRef(exception);
        bk_worker_stop(host->worker, false);
    } else if (!PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)) {
        bkpy_failure_log(exception, "in a signal handler");
    }
    Py_DECREF(exception);
    return true;
}

// A value of environ for a log line, escaped; the application may have put anything there.
static const char *
value_text(PyObject *dict, PyObject *key, char out[160])
{
    PyObject *value = dict ? PyDict_GetItemWithError(dict, key) : NULL;
    PyObject *bytes = value && PyUnicode_Check(value)
                          ? PyUnicode_AsEncodedString(value, "utf-8", "backslashreplace")
                          : NULL;
    struct bk_str text = {"-", 1};
    if (bytes)
        text = (struct bk_str){PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
    out[bk_str_escape(out, 159, text)] = 0;
    Py_XDECREF(bytes);
    PyErr_Clear();
    return out;
}

void
bkpy_failure_close(struct bkpy_host *host, PyObject *dict)
{
    PyObject *exception = bkpy_exception_take();
    if (!exception)
        return;
    if (!host->engine) {
        end_child(host, exception);
    } else if (!bkpy_failure_leave(host, exception)) {
        char method[160], target[160], id[160], where[640];
        snprintf(where, sizeof(where), "in close() after the answer, request %s %s %s",
                 value_text(dict, bkpy_word(host, BKPY_WORD_REQUEST_ID), id),
                 value_text(dict, bkpy_word(host, BKPY_WORD_REQUEST_METHOD), method),
                 value_text(dict, bkpy_word(host, BKPY_WORD_RAW_URI), target));
        bkpy_failure_log(exception, where);
    }
    Py_DECREF(exception);
}
