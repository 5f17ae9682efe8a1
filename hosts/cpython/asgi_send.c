// send(message) of an http request. A message that breaks a rule raises and changes nothing. Called
// by asgi_request.c, and by asgi_websocket.c for the answer that denies a WebSocket.
#include "asgi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEND_ABOVE 4096
#define HINTS_MAX 64

static PyObject *send_path(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
static PyObject *send_file(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
static PyObject *send_hint(struct bkpy_request *request, struct bk_exchange *x, PyObject *message);
static PyObject *send_trailers(struct bkpy_request *request, struct bk_exchange *x,
                               PyObject *message);

PyObject *
bkpy_asgi_send(struct bkpy_request *request, struct bk_exchange *x, PyObject *message,
               PyObject *type)
{
    if (BKPY_ASGI_IS(type, "http.response.body"))
        return bkpy_asgi_send_body(request, x, message);
    if (BKPY_ASGI_IS(type, "http.response.start")) {
        if (request->stage != BKPY_STAGE_START)
            return bkpy_asgi_refuse(request, PyExc_RuntimeError, "the answer was started already");
        if (bkpy_asgi_start_answer(request, x, message) < 0)
            return NULL;
        request->stage = BKPY_STAGE_HELD;
        return Py_NewRef(request->host->asgi->done);
    }
    if (BKPY_ASGI_IS(type, "http.response.pathsend"))
        return send_path(request, x, message);
    if (BKPY_ASGI_IS(type, "http.response.zerocopysend"))
        return send_file(request, x, message);
    if (BKPY_ASGI_IS(type, "http.response.early_hint"))
        return send_hint(request, x, message);
    if (BKPY_ASGI_IS(type, "http.response.trailers"))
        return send_trailers(request, x, message);
    return bkpy_asgi_refuse(request, PyExc_RuntimeError, "unknown message '%U'", type);
}

PyObject *
bkpy_asgi_value(struct bkpy_request *request, PyObject *message, enum bkpy_asgi_word key)
{
    if (bk_likely(PyDict_Check(message)))
        return request->host->asgi
                   ? PyDict_GetItemWithError(message, request->host->asgi->words[key])
                   : NULL;
    return (PyObject *)bkpy_asgi_refuse(request, PyExc_TypeError, "a message is a dict, not %.100s",
                                        Py_TYPE(message)->tp_name);
}

// ---- http.response.start
// --------------------------------------------------------------------------

static int
bytes_of(PyObject *object, struct bk_str *ret)
{
    if (bk_unlikely(!PyBytes_Check(object)))
        return -1;
    *ret = (struct bk_str){PyBytes_AS_STRING(object), (size_t)PyBytes_GET_SIZE(object)};
    return 0;
}

int
bkpy_asgi_pair(PyObject *pair, struct bk_str *ret_name, struct bk_str *ret_value)
{
    PyObject **items =
        PyTuple_Check(pair) || PyList_Check(pair) ? PySequence_Fast_ITEMS(pair) : NULL;
    if (bk_likely(items && PySequence_Fast_GET_SIZE(pair) == 2 && bytes_of(items[0], ret_name) == 0
                  && bytes_of(items[1], ret_value) == 0))
        return 0;
    Py_INCREF(pair);
    PyErr_Format(PyExc_TypeError, "a header is a pair of bytes, not %R", pair);
    Py_DECREF(pair);
    return -1;
}

static int
put_field(struct bkpy_request *request, struct bk_exchange *x, struct bk_str name,
          struct bk_str value, PyObject *shown)
{
    const char *why = "not valid";
    int result = bk_answer_field(x, name, value, &why);
    if (bk_likely(result >= 0)) {
        if (bk_unlikely(name.len == 14) && bk_str_equal_nocase(name, BK_STR("content-length"))) {
            request->has_length =
                bk_str_parse_u64(bk_str_trim(value), INT64_MAX, &request->length) == 0;
        }
        return 0;
    }
    if (result == -EPERM) // connections are the server's business
        return 0;
    if (result == -ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(shown);
    bkpy_asgi_refuse(request, PyExc_ValueError, "header %R: %s", shown,
                     result == -EMSGSIZE ? "the head of the answer is too large" : why);
    Py_DECREF(shown);
    return -1;
}

static int
put_header(struct bkpy_request *request, struct bk_exchange *x, PyObject *pair)
{
    struct bk_str name, value;
    if (bkpy_asgi_pair(pair, &name, &value) < 0) {
        request->broke_rule = true;
        return -1;
    }
    return put_field(request, x, name, value, pair);
}

static int
put_headers(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    PyObject *headers = bkpy_asgi_value(request, message, BKPY_ASGI_HEADERS);
    if (!headers)
        return PyErr_Occurred() ? -1 : 0;
    headers = PySequence_Fast(headers, "headers are an iterable of pairs of bytes");
    if (!headers)
        return -1;
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < PySequence_Fast_GET_SIZE(headers); i++)
        result = put_header(request, x, PySequence_Fast_GET_ITEM(headers, i));
    Py_DECREF(headers);
    return result;
}

// The status line of an answer; fields may follow.
static int
begin_answer(struct bkpy_request *request, struct bk_exchange *x, PyObject *status)
{
    int code = bkpy_int(status);
    const char *why = "not valid";
    if (code == -1 && PyErr_Occurred())
        return -1;
    int begun = bk_answer_begin(x, code, bk_str_of(bk_status_reason(code)), &why);
    if (bk_unlikely(begun < 0)) {
        if (begun == -ENOMEM)
            PyErr_NoMemory();
        else
            bkpy_asgi_refuse(request, PyExc_ValueError, "status %d: %s", code, why);
        return -1;
    }
    request->has_length = false;
    request->head_only =
        bk_exchange_call(x)->head->method_id == BK_METHOD_HEAD || bk_status_bodiless(code);
    return 0;
}

int
bkpy_asgi_start_answer(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    PyObject *status = bkpy_asgi_value(request, message, BKPY_ASGI_STATUS);
    if (bk_unlikely(!status || !PyLong_Check(status))) {
        if (!PyErr_Occurred())
            bkpy_asgi_refuse(request, status ? PyExc_TypeError : PyExc_KeyError,
                             "a start message needs an int 'status'");
        return -1;
    }
    if (begin_answer(request, x, status) < 0)
        return -1;
    PyObject *trailers = bk_unlikely(PyDict_GET_SIZE(message) > 3)
                             ? bkpy_asgi_value(request, message, BKPY_ASGI_TRAILERS)
                             : NULL;
    int announced = trailers ? PyObject_IsTrue(trailers) : PyErr_Occurred() ? -1 : 0;
    request->trailers = announced > 0 && !request->websocket;
    return announced < 0 ? -1 : put_headers(request, x, message);
}

// ---- without messages ---------------------------------------------------------------------------

// `text` in latin-1: *ret borrows it, or a new object in *ret_owner; what does not fit becomes '?'.
static int
latin1_of(PyObject *text, PyObject **ret_owner, struct bk_str *ret)
{
    if (bk_likely(PyUnicode_Check(text) && PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND)) {
        *ret = (struct bk_str){(const char *)PyUnicode_1BYTE_DATA(text),
                               (size_t)PyUnicode_GET_LENGTH(text)};
        return 0;
    }
    *ret_owner = PyUnicode_AsEncodedString(text, "latin-1", "replace");
    return *ret_owner ? bytes_of(*ret_owner, ret) : -1;
}

static int
put_pair(struct bkpy_request *request, struct bk_exchange *x, PyObject *pair)
{
    PyObject *owners[2] = {NULL, NULL};
    struct bk_str name, value;
    int result = -1;
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2)
        PyErr_Format(PyExc_TypeError, "a field is a pair of str, not %R", pair);
    else if (latin1_of(PyTuple_GET_ITEM(pair, 0), &owners[0], &name) == 0
             && latin1_of(PyTuple_GET_ITEM(pair, 1), &owners[1], &value) == 0)
        result = put_field(request, x, name, value, pair);
    Py_XDECREF(owners[0]);
    Py_XDECREF(owners[1]);
    return result;
}

int
bkpy_asgi_answer(struct bkpy_request *request, struct bk_exchange *x, PyObject *status,
                 PyObject *fields)
{
    if (request->stage != BKPY_STAGE_START) {
        bkpy_asgi_refuse(request, PyExc_RuntimeError, "the answer was started already");
        return -1;
    }
    if (!PyLong_Check(status) || !PyList_CheckExact(fields)) {
        PyErr_SetString(PyExc_TypeError, "an answer has an int as its status and a list of fields");
        return -1;
    }
    int result = begin_answer(request, x, status);
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(fields); i++)
        result = put_pair(request, x, PyList_GET_ITEM(fields, i));
    if (result == 0)
        request->stage = BKPY_STAGE_HELD;
    return result;
}

// ---- http.response.body
// ---------------------------------------------------------------------------

// May an answer go on? NULL is raised otherwise.
static int
check_going(struct bkpy_request *request, struct bk_exchange *x)
{
    if (bk_unlikely(request->stage == BKPY_STAGE_START)) {
        bkpy_asgi_refuse(request, PyExc_RuntimeError, "a body before 'http.response.start'");
        return -1;
    }
    if (bk_unlikely(request->stage == BKPY_STAGE_TRAILERS)) {
        bkpy_asgi_refuse(request, PyExc_RuntimeError, "a body after the body was complete");
        return -1;
    }
    if (bk_unlikely(bk_exchange_gone(x))) {
        bkpy_asgi_gone(request);
        return -1;
    }
    return 0;
}

static int
check_length(struct bkpy_request *request, uint64_t len)
{
    if (bk_likely(!request->has_length || request->head_only
                  || request->pushed + len <= request->length)) {
        request->pushed += len;
        return 0;
    }
    bkpy_asgi_refuse(request, PyExc_RuntimeError,
                     "the body is longer than the Content-Length of %llu",
                     (unsigned long long)request->length);
    return -1;
}

static int
raise_pushed(struct bkpy_request *request, int error)
{
    if (error == -ENOMEM)
        PyErr_NoMemory();
    else
        bkpy_asgi_gone(request);
    return -1;
}

// bytes, large ones lent; anything else that has a buffer is copied.
static int
push(struct bkpy_request *request, struct bk_exchange *x, PyObject *body)
{
    if (bk_likely(PyBytes_CheckExact(body))) {
        size_t len = (size_t)PyBytes_GET_SIZE(body);
        struct bkpy_lent *token = NULL;
        if (check_length(request, len) < 0)
            return -1;
        if (len > LEND_ABOVE && !(token = bkpy_release_lend(&request->host->release, body)))
            return -1;
        int result = len ? bk_answer_push(x, PyBytes_AS_STRING(body), len, token) : 0;
        return bk_likely(result >= 0) ? 0 : raise_pushed(request, result);
    }
    Py_buffer view;
    if (PyUnicode_Check(body) || PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) < 0) {
        bkpy_asgi_refuse(request, PyExc_TypeError, "a body is bytes, not %.100s",
                         Py_TYPE(body)->tp_name);
        return -1;
    }
    int result = check_length(request, (uint64_t)view.len);
    if (result == 0 && view.len)
        result = bk_answer_push(x, view.buf, (size_t)view.len, NULL);
    PyBuffer_Release(&view);
    return result >= 0 ? 0 : PyErr_Occurred() ? -1 : raise_pushed(request, result);
}

// After something was pushed: the end, or what was pushed goes out and the awaitable says when
// there is room for more.
static PyObject *
go_on(struct bkpy_request *request, struct bk_exchange *x, bool more)
{
    if (bk_likely(!more && !request->trailers)) {
        bkpy_asgi_commit(request, x);
        return Py_NewRef(request->host->asgi->done);
    }
    if (!more)
        request->stage = BKPY_STAGE_TRAILERS;
    else if (request->stage == BKPY_STAGE_HELD)
        request->stage = BKPY_STAGE_BODY;
    int queued = bk_answer_flush(x);
    if (bk_unlikely(queued < 0)) {
        raise_pushed(request, queued);
        return NULL;
    }
    return queued ? bkpy_asgi_wait_new(request, true) : Py_NewRef(request->host->asgi->done);
}

// more_body of a message: 1, 0, or -1 with an exception.
static int
more_of(struct bkpy_request *request, PyObject *message)
{
    PyObject *more = bkpy_asgi_value(request, message, BKPY_ASGI_MORE_BODY);
    return more ? PyObject_IsTrue(more) : PyErr_Occurred() ? -1 : 0;
}

PyObject *
bkpy_asgi_send_body(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    if (bk_unlikely(check_going(request, x) < 0))
        return NULL;
    PyObject *body = bkpy_asgi_value(request, message, BKPY_ASGI_BODY);
    int more = more_of(request, message);
    if (bk_unlikely(more < 0 || (!body && PyErr_Occurred())))
        return NULL;
    if (body && push(request, x, body) < 0)
        return NULL;
    return go_on(request, x, more);
}

PyObject *
bkpy_asgi_send_more(struct bkpy_request *request, struct bk_exchange *x, PyObject *body, bool more)
{
    if (bk_unlikely(check_going(request, x) < 0))
        return NULL;
    if (body != Py_None && push(request, x, body) < 0)
        return NULL;
    if (body == Py_None && more) // a head alone waits for the first part
        Py_RETURN_NONE;
    PyObject *waiting = go_on(request, x, more);
    if (waiting && waiting == request->host->asgi->done)
        Py_SETREF(waiting, Py_NewRef(Py_None));
    return waiting;
}

// ---- files
// ----------------------------------------------------------------------------------------

static PyObject *
refuse_errno(int error, PyObject *path)
{
    errno = error;
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
}

static PyObject *
send_path(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    PyObject *path = bkpy_asgi_value(request, message, BKPY_ASGI_PATH), *name = NULL;
    struct stat status;
    if (check_going(request, x) < 0)
        return NULL;
    if (request->stage == BKPY_STAGE_BODY)
        return bkpy_asgi_refuse(request, PyExc_RuntimeError,
                                "'http.response.pathsend' after a body");
    if (!path || !PyUnicode_FSConverter(path, &name))
        return PyErr_Occurred() ? NULL
                                : bkpy_asgi_refuse(request, PyExc_KeyError,
                                                   "'http.response.pathsend' needs a 'path'");
    int fd = open(PyBytes_AS_STRING(name), O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = errno;
    Py_DECREF(name);
    if (fd < 0)
        return refuse_errno(error, path);
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return refuse_errno(EINVAL, path);
    }
    if (check_length(request, (uint64_t)status.st_size) < 0) {
        close(fd);
        return NULL;
    }
    int result = bk_answer_push_file(x, fd, 0, UINT64_MAX);
    if (result < 0 && raise_pushed(request, result) < 0)
        return NULL;
    return go_on(request, x, false);
}

// An int of the message that is not negative; -1: absent or None, -2 with an exception.
static long long
number_of(struct bkpy_request *request, PyObject *message, enum bkpy_asgi_word key)
{
    PyObject *value = bkpy_asgi_value(request, message, key);
    if (!value || value == Py_None)
        return PyErr_Occurred() ? -2 : -1;
    long long number = PyLong_AsLongLong(value);
    if (number < 0 && !PyErr_Occurred())
        bkpy_asgi_refuse(request, PyExc_ValueError, "offset and count are not negative");
    return number < 0 ? -2 : number;
}

// Bytes of a regular file. Without an offset from its position on, which moves; the file stays the
// application's.
static PyObject *
send_file(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    PyObject *file = bkpy_asgi_value(request, message, BKPY_ASGI_FILE);
    long long offset = number_of(request, message, BKPY_ASGI_OFFSET);
    long long count = number_of(request, message, BKPY_ASGI_COUNT);
    int more = more_of(request, message);
    if (offset == -2 || count == -2 || more < 0 || check_going(request, x) < 0)
        return NULL;
    int fd = file ? PyObject_AsFileDescriptor(file) : -1;
    struct stat status;
    if (fd < 0)
        return PyErr_Occurred() ? NULL
                                : bkpy_asgi_refuse(request, PyExc_KeyError,
                                                   "'http.response.zerocopysend' needs a 'file'");
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return bkpy_asgi_refuse(request, PyExc_ValueError,
                                "'http.response.zerocopysend' sends regular files");
    off_t from = offset >= 0 ? (off_t)offset : lseek(fd, 0, SEEK_CUR);
    uint64_t rest = from >= 0 && status.st_size > from ? (uint64_t)(status.st_size - from) : 0;
    uint64_t len = count >= 0 && (uint64_t)count < rest ? (uint64_t)count : rest;
    if (check_length(request, len) < 0)
        return NULL;
    if (len) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
            return PyErr_SetFromErrno(PyExc_OSError);
        int result = bk_answer_push_file(x, copy, (uint64_t)from, len);
        if (result < 0 && raise_pushed(request, result) < 0)
            return NULL;
        if (offset < 0)
            lseek(fd, from + (off_t)len, SEEK_SET);
    }
    return go_on(request, x, more);
}

// ---- http.response.early_hint
// ---------------------------------------------------------------------

static PyObject *
send_hint(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    PyObject *links = bkpy_asgi_value(request, message, BKPY_ASGI_LINKS);
    struct bk_str names[HINTS_MAX], values[HINTS_MAX];
    if (request->stage != BKPY_STAGE_START)
        return bkpy_asgi_refuse(request, PyExc_RuntimeError,
                                "'http.response.early_hint' after the answer was started");
    if (!links)
        return PyErr_Occurred() ? NULL
                                : bkpy_asgi_refuse(request, PyExc_KeyError,
                                                   "'http.response.early_hint' needs 'links'");
    links = PySequence_Tuple(links);
    if (!links)
        return NULL;
    PyObject *result = NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(links);
    for (Py_ssize_t i = 0; i < count && i < HINTS_MAX; i++) {
        names[i] = BK_STR("Link");
        if (bytes_of(PyTuple_GET_ITEM(links, i), &values[i]) < 0 || !bk_value_valid(values[i]))
            count = HINTS_MAX + 1;
    }
    int sent = count > HINTS_MAX ? -EINVAL
               : count           ? bk_answer_interim(x, 103, names, values, (unsigned)count)
                                 : 0;
    if (sent == -ENOMEM)
        PyErr_NoMemory();
    else if (sent == -EINVAL)
        bkpy_asgi_refuse(request, PyExc_ValueError, "links are at most %d values of bytes",
                         HINTS_MAX);
    else
        result = Py_NewRef(
            request->host->asgi->done); // a client that is gone is noticed by the answer itself
    Py_DECREF(links);
    return result;
}

// ---- http.response.trailers ---------------------------------------------------------------------

static int
put_trailer(struct bkpy_request *request, struct bk_exchange *x, PyObject *pair)
{
    struct bk_str name, value;
    const char *why = "the trailers are too large";
    if (bkpy_asgi_pair(pair, &name, &value) < 0)
        return -1;
    int result = bk_answer_trailer(x, name, value, &why);
    if (result >= 0)
        return 0;
    if (result == -ENOMEM)
        PyErr_NoMemory();
    else
        bkpy_asgi_refuse(request, PyExc_ValueError, "trailer %R: %s", pair, why);
    return -1;
}

static PyObject *
send_trailers(struct bkpy_request *request, struct bk_exchange *x, PyObject *message)
{
    if (request->stage != BKPY_STAGE_TRAILERS)
        return bkpy_asgi_refuse(request, PyExc_RuntimeError,
                                request->trailers
                                    ? "'http.response.trailers' before the body was complete"
                                    : "'http.response.trailers' that the start did not announce");
    if (bk_exchange_gone(x))
        return bkpy_asgi_gone(request);
    PyObject *more = bkpy_asgi_value(request, message, BKPY_ASGI_MORE_TRAILERS);
    int going_on = more ? PyObject_IsTrue(more) : PyErr_Occurred() ? -1 : 0;
    PyObject *headers = going_on < 0 ? NULL : bkpy_asgi_value(request, message, BKPY_ASGI_HEADERS);
    if (going_on < 0 || (!headers && PyErr_Occurred()))
        return NULL;
    PyObject *list = headers ? PySequence_Fast(headers, "headers are an iterable of pairs of bytes")
                             : PyTuple_New(0);
    int result = list ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PySequence_Fast_GET_SIZE(list); i++)
        result = put_trailer(request, x, PySequence_Fast_GET_ITEM(list, i));
    Py_XDECREF(list);
    if (result < 0)
        return NULL;
    if (!going_on)
        bkpy_asgi_commit(request, x);
    return Py_NewRef(request->host->asgi->done);
}
