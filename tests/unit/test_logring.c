// Records go through the ring whole and in order, at every offset; fullness, kills and scribbles
// cost records, not sense.
#include "process/logring.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

#include "check.h"

#define ROOM (BK_LOGRING_SIZE / 4)
static char buffer[ROOM];

static struct bk_logrings *
new_rings(unsigned count)
{
    struct bk_logrings *rings = NULL;
    CHECK_INT(bk_logrings_new(count, &rings), 0);
    return rings;
}

static struct bk_log_record
record_of(const char *text)
{
    return (struct bk_log_record){.level = BK_LOG_WARNING,
                                  .wall_ns = 12345,
                                  .pid = 77,
                                  .worker = 3,
                                  .key = BK_STR("some-key"),
                                  .text = bk_str_of(text),
                                  .detail = BK_STR("one\ntwo")};
}

TEST(a_record_comes_back_as_it_was)
{
    struct bk_logrings *rings = new_rings(3);
    struct bk_log_record in = record_of("hello"), out;
    uint64_t when = 0;
    CHECK_INT(bk_logring_take(rings, 2, buffer, ROOM, &out), 0);
    CHECK(!bk_logring_peek(rings, 2, &when));
    CHECK_INT(bk_logring_put(rings, 2, &in), 0);
    CHECK(bk_logring_peek(rings, 2, &when));
    CHECK_INT(when, 12345);
    CHECK_INT(bk_logring_take(rings, 1, buffer, ROOM, &out), 0);
    CHECK_INT(bk_logring_take(rings, 2, buffer, ROOM, &out), 1);
    CHECK_INT(out.level, BK_LOG_WARNING);
    CHECK(!out.access);
    CHECK_INT(out.wall_ns, 12345);
    CHECK_INT(out.pid, 77);
    CHECK_INT(out.worker, 3);
    CHECK_TEXT(out.key, "some-key");
    CHECK_TEXT(out.text, "hello");
    CHECK_TEXT(out.detail, "one\ntwo");
    CHECK_INT(bk_logring_take(rings, 2, buffer, ROOM, &out), 0);
    CHECK_INT(bk_logring_put(rings, 9, &in), -EINVAL);
    bk_logrings_free(rings);
}

TEST(every_length_wraps)
{
    struct bk_logrings *rings = new_rings(1);
    char *text = malloc(6000);
    unsigned len = 0;
    for (unsigned i = 0; i < 6000; i++)
        text[i] = (char)('a' + i % 26);
    for (unsigned i = 0; i < 20000; i++, len = (len + 7) % 5000) {
        struct bk_log_record in = {.wall_ns = i, .text = {text, len}, .access = i & 1}, out;
        CHECK_INT(bk_logring_put(rings, 0, &in), 0);
        CHECK_INT(bk_logring_take(rings, 0, buffer, ROOM, &out), 1);
        CHECK_INT(out.wall_ns, i);
        CHECK_INT(out.access, i & 1);
        CHECK_INT(out.text.len, len);
        CHECK_INT(memcmp(out.text.at, text, len), 0);
    }
    CHECK_INT(bk_logring_dropped(rings, 0), 0);
    free(text);
    bk_logrings_free(rings);
}

TEST(a_full_ring_drops_and_counts)
{
    struct bk_logrings *rings = new_rings(1);
    struct bk_log_record in = record_of("0123456789"), out;
    unsigned put = 0, taken = 0;
    while (bk_logring_put(rings, 0, &in) == 0)
        put++;
    CHECK_INT(bk_logring_put(rings, 0, &in), -ENOSPC);
    CHECK(put > 2000);
    CHECK_INT(bk_logring_dropped(rings, 0), 2);
    CHECK_INT(bk_logring_dropped(rings, 0), 0);
    while (bk_logring_take(rings, 0, buffer, ROOM, &out))
        taken++;
    CHECK_INT(taken, put);
    CHECK_INT(bk_logring_put(rings, 0, &in), 0);
    bk_logrings_free(rings);
}

TEST(giants_are_cut_at_a_character)
{
    struct bk_logrings *rings = new_rings(1);
    size_t len = BK_LOGRING_SIZE;
    char *text = malloc(len + 1);
    for (size_t i = 0; i < len; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    for (unsigned shift = 0; shift < 2; shift++) {
        struct bk_log_record in = {.text = {shift ? "ab" : "a", 1 + shift}, .detail = {text, len}},
                             out;
        CHECK_INT(bk_logring_put(rings, 0, &in), 0);
        CHECK_INT(bk_logring_take(rings, 0, buffer, ROOM, &out), 1);
        CHECK_INT(out.text.len, 1 + shift);
        CHECK(out.detail.len > BK_LOGRING_SIZE / 4 - 128 && out.detail.len < BK_LOGRING_SIZE / 4);
        CHECK_INT(out.detail.len % 2, 0);
    }
    free(text);
    bk_logrings_free(rings);
}

TEST(a_small_buffer_cuts)
{
    struct bk_logrings *rings = new_rings(1);
    struct bk_log_record in = record_of("a text"), out;
    CHECK_INT(bk_logring_put(rings, 0, &in), 0);
    CHECK_INT(bk_logring_take(rings, 0, buffer, 10, &out), 1);
    CHECK_TEXT(out.key, "some-key");
    CHECK_TEXT(out.text, "a ");
    CHECK_INT(out.detail.len, 0);
    bk_logrings_free(rings);
}

struct stream {
    struct bk_logrings *rings;
    unsigned count;
};

static void *
produce(void *self)
{
    struct stream *stream = self;
    char text[64];
    for (unsigned i = 0; i < stream->count;) {
        struct bk_log_record in = {.wall_ns = i,
                                   .text = {text, (size_t)snprintf(text, sizeof text, "%u", i)}};
        if (bk_logring_put(stream->rings, 1, &in) == 0)
            i++;
        else
            sched_yield();
    }
    return NULL;
}

// Also a test of the wake-up: the consumer sleeps for ever whenever it may.
TEST(two_threads_lose_nothing_and_no_wake_up)
{
    struct stream stream = {new_rings(2), 200000};
    struct bk_log_record out;
    pthread_t thread;
    unsigned next = 0;
    CHECK_INT(pthread_create(&thread, NULL, produce, &stream), 0);
    while (next < stream.count) {
        while (bk_logring_take(stream.rings, 1, buffer, ROOM, &out)) {
            CHECK_INT(out.wall_ns, next);
            next++;
        }
        if (next < stream.count && bk_logrings_sleep(stream.rings)) {
            struct pollfd wait = {.fd = bk_logrings_wake_fd(stream.rings), .events = POLLIN};
            CHECK_INT(poll(&wait, 1, -1), 1);
            bk_logrings_awake(stream.rings);
        }
    }
    pthread_join(thread, NULL);
    bk_logrings_free(stream.rings);
}

TEST(another_process_writes_and_is_killed)
{
    struct bk_logrings *rings = new_rings(2);
    struct bk_log_record out;
    int said[2];
    CHECK_INT(pipe(said), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct bk_logrings *mine = NULL;
        CHECK_INT(
            bk_logrings_open(dup(bk_logrings_fd(rings)), dup(bk_logrings_wake_fd(rings)), &mine),
            0);
        for (unsigned i = 0;; i++) {
            struct bk_log_record in = record_of("finished");
            in.wall_ns = i;
            CHECK_INT(write(said[1], "", bk_logring_put(mine, 1, &in) == 0),
                      i < 1000 || errno == 0);
            if (i == 1000)
                kill(getpid(), SIGKILL);
        }
    }
    close(said[1]);
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    unsigned count = 0;
    char byte;
    while (read(said[0], &byte, 1) == 1) {
        CHECK_INT(bk_logring_take(rings, 1, buffer, ROOM, &out), 1);
        CHECK_TEXT(out.text, "finished");
        CHECK_INT(out.wall_ns, count++);
    }
    CHECK_INT(count, 1001);
    bk_logrings_free(rings);
}

// Every 8-byte word of the mapping in turn is set to nonsense: nothing crashes, and afterwards the
// ring works again.
TEST(scribbles_are_survived)
{
    static const uint64_t nonsense[] = {
        0, 1, 8, ~(uint64_t)0, 0x00010000ffffffffull, 0x0001000000000008ull};
    for (unsigned place = 0; place < 400; place++) {
        struct bk_logrings *rings = new_rings(1);
        struct bk_log_record in = record_of("before"), out;
        for (unsigned i = 0; i < 3; i++)
            CHECK_INT(bk_logring_put(rings, 0, &in), 0);
        off_t at = 64 + 8 * (place % 60);
        if (at == 64 + 128 + 8 || at == 64 + 128 + 16)
            at = 64;  // the consumer's private counts
        CHECK_INT(pwrite(bk_logrings_fd(rings), &nonsense[place / 60 % BK_COUNT(nonsense)], 8, at),
                  8);
        for (unsigned i = 0; i < 10 && bk_logring_take(rings, 0, buffer, ROOM, &out); i++)
            CHECK(out.text.len <= ROOM);
        (void)bk_logring_dropped(rings, 0);
        while (bk_logring_take(rings, 0, buffer, ROOM, &out))
            ;
        in = record_of("after");
        CHECK_INT(bk_logring_put(rings, 0, &in), 0);
        CHECK_INT(bk_logring_take(rings, 0, buffer, ROOM, &out), 1);
        CHECK_TEXT(out.text, "after");
        bk_logrings_free(rings);
    }
}

TEST(foreign_memory_is_refused)
{
    struct bk_logrings *rings = new_rings(1), *mine = NULL;
    uint32_t other = 99;
    int fd = memfd_create("short", 0);
    CHECK_INT(bk_logrings_open(fd, -1, &mine), -EBADMSG);
    CHECK_INT(ftruncate(fd, 1 << 20), 0);
    CHECK_INT(bk_logrings_open(fd, -1, &mine), -EBADMSG);
    CHECK_INT(pwrite(bk_logrings_fd(rings), &other, 4, 4), 4);
    CHECK_INT(bk_logrings_open(bk_logrings_fd(rings), -1, &mine), -EPROTONOSUPPORT);
    CHECK_INT(bk_logrings_open(-1, -1, &mine), -EBADF);
    CHECK(fcntl(fd, F_GETFD) >= 0);
    bk_logrings_free(rings);
    bk_logrings_free(NULL);
    CHECK_INT(bk_logrings_new(0, &mine), -EINVAL);
}
