// The scope of a request: a copy of a template per listener, or of the connection's last scope when
// the field lines are the same bytes (memo.h). What an application may change (headers, asgi,
// extensions, state) is its own each time.
#include "asgi.h"

#include "secure.h"
#include "proto/target.h"

static PyObject *template_of(struct bkpy_host *host, const struct bk_call *call);
static int fill(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
                PyObject *scope, bool *ret_mounted);
static int put_target(struct bkpy_host *host, const struct bk_call *call, PyObject *scope);
static int put_own(struct bkpy_host *host, const struct bk_call *call, PyObject *scope);
static int put_secure(struct bkpy_host *host, struct bk_exchange *x, PyObject *scope);
static int make_websocket(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
                          PyObject *scope);

// Steals `value`; NULL is an exception already raised.
static inline int
put(PyObject *scope, PyObject *key, PyObject *value)
{
    if (bk_unlikely(!value))
        return -1;
    int result = PyDict_SetItem(scope, key, value);
    Py_DECREF(value);
    return result;
}

PyObject *
bkpy_asgi_scope(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call)
{
    struct bkpy_memo_slot *slot = bkpy_memo_slot(host, x, call);
    if (bk_unlikely(!slot))
        return NULL;
    PyObject *scope;
    bool same, mounted = false;
    int result = 0;
    if (host->memo.on && bkpy_memo_fits(slot, call, &same)) {
        host->memo.hits++;
        scope = PyDict_Copy(slot->dict);
        if (scope && !same)
            result = put_target(host, call, scope);
    } else {
        host->memo.misses++;
        PyObject *constants = template_of(host, call);
        scope = constants ? PyDict_Copy(constants) : NULL;
        if (scope && (result = fill(host, x, call, scope, &mounted)) == 0 && !mounted
            && !call->websocket)
            bkpy_memo_keep(host, slot, call, scope);
    }
    if (bk_unlikely(!scope))
        return NULL;
    if (bk_likely(result == 0))
        result = put_own(host, call, scope);
    if (bk_unlikely(call->websocket) && result == 0)
        result = make_websocket(host, x, call, scope);
    if (bk_unlikely(call->https) && result == 0)
        result = put_secure(host, x, scope);
    if (bk_unlikely(result))
        Py_CLEAR(scope);
    return scope;
}

// ---- field lines --------------------------------------------------------------------------------

// "x-my-thing" for "X-My-Thing"; new reference.
static PyObject *
name_of(const struct bkpy_asgi *asgi, const struct bk_head *head, const struct bk_field *field)
{
    if (bk_likely(field->id != BK_HEADER_OTHER))
        return Py_NewRef(asgi->names[field->id]);
    PyObject *name = PyBytes_FromStringAndSize(NULL, field->name_len);
    if (!name)
        return NULL;
    const char *from = head->base + field->name;
    char *to = PyBytes_AS_STRING(name);
    for (unsigned i = 0; i < field->name_len; i++)
        to[i] = from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] + 32) : from[i];
    return name;
}

static PyObject *
pair_of(PyObject *name, struct bk_str value)
{
    PyObject *pair = name ? PyTuple_New(2) : NULL;
    PyObject *bytes = pair ? PyBytes_FromStringAndSize(value.at, (Py_ssize_t)value.len) : NULL;
    if (bk_unlikely(!bytes)) {
        Py_XDECREF(name);
        Py_XDECREF(pair);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, name);
    PyTuple_SET_ITEM(pair, 1, bytes);
    return pair;
}

// Names with '_' that the policy let through stay as they are; SCRIPT_NAME of a trusted proxy is
// the root path, not a header.
static bool
is_mount(const struct bk_call *call, const struct bk_field *field)
{
    struct bk_str name = bk_head_str(call->head, field->name, field->name_len);
    return bk_str_equal_nocase(name, BK_STR("SCRIPT_NAME")) && call->peer_trusted;
}

// [(name, value), ...] in the order of the request. Of an absolute target the authority is the host
// (RFC 9112 §3.2.2).
static PyObject *
headers_of(struct bkpy_asgi *asgi, const struct bk_call *call, struct bk_str *ret_mount)
{
    const struct bk_head *head = call->head;
    bool absolute = head->flags & BK_HEAD_ABSOLUTE;
    PyObject *list = PyList_New(0), *pair;
    for (unsigned i = 0; list && i < head->field_count; i++) {
        const struct bk_field *field = &head->fields[i];
        if (bk_unlikely(field->flags & BK_FIELD_UNDERSCORE) && is_mount(call, field)) {
            *ret_mount = bk_head_str(head, field->value, field->value_len);
            continue;
        }
        if (bk_unlikely(absolute) && field->id == BK_HEADER_HOST)
            continue;
        pair =
            pair_of(name_of(asgi, head, field), bk_head_str(head, field->value, field->value_len));
        if (!pair || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    if (list && absolute) {
        pair = pair_of(Py_NewRef(asgi->names[BK_HEADER_HOST]),
                       bk_head_str(head, head->authority, head->authority_len));
        if (!pair || PyList_Insert(list, 0, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

// (address, port), None for unix sockets. Behind a trusted proxy the address is the one it names,
// its port unknown: 0.
static PyObject *
client_of(const struct bk_exchange *x)
{
    char text[46];
    unsigned port = 0;
    size_t len = bk_exchange_client(x, text, &port);
    if (!len)
        return Py_NewRef(Py_None);
    PyObject *address = PyUnicode_DecodeLatin1(text, (Py_ssize_t)len, NULL);
    return address ? Py_BuildValue("(NI)", address, port) : NULL;
}

// ---- the target ---------------------------------------------------------------------------------

static PyObject *
decoded(PyObject *prefix, struct bk_str path)
{
    char room[1024], *out = room;
    bool plain;
    if (path.len > sizeof(room) && !(out = PyMem_Malloc(path.len)))
        return PyErr_NoMemory();
    size_t len = bk_target_decode(out, path, &plain);
    const char *at = plain ? path.at : out;
    PyObject *text = PyUnicode_DecodeUTF8(at, (Py_ssize_t)(plain ? path.len : len), "replace");
    if (out != room)
        PyMem_Free(out);
    if (text && prefix)
        Py_SETREF(text, PyUnicode_Concat(prefix, text));
    return text;
}

static PyObject *
raw(PyObject *prefix, struct bk_str path)
{
    PyObject *bytes = PyBytes_FromStringAndSize(path.at, (Py_ssize_t)path.len);
    if (bytes && prefix) {
        PyObject *both = Py_NewRef(prefix);
        PyBytes_ConcatAndDel(&both, bytes);
        return both;
    }
    return bytes;
}

static int
put_target(struct bkpy_host *host, const struct bk_call *call, PyObject *scope)
{
    struct bkpy_asgi *asgi = host->asgi;
    PyObject **words = asgi->words;
    const struct bk_head *head = call->head;
    struct bk_str path = bk_head_str(head, head->path, head->path_len);
    if (!path.len) // "GET http://host": an empty path is the root
        path = BK_STR("/");
    PyObject *method =
        head->method_id == BK_METHOD_OTHER
            ? PyUnicode_DecodeLatin1(head->base + head->method, head->method_len, NULL)
            : Py_NewRef(host->state->words[BKPY_WORD_METHOD_OTHER + head->method_id]);
    PyObject *query = PyBytes_FromStringAndSize(head->base + head->query, head->query_len);
    bool prefixed = asgi->root_bytes && PyBytes_GET_SIZE(asgi->root_bytes) && path.at[0] == '/';
    int result = put(scope, words[BKPY_ASGI_METHOD], method);
    result |= put(scope, words[BKPY_ASGI_QUERY_STRING], query);
    result |= put(scope, words[BKPY_ASGI_PATH], decoded(prefixed ? asgi->root_path : NULL, path));
    result |= put(scope, words[BKPY_ASGI_RAW_PATH], raw(prefixed ? asgi->root_bytes : NULL, path));
    return result;
}

// The mount point that SCRIPT_NAME names, in the environment or from a trusted proxy: the path is
// to lie below it.
static int
put_mount(struct bkpy_host *host, struct bk_str mount, PyObject *scope)
{
    if (mount.len && mount.at[mount.len - 1] == '/')
        mount.len--;
    PyObject *root = PyUnicode_DecodeUTF8(mount.at, (Py_ssize_t)mount.len, "replace");
    PyObject *path = PyDict_GetItemWithError(scope, host->asgi->words[BKPY_ASGI_PATH]); // borrowed
    if (!root || !path) {
        Py_XDECREF(root);
        return -1;
    }
    Py_ssize_t len = PyUnicode_GET_LENGTH(root);
    Py_ssize_t below = PyUnicode_Tailmatch(path, root, 0, len, -1);
    if (below > 0 && len && PyUnicode_GET_LENGTH(path) > len
        && PyUnicode_READ_CHAR(path, len) != '/')
        below = 0;
    if (below > 0)
        return put(scope, host->asgi->words[BKPY_ASGI_ROOT_PATH], root);
    Py_DECREF(root);
    return below < 0 ? -1 : 1;
}

// ---- putting together ---------------------------------------------------------------------------

// 0; 1: nothing at this path; -1 with an exception.
static int
fill(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call, PyObject *scope,
     bool *ret_mounted)
{
    struct bkpy_asgi *asgi = host->asgi;
    PyObject **words = asgi->words;
    struct bk_str mount = {host->environ.mount_bytes, host->environ.mount_len};
    PyObject *version = words[call->head->minor ? BKPY_ASGI_HTTP_1_1 : BKPY_ASGI_HTTP_1_0];
    if (PyUnicode_GET_LENGTH(asgi->root_path))
        mount.len = 0;
    int result = PyDict_SetItem(scope, words[BKPY_ASGI_HTTP_VERSION], version);
    result |= put(scope, words[BKPY_ASGI_HEADERS], headers_of(asgi, call, &mount));
    result |= put(scope, words[BKPY_ASGI_CLIENT], client_of(x));
    if (result < 0 || put_target(host, call, scope) < 0)
        return -1;
    *ret_mounted = mount.len > 0; // the path is looked at each time
    return mount.len ? put_mount(host, mount, scope) : 0;
}

static PyObject *
extensions_of(const struct bkpy_asgi *asgi, const struct bk_head *head)
{
    return asgi->extensions[head->minor == 0 ? 0 : head->flags & BK_HEAD_TRAILERS_OK ? 2 : 1];
}

// What the application may change.
static int
put_own(struct bkpy_host *host, const struct bk_call *call, PyObject *scope)
{
    struct bkpy_asgi *asgi = host->asgi;
    PyObject **words = asgi->words;
    PyObject *headers = PyDict_GetItemWithError(scope, words[BKPY_ASGI_HEADERS]); // borrowed
    if (bk_unlikely(!headers))
        return -1;
    int result =
        put(scope, words[BKPY_ASGI_HEADERS], PyList_GetSlice(headers, 0, PyList_GET_SIZE(headers)));
    result |= put(scope, words[BKPY_ASGI_ASGI], PyDict_Copy(asgi->version));
    result |= put(scope, words[BKPY_ASGI_EXTENSIONS],
                  PyDict_Copy(extensions_of(asgi, call->head)));
    if (asgi->state)
        result |= put(scope, words[BKPY_ASGI_STATE], PyDict_Copy(asgi->state));
    return result;
}

static int
put_secure(struct bkpy_host *host, struct bk_exchange *x, PyObject *scope)
{
    PyObject *extensions =
        PyDict_GetItemWithError(scope, host->asgi->words[BKPY_ASGI_EXTENSIONS]); // borrowed
    return extensions ? bkpy_secure_extension(x, extensions) : -1;
}

static int
make_websocket(struct bkpy_host *host, struct bk_exchange *x, const struct bk_call *call,
               PyObject *scope)
{
    struct bk_str offered[64];
    PyObject **words = host->asgi->words;
    PyObject *list = PyList_New(0);
    unsigned count = bk_ws_protocols(x, offered, BK_COUNT(offered));
    for (unsigned i = 0; list && i < count && i < BK_COUNT(offered); i++) {
        PyObject *text = PyUnicode_DecodeLatin1(offered[i].at, (Py_ssize_t)offered[i].len, NULL);
        if (!text || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    int result = put(scope, words[BKPY_ASGI_SUBPROTOCOLS], list);
    result |= PyDict_SetItem(scope, words[BKPY_ASGI_TYPE], words[BKPY_ASGI_WEBSOCKET]);
    result |= PyDict_SetItem(scope, words[BKPY_ASGI_SCHEME],
                             words[call->https ? BKPY_ASGI_WSS : BKPY_ASGI_WS]);
    result |= put(scope, words[BKPY_ASGI_EXTENSIONS], PyDict_Copy(host->asgi->ws_extensions));
    return result | PyDict_DelItem(scope, words[BKPY_ASGI_METHOD]);
}

// ---- templates ----------------------------------------------------------------------------------

// (address, port), or (path, None) for unix sockets.
static PyObject *
server_of(const struct bk_listener_info *info)
{
    struct bk_str name = info->server_name;
    uint64_t port = 0;
    bool is_unix = bk_str_starts(info->address, BK_STR("unix:"));
    if (is_unix)
        name = (struct bk_str){info->address.at + 5, info->address.len - 5};
    PyObject *text = PyUnicode_DecodeFSDefaultAndSize(name.at, (Py_ssize_t)name.len);
    if (!text)
        return NULL;
    if (is_unix || bk_str_parse_u64(info->server_port, 65535, &port) < 0)
        return Py_BuildValue("(NO)", text, Py_None);
    return Py_BuildValue("(NI)", text, (unsigned)port);
}

// Keys that are set for each request are there too: the table is large enough from the start.
static PyObject *
make_template(struct bkpy_host *host, const struct bk_listener_info *listener, bool https)
{
    static const enum bkpy_asgi_word later[] = {
        BKPY_ASGI_ASGI,         BKPY_ASGI_HTTP_VERSION, BKPY_ASGI_CLIENT,
        BKPY_ASGI_METHOD,       BKPY_ASGI_PATH,         BKPY_ASGI_RAW_PATH,
        BKPY_ASGI_QUERY_STRING, BKPY_ASGI_HEADERS,      BKPY_ASGI_EXTENSIONS,
    };
    struct bkpy_asgi *asgi = host->asgi;
    PyObject **words = asgi->words, *scope = PyDict_New();
    if (!scope)
        return NULL;
    int result = PyDict_SetItem(scope, words[BKPY_ASGI_TYPE], words[BKPY_ASGI_HTTP]);
    for (unsigned i = 0; i < BK_COUNT(later); i++)
        result |= PyDict_SetItem(scope, words[later[i]], Py_None);
    result |= PyDict_SetItem(scope, words[BKPY_ASGI_SCHEME],
                             words[https ? BKPY_ASGI_HTTPS : BKPY_ASGI_HTTP]);
    result |= PyDict_SetItem(scope, words[BKPY_ASGI_ROOT_PATH], asgi->root_path);
    result |= put(scope, words[BKPY_ASGI_SERVER], server_of(listener));
    if (asgi->state)
        result |= PyDict_SetItem(scope, words[BKPY_ASGI_STATE], Py_None);
    if (result < 0)
        Py_CLEAR(scope);
    return scope;
}

// Borrowed, or NULL with an exception.
static PyObject *
template_of(struct bkpy_host *host, const struct bk_call *call)
{
    struct bkpy_asgi *asgi = host->asgi;
    unsigned at = call->listener * 2u + call->https;
    if (bk_unlikely(at >= asgi->template_count)) {
        PyErr_SetString(PyExc_SystemError,
                        "a request of a listener that was not there at the start");
        return NULL;
    }
    if (bk_unlikely(!asgi->templates[at]))
        asgi->templates[at] =
            make_template(host, bk_engine_listener(host->engine, call->listener), call->https);
    return asgi->templates[at];
}

// "accept" as bytes, by header id.
static int
make_names(struct bkpy_asgi *asgi)
{
    for (unsigned id = BK_HEADER_OTHER + 1; id < BK_HEADER_COUNT; id++) {
        struct bk_str name = bk_header_name((enum bk_header)id);
        PyObject *bytes = PyBytes_FromStringAndSize(name.at, (Py_ssize_t)name.len);
        if (!bytes)
            return -1;
        for (char *c = PyBytes_AS_STRING(bytes); *c; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
        asgi->names[id] = bytes;
    }
    return 0;
}

int
bkpy_asgi_scope_start(struct bkpy_host *host)
{
    struct bkpy_asgi *asgi = host->asgi;
    asgi->template_count = 2 * bk_engine_listener_count(host->engine);
    asgi->templates =
        PyMem_Calloc(asgi->template_count ? asgi->template_count : 1, sizeof(*asgi->templates));
    if (!asgi->templates) {
        PyErr_NoMemory();
        return -1;
    }
    asgi->version = Py_BuildValue("{ssss}", "version", "3.0", "spec_version", "2.5");
    asgi->extensions[0] =
        Py_BuildValue("{s{}s{}}", "http.response.pathsend", "http.response.zerocopysend");
    asgi->extensions[1] = Py_BuildValue("{s{}s{}s{}}", "http.response.pathsend",
                                        "http.response.zerocopysend", "http.response.early_hint");
    asgi->extensions[2] = Py_BuildValue("{s{}s{}s{}s{}}", "http.response.pathsend",
                                        "http.response.zerocopysend", "http.response.early_hint",
                                        "http.response.trailers");
    asgi->ws_extensions = Py_BuildValue("{s{}}", "websocket.http.response");
    if (!asgi->version || !asgi->extensions[0] || !asgi->extensions[1]
        || !asgi->extensions[2] || !asgi->ws_extensions)
        return -1;
    return make_names(asgi);
}
