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

#define TEXT_AT sizeof(struct bk_row_peer)
#define ADDRESS 24 // bytes of it that an address takes, in whole words

// What a row's words hold.
union row_words {
    struct bk_row_peer peer;
    char text[TEXT_AT + BK_STATS_TEXT];
    uint64_t words[(TEXT_AT + BK_STATS_TEXT) / 8];
};

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
bk_row_begin(struct bk_row *row, uint64_t since, unsigned thread, const struct bk_row_peer *peer,
             struct bk_str text)
{
    // Of an address only the first words are of interest.
    size_t used = peer->family == BK_ROW_FORWARDED ? TEXT_AT : ADDRESS;
    size_t len = text.len < BK_STATS_TEXT ? text.len : BK_STATS_TEXT;
    const char *from = (const char *)peer;
    uint64_t word;
    // An odd lock was left by a predecessor that died while writing.
    uint32_t lock = load(&row->lock, memory_order_relaxed) | 1;
    atomic_store_explicit(&row->lock, lock, memory_order_relaxed);
    atomic_store_explicit(&row->len, (uint32_t)len, memory_order_release);
    atomic_store_explicit(&row->thread, (uint16_t)thread, memory_order_relaxed);
    atomic_store_explicit(&row->step, BK_ROW_APP, memory_order_relaxed);
    for (size_t i = 0; i < used; i += 8) {
        memcpy(&word, from + i, 8);
        atomic_store_explicit(&row->words[i / 8], word, memory_order_release);
    }
    for (size_t i = 0; i < len; i += 8) {
        memcpy(&word, text.at + i, 8);
        atomic_store_explicit(&row->words[(TEXT_AT + i) / 8], word, memory_order_release);
    }
    atomic_store_explicit(&row->since, since, memory_order_release);
    atomic_store_explicit(&row->lock, lock + 1, memory_order_release);
}

bool
bk_row_read(const struct bk_row *row, struct bk_row_copy *ret)
{
    union row_words copy;
    for (int i = 0; i < READ_TRIES; i++) {
        uint32_t lock = load(&row->lock, memory_order_acquire);
        size_t len = load(&row->len, memory_order_acquire);
        if (len > BK_STATS_TEXT)
            len = BK_STATS_TEXT;
        ret->since = load(&row->since, memory_order_acquire);
        ret->thread = load(&row->thread, memory_order_relaxed);
        ret->step = (enum bk_row_step)load(&row->step, memory_order_relaxed);
        for (size_t word = 0; word < (TEXT_AT + len + 7) / 8; word++)
            copy.words[word] = load(&row->words[word], memory_order_acquire);
        if (lock % 2 != 0 || load(&row->lock, memory_order_relaxed) != lock)
            continue;
        ret->peer = copy.peer;
        memcpy(ret->text, copy.text + TEXT_AT, len);
        ret->text[len] = '\0';
        ret->len = len;
        return true;
    }
    return false;
}

bool
bk_slot_oldest(const struct bk_slot *slot, struct bk_row_copy *ret)
{
    const struct bk_row *oldest = &slot->rows[0]; // the one that is used again and again
    uint64_t since = 0;
    for (unsigned i = 0; i < BK_STATS_ROWS; i++) {
        uint64_t at = load(&slot->rows[i].since, memory_order_relaxed);
        if (at != 0 && (since == 0 || at < since)) {
            since = at;
            oldest = &slot->rows[i];
        }
    }
    return bk_row_read(oldest, ret);
}

void
bk_slot_clear(struct bk_slot *slot)
{
    // Its writer is gone and nobody else writes: plain memory, but for readers who check the lock.
    for (unsigned i = 0; i < BK_STATS_ROWS; i++) {
        struct bk_row *row = &slot->rows[i];
        if (load(&row->len, memory_order_relaxed) == 0 &&
            load(&row->lock, memory_order_relaxed) == 0)
            continue;
        atomic_store(&row->since, 0);
        atomic_store(&row->len, 0);
        atomic_store(&row->lock, 0);
    }
    _Atomic uint64_t *word = (_Atomic uint64_t *)&slot->counters;
    _Atomic uint64_t *end = (_Atomic uint64_t *)slot->rows;
    for (; word < end; word++)
        atomic_store_explicit(word, 0, memory_order_relaxed);
    atomic_store(&slot->state, (uint32_t)BK_SLOT_FREE);
    atomic_store(&slot->worker, 0);
    atomic_store(&slot->pid, 0);
    atomic_store(&slot->connections, 0);
    atomic_store(&slot->armed, 0);
    atomic_store(&slot->waiting, 0);
    atomic_store(&slot->turned, 0);
    atomic_store(&slot->progressed, 0);
    atomic_store(&slot->beat, 0);
    atomic_store(&slot->step_back, 0);
    atomic_store(&slot->in_app_since, 0);
    atomic_store(&slot->queued, 0);
    atomic_store(&slot->running, 0);
    atomic_store(&slot->threads, 0);
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
