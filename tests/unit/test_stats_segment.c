// The scoreboard: its memory, its layout check, and the request text under concurrent reading.
#include "stats/stats_segment.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "check.h"

static struct bk_segment *segment, *other;
static int segment_fd;

static void
start(unsigned slots)
{
    CHECK_INT(bk_segment_new(slots, &segment, &segment_fd), 0);
}

TEST(new_and_open)
{
    start(8);
    CHECK(fcntl(segment_fd, F_GETFD) & FD_CLOEXEC);
    CHECK_INT(segment->slot_count, 8);
    CHECK_INT((uintptr_t)&segment->slots[0] % 64, 0);
    CHECK_INT((uintptr_t)&segment->slots[1] % 64, 0);
    CHECK_INT(segment->slots[7].state, BK_SLOT_FREE);
    CHECK_INT(bk_segment_open(segment_fd, &other), 0);
    CHECK(other != segment);
    bk_count(&other->slots[3].counters.requests, 5);
    bk_count(&other->slots[3].counters.requests, 2);
    CHECK_INT(segment->slots[3].counters.requests, 7);
    bk_segment_free(other);
    bk_segment_free(segment);
    bk_segment_free(NULL);
    close(segment_fd);
}

TEST(counts_out_of_range)
{
    CHECK_INT(bk_segment_new(0, &segment, &segment_fd), -EINVAL);
    CHECK_INT(bk_segment_new(4097, &segment, &segment_fd), -EINVAL);
}

TEST(size_is_sealed)
{
    start(2);
    CHECK_INT(ftruncate(segment_fd, 0), -1);
    CHECK_INT(ftruncate(segment_fd, 1 << 20), -1);
    bk_segment_free(segment);
    close(segment_fd);
}

TEST(strange_layouts_are_refused)
{
    start(4);
    segment->layout++;
    CHECK_INT(bk_segment_open(segment_fd, &other), -EPROTONOSUPPORT);
    segment->layout--;
    segment->magic = 0;
    CHECK_INT(bk_segment_open(segment_fd, &other), -EPROTONOSUPPORT);
    segment->magic = BK_STATS_MAGIC;
    segment->slot_size += 8;
    CHECK_INT(bk_segment_open(segment_fd, &other), -EPROTONOSUPPORT);
    segment->slot_size -= 8;
    segment->slot_count++;
    CHECK_INT(bk_segment_open(segment_fd, &other), -EPROTONOSUPPORT);
    segment->slot_count = UINT32_MAX;
    CHECK_INT(bk_segment_open(segment_fd, &other), -EPROTONOSUPPORT);
    segment->slot_count = 4;
    CHECK_INT(bk_segment_open(segment_fd, &other), 0);
    int small = memfd_create("small", MFD_CLOEXEC);
    CHECK_INT(bk_segment_open(small, &other), -EPROTONOSUPPORT);
    CHECK(ftruncate(small, 64) == 0);
    CHECK_INT(bk_segment_open(small, &other), -EPROTONOSUPPORT);
    CHECK_INT(bk_segment_open(-1, &other), -EBADF);
}

static const struct bk_row_peer nobody = {.family = AF_UNIX};

static void
begin(struct bk_row *row, const char *text, size_t len)
{
    char room[500] = "";
    memcpy(room, text, len);
    bk_row_begin(row, 7, 1, &nobody, (struct bk_str){room, len});
}

TEST(request_text)
{
    struct bk_row_copy copy;
    char target[400];
    start(1);
    struct bk_slot *slot = &segment->slots[0];
    struct bk_row *row = &slot->rows[0];
    CHECK(bk_slot_oldest(slot, &copy));
    CHECK_STR(copy.text, "");
    CHECK_INT(copy.since, 0);
    begin(row, "GET /path?secret=1", 9);
    CHECK(bk_row_read(row, &copy));
    CHECK_STR(copy.text, "GET /path");
    CHECK_INT(copy.since, 7);
    CHECK_INT(copy.peer.family, AF_UNIX);
    bk_row_end(row);
    CHECK(bk_slot_oldest(slot, &copy));
    CHECK_STR(copy.text, "GET /path"); // the last one
    CHECK_INT(copy.since, 0);
    memset(target, 't', sizeof target);
    begin(row, target, sizeof target);
    CHECK(bk_row_read(row, &copy));
    CHECK_INT(copy.len, BK_STATS_TEXT);
    CHECK(strncmp(copy.text, "tttt", 4) == 0);
    begin(row, "", 0);
    CHECK(bk_row_read(row, &copy));
    CHECK_STR(copy.text, "");
}

TEST(oldest_of_several)
{
    struct bk_row_copy copy;
    start(1);
    struct bk_slot *slot = &segment->slots[0];
    bk_row_begin(&slot->rows[0], 30, 1, &nobody, (struct bk_str){"GET /c          ", 6});
    bk_row_begin(&slot->rows[5], 10, 2, &nobody, (struct bk_str){"GET /a          ", 6});
    bk_row_begin(&slot->rows[63], 20, 3, &nobody, (struct bk_str){"GET /b          ", 6});
    CHECK(bk_slot_oldest(slot, &copy));
    CHECK_STR(copy.text, "GET /a");
    CHECK_INT(copy.thread, 2);
    bk_row_end(&slot->rows[5]);
    CHECK(bk_slot_oldest(slot, &copy));
    CHECK_STR(copy.text, "GET /b");
}

TEST(cleared)
{
    struct bk_row_copy copy;
    start(2);
    struct bk_slot *slot = &segment->slots[0];
    char *bytes = (char *)slot;
    memset(bytes, 1, sizeof *slot);
    segment->slots[1].state = BK_SLOT_IDLE;
    bk_slot_clear(slot);
    CHECK(bk_slot_oldest(slot, &copy));
    CHECK_STR(copy.text, "");
    CHECK_INT(copy.since, 0);
    CHECK_INT(segment->slots[1].state, BK_SLOT_IDLE);
    // Nothing but padding and the words of rows, which nobody reads, is left.
    for (size_t i = 0; i < offsetof(struct bk_slot, waiting) + sizeof slot->waiting; i++)
        CHECK(bytes[i] == 0);
    for (size_t i = offsetof(struct bk_slot, turned);
         i < offsetof(struct bk_slot, threads) + sizeof slot->threads; i++)
        CHECK(bytes[i] == 0);
    for (size_t i = offsetof(struct bk_slot, counters); i < offsetof(struct bk_slot, rows); i++)
        CHECK(bytes[i] == 0);
}

TEST(dead_writer)
{
    struct bk_row_copy copy;
    start(1);
    struct bk_row *row = &segment->slots[0].rows[0];
    begin(row, "GET /a", 6);
    row->lock++; // died in the middle
    CHECK(!bk_row_read(row, &copy));
    begin(row, "GET /b", 6); // the next one in the slot
    CHECK(bk_row_read(row, &copy));
    CHECK_STR(copy.text, "GET /b");
    row->len = UINT32_MAX; // a length nobody may believe
    CHECK(bk_row_read(row, &copy));
}

static _Atomic bool stop_writing;

static void *
write_texts(void *self)
{
    char text[200];
    for (unsigned i = 0; !atomic_load_explicit(&stop_writing, memory_order_relaxed); i++) {
        memset(text, 'a' + (int)(i % 26), sizeof text);
        begin(&segment->slots[0].rows[0], text, 1 + i % sizeof text);
    }
    return NULL;
}

TEST(reader_never_sees_a_mixture)
{
    pthread_t writer;
    struct bk_row_copy copy;
    const char *out = copy.text;
    unsigned seen = 0;
    start(1);
    begin(&segment->slots[0].rows[0], "a", 1);
    stop_writing = false;
    CHECK(pthread_create(&writer, NULL, write_texts, NULL) == 0);
    while (seen < 300000) {
        if (!bk_row_read(&segment->slots[0].rows[0], &copy))
            continue; // allowed: the writer was faster several times in a row
        seen++;
        for (const char *at = out; *at; at++)
            CHECK_INT(*at, out[0]);
    }
    atomic_store(&stop_writing, true);
    pthread_join(writer, NULL);
}
