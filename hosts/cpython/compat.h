// What differs between CPython 3.10 and 3.14, in one place. Public API only.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <structmember.h>

// The raised exception as one normalised object with its traceback inside, and cleared; NULL when there is none.
static inline PyObject *
bkpy_exception_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!type)
        return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(traceback);
    Py_DECREF(type);
    return value;
#endif
}

// Raises `exception` again; steals the reference. NULL clears.
static inline void
bkpy_exception_raise(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    if (exception)
        PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
    else
        PyErr_Clear();
#endif
}

// Attribute or NULL: 1 found, 0 absent (no exception), -1 with an exception.
static inline int
bkpy_attribute(PyObject *object, PyObject *name, PyObject **ret)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr(object, name, ret);
#else
    *ret = PyObject_GetAttr(object, name);
    if (*ret)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    return 0;
#endif
}

// An int as C has it; -1 with an exception, also when it is too large.
static inline int
bkpy_int(PyObject *number)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyLong_AsInt(number);
#else
    return _PyLong_AsInt(number);
#endif
}

// A str whose characters all fit into one byte, readable in place. Strings made by old C code on 3.10 and 3.11 may
// need
// to be made ready first.
static inline bool
bkpy_latin1(PyObject *text, const char **ret_at, Py_ssize_t *ret_len)
{
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(text) < 0) {
        PyErr_Clear();
        return false;
    }
#endif
    if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND)
        return false;
    *ret_at = (const char *)PyUnicode_1BYTE_DATA(text);
    *ret_len = PyUnicode_GET_LENGTH(text);
    return true;
}
