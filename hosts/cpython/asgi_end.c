// What becomes of a request when its application is through: the rest of the answer, a 500 page, a
// cut, lines in the log.
#include "asgi.h"

#include <errno.h>

static void end_failed(struct bkpy_request *request, struct bk_exchange *x, PyObject *exception,
                       PyObject *scope);
static void end_silent(struct bkpy_request *request, struct bk_exchange *x);

// The exception the task ended with as the pending one.
static void
raise_of(struct bkpy_asgi *asgi, PyObject *task)
{
    PyObject *exception = PyObject_CallMethodNoArgs(task, asgi->words[BKPY_ASGI_EXCEPTION]);
    if (bk_likely(exception == Py_None))
        Py_DECREF(exception);
    else if (exception)
        bkpy_exception_raise(exception);
    // else: the task was cancelled, CancelledError is pending
}

void
bkpy_asgi_end(struct bkpy_request *request, PyObject *task, PyObject *scope)
{
    struct bkpy_host *host = request->host;
    if (bk_likely(task != NULL))
        raise_of(host->asgi, task);
    struct bk_exchange *x = bkpy_asgi_exchange(request);
    PyObject *exception = PyErr_Occurred() ? bkpy_exception_take() : NULL;
    if (bk_unlikely(exception && !PyErr_GivenExceptionMatches(exception, PyExc_Exception)))
        Py_XSETREF(host->asgi->last_exit, Py_NewRef(exception));
    if (bk_unlikely(exception || !scope))
        end_failed(request, x, exception, scope);
    else if (bk_unlikely(x != NULL))
        end_silent(request, x);
    Py_XDECREF(exception);
}

// ---- without an exception
// -------------------------------------------------------------------------

// The application returned and the answer is not complete.
static void
end_silent(struct bkpy_request *request, struct bk_exchange *x)
{
    struct bkpy_host *host = request->host;
    if (request->websocket && request->stage != BKPY_STAGE_DENIAL) {
        bkpy_asgi_ws_end(request, x, false);
    } else if (!bk_exchange_gone(x) && (!request->left || request->body_error)) {
        PyErr_SetString(PyExc_RuntimeError,
                        request->stage == BKPY_STAGE_START
                            ? "the application returned without starting an answer"
                            : "the application returned without completing its answer");
        bk_exchange_note(x)->flags |= BKPY_BROKE_RULE;
        bk_exchange_note(x)->error = -request->body_error;
        bkpy_failure_answer(host, x);
    }
    bkpy_asgi_commit(request, x);
}

// ---- with one
// -------------------------------------------------------------------------------------

// Was it the client's leaving that the application stopped at? Its own words for it
// ("ClientDisconnect") count too, and what was raised while one of those was handled.
static bool
is_departure(struct bkpy_host *host, PyObject *exception)
{
    bool found = false;
    PyObject *at = Py_NewRef(exception);
    for (unsigned depth = 0; at && !found && depth < 8; depth++) {
        PyObject *before = PyException_GetCause(at);
        found = PyErr_GivenExceptionMatches(at, PyExc_OSError)
                || strstr(Py_TYPE(at)->tp_name, "Disconnect")
                || PyErr_GivenExceptionMatches(at, host->asgi->cancelled);
        if (!before)
            before = PyException_GetContext(at);
        Py_SETREF(at, before);
    }
    Py_XDECREF(at);
    return found;
}

// An exception that comes when there is no answer left that could show it.
static void
log_late(PyObject *exception, PyObject *scope, struct bkpy_asgi *asgi)
{
    char where[400], method[40] = "WebSocket", path[300] = "?";
    PyObject *value = PyDict_GetItemWithError(scope, asgi->words[BKPY_ASGI_METHOD]);
    if (value && PyUnicode_Check(value) && PyUnicode_AsUTF8(value))
        snprintf(method, sizeof(method), "%s", PyUnicode_AsUTF8(value));
    value = PyDict_GetItemWithError(scope, asgi->words[BKPY_ASGI_RAW_PATH]);
    if (value && PyBytes_Check(value))
        path[bk_str_escape(
            path, sizeof(path) - 1,
            (struct bk_str){PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value)})] = 0;
    PyErr_Clear();
    snprintf(where, sizeof(where), "after the answer, request %s %s", method, path);
    bkpy_failure_log(exception, where);
}

static void
answer_stopping(struct bk_exchange *x)
{
    static const char text[] = "The server is stopping.\n";
    const char *why;
    if (bk_answer_begin(x, 503, bk_str_of(bk_status_reason(503)), &why) == 0
        && bk_answer_field(x, BK_STR("Content-Type"), BK_STR("text/plain; charset=utf-8"), &why)
               == 0)
        bk_answer_push(x, text, sizeof(text) - 1, NULL);
}

static void
end_failed(struct bkpy_request *request, struct bk_exchange *x, PyObject *exception,
           PyObject *scope)
{
    struct bkpy_host *host = request->host;
    bool gone = x && bk_exchange_gone(x);
    if (exception && x && bkpy_failure_overdue(host, x, exception)) {
        bkpy_asgi_commit(request, x);
        return;
    }
    if (exception && (gone || request->left) && is_departure(host, exception)) {
        bk_log(BK_LOG_DEBUG, NULL, "the client left, the application stopped with %s",
               Py_TYPE(exception)->tp_name);
        if (x && request->body_error
            && !gone) { // it did not leave: its body broke, and it is owed an answer
            errno = -request->body_error;
            PyErr_SetFromErrno(PyExc_OSError);
            bk_exchange_note(x)->error = -request->body_error;
            bkpy_failure_answer(host, x);
        }
        if (x)
            bkpy_asgi_commit(request, x);
        return;
    }
    if (!x) {
        if (exception && !bkpy_failure_leave(host, exception)
            && !(host->asgi->cancelling
                 && PyErr_GivenExceptionMatches(exception, host->asgi->cancelled)))
            log_late(exception, scope, host->asgi);
        return;
    }
    if (exception && host->asgi->cancelling && !bk_answer_sent(x)
        && PyErr_GivenExceptionMatches(exception, host->asgi->cancelled)) {
        answer_stopping(x); // that requests were cancelled is said once for all of them
        bkpy_asgi_commit(request, x);
        return;
    }
    if (exception)
        bkpy_exception_raise(Py_NewRef(exception));
    if (request->broke_rule)
        bk_exchange_note(x)->flags |= BKPY_BROKE_RULE;
    if (request->websocket && request->stage == BKPY_STAGE_OPEN && exception) {
        bkpy_failure_answer(host, x); // says so in the log; the session ends with 1011
        bkpy_asgi_ws_end(request, x, true);
    } else {
        bkpy_failure_answer(host, x);
    }
    bkpy_asgi_commit(request, x);
}
