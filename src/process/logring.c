// Log rings in shared memory: workers (and the master, ring 0) put, the master's log thread takes.
//
// Positions count bytes for ever; the place in the ring is the position modulo the size. A record
// lies in one piece: when it would cross the end, a filler takes the rest of the ring first. The
// producer moves `written` only after the last byte is in place, so a worker killed in the middle
// of a put leaves nothing half-visible.
#include "process/logring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

#define MAGIC 0x626b6c67u
#define LAYOUT 1u
#define MASK (BK_LOGRING_SIZE - 1)
#define RECORD_MAX (BK_LOGRING_SIZE / 4)
#define COUNT_MAX 4096u

_Static_assert((BK_LOGRING_SIZE & MASK) == 0, "the ring size is a power of two");

struct ring {
    _Alignas(64) _Atomic uint64_t written;  // the producer's
    _Atomic uint64_t dropped;               // the producer's, ever
    _Alignas(64) _Atomic uint64_t taken;    // the consumer's
    uint64_t dropped_told;                  // the consumer's
    uint64_t torn;                          // the consumer's: times the contents made no sense
    _Alignas(64) char bytes[BK_LOGRING_SIZE];
};

struct memory {
    uint32_t magic, layout, count, ring_size;
    _Alignas(64) _Atomic uint32_t sleeping;  // 1: the consumer waits on the eventfd
    struct ring rings[];
};

struct entry {
    uint32_t size;  // of the whole record, a multiple of 8
    uint16_t kind;  // KIND_*
    uint8_t level, access;
    uint64_t wall_ns;
    int32_t pid;
    uint32_t worker;
    uint32_t key_len, text_len, detail_len, unused;
};
enum { KIND_RECORD = 1, KIND_FILLER = 2 };

struct bk_logrings {
    struct memory *memory;  // owns the mapping
    size_t length;
    int memory_fd, wake_fd;  // owns
};

static int create_memory(size_t length);
static int map(struct bk_logrings *rings, size_t length);
static struct entry measure(const struct bk_log_record *record);
static size_t cut_text(struct bk_str text, size_t room);
static void wake(struct bk_logrings *rings);
static struct ring *ring_at(const struct bk_logrings *rings, unsigned index);
static bool next_entry(struct ring *ring, struct entry *ret);
static void forget_all(struct ring *ring);

int
bk_logrings_new(unsigned count, struct bk_logrings **ret)
{
    struct bk_logrings *rings;
    int rc;

    if (count == 0 || count > COUNT_MAX)
        return -EINVAL;
    rings = calloc(1, sizeof *rings);
    if (!rings)
        return -ENOMEM;
    rings->wake_fd = -1;
    size_t length = sizeof(struct memory) + (size_t)count * sizeof(struct ring);
    rc = rings->memory_fd = create_memory(length);
    if (rc >= 0)
        rc = map(rings, length);
    if (rc >= 0) {
        rings->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        rc = rings->wake_fd < 0 ? -errno : 0;
    }
    if (rc < 0) {
        bk_logrings_free(rings);
        return rc;
    }
    rings->memory->magic = MAGIC;
    rings->memory->layout = LAYOUT;
    rings->memory->count = count;
    rings->memory->ring_size = BK_LOGRING_SIZE;
    *ret = rings;
    return 0;
}

int
bk_logrings_open(int memory_fd, int wake_fd, struct bk_logrings **ret)
{
    struct bk_logrings *rings;
    struct stat facts;

    if (fstat(memory_fd, &facts) < 0)
        return -errno;
    if (facts.st_size < (off_t)(sizeof(struct memory) + sizeof(struct ring)))
        return -EBADMSG;
    rings = calloc(1, sizeof *rings);
    if (!rings)
        return -ENOMEM;
    rings->memory_fd = memory_fd;
    rings->wake_fd = wake_fd;
    int rc = map(rings, (size_t)facts.st_size);
    if (rc == 0) {
        const struct memory *memory = rings->memory;
        if (memory->magic != MAGIC)
            rc = -EBADMSG;
        else if (memory->layout != LAYOUT || memory->ring_size != BK_LOGRING_SIZE)
            rc = -EPROTONOSUPPORT;
        else if (memory->count != (rings->length - sizeof *memory) / sizeof(struct ring))
            rc = -EBADMSG;
    }
    if (rc < 0) {
        rings->memory_fd = rings->wake_fd = -1;  // still the caller's
        bk_logrings_free(rings);
        return rc;
    }
    *ret = rings;
    return 0;
}

void
bk_logrings_free(struct bk_logrings *rings)
{
    if (!rings)
        return;
    if (rings->memory)
        munmap(rings->memory, rings->length);
    if (rings->memory_fd >= 0)
        close(rings->memory_fd);
    if (rings->wake_fd >= 0)
        close(rings->wake_fd);
    free(rings);
}

int
bk_logrings_fd(const struct bk_logrings *rings)
{
    return rings->memory_fd;
}

int
bk_logrings_wake_fd(const struct bk_logrings *rings)
{
    return rings->wake_fd;
}

int
bk_logring_put(struct bk_logrings *rings, unsigned index, const struct bk_log_record *record)
{
    struct ring *ring = ring_at(rings, index);
    struct entry entry = measure(record);
    uint64_t at, taken;

    if (!ring)
        return -EINVAL;
    at = atomic_load_explicit(&ring->written, memory_order_relaxed);
    taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
    uint64_t to_end = BK_LOGRING_SIZE - (at & MASK);
    uint64_t filler = to_end < entry.size ? to_end : 0;
    if (at + filler + entry.size - taken > BK_LOGRING_SIZE) {
        atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
        return -ENOSPC;
    }
    if (filler > 0) {
        // Sizes are multiples of 8, so the first 8 bytes (size, kind) always fit.
        struct entry gap = {.size = (uint32_t)filler, .kind = KIND_FILLER};
        memcpy(ring->bytes + (at & MASK), &gap, 8);
        at += filler;
    }
    char *to = ring->bytes + (at & MASK);
    memcpy(to, &entry, sizeof entry);
    to += sizeof entry;
    memcpy(to, record->key.len ? record->key.at : "", entry.key_len);
    to += entry.key_len;
    memcpy(to, record->text.len ? record->text.at : "", entry.text_len);
    to += entry.text_len;
    memcpy(to, record->detail.len ? record->detail.at : "", entry.detail_len);
    // sequentially consistent, see bk_logrings_sleep
    atomic_store(&ring->written, at + entry.size);
    wake(rings);
    return 0;
}

int
bk_logring_take(struct bk_logrings *rings, unsigned index, char *buffer, size_t room,
                struct bk_log_record *ret)
{
    struct ring *ring = ring_at(rings, index);
    struct entry entry;
    size_t lens[3], used = 0;

    if (!ring || !next_entry(ring, &entry))
        return 0;
    uint64_t at = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    const char *from = ring->bytes + (at & MASK) + sizeof entry;
    const uint32_t wanted[3] = {entry.key_len, entry.text_len, entry.detail_len};
    struct bk_str *parts[3] = {&ret->key, &ret->text, &ret->detail};
    for (unsigned i = 0; i < 3; i++) {
        lens[i] = wanted[i] < room - used ? wanted[i] : room - used;
        if (lens[i] > 0)
            memcpy(buffer + used, from, lens[i]);
        *parts[i] = (struct bk_str){buffer + used, lens[i]};
        used += lens[i];
        from += wanted[i];
    }
    ret->level = entry.level <= BK_LOG_CRITICAL ? (enum bk_log_level)entry.level : BK_LOG_ERROR;
    ret->access = entry.access != 0;
    ret->wall_ns = entry.wall_ns;
    ret->pid = entry.pid;
    ret->worker = entry.worker;
    atomic_store_explicit(&ring->taken, at + entry.size, memory_order_release);
    return 1;
}

bool
bk_logring_peek(struct bk_logrings *rings, unsigned index, uint64_t *ret_wall_ns)
{
    struct ring *ring = ring_at(rings, index);
    struct entry entry;

    if (!ring || !next_entry(ring, &entry))
        return false;
    *ret_wall_ns = entry.wall_ns;
    return true;
}

uint64_t
bk_logring_dropped(struct bk_logrings *rings, unsigned index)
{
    struct ring *ring = ring_at(rings, index);

    if (!ring)
        return 0;
    uint64_t now = atomic_load_explicit(&ring->dropped, memory_order_relaxed) + ring->torn;
    uint64_t fresh = now - ring->dropped_told;
    ring->dropped_told = now;
    return fresh;
}

bool
bk_logrings_sleep(struct bk_logrings *rings)
{
    struct memory *memory = rings->memory;

    // Flag first, then look (the producer publishes first, then reads the flag): one of the two
    // sees the other.
    atomic_store(&memory->sleeping, 1);
    for (unsigned i = 0; i < memory->count; i++) {
        struct ring *ring = &memory->rings[i];
        if (atomic_load(&ring->written) != atomic_load(&ring->taken)) {
            atomic_store(&memory->sleeping, 0);
            return false;
        }
    }
    return true;
}

void
bk_logrings_awake(struct bk_logrings *rings)
{
    uint64_t count;

    atomic_store(&rings->memory->sleeping, 0);
    while (read(rings->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

static int
create_memory(size_t length)
{
    int fd = memfd_create("barkeep-log", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("barkeep-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    // A worker that could shrink it would make the log thread's next look a SIGBUS.
    if (ftruncate(fd, (off_t)length) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int
map(struct bk_logrings *rings, size_t length)
{
    void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, rings->memory_fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    rings->memory = at;
    rings->length = length;
    return 0;
}

// What fits into RECORD_MAX: the detail gives way first, then the text.
static struct entry
measure(const struct bk_log_record *record)
{
    struct entry entry = {.kind = KIND_RECORD,
                          .level = (uint8_t)record->level,
                          .access = record->access,
                          .wall_ns = record->wall_ns,
                          .pid = record->pid,
                          .worker = record->worker};
    size_t room = RECORD_MAX - sizeof entry;
    size_t lens[3];

    lens[0] = cut_text(record->key, 256);
    room -= lens[0];
    lens[1] = cut_text(record->text, room);
    room -= lens[1];
    lens[2] = cut_text(record->detail, room);
    entry.key_len = (uint32_t)lens[0];
    entry.text_len = (uint32_t)lens[1];
    entry.detail_len = (uint32_t)lens[2];
    entry.size = (uint32_t)((sizeof entry + lens[0] + lens[1] + lens[2] + 7) & ~(size_t)7);
    return entry;
}

// Length that fits, not ending inside a UTF-8 sequence.
static size_t
cut_text(struct bk_str text, size_t room)
{
    if (text.len <= room)
        return text.len;
    while (room > 0 && ((unsigned char)text.at[room] & 0xc0) == 0x80)
        room--;
    return room;
}

static void
wake(struct bk_logrings *rings)
{
    if (!atomic_load(&rings->memory->sleeping))
        return;
    if (atomic_exchange(&rings->memory->sleeping, 0)) {
        uint64_t one = 1;
        ssize_t n = write(rings->wake_fd, &one, sizeof one);
        (void)n;  // EAGAIN: woken already
    }
}

static struct ring *
ring_at(const struct bk_logrings *rings, unsigned index)
{
    return index < rings->memory->count ? &rings->memory->rings[index] : NULL;
}

// The oldest record's head, checked: the application shares this memory and may have scribbled over
// it.
static bool
next_entry(struct ring *ring, struct entry *ret)
{
    for (;;) {
        uint64_t at = atomic_load_explicit(&ring->taken, memory_order_relaxed);
        uint64_t waiting = atomic_load_explicit(&ring->written, memory_order_acquire) - at;
        if (waiting == 0)
            return false;
        uint64_t to_end = BK_LOGRING_SIZE - (at & MASK);
        struct entry entry = {0};
        if (waiting <= BK_LOGRING_SIZE && waiting % 8 == 0 && at % 8 == 0)
            memcpy(&entry, ring->bytes + (at & MASK), to_end < sizeof entry ? 8 : sizeof entry);
        if (entry.size == 0 || entry.size % 8 || entry.size > waiting || entry.size > to_end) {
            forget_all(ring);
            return false;
        }
        if (entry.kind == KIND_FILLER) {
            atomic_store_explicit(&ring->taken, at + entry.size, memory_order_release);
            continue;
        }
        uint64_t need = sizeof entry + (uint64_t)entry.key_len + entry.text_len + entry.detail_len;
        if (entry.kind != KIND_RECORD || entry.size < sizeof entry || need > entry.size) {
            forget_all(ring);
            return false;
        }
        *ret = entry;
        return true;
    }
}

// Also brings a scribbled `written` back to a multiple of 8; the producer goes on from there.
static void
forget_all(struct ring *ring)
{
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);

    ring->torn++;
    if (written % 8) {
        written &= ~(uint64_t)7;
        atomic_store_explicit(&ring->written, written, memory_order_release);
    }
    atomic_store_explicit(&ring->taken, written, memory_order_release);
}
