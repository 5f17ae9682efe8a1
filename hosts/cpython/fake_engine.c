// A scripted engine behind the real door (host.h, worker.h), for tests/host: no sockets, every rule
// of the host can be provoked. Built into barkeep._engine_fake in test builds only. script([...])
// sets what will arrive, Worker.serve(app) runs through it, results() says what the host did to
// each exchange.
#include "fake_engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/messages.h"
#include "host/host.h"
#include "proto/target.h"
#include "worker/worker.h"

// One script per process is enough for tests.
struct fake_script fake_script;

static const char *const atoms[] = {"REMOTE_USER", "app.note"};

// The host's clock (the linker wraps it) is the real one and what scripts skip by "then_idle".
static uint64_t skipped_ns;
uint64_t __real_bk_clock_mono(void);
uint64_t __wrap_bk_clock_mono(void);

uint64_t
__wrap_bk_clock_mono(void)
{
    return __real_bk_clock_mono() + skipped_ns;
}

static long
number(PyObject *dict, const char *key, long otherwise)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    return value ? PyLong_AsLong(value) : otherwise;
}

static void
add(PyObject *dict, const char *key, PyObject *value)
{
    PyDict_SetItemString(dict, key, value);
    Py_DECREF(value);
}

static void
push_to(PyObject *dict, const char *key, PyObject *value)
{
    PyObject *list = PyDict_GetItemString(dict, key);
    if (!list) {
        add(dict, key, PyList_New(0));
        list = PyDict_GetItemString(dict, key);
    }
    PyList_Append(list, value);
    Py_DECREF(value);
}

// ---- what a script makes ------------------------------------------------------------------------

// A head known to be valid, split at its blanks and colons.
static void
parse(struct bk_exchange *x, const char *at, size_t len)
{
    struct bk_head *head = &x->head;
    struct bk_fault fault;
    *head = (struct bk_head){.base = at, .len = (uint32_t)len, .fields = x->fields};
    const char *space = memchr(at, ' ', len), *second = memchr(space + 1, ' ', len),
               *line = strstr(at, "\r\n");
    head->method_len = (uint32_t)(space - at);
    head->method_id = (uint8_t)bk_method_of((struct bk_str){at, head->method_len});
    head->target = head->method_len + 1;
    head->target_len = (uint32_t)(second - space - 1);
    head->minor = (uint8_t)(line[-1] - '0');
    head->block = (uint32_t)(line + 2 - at);
    head->block_len = (uint32_t)len - 2 - head->block;
    if (bk_target_split(head, &fault) < 0)
        abort();
    for (line += 2; *line != '\r'; line = strstr(line, "\r\n") + 2) {
        struct bk_field *field = &head->fields[head->field_count++];
        const char *colon = strchr(line, ':'), *end = strstr(line, "\r\n"), *value = colon + 1;
        while (*value == ' ')
            value++;
        *field = (struct bk_field){.name = (uint32_t)(line - at),
                                   .name_len = (uint16_t)(colon - line),
                                   .value = (uint32_t)(value - at),
                                   .value_len = (uint32_t)(end - value)};
        field->id = (uint8_t)bk_header_id(line, field->name_len);
        if (memchr(line, '_', field->name_len))
            field->flags |= BK_FIELD_UNDERSCORE;
        for (const char *c = value; c < end; c++)
            if (*c & 0x80)
                field->flags |= BK_FIELD_HIGH;
        if (field->id == BK_HEADER_CONTENT_LENGTH) {
            head->flags |= BK_HEAD_HAS_LENGTH;
            head->content_length = strtoull(value, NULL, 10);
        } else if (field->id == BK_HEADER_TRANSFER_ENCODING) {
            head->flags |= BK_HEAD_CHUNKED;
        }
    }
}

static void
load_body(struct bk_exchange *x, PyObject *parts)
{
    size_t total = 0;
    x->part_count = parts ? (unsigned)PyList_GET_SIZE(parts) : 0;
    for (unsigned i = 0; i < x->part_count; i++)
        total += (size_t)PyBytes_GET_SIZE(PyList_GET_ITEM(parts, i));
    x->body = malloc(total + 1);
    total = 0;
    for (unsigned i = 0; i < x->part_count; i++) {
        PyObject *part = PyList_GET_ITEM(parts, i);
        memcpy(x->body + total, PyBytes_AS_STRING(part), (size_t)PyBytes_GET_SIZE(part));
        total += (size_t)PyBytes_GET_SIZE(part);
        x->ends[i] = total;
    }
    x->call.body_length = total;
    x->here = x->call.body_buffered ? x->part_count : 0;
}

// With the GIL: the next request of the script, in a slot with a new generation.
static struct bk_exchange *
load(struct bk_engine *engine)
{
    PyObject *request = PyList_GetItem(fake_script.requests, fake_script.at++);
    unsigned index = engine->next_slot++ % SLOTS;
    struct bk_exchange *x = &engine->slots[index];
    uint32_t generation = x->call.ref.generation + 1;
    memset(x, 0, sizeof(*x));
    x->call.ref = (struct bk_exchange_ref){index, generation};
    x->request = Py_NewRef(request);
    x->result = PyDict_New();
    PyList_Append(fake_script.results, x->result);
    PyObject *head = PyDict_GetItemString(request, "head");
    parse(x, PyBytes_AS_STRING(head), (size_t)PyBytes_GET_SIZE(head));
    x->call.head = &x->head;
    x->call.connection = (uint64_t)number(request, "connection", fake_script.at);
    x->call.nth = (uint32_t)number(request, "nth", 1);
    x->call.listener = (uint16_t)number(request, "listener", 0);
    x->call.https = number(request, "https", 0);
    x->call.peer_trusted = number(request, "trusted", 0);
    x->call.body_buffered = number(request, "buffered", 1);
    x->call.has_body = (x->head.flags & BK_HEAD_CHUNKED) || x->head.content_length > 0;
    load_body(x, PyDict_GetItemString(request, "body"));
    skipped_ns += (uint64_t)number(request, "then_idle", 0) * BK_SEC;
    x->body_error = (int)number(request, "body_error", 0);
    x->gone_after = number(request, "gone_after", -1);
    x->gone = x->gone_after == 0;
    x->high = number(request, "high", 1 << 20);
    x->signals = number(request, "signals", 0);
    snprintf(x->id, sizeof(x->id), "id%ld", (long)fake_script.at);
    x->running = true;
    return x;
}

int
bk_engine_turn(struct bk_engine *engine, int wait_ms)
{
    if (PyGILState_Check())
        engine->turned_with_gil = true;
    return engine->dead || engine->stop || fake_script.at >= PyList_GET_SIZE(fake_script.requests)
               ? BK_TURN_STOP
               : BK_TURN_READY;
}

struct bk_exchange *
bk_engine_next(struct bk_engine *engine)
{
    if (engine->dead)
        abort();  // the host must not come here in a forked child
    if (engine->ready || fake_script.at >= PyList_GET_SIZE(fake_script.requests)) {
        engine->ready = NULL;
        return NULL;
    }
    return engine->ready = load(engine);
}

int
bk_engine_turn_as(struct bk_engine *engine, unsigned thread, int wait_ms)
{
    return bk_engine_turn(engine, wait_ms);
}

struct bk_exchange *
bk_engine_next_as(struct bk_engine *engine, unsigned thread)
{
    return bk_engine_next(engine);
}

int
bk_engine_attach(struct bk_engine *engine, const struct bk_host_ops *ops, void *host)
{
    engine->ops = ops;
    engine->host = host;
    return ops->abi == BK_HOST_ABI ? 0 : -ENOTSUP;
}

struct bk_exchange *
bk_exchange_at(struct bk_engine *engine, struct bk_exchange_ref ref)
{
    struct bk_exchange *x = &engine->slots[ref.index];
    return x->running && x->call.ref.generation == ref.generation ? x : NULL;
}

struct bk_note *
bk_exchange_note(struct bk_exchange *x)
{
    return &x->note;
}

const struct bk_call *
bk_exchange_call(const struct bk_exchange *x)
{
    return &x->call;
}

struct bk_str
bk_exchange_tls(const struct bk_exchange *x, enum bk_tls_fact which)
{
    return (struct bk_str){NULL, 0};
}

bool
bk_exchange_tls_numbers(const struct bk_exchange *x, unsigned *ret_version, unsigned *ret_suite)
{
    return false;
}

size_t
bk_exchange_peer(const struct bk_exchange *x, char out[46], unsigned *ret_port)
{
    PyObject *peer = PyDict_GetItemString(x->request, "peer");
    const char *text = peer ? PyUnicode_AsUTF8(peer) : "192.0.2.1";
    *ret_port = *text ? 4000 + (unsigned)x->call.connection : 0;
    memcpy(out, text, strlen(text));
    return strlen(text);
}

struct bk_str
bk_exchange_id(struct bk_exchange *x)
{
    return bk_str_of(x->id);
}

unsigned
bk_engine_listener_count(const struct bk_engine *engine)
{
    return 2;
}

const struct bk_listener_info *
bk_engine_listener(const struct bk_engine *engine, unsigned index)
{
    return &fake_script.worker->listeners[index];
}

// ---- request bodies -----------------------------------------------------------------------------

ssize_t
bk_body_peek(struct bk_exchange *x, struct bk_str *ret)
{
    for (unsigned i = 0; i < x->here; i++)
        if (x->ends[i] > x->position) {
            *ret = (struct bk_str){x->body + x->position, x->ends[i] - x->position};
            return (ssize_t)ret->len;
        }
    return x->here < x->part_count ? -EAGAIN : -x->body_error;
}

ssize_t
bk_body_read(struct bk_exchange *x, void *into, size_t room)
{
    struct bk_str bytes = {0};
    ssize_t got = bk_body_peek(x, &bytes);
    if (got <= 0)
        return got;
    size_t len = bytes.len < room ? bytes.len : room;
    memcpy(into, bytes.at, len);
    x->position += len;
    return (ssize_t)len;
}

void
bk_body_skip(struct bk_exchange *x, size_t len)
{
    x->position += len;
}

int
bk_body_seek(struct bk_exchange *x, uint64_t position)
{
    if (!x->call.body_buffered)
        return -ESPIPE;
    if (position > x->call.body_length)
        return -EINVAL;
    x->position = position;
    return 0;
}

uint64_t
bk_body_tell(const struct bk_exchange *x)
{
    return x->position;
}

int
bk_exchange_wait(struct bk_exchange *x, enum bk_wait what)
{
    if (PyGILState_Check())
        fake_script.worker->engine.turned_with_gil = true;
    if (x->signals > 0) {
        x->signals--;
        raise(SIGUSR1);
        return -EINTR;
    }
    if (x->gone)
        return -EPIPE;
    if (what == BK_WAIT_BODY && x->here < x->part_count)
        x->here++;
    if (what == BK_WAIT_DRAIN)
        x->queued = 0;
    return 0;
}

bool
bk_exchange_gone(const struct bk_exchange *x)
{
    return x->gone;
}

// ---- answers ------------------------------------------------------------------------------------

int
bk_answer_begin(struct bk_exchange *x, int status, struct bk_str reason, const char **ret_why)
{
    if (x->sent)
        return -EALREADY;
    *ret_why = "the reason has a control character";
    if (!bk_value_valid(reason))
        return -EINVAL;
    add(x->result, "status", PyLong_FromLong(status));
    add(x->result, "reason", PyUnicode_DecodeLatin1(reason.at, (Py_ssize_t)reason.len, NULL));
    add(x->result, "fields", PyList_New(0));
    x->begun = true;
    x->out.len = 0;
    return 0;
}

int
bk_answer_field(struct bk_exchange *x, struct bk_str name, struct bk_str value,
                const char **ret_why)
{
    *ret_why = "the name is no token";
    if (!bk_token_valid(name))
        return -EINVAL;
    *ret_why = "the value has a control character";
    if (!bk_value_valid(value))
        return -EINVAL;
    enum bk_header id = bk_header_id(name.at, name.len);
    if (id == BK_HEADER_CONNECTION || id == BK_HEADER_TRANSFER_ENCODING)
        return -EPERM;
    push_to(x->result, "fields",
            Py_BuildValue("(NN)", PyUnicode_DecodeLatin1(name.at, (Py_ssize_t)name.len, NULL),
                          PyUnicode_DecodeLatin1(value.at, (Py_ssize_t)value.len, NULL)));
    return 0;
}

bool
bk_answer_begun(const struct bk_exchange *x)
{
    return x->begun;
}

bool
bk_answer_sent(const struct bk_exchange *x)
{
    return x->sent;
}

static void
copy_out(struct bk_exchange *x, const void *data, size_t len)
{
    if (x->out.len + len > x->out.room)
        x->out.at = realloc(x->out.at, x->out.room = (x->out.len + len) * 2);
    memcpy(x->out.at + x->out.len, data, len);
    x->out.len += len;
}

int
bk_answer_push(struct bk_exchange *x, const void *data, size_t len, void *token)
{
    struct bk_engine *engine = &fake_script.worker->engine;
    x->total += len;
    if (x->gone_after >= 0 && x->total > (size_t)x->gone_after)
        x->gone = true;
    if (x->gone) {
        if (token)
            engine->ops->release(engine->host, token);
        return -EPIPE;
    }
    x->queued += len;
    if (token && x->lent_count < PARTS) {  // read later, when the host must still hold it
        x->lent[x->lent_count++] = (struct lent){data, len, x->out.len, token};
        return 0;
    }
    copy_out(x, data, len);
    if (token)
        engine->ops->release(engine->host, token);
    return 0;
}

// Puts the lent pieces into the output and gives them back.
static void
settle(struct bk_exchange *x)
{
    struct bk_engine *engine = &fake_script.worker->engine;
    size_t shift = 0;
    for (unsigned i = 0; i < x->lent_count; i++) {
        struct lent *lent = &x->lent[i];
        size_t at = lent->at + shift, tail = x->out.len - at;
        char *rest = malloc(tail + 1);
        memcpy(rest, x->out.at ? x->out.at + at : "", tail);
        x->out.len = at;
        copy_out(x, lent->data, lent->len);
        copy_out(x, rest, tail);
        free(rest);
        shift += lent->len;
        engine->ops->release(engine->host, lent->token);
    }
    if (x->lent_count)
        push_to(x->result, "lent", PyLong_FromLong(x->lent_count));
    x->lent_count = 0;
}

int
bk_answer_push_file(struct bk_exchange *x, int file_fd, uint64_t offset, uint64_t len)
{
    push_to(x->result, "files",
            Py_BuildValue("(KK)", (unsigned long long)offset, (unsigned long long)len));
    char block[4096];
    while (len) {
        ssize_t got =
            pread(file_fd, block, len < sizeof(block) ? len : sizeof(block), (off_t)offset);
        if (got <= 0)
            break;
        copy_out(x, block, (size_t)got);
        offset += (uint64_t)got;
        len -= (uint64_t)got;
    }
    close(file_fd);
    return x->gone ? -EPIPE : 0;
}

int
bk_answer_flush(struct bk_exchange *x)
{
    if (x->gone)
        return -EPIPE;
    x->sent = true;
    settle(x);
    push_to(x->result, "flushes", PyLong_FromSize_t(x->out.len));
    return x->queued > (size_t)x->high;
}

int
bk_answer_interim(struct bk_exchange *x, int status, const struct bk_str *names,
                  const struct bk_str *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        push_to(x->result, "interim",
                Py_BuildValue("(is#s#)", status, names[i].at, (Py_ssize_t)names[i].len,
                              values[i].at, (Py_ssize_t)values[i].len));
    return 0;
}

static PyObject *
text(struct bk_str s)
{
    return PyUnicode_DecodeUTF8(s.at ? s.at : "", (Py_ssize_t)s.len, "replace");
}

void
bk_exchange_fail(struct bk_exchange *x, const char *key, struct bk_str kind,
                 struct bk_str traceback)
{
    if (!bk_message_find(bk_str_of(key)))
        abort();
    push_to(x->result, "failed", Py_BuildValue("(sNN)", key, text(kind), text(traceback)));
}

void
bk_exchange_warn(struct bk_exchange *x, const char *key, struct bk_str said)
{
    push_to(x->result, "warned", Py_BuildValue("(sN)", key, text(said)));
}

void
bk_exchange_commit(struct bk_exchange *x)
{
    if (!x->running)
        abort();
    settle(x);
    add(x->result, "body", PyBytes_FromStringAndSize(x->out.at, (Py_ssize_t)x->out.len));
    add(x->result, "committed", PyLong_FromLong(1));
    add(x->result, "gone", PyBool_FromLong(x->gone));
    x->running = false;
    free(x->body);
    free(x->out.at);
    Py_CLEAR(x->request);
    Py_CLEAR(x->result);
}

unsigned
bk_engine_log_environ_count(const struct bk_engine *engine)
{
    return BK_COUNT(atoms);
}

struct bk_str
bk_engine_log_environ_name(const struct bk_engine *engine, unsigned index)
{
    return bk_str_of(atoms[index]);
}

void
bk_exchange_log_environ(struct bk_exchange *x, unsigned index, struct bk_str value)
{
    push_to(x->result, "atoms", Py_BuildValue("(sN)", atoms[index], text(value)));
}
