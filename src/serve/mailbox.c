// See mailbox.h. Used by baton.c and wait.c.
#include "serve/mailbox.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void
bk__mailbox_post(struct bk_mailbox *mailbox, struct bk_errand *errand)
{
    struct bk_errand *last = atomic_load_explicit(&mailbox->last, memory_order_relaxed);
    do
        errand->next = last;
    while (!atomic_compare_exchange_weak(&mailbox->last, &last, errand));
}

void
bk__mailbox_empty(struct bk_mailbox *mailbox)
{
    if (!atomic_load_explicit(&mailbox->last, memory_order_relaxed))
        return;
    struct bk_errand *errand = atomic_exchange(&mailbox->last, NULL), *oldest = NULL;
    while (errand) {
        struct bk_errand *next = errand->next;
        errand->next = oldest;
        oldest = errand;
        errand = next;
    }
    while (oldest) {
        errand = oldest;
        oldest = errand->next;
        bool waited_for = errand->waited_for;
        errand->run(errand);
        if (waited_for) {
            // From the store on the errand may be gone: a wake-up of a stranger's word is harmless.
            atomic_store_explicit(&errand->done, 1, memory_order_release);
            bk__futex_wake(&errand->done);
        }
    }
}

void
bk__errand_wait(struct bk_errand *errand)
{
    while (!atomic_load_explicit(&errand->done, memory_order_acquire))
        bk__futex_wait(&errand->done, 0, -1);
}

int
bk__futex_wait(_Atomic uint32_t *word, uint32_t expected, int timeout_ms)
{
    struct timespec time = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    long result = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
                          timeout_ms < 0 ? NULL : &time, NULL, 0);
    return result < 0 && errno != EAGAIN ? -errno : 0;
}

void
bk__futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
