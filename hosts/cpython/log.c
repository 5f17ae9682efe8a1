// log() and MESSAGES: the Python side of the package writes the same log and uses the same table of
// keys.
#include "module.h"

#include "base/log.h"
#include "config/messages.h"

PyObject *
bkpy_log_call(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"level", "key", "text", "detail", NULL};
    const char *level_name, *key, *text, *detail = "";
    Py_ssize_t level_len, key_len, text_len, detail_len = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s#z#s#|z#:log", names, &level_name, &level_len,
                                     &key, &key_len, &text, &text_len, &detail, &detail_len))
        return NULL;
    enum bk_log_level level;
    if (bk_log_level_parse((struct bk_str){level_name, (size_t)level_len}, &level) < 0)
        return PyErr_Format(PyExc_ValueError, "no log level %s", level_name);
    struct bk_str key_text = {key, key ? (size_t)key_len : 0};
    if (key_text.len && !bk_message_find(key_text))
        return PyErr_Format(PyExc_ValueError, "no message key %s", key);
    if (bk_log_on(level)) {
        struct bk_log_record record = {
            .level = level,
            .key = key_text,
            .text = {text, (size_t)text_len},
            .detail = {detail, detail ? (size_t)detail_len : 0},
        };
        bk_log_record(&record);
    }
    Py_RETURN_NONE;
}

// MESSAGES: {key: (exit code, level, text)}.
int
bkpy_log_setup(PyObject *module)
{
    unsigned count;
    const struct bk_message_info *rows = bk_messages(&count);
    PyObject *messages = PyDict_New();
    for (unsigned i = 0; messages && i < count; i++) {
        PyObject *row = Py_BuildValue("(iss)", rows[i].exit_code, bk_log_level_name(rows[i].level),
                                      rows[i].text);
        if (!row || PyDict_SetItemString(messages, rows[i].key, row) < 0)
            Py_CLEAR(messages);
        Py_XDECREF(row);
    }
    int result = messages ? PyModule_AddObjectRef(module, "MESSAGES", messages) : -1;
    Py_XDECREF(messages);
    return result;
}
