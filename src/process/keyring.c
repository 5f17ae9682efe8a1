// Keys of TLS session tickets. Written by the master's timer, read at handshakes.
#include "process/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 1000  // of a reader, against a writer that was killed in the middle

struct page {
    _Atomic uint32_t sequence;  // odd while it is written
    uint32_t count;
    unsigned char keys[2][BK_KEYRING_KEY];
};

struct bk_keyring {
    struct page *page;  // owns the mapping
    int fd;             // owns
};

static int map(int fd, int protection, struct bk_keyring **ret);

int
bk_keyring_new(struct bk_keyring **ret)
{
    int fd = memfd_create("barkeep-keys", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = ftruncate(fd, sizeof(struct page)) < 0 ? -errno : 0;
    if (error == 0)
        error = map(fd, PROT_READ | PROT_WRITE, ret);
    if (error < 0) {
        close(fd);
        return error;
    }
    error = bk_keyring_turn(*ret);
    if (error < 0)
        bk_keyring_free(*ret);
    return error;
}

int
bk_keyring_fd(const struct bk_keyring *keyring)
{
    return keyring->fd;
}

int
bk_keyring_open(int fd, struct bk_keyring **ret)
{
    struct stat facts;
    if (fstat(fd, &facts) < 0)
        return -errno;
    if (facts.st_size != sizeof(struct page))
        return -EPROTO;
    int error = map(fd, PROT_READ, ret);
    if (error == 0) {
        close(fd);
        (*ret)->fd = -1;
    }
    return error;
}

static int
map(int fd, int protection, struct bk_keyring **ret)
{
    struct bk_keyring *keyring = malloc(sizeof *keyring);
    if (!keyring)
        return -ENOMEM;
    void *at = mmap(NULL, sizeof(struct page), protection, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        free(keyring);
        return -errno;
    }
    madvise(at, sizeof(struct page), MADV_DONTDUMP);
    *keyring = (struct bk_keyring){.page = at, .fd = fd};
    *ret = keyring;
    return 0;
}

void
bk_keyring_free(struct bk_keyring *keyring)
{
    if (!keyring)
        return;
    munmap(keyring->page, sizeof(struct page));
    if (keyring->fd >= 0)
        close(keyring->fd);
    free(keyring);
}

int
bk_keyring_turn(struct bk_keyring *keyring)
{
    struct page *page = keyring->page;
    unsigned char fresh[BK_KEYRING_KEY];
    if (getrandom(fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh)
        return -EIO;
    atomic_fetch_add(&page->sequence, 1);
    memcpy(page->keys[1], page->keys[0], BK_KEYRING_KEY);
    memcpy(page->keys[0], fresh, BK_KEYRING_KEY);
    page->count += page->count < 2;
    atomic_fetch_add(&page->sequence, 1);
    explicit_bzero(fresh, sizeof fresh);
    return 0;
}

bool
bk_keyring_get(const struct bk_keyring *keyring, unsigned age, unsigned char out[BK_KEYRING_KEY])
{
    struct page *page = keyring->page;
    for (unsigned i = 0; i < TRIES; i++) {
        uint32_t before = atomic_load(&page->sequence);
        bool there = age < page->count;
        if (there && age < 2)
            memcpy(out, page->keys[age], BK_KEYRING_KEY);
        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) && atomic_load(&page->sequence) == before)
            return there;
    }
    return false;
}
