// TLS streams. Called by serve through the vtable; the handshake by serve/handshake.c.
#include "tls/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls/tls_facts.h"
#include "tls/tls_internal.h"

#define RECORD 16384  // what one record carries at most
// Bytes of a client in a handshake: hello, certificate chain, and what a first read takes too much.
#define HANDSHAKE_MAX (160 * 1024)
#define HELLO_MAX (48 * 1024)

struct tls_state {
    SSL *ssl;                    // owns; NULL before the first byte of the client
    struct bk_tls *tls;          // ref
    struct bk_tls_facts *facts;  // ref, NULL before the end of the handshake
    int fd;                      // borrows the stream's
    uint32_t received;           // bytes in the handshake
    bool open;                   // the handshake is done
    bool drained;  // the kernel had less than it was asked for: nothing more without an event
    bool foreign;  // the first byte is a letter: not TLS
    bool wants_write;
    bool said_goodbye;  // close_notify was sent
    bool broken;        // nothing more may be sent or read
};

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_method(void);
static int start(struct tls_state *state);
static const char *failure(struct tls_state *state, int result);

int
bk_tls_begin(struct bk_stream *stream, struct bk_tls *tls)
{
    struct tls_state *state = calloc(1, sizeof *state);
    if (!state)
        return -ENOMEM;
    state->tls = bk_tls_ref(tls);
    state->fd = stream->fd;
    stream->state = state;
    stream->ops = &bk_stream_tls;
    return 0;
}

static void
free_state(struct tls_state *state)
{
    SSL_free(state->ssl);
    bk_tls_facts_unref(state->facts);
    bk_tls_unref(state->tls);
    free(state);
}

int
bk_tls_handshake(struct bk_stream *stream, const char **ret_why)
{
    struct tls_state *state = stream->state;
    *ret_why = "out of memory";
    if (!state->ssl && start(state) < 0)
        return -ENOMEM;
    state->drained = state->wants_write = false;
    ERR_clear_error();
    int result = SSL_do_handshake(state->ssl);
    if (result == 1) {
        state->facts = bk__tls_facts_new(state->ssl, state->tls);
        state->open = true;
        return state->facts ? 0 : -ENOMEM;
    }
    int error = SSL_get_error(state->ssl, result);
    if (state->foreign) {
        free_state(state);
        stream->state = NULL;
        stream->ops = &bk_stream_plain;
        ERR_clear_error();
        return -EPROTONOSUPPORT;
    }
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        state->wants_write = error == SSL_ERROR_WANT_WRITE;
        return -EAGAIN;
    }
    state->broken = true;
    *ret_why = failure(state, error);
    return -EPROTO;
}

static int
start(struct tls_state *state)
{
    pthread_once(&once, make_method);
    SSL *ssl = SSL_new(state->tls->certificates[0].ctx);
    BIO *bio = method && ssl ? BIO_new(method) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return -ENOMEM;
    }
    BIO_set_data(bio, state);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, state);
    SSL_set_accept_state(ssl);
    state->ssl = ssl;
    return 0;
}

struct bk_tls *
bk__tls_of(const SSL *ssl)
{
    const struct tls_state *state = SSL_get_app_data(ssl);
    return state->tls;
}

bool
bk_tls_wants_write(const struct bk_stream *stream)
{
    const struct tls_state *state = stream->state;
    return state->wants_write;
}

struct bk_tls_facts *
bk_tls_facts(const struct bk_stream *stream)
{
    const struct tls_state *state = stream->state;
    return state && state->facts ? bk_tls_facts_ref(state->facts) : NULL;
}

// Why it ended, and an empty error queue: the application's own use of OpenSSL looks at it too.
static const char *
failure(struct tls_state *state, int error)
{
    bool ours = error == SSL_ERROR_SSL && ERR_peek_error() != 0;
    if (state->received > HELLO_MAX && !ours)
        return "a handshake that is too long";
    if (!ours) {
        ERR_clear_error();
        return "the client went away";
    }
    return bk__tls_reason();
}

// ---- between OpenSSL and the socket ----

static int
on_write(BIO *bio, const char *from, int len)
{
    struct tls_state *state = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    do
        n = send(state->fd, from, (size_t)len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_write(bio);
    return (int)n;
}

// A read that was not filled has emptied the socket: the next one is answered without asking.
static int
on_read(BIO *bio, char *into, int room)
{
    struct tls_state *state = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    if (state->drained) {
        BIO_set_retry_read(bio);
        return -1;
    }
    do
        n = recv(state->fd, into, (size_t)room, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        state->drained = true;
        BIO_set_retry_read(bio);
    }
    if (n <= 0)
        return (int)n;
    state->drained = n < room;
    if (state->open)
        return (int)n;
    // The types of records are small numbers, that of an SSL 2 hello is above 127.
    if (state->received == 0 &&
        ((into[0] >= 'A' && into[0] <= 'Z') || (into[0] >= 'a' && into[0] <= 'z'))) {
        state->foreign = true;
        return -1;
    }
    state->received += (uint32_t)n;
    if (state->received > (state->tls->verify ? HANDSHAKE_MAX : HELLO_MAX))
        return -1;
    return (int)n;
}

static long
on_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH;
}

static void
make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "barkeep socket");
    if (!method)
        return;
    BIO_meth_set_write(method, on_write);
    BIO_meth_set_read(method, on_read);
    BIO_meth_set_ctrl(method, on_control);
}

// ---- the vtable ----

static ssize_t
tls_read(struct bk_stream *stream, void *into, size_t room)
{
    struct tls_state *state = stream->state;
    size_t total = 0, n;
    if (state->said_goodbye) {  // lingering: only the end of the connection is of interest
        ssize_t got = recv(stream->fd, into, room, 0);
        return got < 0 ? -errno : got;
    }
    if (!state->open || state->broken)
        return -EPIPE;
    state->drained = stream->ended = false;
    while (total < room) {
        ERR_clear_error();
        if (SSL_read_ex(state->ssl, (char *)into + total, room - total, &n)) {
            total += n;
            continue;
        }
        int error = SSL_get_error(state->ssl, 0);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
            return total ? (ssize_t)total : -EAGAIN;
        stream->ended = true;
        if (error != SSL_ERROR_ZERO_RETURN && total == 0) {
            state->broken = true;
            ERR_clear_error();
            return -ECONNRESET;
        }
        ERR_clear_error();
        break;
    }
    return (ssize_t)total;
}

// At most one record, so that what has to be offered again is bounded.
static ssize_t
write_record(struct tls_state *state, const void *from, size_t len)
{
    size_t n;
    if (!state->open || state->broken || state->said_goodbye)
        return -EPIPE;
    ERR_clear_error();
    if (SSL_write_ex(state->ssl, from, len < RECORD ? len : RECORD, &n))
        return (ssize_t)n;
    int error = SSL_get_error(state->ssl, 0);
    if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ)
        return -EAGAIN;
    state->broken = true;
    ERR_clear_error();
    return -EPIPE;
}

static ssize_t
tls_write(struct bk_stream *stream, const void *from, size_t len)
{
    size_t total = 0;
    while (total < len) {
        ssize_t n = write_record(stream->state, (const char *)from + total, len - total);
        if (n < 0)
            return total ? (ssize_t)total : n;
        total += (size_t)n;
    }
    return (ssize_t)total;
}

// Small parts share a record. When it is offered again there may be more of them, never fewer.
static ssize_t
tls_writev(struct bk_stream *stream, const struct iovec *parts, int count)
{
    char record[RECORD];
    size_t len = 0;
    if (parts[0].iov_len >= RECORD)
        return tls_write(stream, parts[0].iov_base, parts[0].iov_len);
    for (int i = 0; i < count && len < RECORD; i++) {
        size_t piece = parts[i].iov_len < RECORD - len ? parts[i].iov_len : RECORD - len;
        memcpy(record + len, parts[i].iov_base, piece);
        len += piece;
    }
    return write_record(stream->state, record, len);
}

static ssize_t
tls_send_file(struct bk_stream *stream, int file_fd, off_t *offset, size_t len)
{
    char record[RECORD];
    size_t total = 0;
    while (total < len) {
        size_t piece = len - total < RECORD ? len - total : RECORD;
        ssize_t got = pread(file_fd, record, piece, *offset), n;
        if (got <= 0)
            return total ? (ssize_t)total : got < 0 ? -errno : 0;
        n = write_record(stream->state, record, (size_t)got);
        if (n < 0)
            return total ? (ssize_t)total : n;
        *offset += n;
        total += (size_t)n;
    }
    return (ssize_t)total;
}

// close_notify: without it the client must take what it got for cut short. -EAGAIN when the socket
// has no room for it.
static int
say_goodbye(struct tls_state *state)
{
    if (!state->open || state->broken || state->said_goodbye)
        return 0;
    ERR_clear_error();
    int result = SSL_shutdown(state->ssl);
    int error = result < 0 ? SSL_get_error(state->ssl, result) : 0;
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    state->said_goodbye = true;
    return 0;
}

static int
tls_shut_write(struct bk_stream *stream)
{
    int error = say_goodbye(stream->state);
    if (error < 0)
        return error;
    return shutdown(stream->fd, SHUT_WR) < 0 ? -errno : 0;
}

static void
tls_goodbye(struct bk_stream *stream)
{
    (void)say_goodbye(stream->state);
}

static size_t
tls_pending(const struct bk_stream *stream)
{
    const struct tls_state *state = stream->state;
    return state->open && !state->broken ? (size_t)SSL_pending(state->ssl) : 0;
}

static void
tls_close(struct bk_stream *stream)
{
    if (stream->state)
        free_state(stream->state);
    stream->state = NULL;
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
}

const struct bk_stream_ops bk_stream_tls = {
    .name = "tls",
    .one_thread = true,
    .read = tls_read,
    .write = tls_write,
    .writev = tls_writev,
    .send_file = tls_send_file,
    .shut_write = tls_shut_write,
    .goodbye = tls_goodbye,
    .pending = tls_pending,
    .close = tls_close,
};
