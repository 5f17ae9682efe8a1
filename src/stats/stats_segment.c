// The scoreboard's memory. Called by the master (makes it, reads it) and by each worker (writes its
// own slot).
#include "stats/stats_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SLOTS_MAX 4096
#define READ_TRIES 16

#define load(at, order) atomic_load_explicit(at, order)

static int make_memfd(void);
static size_t size_of(unsigned slot_count);

int
bk_segment_new(unsigned slot_count, struct bk_segment **ret, int *ret_fd)
{
    struct bk_segment *segment;
    size_t size = size_of(slot_count);
    int fd, error;
    if (slot_count < 1 || slot_count > SLOTS_MAX)
        return -EINVAL;
    fd = make_memfd();
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)size) < 0)
        goto fail;
    // A worker that could shrink the file would make the master's next look at it a SIGBUS.
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        goto fail;
    segment = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (segment == MAP_FAILED)
        goto fail;
    segment->magic = BK_STATS_MAGIC;
    segment->layout = BK_STATS_LAYOUT;
    segment->slot_size = sizeof(struct bk_slot);
    segment->slot_count = slot_count;
    *ret = segment;
    *ret_fd = fd;
    return 0;
fail:
    error = -errno;
    close(fd);
    return error;
}

int
bk_segment_open(int fd, struct bk_segment **ret)
{
    struct bk_segment *segment;
    struct stat st;
    bool fits;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < (off_t)sizeof *segment || st.st_size > (off_t)size_of(SLOTS_MAX))
        return -EPROTONOSUPPORT;
    segment = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (segment == MAP_FAILED)
        return -errno;
    fits = segment->magic == BK_STATS_MAGIC && segment->layout == BK_STATS_LAYOUT &&
           segment->slot_size == sizeof(struct bk_slot) && segment->slot_count <= SLOTS_MAX &&
           size_of(segment->slot_count) == (size_t)st.st_size;
    if (!fits) {
        munmap(segment, (size_t)st.st_size);
        return -EPROTONOSUPPORT;
    }
    *ret = segment;
    return 0;
}

void
bk_segment_free(struct bk_segment *segment)
{
    if (segment && segment->slot_count <= SLOTS_MAX)
        munmap(segment, size_of(segment->slot_count));
}

// The writer makes the lock odd, writes, makes it even. Words are stored with release and loaded
// with acquire, so that a reader who saw a new word also sees the odd lock; on x86 and arm64 that
// costs nothing over plain moves.
void
bk_slot_set_request(struct bk_slot *slot, struct bk_str method, struct bk_str target)
{
    union {
        char text[sizeof slot->request];
        uint64_t words[BK_COUNT(slot->request_words)];
    } copy;
    const char *query = target.len > 0 ? memchr(target.at, '?', target.len) : NULL;
    size_t len = method.len < 32 ? method.len : 32, rest, words;
    // An odd lock was left by a predecessor that died while writing.
    uint32_t lock = load(&slot->request_lock, memory_order_relaxed) | 1;
    if (len > 0)
        memcpy(copy.text, method.at, len);
    copy.text[len++] = ' ';
    rest = query ? (size_t)(query - target.at) : target.len;
    rest = rest < sizeof copy.text - len ? rest : sizeof copy.text - len;
    if (rest > 0)
        memcpy(copy.text + len, target.at, rest);
    len += rest;
    words = (len + 7) / 8;
    memset(copy.text + len, 0, words * 8 - len);
    atomic_store_explicit(&slot->request_lock, lock, memory_order_relaxed);
    atomic_store_explicit(&slot->request_len, (uint32_t)len, memory_order_release);
    for (size_t i = 0; i < words; i++)
        atomic_store_explicit(&slot->request_words[i], copy.words[i], memory_order_release);
    atomic_store_explicit(&slot->request_lock, lock + 1, memory_order_release);
}

bool
bk_slot_get_request(const struct bk_slot *slot, char *out, size_t room)
{
    union {
        char text[sizeof slot->request];
        uint64_t words[BK_COUNT(slot->request_words)];
    } copy;
    for (int i = 0; i < READ_TRIES; i++) {
        uint32_t lock = load(&slot->request_lock, memory_order_acquire);
        size_t len = load(&slot->request_len, memory_order_acquire);
        if (len > sizeof copy.text)
            len = sizeof copy.text;
        for (size_t word = 0; word < (len + 7) / 8; word++)
            copy.words[word] = load(&slot->request_words[word], memory_order_acquire);
        if (lock % 2 != 0 || load(&slot->request_lock, memory_order_relaxed) != lock)
            continue;
        if (room == 0)
            return true;
        len = len < room ? len : room - 1;
        memcpy(out, copy.text, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

static int
make_memfd(void)
{
    int fd = memfd_create("barkeep-scoreboard", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    // Kernels before 6.3 do not know MFD_NOEXEC_SEAL.
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("barkeep-scoreboard", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

static size_t
size_of(unsigned slot_count)
{
    return sizeof(struct bk_segment) + (size_t)slot_count * sizeof(struct bk_slot);
}
