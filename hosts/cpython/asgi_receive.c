// receive(): the next message for the application. Called by asgi_wait.c when the awaitable is
// awaited, so that what was not taken stays.
#include "asgi.h"

#include <errno.h>

// {"type": "http.request", "body": data, "more_body": more}
static PyObject *
request_message(struct bkpy_asgi *asgi, struct bk_str data, bool more)
{
    PyObject *message = PyDict_Copy(asgi->no_body);
    PyObject *body = message ? PyBytes_FromStringAndSize(data.at, (Py_ssize_t)data.len) : NULL;
    int result = body ? PyDict_SetItem(message, asgi->words[BKPY_ASGI_BODY], body) : -1;
    if (result == 0 && more)
        result = PyDict_SetItem(message, asgi->words[BKPY_ASGI_MORE_BODY], Py_True);
    Py_XDECREF(body);
    if (result < 0)
        Py_CLEAR(message);
    return message;
}

// Bytes of the body: 1, 0: none yet, -1 with an exception, 2: it broke.
static int
take_body(struct bkpy_request *request, struct bk_exchange *x, PyObject **ret)
{
    struct bkpy_asgi *asgi = request->host->asgi;
    struct bk_str data = {0}, rest;
    ssize_t got = bk_body_peek(x, &data);
    if (got == -EAGAIN)
        return 0;
    if (got < 0) {
        request->body_error = (int)got;
        request->left = true;
        return 2;
    }
    bool more = false;
    PyObject *message;
    if (got == 0) {
        message = PyDict_Copy(asgi->no_body);
    } else {
        // The bytes go away with skip: the message is made first, its end is known after.
        message = request_message(asgi, data, true);
        if (message) {
            bk_body_skip(x, (size_t)got);
            more = bk_body_peek(x, &rest) != 0;
            if (!more && PyDict_SetItem(message, asgi->words[BKPY_ASGI_MORE_BODY], Py_False) < 0)
                Py_CLEAR(message);
        }
    }
    if (!message)
        return -1;
    request->body_over = !more;
    *ret = message;
    return 1;
}

int
bkpy_asgi_message(struct bkpy_request *request, PyObject **ret, unsigned *ret_what)
{
    struct bkpy_asgi *asgi = request->host->asgi;
    struct bk_exchange *x = bkpy_asgi_exchange(request);
    *ret_what = 0; // the client's leaving is always waited for
    if (bk_unlikely(!asgi)) {
        PyErr_SetString(PyExc_RuntimeError, "the worker is over");
        return -1;
    }
    if (bk_unlikely(request->host->turning)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "receive was awaited in another thread than the loop's");
        return -1;
    }
    if (bk_unlikely(request->websocket))
        return bkpy_asgi_ws_message(request, x, ret, ret_what);
    if (x && !request->left && !request->body_over && !bk_exchange_gone(x)) {
        int taken = take_body(request, x, ret);
        *ret_what = BK_WAIT_BODY;
        if (taken != 2)
            return taken;
    }
    if (x && !request->left && !bk_exchange_gone(x))
        return 0;
    *ret = PyDict_Copy(asgi->disconnect);
    return *ret ? 1 : -1;
}
