// Process titles: the kernel shows the memory that held argv, so writing there is enough and costs
// nothing. Interpreters have made their own copies of the arguments long ago.
#include "base/argv.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *at;  // borrows the process's argv memory; NULL: not known
    size_t room;
    char *state;  // the last four bytes of the title, NULL when it does not end in "idle"
} argv_memory;

static void find_argv(void);

void
bk_argv_title(struct bk_str text)
{
    if (!argv_memory.at)
        find_argv();
    size_t room = argv_memory.room;
    if (room < 16)
        return;
    room--;  // a final NUL, or the kernel reads on into the environment
    bool idle = text.len > 5 && memcmp(text.at + text.len - 5, " idle", 5) == 0;
    size_t tail = idle && text.len > room ? 6 : 0;  // "] idle" or the like
    size_t head = text.len <= room ? text.len : room - tail;
    memset(argv_memory.at, 0, argv_memory.room);
    memcpy(argv_memory.at, text.at, head);
    memcpy(argv_memory.at + head, text.at + text.len - tail, tail);
    argv_memory.state = idle ? argv_memory.at + head + tail - 4 : NULL;
}

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

void
bk_argv_busy(bool busy)
{
    if (argv_memory.state)
        memcpy(argv_memory.state, busy ? "busy" : "idle", 4);
}
