// Spill files. See spill.h; used by body.c only.
#include "serve/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "serve/engine.h"

#define PIECE (256 * 1024)
#define WINDOW (64 * 1024)

struct bk_spill {
    struct bk_job job;
    struct bk_exchange *x;     // borrows; NULL once the exchange is gone
    struct bk_engine *engine;  // borrows
    int fd;                    // owns
    int error;                 // of the last write
    bool busy, ended;
    char *filling, *flying;  // own: PIECE + BK_SCRATCH_SIZE bytes each
    size_t fill, fly;
    uint64_t written;  // bytes in the file
    uint64_t length;   // bytes taken
    char *window;      // owns
    uint64_t window_at;
    size_t window_len;
};

static int open_unlinked(const char *directory);
static int submit(struct bk_spill *spill);
static void write_piece(struct bk_job *job);
static void written(struct bk_job *job);
static void destroy(struct bk_spill *spill);

int
bk__spill_new(struct bk_exchange *x, struct bk_spill **ret)
{
    struct bk_spill *spill = calloc(1, sizeof *spill);
    if (!spill)
        return -ENOMEM;
    spill->x = x;
    spill->engine = x->engine;
    spill->fd = open_unlinked(x->engine->spill_dir);
    int error = spill->fd < 0 ? spill->fd : 0;
    spill->filling = malloc(PIECE + BK_SCRATCH_SIZE);
    if (!spill->filling)
        error = -ENOMEM;
    if (error < 0) {
        bk_log(BK_LOG_ERROR, "spill-failed", "cannot create a spill file in %s: %s",
               x->engine->spill_dir, bk_err_name(-error));
        destroy(spill);
        return error;
    }
    *ret = spill;
    return 0;
}

static int
open_unlinked(const char *directory)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
        return -errno;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/barkeep-XXXXXX", directory) >= (int)sizeof path)
        return -ENAMETOOLONG;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unlink(path);
    return fd;
}

int
bk__spill_take(struct bk_spill *spill, struct bk_str data)
{
    struct bk_engine *engine = spill->engine;
    if (spill->error)
        return spill->error;
    uint64_t limit = engine->config->spill_limit;
    if (limit && engine->spill_bytes + data.len > limit) {
        bk_log(BK_LOG_ERROR, "spill-full", "spill files have reached --spill-limit (%llu bytes)",
               (unsigned long long)limit);
        return -ENOSPC;
    }
    engine->spill_bytes += data.len;
    spill->length += data.len;
    while (data.len) {  // a piece may arrive larger than the buffer when a memory body turns into a
                        // file
        size_t room = PIECE + BK_SCRATCH_SIZE - spill->fill;
        size_t len = data.len < room ? data.len : room;
        memcpy(spill->filling + spill->fill, data.at, len);
        spill->fill += len;
        data.at += len;
        data.len -= len;
        if (spill->fill < PIECE)
            break;
        if (spill->busy) {
            if (data.len)
                return -ENOMEM;
            return 1;
        }
        int error = submit(spill);
        if (error < 0)
            return error;
    }
    return 0;
}

static int
submit(struct bk_spill *spill)
{
    if (!spill->flying && !(spill->flying = malloc(PIECE + BK_SCRATCH_SIZE)))
        return -ENOMEM;
    char *piece = spill->filling;
    spill->filling = spill->flying;
    spill->flying = piece;
    spill->fly = spill->fill;
    spill->fill = 0;
    spill->job.work = write_piece;
    spill->job.done = written;
    spill->busy = true;
    int error = bk_offload_submit(spill->engine->offload, &spill->job);
    if (error < 0) {  // no thread to be had: better slow than failed
        write_piece(&spill->job);
        spill->busy = false;
        return spill->error;
    }
    return 0;
}

// On an offload thread. At most half of the free space is taken.
static void
write_piece(struct bk_job *job)
{
    struct bk_spill *spill = BK_OUTER(job, struct bk_spill, job);
    struct statvfs space;
    if (fstatvfs(spill->fd, &space) == 0 &&
        (uint64_t)space.f_bavail * space.f_frsize / 2 < spill->fly) {
        spill->error = -ENOSPC;
        return;
    }
    size_t at = 0;
    while (at < spill->fly) {
        ssize_t n =
            pwrite(spill->fd, spill->flying + at, spill->fly - at, (off_t)(spill->written + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            spill->error = n < 0 && (errno == ENOSPC || errno == EDQUOT) ? -ENOSPC : -EIO;
            return;
        }
        at += (size_t)n;
    }
    spill->written += spill->fly;
}

// Back on the loop.
static void
written(struct bk_job *job)
{
    struct bk_spill *spill = BK_OUTER(job, struct bk_spill, job);
    struct bk_exchange *x = spill->x;
    spill->busy = false;
    if (!x) {
        destroy(spill);
        return;
    }
    if (!spill->error && (spill->fill >= PIECE || (spill->ended && spill->fill))) {
        int error = submit(spill);
        if (error < 0)
            spill->error = error;
        if (spill->busy) {
            if (x->conn && !spill->ended)
                bk__conn_later(x->conn);
            return;
        }
    }
    if (spill->error) {
        bk_log(BK_LOG_ERROR, "spill-full", "cannot write a spill file in %s: %s",
               spill->engine->spill_dir, bk_err_name(-spill->error));
        if (x->conn)
            bk__conn_refuse(x->conn, &(struct bk_fault){spill->error == -ENOSPC ? 507 : 500,
                                                        "no room for the request body"});
        return;
    }
    if (spill->ended) {
        bk__body_end(x);
        bk__to_app_queue(x);
    } else if (x->conn) {
        bk__conn_later(x->conn);
    }
}

bool
bk__spill_end(struct bk_spill *spill)
{
    spill->ended = true;
    if (!spill->busy && spill->fill && submit(spill) < 0)
        return true;
    return spill->busy || spill->fill;
}

bool
bk__spill_wants(const struct bk_spill *spill)
{
    return !spill->error && !(spill->busy && spill->fill >= PIECE);
}

uint64_t
bk__spill_length(const struct bk_spill *spill)
{
    return spill->length;
}

ssize_t
bk__spill_read(struct bk_spill *spill, uint64_t position, void *into, size_t room)
{
    if (position >= spill->length)
        return 0;
    ssize_t n;
    do
        n = pread(spill->fd, into, room, (off_t)position);
    while (n < 0 && errno == EINTR);
    return n > 0 ? n : -EIO;
}

ssize_t
bk__spill_peek(struct bk_spill *spill, uint64_t position, struct bk_str *ret)
{
    if (position >= spill->length)
        return 0;
    if (!spill->window && !(spill->window = malloc(WINDOW)))
        return -ENOMEM;
    if (position < spill->window_at || position >= spill->window_at + spill->window_len) {
        ssize_t n = bk__spill_read(spill, position, spill->window, WINDOW);
        if (n <= 0)
            return n;
        spill->window_at = position;
        spill->window_len = (size_t)n;
    }
    size_t skip = (size_t)(position - spill->window_at);
    *ret = (struct bk_str){spill->window + skip, spill->window_len - skip};
    return (ssize_t)ret->len;
}

void
bk__spill_free(struct bk_spill *spill)
{
    if (spill->busy)
        spill->x = NULL;
    else
        destroy(spill);
}

static void
destroy(struct bk_spill *spill)
{
    spill->engine->spill_bytes -= spill->length;
    if (spill->fd >= 0)
        close(spill->fd);
    free(spill->filling);
    free(spill->flying);
    free(spill->window);
    free(spill);
}
