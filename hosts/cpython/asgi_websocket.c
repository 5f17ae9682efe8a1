// The messages of a WebSocket over the engine's session (host.h, WebSocket). Called by
// asgi_request.c, asgi_receive.c and asgi_end.c.
#include "asgi.h"

#include <errno.h>

#define LEND_ABOVE 4096
#define HEADERS_MAX 64

static PyObject *accept_it(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
static PyObject *send_it(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
static PyObject *close_it(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
static PyObject *deny(struct bkpy_request *request, struct bk_exchange *x, PyObject *message,
                      PyObject *type);

PyObject *
bkpy_asgi_ws_send(struct bkpy_request *request, struct bk_exchange *x, PyObject *message,
                  PyObject *type)
{
    if (BKPY_ASGI_IS(type, "websocket.send"))
        return send_it(request, x, message);
    if (BKPY_ASGI_IS(type, "websocket.close"))
        return close_it(request, x, message);
    if (BKPY_ASGI_IS(type, "websocket.accept"))
        return accept_it(request, x, message);
    return deny(request, x, message, type);
}

static PyObject *
refuse_stage(struct bkpy_request *request, struct bk_exchange *x, const char *what)
{
    if (bk_exchange_gone(x) || request->left || request->stage == BKPY_STAGE_CLOSED)
        return bkpy_asgi_gone(request);
    return bkpy_asgi_refuse(request, PyExc_RuntimeError, "'%s' %s", what,
                            request->stage == BKPY_STAGE_START ? "before 'websocket.accept'"
                            : request->stage == BKPY_STAGE_OPEN
                                ? "after 'websocket.accept'"
                                : "while the WebSocket is being denied");
}

// ---- accept, close
// --------------------------------------------------------------------------------

static PyObject *
accept_it(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    struct bk_str names[HEADERS_MAX], values[HEADERS_MAX], subprotocol = {"", 0};
    const char *why = "not valid";
    if (request->stage != BKPY_STAGE_START)
        return refuse_stage(request, x, "websocket.accept");
    PyObject *chosen = bkpy_asgi_value(request, message, BKPY_ASGI_SUBPROTOCOL);
    PyObject *headers = bkpy_asgi_value(request, message, BKPY_ASGI_HEADERS);
    if (PyErr_Occurred())
        return NULL;
    Py_ssize_t len;
    if (chosen && chosen != Py_None) {
        if (!PyUnicode_Check(chosen) || !bkpy_latin1(chosen, &subprotocol.at, &len))
            return bkpy_asgi_refuse(request, PyExc_TypeError, "a subprotocol is a str, not %R",
                                    chosen);
        subprotocol.len = (size_t)len;
    }
    headers = headers ? PySequence_Fast(headers, "headers are an iterable of pairs of bytes")
                      : PyTuple_New(0);
    if (!headers)
        return NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(headers);
    bool fine = count <= HEADERS_MAX;
    for (Py_ssize_t i = 0; fine && i < count; i++)
        fine = bkpy_asgi_pair(PySequence_Fast_GET_ITEM(headers, i), &names[i], &values[i]) == 0;
    int result =
        fine ? bk_ws_accept(x, subprotocol, names, values, (unsigned)count, &why) : -EINVAL;
    Py_DECREF(headers);
    if (result == 0) {
        request->stage = BKPY_STAGE_OPEN;
        if (request->waits) // another task waits for messages already
            bkpy_asgi_wake(request, BKPY_WAIT_ACCEPT);
        return Py_NewRef(request->host->asgi->done);
    }
    if (result == -ENOMEM)
        return PyErr_NoMemory();
    if (result == -EPIPE)
        return bkpy_asgi_gone(request);
    return PyErr_Occurred()
               ? NULL
               : bkpy_asgi_refuse(request, PyExc_ValueError, "'websocket.accept': %s", why);
}

// Refuses the handshake with 403.
static PyObject *
forbid(struct bkpy_request *request, struct bk_exchange *x)
{
    const char *why;
    if (bk_answer_begin(x, 403, bk_str_of(bk_status_reason(403)), &why) == 0
        && bk_answer_field(x, BK_STR("Content-Type"), BK_STR("text/plain; charset=utf-8"), &why)
               == 0)
        bk_answer_push(x, "The WebSocket was refused.\n", 27, NULL);
    bkpy_asgi_commit(request, x);
    return Py_NewRef(request->host->asgi->done);
}

static PyObject *
close_it(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    if (request->stage == BKPY_STAGE_START)
        return bk_exchange_gone(x) ? bkpy_asgi_gone(request) : forbid(request, x);
    if (request->stage != BKPY_STAGE_OPEN || request->left)
        return refuse_stage(request, x, "websocket.close");
    PyObject *code = bkpy_asgi_value(request, message, BKPY_ASGI_CODE);
    PyObject *reason = bkpy_asgi_value(request, message, BKPY_ASGI_REASON);
    Py_ssize_t len = 0;
    const char *text = "";
    long number = code && code != Py_None ? PyLong_AsLong(code) : 1000;
    if (reason && reason != Py_None && !PyErr_Occurred())
        text = PyUnicode_AsUTF8AndSize(reason, &len);
    if (PyErr_Occurred())
        return NULL;
    int result =
        number < 0 ? -EINVAL : bk_ws_close(x, (unsigned)number, (struct bk_str){text, (size_t)len});
    if (result == -EINVAL)
        return bkpy_asgi_refuse(request, PyExc_ValueError, "%ld is no code to close with", number);
    if (result < 0)
        return bkpy_asgi_gone(request);
    request->stage = BKPY_STAGE_CLOSED;
    return Py_NewRef(request->host->asgi->done);
}

// websocket.http.response.start and .body: an answer like any other in place of the session.
static PyObject *
deny(struct bkpy_request *request, struct bk_exchange *x, PyObject *message, PyObject *type)
{
    if (BKPY_ASGI_IS(type, "websocket.http.response.start")) {
        if (request->stage != BKPY_STAGE_START)
            return refuse_stage(request, x, "websocket.http.response.start");
        if (bkpy_asgi_start_answer(request, x, message) < 0)
            return NULL;
        request->stage = BKPY_STAGE_DENIAL;
        return Py_NewRef(request->host->asgi->done);
    }
    if (BKPY_ASGI_IS(type, "websocket.http.response.body")) {
        if (request->stage != BKPY_STAGE_DENIAL)
            return refuse_stage(request, x, "websocket.http.response.body");
        return bkpy_asgi_send_body(request, x, message);
    }
    return bkpy_asgi_refuse(request, PyExc_RuntimeError, "unknown message '%U'", type);
}

// ---- messages
// -------------------------------------------------------------------------------------

static PyObject *
send_it(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    if (request->stage != BKPY_STAGE_OPEN || request->left)
        return refuse_stage(request, x, "websocket.send");
    PyObject *bytes = bkpy_asgi_value(request, message, BKPY_ASGI_BYTES);
    PyObject *text = bkpy_asgi_value(request, message, BKPY_ASGI_TEXT), *owner = bytes;
    if (PyErr_Occurred())
        return NULL;
    bytes = bytes == Py_None ? NULL : bytes;
    text = text == Py_None ? NULL : text;
    if (!bytes == !text)
        return bkpy_asgi_refuse(request, PyExc_ValueError,
                                "'websocket.send' has either 'text' or 'bytes'");
    Py_buffer view = {0};
    const char *at;
    Py_ssize_t len;
    if (text) {
        owner = text;
        at = PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;
        if (!at)
            return PyErr_Occurred() ? NULL
                                    : bkpy_asgi_refuse(request, PyExc_TypeError,
                                                       "'text' is a str, not %R", text);
    } else {
        if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0)
            return NULL;
        at = view.buf;
        len = view.len;
    }
    struct bkpy_lent *token = NULL;
    int queued = -ENOMEM;
    if (len <= LEND_ABOVE || (!text && !PyBytes_CheckExact(bytes))
        || (token = bkpy_release_lend(&request->host->release, owner)))
        queued = bk_ws_send(x, text ? BK_WS_TEXT : BK_WS_BINARY, at, (size_t)len, token);
    if (view.obj)
        PyBuffer_Release(&view);
    if (queued == -ENOMEM)
        return PyErr_NoMemory();
    if (queued < 0)
        return bkpy_asgi_gone(request);
    return queued ? bkpy_asgi_wait_new(request, true) : Py_NewRef(request->host->asgi->done);
}

static PyObject *
disconnect_message(struct bkpy_asgi *asgi, const struct bk_ws_message *end)
{
    PyObject *reason = PyUnicode_DecodeUTF8(end->data.at ? end->data.at : "",
                                            (Py_ssize_t)end->data.len, "replace");
    return reason ? Py_BuildValue("{OOOiON}", asgi->words[BKPY_ASGI_TYPE],
                                  asgi->words[BKPY_ASGI_WEBSOCKET_DISCONNECT],
                                  asgi->words[BKPY_ASGI_CODE], (int)end->code,
                                  asgi->words[BKPY_ASGI_REASON], reason)
                  : NULL;
}

static PyObject *
receive_message(struct bkpy_asgi *asgi, const struct bk_ws_message *message)
{
    PyObject **words = asgi->words;
    bool is_text = message->kind == BK_WS_TEXT;
    PyObject *data =
        is_text ? PyUnicode_DecodeUTF8(message->data.at, (Py_ssize_t)message->data.len, NULL)
                : PyBytes_FromStringAndSize(message->data.at, (Py_ssize_t)message->data.len);
    return data ? Py_BuildValue("{OOONOO}", words[BKPY_ASGI_TYPE],
                                words[BKPY_ASGI_WEBSOCKET_RECEIVE],
                                words[is_text ? BKPY_ASGI_TEXT : BKPY_ASGI_BYTES], data,
                                words[is_text ? BKPY_ASGI_BYTES : BKPY_ASGI_TEXT], Py_None)
                : NULL;
}

int
bkpy_asgi_ws_message(struct bkpy_request *request, struct bk_exchange *x, PyObject **ret,
                     unsigned *ret_what)
{
    struct bkpy_asgi *asgi = request->host->asgi;
    struct bk_ws_message message = {.code = 1006};
    *ret_what = 0;
    if (!request->connected) {
        request->connected = true;
        *ret = Py_BuildValue("{OO}", asgi->words[BKPY_ASGI_TYPE],
                             asgi->words[BKPY_ASGI_WEBSOCKET_CONNECT]);
        return *ret ? 1 : -1;
    }
    bool open = request->stage == BKPY_STAGE_OPEN || request->stage == BKPY_STAGE_CLOSED;
    if (x && open) {
        int got = bk_ws_receive(x, &message);
        *ret_what = BK_WAIT_MESSAGE;
        if (got == -EAGAIN)
            return 0;
        if (got == 1) {
            *ret = receive_message(asgi, &message);
            return *ret ? 1 : -1;
        }
        if (got < 0)
            message = (struct bk_ws_message){.code = 1006};
        request->left = true;
    } else if (x && !request->left && !bk_exchange_gone(x)) {
        *ret_what = BKPY_WAIT_ACCEPT;
        return 0;
    }
    *ret = disconnect_message(asgi, &message);
    return *ret ? 1 : -1;
}

void
bkpy_asgi_ws_end(struct bkpy_request *request, struct bk_exchange *x, bool failed)
{
    const char *why;
    if (request->stage == BKPY_STAGE_START) {
        if (!failed && !bk_exchange_gone(x)
            && bk_answer_begin(x, 403, bk_str_of(bk_status_reason(403)), &why) == 0)
            bk_answer_push(x, "The WebSocket was refused.\n", 27, NULL);
        return;
    }
    if (request->stage == BKPY_STAGE_OPEN && !request->left)
        bk_ws_close(x, failed ? 1011 : 1000, BK_STR(""));
}
