// Facts of a TLS connection in Python. Called by environ.c and asgi_scope.c for exchanges of https
// listeners; the facts are the connection's, so environ.c's memo may keep them.
#include "secure.h"

#include <string.h>

static const char begin_mark[] = "-----BEGIN CERTIFICATE-----";

static int
set_text(PyObject *dict, const char *name, PyObject *value)
{
    int result = value ? PyDict_SetItemString(dict, name, value) : -1;
    Py_XDECREF(value);
    return result;
}

int
bkpy_secure_environ(struct bk_exchange *x, PyObject *dict)
{
    static const struct {
        const char *name;
        enum bk_tls_fact fact;
    } variables[] = {
        {"SSL_PROTOCOL", BK_TLS_PROTOCOL},
        {"SSL_CIPHER", BK_TLS_CIPHER},
        {"SSL_TLS_SNI", BK_TLS_SERVER_NAME},
        {"SSL_CLIENT_VERIFY", BK_TLS_CLIENT_VERIFY},
        {"SSL_CLIENT_S_DN", BK_TLS_CLIENT_SUBJECT},
        {"SSL_CLIENT_I_DN", BK_TLS_CLIENT_ISSUER},
        {"SSL_CLIENT_M_SERIAL", BK_TLS_CLIENT_SERIAL},
        {"SSL_CLIENT_V_START", BK_TLS_CLIENT_FROM},
        {"SSL_CLIENT_V_END", BK_TLS_CLIENT_UNTIL},
        {"SSL_CLIENT_CERT", BK_TLS_CLIENT_CERTIFICATE},
        {"HTTPS_DN", BK_TLS_CLIENT_SUBJECT},
        {"HTTPS_CC", BK_TLS_CLIENT_CERTIFICATE},
    };
    for (size_t i = 0; i < BK_COUNT(variables); i++) {
        struct bk_str value = bk_exchange_tls(x, variables[i].fact);
        if (value.at
            && set_text(dict, variables[i].name,
                        PyUnicode_DecodeLatin1(value.at, (Py_ssize_t)value.len, NULL))
                   < 0)
            return -1;
    }
    return 0;
}

// None for what is not known.
static PyObject *
text_or_none(struct bk_str value)
{
    if (!value.at)
        return Py_NewRef(Py_None);
    return PyUnicode_DecodeUTF8(value.at, (Py_ssize_t)value.len, "replace");
}

// Each certificate of the chain as a text of its own.
static PyObject *
chain_of(struct bk_exchange *x)
{
    struct bk_str rest = bk_exchange_tls(x, BK_TLS_CLIENT_CHAIN);
    PyObject *list = PyList_New(0);
    while (list && rest.len) {
        const char *next = memmem(rest.at + 1, rest.len - 1, begin_mark, sizeof(begin_mark) - 1);
        struct bk_str one = {rest.at, next ? (size_t)(next - rest.at) : rest.len};
        PyObject *text = text_or_none(one);
        if (!text || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
        rest = (struct bk_str){one.at + one.len, rest.len - one.len};
    }
    return list;
}

int
bkpy_secure_extension(struct bk_exchange *x, PyObject *extensions)
{
    unsigned version, suite;
    if (!bk_exchange_tls_numbers(x, &version, &suite))
        return 0;
    PyObject *facts = PyDict_New();
    if (!facts)
        return -1;
    int result = set_text(facts, "server_cert",
                          text_or_none(bk_exchange_tls(x, BK_TLS_SERVER_CERTIFICATE)));
    result |= set_text(facts, "client_cert_chain", chain_of(x));
    result |= set_text(facts, "client_cert_name",
                       text_or_none(bk_exchange_tls(x, BK_TLS_CLIENT_SUBJECT)));
    result |= set_text(facts, "client_cert_error", Py_NewRef(Py_None));
    result |= set_text(facts, "tls_version", PyLong_FromUnsignedLong(version));
    result |= set_text(facts, "cipher_suite", PyLong_FromUnsignedLong(suite));
    if (result == 0)
        result = PyDict_SetItemString(extensions, "tls", facts);
    Py_DECREF(facts);
    return result;
}
