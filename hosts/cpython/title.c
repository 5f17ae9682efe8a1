// set_title(text) and its last word: base/argv.h for Python.
#include "title.h"

#include "module.h"

#include "base/argv.h"

PyObject *
bkpy_title_set(PyObject *module, PyObject *text)
{
    Py_ssize_t len;
    const char *at = PyUnicode_AsUTF8AndSize(text, &len);
    if (!at)
        return NULL;
    bk_argv_title((struct bk_str){at, (size_t)len});
    Py_RETURN_NONE;
}

void
bkpy_title_busy(bool busy)
{
    bk_argv_busy(busy);
}
