// A dict of settings as the texts the engine takes. Called by worker.c for a worker without a
// master.
#include "bkpy_host.h"

// A value of a settings dict as text, new bytes object: str, True and False as on and off, numbers,
// None as "".
static PyObject *
setting_text(PyObject *value)
{
    PyObject *text = value == Py_True    ? PyUnicode_FromString("on")
                     : value == Py_False ? PyUnicode_FromString("off")
                     : value == Py_None  ? PyUnicode_FromString("")
                                         : PyObject_Str(value);
    PyObject *bytes = text ? PyUnicode_EncodeFSDefault(text) : NULL;
    Py_XDECREF(text);
    if (bytes && strlen(PyBytes_AS_STRING(bytes)) != (size_t)PyBytes_GET_SIZE(bytes)) {
        PyErr_SetString(PyExc_ValueError, "a setting contains a NUL");
        Py_CLEAR(bytes);
    }
    return bytes;
}

// Appends key and value to `pairs` and keeps the objects that hold them alive in `owners`.
static int
add_pair(PyObject *owners, const char **pairs, unsigned room, unsigned *count, PyObject *key,
         PyObject *value)
{
    PyObject *key_bytes = setting_text(key), *value_bytes = key_bytes ? setting_text(value) : NULL;
    int result = -1;
    if (*count == room)
        PyErr_SetString(PyExc_ValueError, "too many settings");
    else if (value_bytes && PyList_Append(owners, key_bytes) == 0
             && PyList_Append(owners, value_bytes) == 0)
        result = 0;
    if (result == 0) {
        pairs[2 * *count] = PyBytes_AS_STRING(key_bytes);
        pairs[2 * *count + 1] = PyBytes_AS_STRING(value_bytes);
        ++*count;
    }
    Py_XDECREF(key_bytes);
    Py_XDECREF(value_bytes);
    return result;
}

int
bkpy_settings_read(PyObject *settings, PyObject *owners, const char **pairs, unsigned room,
                   unsigned *count)
{
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(settings, &at, &key, &value);) {
        bool many = PyList_Check(value) || PyTuple_Check(value);
        PyObject *items = many ? PySequence_Tuple(value) : PyTuple_Pack(1, value);
        for (Py_ssize_t i = 0; items && i < PyTuple_GET_SIZE(items); i++)
            if (add_pair(owners, pairs, room, count, key, PyTuple_GET_ITEM(items, i)) < 0)
                Py_CLEAR(items);
        if (!items)
            return -1;
        Py_DECREF(items);
    }
    return 0;
}
