// Builds environ. The constants of a listener come as a copy of a template dict that is already
// large enough for a usual request, known names have ready-made keys, and values are single copies
// of the received bytes (latin-1, PEP 3333).
#include "environ.h"

#include "bkpy_host.h"
#include "secure.h"

#include "proto/target.h"

_Static_assert(BK_HEADER_COUNT <= 128, "the bitmap of seen fields has 128 bits");

static PyObject *template_of(struct bkpy_host *host, const struct bk_call *call);
static int fill(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
                struct bkpy_memo_slot *slot, PyObject *dict);
static int put_target(struct bkpy_host *host, const struct bk_call *call, struct bk_str mount,
                      PyObject *dict);
static int put_own(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
                   PyObject *dict);

// Steals `value`; NULL is an exception already raised.
static inline int
put(PyObject *dict, PyObject *key, PyObject *value)
{
    if (bk_unlikely(!value))
        return -1;
    int result = PyDict_SetItem(dict, key, value);
    Py_DECREF(value);
    return result;
}

static inline PyObject *
text_of(struct bk_str text)
{
    return PyUnicode_DecodeLatin1(text.at, (Py_ssize_t)text.len, NULL);
}

// A str of a field value; the parser has already looked for bytes above 0x7f.
static inline PyObject *
value_of(const struct bk_head *head, const struct bk_field *field)
{
    const char *at = head->base + field->value;
    if (bk_unlikely(field->value_len <= 1 || (field->flags & BK_FIELD_HIGH)))
        return PyUnicode_DecodeLatin1(at, (Py_ssize_t)field->value_len, NULL);
    PyObject *text = PyUnicode_New((Py_ssize_t)field->value_len, 127);
    if (bk_likely(text))
        memcpy(PyUnicode_DATA(text), at, field->value_len);
    return text;
}

int
bkpy_environ_make(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
                  PyObject **ret)
{
    struct bkpy_memo_slot *slot = bkpy_memo_slot(host, x, call);
    if (bk_unlikely(!slot))
        return -1;
    PyObject *dict;
    bool same;
    int result = 0;
    if (host->memo.on && bkpy_memo_fits(slot, call, &same)) {
        host->memo.hits++;
        dict = PyDict_Copy(slot->dict);
        if (dict && !same)
            result = put_target(host, call,
                                (struct bk_str){host->environ.mount_bytes, host->environ.mount_len},
                                dict);
    } else {
        host->memo.misses++;
        PyObject *constants = template_of(host, call);
        dict = constants ? PyDict_Copy(constants) : NULL;
        if (dict)
            result = fill(host, x, call, slot, dict);
    }
    if (bk_unlikely(!dict))
        return -1;
    if (bk_likely(result == 0))
        result = put_own(host, x, call, dict);
    if (bk_likely(result == 0))
        *ret = dict;
    else
        Py_DECREF(dict);
    return result;
}

// ---- field lines --------------------------------------------------------------------------------

// A repeated field: joined in order, Cookie by "; " (RFC 6265), all others by ", " (RFC 9110 §5.3).
static int
join(PyObject *dict, PyObject *key, unsigned id, PyObject *value)
{
    PyObject *before = value ? PyDict_GetItemWithError(dict, key) : NULL;
    PyObject *both =
        before ? PyUnicode_FromFormat(id == BK_HEADER_COOKIE ? "%U; %U" : "%U, %U", before, value)
               : NULL;
    Py_XDECREF(value);
    return put(dict, key, both);
}

// "X-My-Thing" -> "HTTP_X_MY_THING". Names are tokens, so they are ASCII.
static PyObject *
make_key(struct bk_str name)
{
    PyObject *key = PyUnicode_New((Py_ssize_t)name.len + 5, 127);
    if (!key)
        return NULL;
    char *out = PyUnicode_DATA(key);
    memcpy(out, "HTTP_", 5);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        out[5 + i] = c == '-' ? '_' : (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
    }
    return key;
}

// The key of a name that is not in the table; new reference. The cache is bounded: attackers may
// invent names.
static PyObject *
other_key(struct bkpy_host *host, struct bk_str name)
{
    if (name.len > BKPY_NAME_MAX)
        return make_key(name);
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.at[i]) * 16777619u;
    struct bkpy_name *slot = &host->environ.names[(hash ^ hash >> 16) % BKPY_NAMES];
    if (bk_likely(slot->key && slot->len == name.len && memcmp(slot->name, name.at, name.len) == 0))
        return Py_NewRef(slot->key);
    PyObject *key = make_key(name);
    if (!key)
        return NULL;
    Py_XSETREF(slot->key, Py_NewRef(key));
    slot->len = (uint8_t)name.len;
    memcpy(slot->name, name.at, name.len);
    return key;
}

static int
put_other(struct bkpy_host *host, const struct bk_head *head, const struct bk_field *field,
          PyObject *dict)
{
    PyObject *key = other_key(host, bk_head_str(head, field->name, field->name_len));
    PyObject *value = key ? value_of(head, field) : NULL;
    int result = -1;
    if (value) {
        Py_ssize_t before = PyDict_Size(dict);
        if (PyDict_SetDefault(dict, key, value))
            result = PyDict_Size(dict) != before
                         ? 0
                         : join(dict, key, BK_HEADER_OTHER, Py_NewRef(value));
    }
    Py_XDECREF(key);
    Py_XDECREF(value);
    return result;
}

// A name with '_' that the policy let through: it never replaces or joins the field spelled with
// '-'. SCRIPT_NAME is the mount point when a trusted proxy says so.
static int
put_underscore(struct bkpy_host *host, const struct bk_call *call, const struct bk_field *field,
               PyObject *dict, struct bk_str *ret_mount)
{
    struct bk_str name = bk_head_str(call->head, field->name, field->name_len);
    if (bk_str_equal_nocase(name, BK_STR("SCRIPT_NAME"))) {
        if (call->peer_trusted)
            *ret_mount = bk_head_str(call->head, field->value, field->value_len);
        return 0;
    }
    if (bk_str_equal_nocase(name, BK_STR("CONTENT_LENGTH"))
        || bk_str_equal_nocase(name, BK_STR("CONTENT_TYPE")))
        return 0;  // PEP 3333 has no HTTP_CONTENT_LENGTH
    PyObject *key = other_key(host, name);
    PyObject *value = key ? value_of(call->head, field) : NULL;
    int result = value && PyDict_SetDefault(dict, key, value) ? 0 : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return result;
}

static int
put_fields(struct bkpy_host *host, const struct bk_call *call, PyObject *dict,
           struct bk_str *ret_mount)
{
    const struct bk_head *head = call->head;
    PyObject **keys = host->state->header_keys;
    uint64_t seen[2] = {0, 0};
    bool underscores = false;
    if (head->flags & BK_HEAD_ABSOLUTE)
        seen[BK_HEADER_HOST / 64] |= UINT64_C(1) << BK_HEADER_HOST % 64;
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        unsigned id = field->id;
        int result = 0;
        if (bk_unlikely(field->flags & BK_FIELD_UNDERSCORE)) {
            underscores = true;
        } else if (bk_unlikely(id == BK_HEADER_OTHER)) {
            result = put_other(host, head, field, dict);
        } else if (keys[id]) {
            uint64_t bit = UINT64_C(1) << id % 64;
            if (bk_likely(!(seen[id / 64] & bit)))
                result = put(dict, keys[id], value_of(head, field));
            else if (id != BK_HEADER_HOST)
                result = join(dict, keys[id], id, value_of(head, field));
            seen[id / 64] |= bit;
        }
        if (bk_unlikely(result < 0))
            return -1;
    }
    for (unsigned i = 0; underscores && i < head->field_count; i++)
        if ((head->fields[i].flags & BK_FIELD_UNDERSCORE)
            && put_underscore(host, call, &head->fields[i], dict, ret_mount) < 0)
            return -1;
    if (head->flags
        & BK_HEAD_ABSOLUTE)  // RFC 9112 §3.2.2: the authority of the target replaces Host
        return put(dict, keys[BK_HEADER_HOST],
                   text_of(bk_head_str(head, head->authority, head->authority_len)));
    return 0;
}

// A chunked body that is here in full has a length now; many applications read nothing without
// CONTENT_LENGTH.
static int
put_length(struct bkpy_host *host, const struct bk_call *call, PyObject *dict)
{
    PyObject **keys = host->state->header_keys;
    char digits[20];
    size_t len = bk_str_format_u64(digits, call->body_length);
    if (put(dict, keys[BK_HEADER_CONTENT_LENGTH], text_of((struct bk_str){digits, len})) < 0)
        return -1;
    return PyDict_DelItem(dict, keys[BK_HEADER_TRANSFER_ENCODING]);
}

// ---- the rest of the head -----------------------------------------------------------------------

// Unix sockets have no name and port of their own: what the client called the server, as behind
// nginx.
static int
put_server(struct bkpy_host *host, const struct bk_call *call, PyObject *dict)
{
    struct bk_str name, port;
    bk_head_server(call->head, &name, &port);
    PyObject *name_object =
        name.len ? text_of(name) : Py_NewRef(bkpy_word(host, BKPY_WORD_LOCALHOST));
    PyObject *port_object =
        port.len ? text_of(port)
                 : Py_NewRef(bkpy_word(host, call->https ? BKPY_WORD_PORT443 : BKPY_WORD_PORT80));
    int result = put(dict, bkpy_word(host, BKPY_WORD_SERVER_NAME), name_object);
    return put(dict, bkpy_word(host, BKPY_WORD_SERVER_PORT), port_object) < 0 ? -1 : result;
}

static int
fill(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
     struct bkpy_memo_slot *slot, PyObject *dict)
{
    const struct bk_head *head = call->head;
    PyObject **words = host->state->words;
    struct bk_str mount = {host->environ.mount_bytes, host->environ.mount_len}, given = {0};
    if (put_fields(host, call, dict, &given) < 0)
        return -1;
    if (PyDict_SetItem(dict, words[BKPY_WORD_SERVER_PROTOCOL],
                       words[head->minor ? BKPY_WORD_HTTP11 : BKPY_WORD_HTTP10])
            < 0
        || PyDict_SetItem(dict, words[BKPY_WORD_REMOTE_ADDR], slot->addr) < 0
        || (slot->port && PyDict_SetItem(dict, words[BKPY_WORD_REMOTE_PORT], slot->port) < 0))
        return -1;
    if (!bk_engine_listener(host->engine, call->listener)->server_port.len
        && put_server(host, call, dict) < 0)
        return -1;
    if ((head->flags & BK_HEAD_CHUNKED) && call->body_buffered && put_length(host, call, dict) < 0)
        return -1;
    if (bk_unlikely(bk_engine_listener(host->engine, call->listener)->https)
        && bkpy_secure_environ(x, dict) < 0)
        return -1;
    if (given.at) {
        if (given.len && given.at[given.len - 1] == '/')
            given.len--;
        if (put(dict, words[BKPY_WORD_SCRIPT_NAME], text_of(given)) < 0)
            return -1;
        mount = given;
    }
    int result = put_target(host, call, mount, dict);
    if (result == 0 && !given.at)
        bkpy_memo_keep(host, slot, call, dict);
    return result;
}

// PATH_INFO: percent-decoded once, read as latin-1, without the mount point.
static int
put_path(struct bkpy_host *host, const struct bk_head *head, struct bk_str mount, PyObject *target,
         PyObject *dict)
{
    struct bk_str path = bk_head_str(head, head->path, head->path_len);
    PyObject *value = NULL, *key = bkpy_word(host, BKPY_WORD_PATH_INFO);
    char room[1024], *out = room;
    bool plain;
    if (path.len > sizeof(room) && !(out = PyMem_Malloc(path.len))) {
        PyErr_NoMemory();
        return -1;
    }
    size_t len = bk_target_decode(out, path, &plain);
    struct bk_str text = plain ? path : (struct bk_str){out, len};
    int result = 0;
    if (!text.len && !mount.len)
        value = Py_NewRef(
            bkpy_word(host, BKPY_WORD_SLASH));  // "GET http://host": an empty path is the root
    else if (plain && !mount.len && path.len == head->target_len)
        value = Py_NewRef(target);
    else if (text.len < mount.len || memcmp(text.at, mount.at, mount.len) != 0
             || (text.len > mount.len && mount.len && text.at[mount.len] != '/'))
        result = 1;
    else
        value = text_of((struct bk_str){text.at + mount.len, text.len - mount.len});
    if (out != room)
        PyMem_Free(out);
    return result ? result : put(dict, key, value);
}

static int
put_target(struct bkpy_host *host, const struct bk_call *call, struct bk_str mount, PyObject *dict)
{
    const struct bk_head *head = call->head;
    PyObject **words = host->state->words;
    PyObject *target = text_of(bk_head_str(head, head->target, head->target_len));
    if (!target)
        return -1;
    int result = put_path(host, head, mount, target, dict);
    if (PyDict_SetItem(dict, words[BKPY_WORD_RAW_URI], target) < 0
        || PyDict_SetItem(dict, words[BKPY_WORD_REQUEST_URI], target) < 0)
        result = -1;
    Py_DECREF(target);
    PyObject *query = head->query_len ? text_of(bk_head_str(head, head->query, head->query_len))
                                      : Py_NewRef(words[BKPY_WORD_EMPTY]);
    PyObject *method = head->method_id == BK_METHOD_OTHER
                           ? text_of(bk_head_str(head, head->method, head->method_len))
                           : Py_NewRef(words[BKPY_WORD_METHOD_OTHER + head->method_id]);
    if (put(dict, words[BKPY_WORD_QUERY_STRING], query) < 0)
        result = -1;
    if (put(dict, words[BKPY_WORD_REQUEST_METHOD], method) < 0)
        result = -1;
    return result;
}

// What belongs to this one exchange.
static int
put_own(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call, PyObject *dict)
{
    PyObject **words = host->state->words;
    PyObject *input =
        bkpy_handle_take(host, &host->input, host->state->input_type, NULL, call->ref);
    if (put(dict, words[BKPY_WORD_WSGI_INPUT], input) < 0)
        return -1;
    if (put(dict, words[BKPY_WORD_WSGI_EARLY_HINTS], bkpy_early_hints_take(host, call->ref)) < 0)
        return -1;
    return put(dict, words[BKPY_WORD_REQUEST_ID], text_of(bk_exchange_id(x)));
}

// ---- templates ----------------------------------------------------------------------------------

static PyObject *
make_template(struct bkpy_host *host, const struct bk_listener_info *listener, bool https)
{
    PyObject **words = host->state->words;
    struct bk_str workers = bk_worker_setting(host->worker, "workers");
    PyObject *several = workers.len && !bk_str_equal(workers, BK_STR("1")) ? Py_True : Py_False;
    struct bk_str class = bk_worker_setting(host->worker, "worker_class");
    bool at_once = host->threads > 1 || bk_str_equal(class, BK_STR("gevent"));
    PyObject *dict = PyDict_New(), *version = Py_BuildValue("(ii)", 1, 0);
    struct {
        PyObject *key, *value;
    } constants[] = {
        {words[BKPY_WORD_GATEWAY_INTERFACE], words[BKPY_WORD_CGI11]},
        {words[BKPY_WORD_SERVER_SOFTWARE], words[BKPY_WORD_SOFTWARE]},
        {words[BKPY_WORD_SCRIPT_NAME], host->environ.mount},
        {words[BKPY_WORD_WSGI_VERSION], version},
        {words[BKPY_WORD_WSGI_URL_SCHEME], words[https ? BKPY_WORD_HTTPS : BKPY_WORD_HTTP]},
        {words[BKPY_WORD_WSGI_ERRORS], host->environ.errors},
        {words[BKPY_WORD_WSGI_MULTITHREAD], at_once ? Py_True : Py_False},
        {words[BKPY_WORD_WSGI_MULTIPROCESS], several},
        {words[BKPY_WORD_WSGI_RUN_ONCE], Py_False},
        {words[BKPY_WORD_WSGI_INPUT_TERMINATED], Py_True},
        {words[BKPY_WORD_WSGI_FILE_WRAPPER], (PyObject *)host->state->file_wrapper_type},
        // Set for each request. Having them here makes the table large enough for a usual request,
        // so that a copy need not grow. (Dummies that are taken out again would not do: popitem
        // does not give the used-up places back.)
        {words[BKPY_WORD_REQUEST_METHOD], Py_None},
        {words[BKPY_WORD_PATH_INFO], Py_None},
        {words[BKPY_WORD_QUERY_STRING], Py_None},
        {words[BKPY_WORD_RAW_URI], Py_None},
        {words[BKPY_WORD_REQUEST_URI], Py_None},
        {words[BKPY_WORD_SERVER_PROTOCOL], Py_None},
        {words[BKPY_WORD_REMOTE_ADDR], Py_None},
        {words[BKPY_WORD_SERVER_NAME], Py_None},
        {words[BKPY_WORD_SERVER_PORT], Py_None},
        {words[BKPY_WORD_WSGI_INPUT], Py_None},
        {words[BKPY_WORD_WSGI_EARLY_HINTS], Py_None},
        {words[BKPY_WORD_REQUEST_ID], Py_None},
    };
    int result = dict && version ? 0 : -1;
    for (size_t i = 0; result == 0 && i < BK_COUNT(constants); i++)
        result = PyDict_SetItem(dict, constants[i].key, constants[i].value);
    if (result == 0 && listener->server_port.len) {
        result = put(dict, words[BKPY_WORD_SERVER_NAME], text_of(listener->server_name));
        if (result == 0)
            result = put(dict, words[BKPY_WORD_SERVER_PORT], text_of(listener->server_port));
    }
    // The connection's own TLS; what a proxy says is in wsgi.url_scheme alone, as under Gunicorn.
    if (result == 0 && https && listener->https)
        result = put(dict, words[BKPY_WORD_SECURE], Py_NewRef(words[BKPY_WORD_ON]));
    Py_XDECREF(version);
    if (result < 0)
        Py_CLEAR(dict);
    return dict;
}

// Borrowed, or NULL with an exception.
static PyObject *
template_of(struct bkpy_host *host, const struct bk_call *call)
{
    unsigned at = call->listener * 2u + call->https;
    if (bk_likely(at < host->environ.count && host->environ.templates[at]))
        return host->environ.templates[at];
    if (at >= host->environ.count) {
        PyErr_SetString(PyExc_SystemError,
                        "a request of a listener that was not there at the start");
        return NULL;
    }
    const struct bk_listener_info *listener = bk_engine_listener(host->engine, call->listener);
    return host->environ.templates[at] = make_template(host, listener, call->https);
}

// SCRIPT_NAME of the process's environment mounts the application there, as under Gunicorn.
static int
read_mount(struct bkpy_environ *self)
{
    PyObject *os = PyImport_ImportModule("os"), *value = NULL, *bytes = NULL;
    PyObject *variables = os ? PyObject_GetAttrString(os, "environ") : NULL;
    if (variables)
        value = PyObject_CallMethod(variables, "get", "ss", "SCRIPT_NAME", "");
    if (value)  // bytes of the environment, read as latin-1 like the path itself
        bytes = PyUnicode_EncodeFSDefault(value);
    int result = -1;
    if (bytes) {
        size_t len = (size_t)PyBytes_GET_SIZE(bytes);
        const char *at = PyBytes_AS_STRING(bytes);
        while (len && at[len - 1] == '/')
            len--;
        self->mount_bytes = PyMem_Malloc(len + 1);
        self->mount = text_of((struct bk_str){at, len});
        if (self->mount_bytes && self->mount) {
            memcpy(self->mount_bytes, at, len);
            self->mount_len = len;
            result = 0;
        }
    }
    if (result < 0 && !PyErr_Occurred())
        PyErr_NoMemory();
    Py_XDECREF(os);
    Py_XDECREF(variables);
    Py_XDECREF(value);
    Py_XDECREF(bytes);
    return result;
}

int
bkpy_environ_start(struct bkpy_host *host)
{
    struct bkpy_environ *self = &host->environ;
    bkpy_environ_release(self);
    self->errors = bkpy_errors_new(host->state);
    if (!self->errors || read_mount(self) < 0)
        return -1;
    self->count = 2 * bk_engine_listener_count(host->engine);
    self->templates = PyMem_Calloc(self->count ? self->count : 1, sizeof(*self->templates));
    self->names = PyMem_Calloc(BKPY_NAMES, sizeof(*self->names));
    if (self->templates && self->names)
        return 0;
    PyErr_NoMemory();
    return -1;
}

void
bkpy_environ_release(struct bkpy_environ *self)
{
    for (unsigned i = 0; self->templates && i < self->count; i++)
        Py_CLEAR(self->templates[i]);
    for (unsigned i = 0; self->names && i < BKPY_NAMES; i++)
        Py_CLEAR(self->names[i].key);
    Py_CLEAR(self->errors);
    Py_CLEAR(self->mount);
    PyMem_Free(self->templates);
    PyMem_Free(self->names);
    PyMem_Free(self->mount_bytes);
    *self = (struct bkpy_environ){0};
}
