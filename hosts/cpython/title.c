// Process titles: the kernel shows the memory that held argv, so writing there is enough and costs
// nothing. Python has made its own copies of the arguments long ago. The state is of the process,
// not of a module: there is one argv.
#include "title.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "module.h"

static struct {
    char *at;  // borrows the process's argv memory; NULL: not known
    size_t room;
    char *state;  // the last four bytes of the title, NULL when it does not end in "idle"
} argv_memory;

// Fields 48 and 49 of /proc/self/stat are the addresses of the argument area.
static void
find_argv(void)
{
    char text[2048];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (len <= 0)
        return;
    text[len] = 0;
    char *at = strrchr(text, ')');  // field 2 may hold spaces
    for (int field = 2; at && field < 48; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return;
    uintptr_t start = (uintptr_t)strtoull(at, &at, 10), end = (uintptr_t)strtoull(at, NULL, 10);
    if (start && end > start && end - start < 1 << 20) {
        argv_memory.at = (char *)start;
        argv_memory.room = (size_t)(end - start);
    }
}

// set_title(text): when the room is too small for all of it, the middle gives way, so that "idle"
// can still be read.
PyObject *
bkpy_title_set(PyObject *module, PyObject *text)
{
    Py_ssize_t len;
    const char *at = PyUnicode_AsUTF8AndSize(text, &len);
    if (!at)
        return NULL;
    if (!argv_memory.at)
        find_argv();
    size_t room = argv_memory.room, size = (size_t)len;
    if (room < 16)
        Py_RETURN_NONE;
    room--;  // a final NUL, or the kernel reads on into the environment
    bool idle = size > 5 && memcmp(at + size - 5, " idle", 5) == 0;
    size_t tail = idle && size > room ? 6 : 0;  // "] idle" or the like
    size_t head = size <= room ? size : room - tail;
    memset(argv_memory.at, 0, argv_memory.room);
    memcpy(argv_memory.at, at, head);
    memcpy(argv_memory.at + head, at + size - tail, tail);
    argv_memory.state = idle ? argv_memory.at + head + tail - 4 : NULL;
    Py_RETURN_NONE;
}

void
bkpy_title_busy(bool busy)
{
    if (argv_memory.state)
        memcpy(argv_memory.state, busy ? "busy" : "idle", 4);
}
