// The answer on its way out: framing, the head in front of the body, writing what the stream takes,
// going on when it takes more. Files that are not in the page cache are sent by an offload thread,
// so that a slow disk never holds up the loop.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "serve/engine.h"

#define PARTS_PER_WRITE 16
#define FILE_PIECE (512 * 1024)
#define COPY_PIECE (32 * 1024)
#define READ_PIECE (256 * 1024)
// Of a request body the application did not read: so much is read and dropped to keep the
// connection.
#define UNREAD_MAX (64 * 1024)

static bool may_keep(const struct bk_exchange *x);
static int frame_queued(struct bk_exchange *x, struct bk_h1_answer *answer);
static ssize_t send_parts(struct bk_exchange *x);
static ssize_t send_file(struct bk_exchange *x);

int
bk__transmit_open(struct bk_exchange *x, bool whole)
{
    struct bk_answer *answer = &x->answer;
    struct bk_engine *engine = x->engine;
    answer->bodiless = x->head.method_id == BK_METHOD_HEAD || bk_status_bodiless(answer->status);
    bool no_length = answer->status < 200 || answer->status == 204;
    if (no_length)
        answer->has_length = false;
    if (!answer->has_length && whole && !no_length && answer->status != 304 &&
        bk_likely(!answer->trailers_len)) {
        answer->has_length = answer->add_length = true;
        answer->length = answer->pushed;
    }
    if (answer->has_length)
        answer->framing = BK_FRAMING_LENGTH;
    else if (answer->bodiless)
        answer->framing = BK_FRAMING_NONE;
    else
        answer->framing = x->head.minor >= 1 ? BK_FRAMING_CHUNKED : BK_FRAMING_CLOSE;
    if (answer->framing == BK_FRAMING_CLOSE || !may_keep(x))
        answer->close = true;
    answer->opened = x->flowing = true;
    uint8_t from = answer->has_server ? engine->common_server : 0;
    uint8_t to = answer->has_date ? engine->common_server : engine->common_len;
    struct bk_h1_answer h1 = {
        .status = answer->status,
        .reason = answer->reason,
        .fields = {answer->fields, answer->fields_len},
        .common = {engine->common + from, to > from ? (size_t)(to - from) : 0},
        .add_length = answer->framing == BK_FRAMING_LENGTH,
        .content_length = answer->length,
        .framing = (enum bk_framing)answer->framing,
        .close = answer->close,
        .say_keep = !answer->close && x->head.flags & BK_HEAD_SAY_KEEP,
    };
    return frame_queued(x, &h1);
}

// Writes the head in front of what the application pushed before the framing was known.
static int
frame_queued(struct bk_exchange *x, struct bk_h1_answer *h1)
{
    struct bk_out *out = &x->out;
    size_t bound = bk_h1_write_bound(h1) + BK_H1_CHUNK_MAX;
    char *at = out->headroom && bound <= out->headroom_size ? out->headroom
                                                            : bk_arena_text(&x->arena, bound);
    if (!at)
        return -ENOMEM;
    uint64_t body = out->queued;
    size_t len = bk_h1_write_head(at, h1);
    if (h1->framing == BK_FRAMING_CHUNKED && body)
        len += bk_h1_write_chunk_size(at + len, body);
    int error = bk__out_prepend(x, at, len);
    if (error == 0 && h1->framing == BK_FRAMING_CHUNKED && body)
        error = bk__out_copy(x, "\r\n", 2);
    return error;
}

static bool
may_keep(const struct bk_exchange *x)
{
    const struct bk_conn *conn = x->conn;
    const struct bk_engine *engine = x->engine;
    if (!conn || !(x->head.flags & BK_HEAD_KEEP_ALIVE) || x->refused || conn->closing ||
        x->call.websocket ||  // what follows a handshake is no request
        bk_engine_is_stopping(engine) || engine->config->keep_alive == 0)
        return false;
    if (bk_likely(conn->request_done))
        return true;
    // The application answers while its request still comes in. What is left is dropped if that is
    // little.
    if (!x->continued || !(x->head.flags & BK_HEAD_HAS_LENGTH))
        return x->state == BK_EXCHANGE_RUNNING && x->continued;
    return x->head.content_length - x->body.position - x->body.len <= UNREAD_MAX ||
           x->state == BK_EXCHANGE_RUNNING;
}

int
bk__transmit_some(struct bk_exchange *x)
{
    struct bk_conn *conn = x->conn;
    if (!conn)
        return -EPIPE;
    while (x->out.first) {
        if (conn->job)
            return 1;
        ssize_t n = x->out.first->kind == BK_PART_FILE ? send_file(x) : send_parts(x);
        if (n == -EAGAIN) {
            if (!conn->job)
                bk__conn_watch_out(conn);
            if (conn->step != BK_STEP_SEND && x->state == BK_EXCHANGE_SENDING && !x->ws)
                bk__conn_set_step(conn, BK_STEP_SEND);
            return 1;
        }
        if (n < 0)
            return (int)n;
        x->sent += (uint64_t)n;
        bk_count(&x->engine->counters->bytes_out, (uint64_t)n);
        bk__out_consume(x, (size_t)n);
        if (conn->step == BK_STEP_SEND)
            bk__conn_touch(conn);
        bk__exchange_stir(x);
    }
    return 0;
}

static ssize_t
send_parts(struct bk_exchange *x)
{
    struct bk_conn *conn = x->conn;
    const struct bk_part *part = x->out.first;
    if (bk_likely(!part->next))
        return conn->stream.ops->write(&conn->stream, part->at, part->len);
    struct iovec parts[PARTS_PER_WRITE];
    int count = 0;
    for (; part && part->kind != BK_PART_FILE && count < PARTS_PER_WRITE; part = part->next) {
        parts[count].iov_base = (void *)(uintptr_t)part->at;
        parts[count++].iov_len = part->len;
    }
    return conn->stream.ops->writev(&conn->stream, parts, count);
}

// ---- files ----

struct file_job {
    struct bk_job job;
    struct bk_conn *conn;  // borrows; conn->job keeps its fd and memory alive
    int fd;                // owns: a duplicate, since the exchange may end before the job
    off_t offset;
    size_t len;
    ssize_t sent;
    char *bytes;  // owns: what was read for a stream of one thread, which the loop then sends
};

// Are the first and last byte of the piece in the page cache?
static bool
resident(int fd, off_t offset, size_t len)
{
    char byte;
    struct iovec one = {&byte, 1};
    return preadv2(fd, &one, 1, offset, RWF_NOWAIT) == 1 &&
           preadv2(fd, &one, 1, offset + (off_t)len - 1, RWF_NOWAIT) == 1;
}

// One piece from the file to the stream: by sendfile, or read and written with --sendfile off (for
// file systems that cannot). Also on offload threads. Returns as send_file of the stream.
static ssize_t
move_piece(struct bk_conn *conn, int fd, off_t *offset, size_t len)
{
    char buffer[COPY_PIECE];
    if (conn->engine->config->sendfile)
        return conn->stream.ops->send_file(&conn->stream, fd, offset, len);
    ssize_t n = pread(fd, buffer, len < sizeof buffer ? len : sizeof buffer, *offset);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    n = conn->stream.ops->write(&conn->stream, buffer, (size_t)n);
    if (n > 0)
        *offset += n;
    return n;
}

static void
send_file_piece(struct bk_job *job)
{
    struct file_job *file = BK_OUTER(job, struct file_job, job);
    if (!file->conn->stream.ops->one_thread) {
        file->sent = move_piece(file->conn, file->fd, &file->offset, file->len);
        return;
    }
    file->len = file->len < READ_PIECE ? file->len : READ_PIECE;
    file->bytes = malloc(file->len);
    file->sent = file->bytes ? pread(file->fd, file->bytes, file->len, file->offset) : -ENOMEM;
    if (file->sent < 0 && file->bytes)
        file->sent = -errno;
    else if (file->sent == 0)
        file->sent = -EIO;
}

// Bytes read for a stream of one thread take the place of their part of the file. Frees the job.
static int
queue_piece(struct bk_exchange *x, struct file_job *file)
{
    int error = file->sent < 0 ? (int)file->sent
                               : bk__out_read(x, file->bytes, (size_t)file->sent);
    if (error < 0)
        free(file->bytes);
    free(file);
    return error;
}

static void
sent_file_piece(struct bk_job *job)
{
    struct file_job *file = BK_OUTER(job, struct file_job, job);
    struct bk_conn *conn = file->conn;
    struct bk_exchange *x = conn->exchange;
    ssize_t sent = file->sent;
    bool read_only = file->bytes;
    close(file->fd);
    conn->job = false;
    if (read_only && x && x->out.first) {
        sent = queue_piece(x, file);
    } else {
        free(file->bytes);
        free(file);
    }
    if (conn->dead) {
        bk__conn_finish_close(conn);  // it was put off until now
        return;
    }
    if (!x || !x->out.first)
        return;
    if (read_only && sent == 0) {
        bk__exchange_stir(x);
    } else if (sent > 0) {
        x->sent += (uint64_t)sent;
        bk_count(&x->engine->counters->bytes_out, (uint64_t)sent);
        x->out.first->offset += sent;
        bk__out_consume(x, (size_t)sent);
        bk__exchange_stir(x);
    } else if (sent == -EAGAIN) {
        bk__conn_watch_out(conn);
        return;
    } else {
        bk__conn_close(conn);
        return;
    }
    if (x->state == BK_EXCHANGE_SENDING)
        bk__transmit_finish(x);
    else if (bk__transmit_some(x) < 0)
        bk__conn_close(conn);
}

static ssize_t
send_file(struct bk_exchange *x)
{
    struct bk_conn *conn = x->conn;
    struct bk_part *part = x->out.first;
    size_t len = part->len < FILE_PIECE ? (size_t)part->len : FILE_PIECE;
    if (resident(part->fd, part->offset, len)) {
        ssize_t n = move_piece(conn, part->fd, &part->offset, len);
        return n == 0 ? -EIO : n;  // the file became shorter than announced: cut the answer
    }
    struct file_job *file = malloc(sizeof *file);
    if (!file)
        return -ENOMEM;
    *file = (struct file_job){.job = {.work = send_file_piece, .done = sent_file_piece},
                              .conn = conn,
                              .fd = fcntl(part->fd, F_DUPFD_CLOEXEC, 3),
                              .offset = part->offset,
                              .len = len};
    if (file->fd < 0 || bk_offload_submit(x->engine->offload, &file->job) < 0) {
        if (file->fd >= 0)
            close(file->fd);
        free(file);
        ssize_t n = move_piece(conn, part->fd, &part->offset, len);
        return n == 0 ? -EIO : n;
    }
    conn->job = true;
    return -EAGAIN;
}

// ---- the end ----

static int
last_chunk(struct bk_exchange *x)
{
    struct bk_answer *answer = &x->answer;
    int error = bk__out_copy(x, "0\r\n", 3);
    if (bk_unlikely(answer->trailers_len) && error == 0)
        error = bk__out_copy(x, answer->trailers, answer->trailers_len);
    return error < 0 ? error : bk__out_copy(x, "\r\n", 2);
}

void
bk__transmit_finish(struct bk_exchange *x)
{
    struct bk_answer *answer = &x->answer;
    if (!answer->ended) {
        answer->ended = true;
        if (answer->framing == BK_FRAMING_CHUNKED && !answer->failed && last_chunk(x) < 0)
            answer->failed = true;
    }
    int rest = bk__transmit_some(x);
    if (rest == 0) {
        bk__wrapup(x);
    } else if (rest < 0) {
        bk_count(&x->engine->counters->aborts, 1);
        bk__conn_close(x->conn);
    }
}
