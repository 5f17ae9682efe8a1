// The heritage: written by the master before each fork, read once by the worker's first native
// call.
//
// Form: struct head, then records {tag, length, bytes}, each padded to 4. The first record is the
// version in every layout, past and future, so that a reader that knows nothing else can still name
// the two versions that do not fit.
#include "process/heritage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

#define HERITAGE_MAX (16u << 20)  // settings and arguments together; execve's own limit is 2 MiB

struct head {
    uint64_t magic;
    uint32_t layout;
    uint32_t length;  // of the whole memfd
};

struct record {
    uint32_t tag;
    uint32_t length;
};

struct bk_heritage {
    char *at;  // owns: head and records
    size_t len, room;
};

static int reserve(struct bk_heritage *heritage, size_t more);
static int create_memory(void);
static int write_all(int fd, const char *at, size_t len);
static int read_all(int fd, char *at, size_t len);
static int check(struct bk_heritage *heritage);

struct bk_heritage *
bk_heritage_new(void)
{
    struct bk_heritage *heritage = calloc(1, sizeof *heritage);
    if (!heritage)
        return NULL;
    if (reserve(heritage, sizeof(struct head)) < 0) {
        free(heritage);
        return NULL;
    }
    memset(heritage->at, 0, sizeof(struct head));
    heritage->len = sizeof(struct head);
    return heritage;
}

void
bk_heritage_free(struct bk_heritage *heritage)
{
    if (!heritage)
        return;
    free(heritage->at);
    free(heritage);
}

int
bk_heritage_add(struct bk_heritage *heritage, enum bk_heritage_tag tag, struct bk_str value)
{
    struct record record = {.tag = tag, .length = (uint32_t)value.len};
    size_t padded;

    if (value.len > HERITAGE_MAX)
        return -E2BIG;
    padded = (value.len + 3) & ~(size_t)3;
    int rc = reserve(heritage, sizeof record + padded);
    if (rc < 0)
        return rc;
    char *to = heritage->at + heritage->len;
    memcpy(to, &record, sizeof record);
    memset(to + sizeof record, 0, padded);
    if (value.len > 0)
        memcpy(to + sizeof record, value.at, value.len);
    heritage->len += sizeof record + padded;
    return 0;
}

int
bk_heritage_addf(struct bk_heritage *heritage, enum bk_heritage_tag tag, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        return -ENOMEM;
    int rc = bk_heritage_add(heritage, tag, (struct bk_str){text, (size_t)len});
    free(text);
    return rc;
}

int
bk_heritage_seal(const struct bk_heritage *heritage, int *ret_fd)
{
    struct head head = {BK_HERITAGE_MAGIC, BK_HERITAGE_LAYOUT, (uint32_t)heritage->len};
    int fd, rc;

    memcpy(heritage->at, &head, sizeof head);
    fd = create_memory();
    if (fd < 0)
        return fd;
    rc = write_all(fd, heritage->at, heritage->len);
    if (rc == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        rc = -errno;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int
bk_heritage_open(int fd, struct bk_heritage **ret)
{
    struct bk_heritage *heritage;
    struct stat facts;
    int rc;

    if (fstat(fd, &facts) < 0)
        return -errno;
    if (facts.st_size < (off_t)sizeof(struct head) || facts.st_size > (off_t)HERITAGE_MAX)
        return -EBADMSG;
    heritage = bk_heritage_new();
    if (!heritage)
        return -ENOMEM;
    rc = reserve(heritage, (size_t)facts.st_size);
    if (rc == 0)
        rc = read_all(fd, heritage->at, (size_t)facts.st_size);
    if (rc == 0) {
        heritage->len = (size_t)facts.st_size;
        rc = check(heritage);
    }
    if (rc < 0 && rc != -EPROTONOSUPPORT) {
        bk_heritage_free(heritage);
        return rc;
    }
    *ret = heritage;
    return rc;
}

bool
bk_heritage_get(const struct bk_heritage *heritage, enum bk_heritage_tag tag, unsigned n,
                struct bk_str *ret)
{
    size_t at = sizeof(struct head);

    while (at + sizeof(struct record) <= heritage->len) {
        struct record record;
        memcpy(&record, heritage->at + at, sizeof record);
        at += sizeof record;
        if (record.tag == (uint32_t)tag && n-- == 0) {
            *ret = (struct bk_str){heritage->at + at, record.length};
            return true;
        }
        at += ((size_t)record.length + 3) & ~(size_t)3;
    }
    return false;
}

static int
reserve(struct bk_heritage *heritage, size_t more)
{
    size_t need = heritage->len + more;
    char *at;

    if (need > HERITAGE_MAX)
        return -E2BIG;
    if (need <= heritage->room)
        return 0;
    size_t room = heritage->room ? heritage->room : 1024;
    while (room < need)
        room *= 2;
    at = realloc(heritage->at, room);
    if (!at)
        return -ENOMEM;
    heritage->at = at;
    heritage->room = room;
    return 0;
}

// Not CLOEXEC: it exists to be inherited. Kernels before 6.3 refuse the flag that later ones want
// to see.
static int
create_memory(void)
{
    int fd = memfd_create("barkeep-heritage", MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("barkeep-heritage", MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

static int
write_all(int fd, const char *at, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

// pread: the descriptor's position is shared with the writer.
static int
read_all(int fd, char *at, size_t len)
{
    off_t from = 0;

    while (len > 0) {
        ssize_t n = pread(fd, at, len, from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EBADMSG;
        at += n;
        from += n;
        len -= (size_t)n;
    }
    return 0;
}

// Every record must lie inside. Under a layout we do not know only the first record is trusted: the
// rest is cut off.
static int
check(struct bk_heritage *heritage)
{
    struct head head;
    size_t at = sizeof head;

    memcpy(&head, heritage->at, sizeof head);
    if (head.magic != BK_HERITAGE_MAGIC || head.length != heritage->len)
        return -EBADMSG;
    bool known = head.layout == BK_HERITAGE_LAYOUT || head.layout + 1 == BK_HERITAGE_LAYOUT;
    while (at < heritage->len) {
        struct record record;
        if (heritage->len - at < sizeof record)
            return -EBADMSG;
        memcpy(&record, heritage->at + at, sizeof record);
        at += sizeof record;
        size_t padded = ((size_t)record.length + 3) & ~(size_t)3;
        if (padded > heritage->len - at)
            return -EBADMSG;
        at += padded;
        if (!known) {
            heritage->len = record.tag == BK_HERITAGE_VERSION ? at : sizeof head;
            return -EPROTONOSUPPORT;
        }
    }
    return known ? 0 : -EPROTONOSUPPORT;
}
