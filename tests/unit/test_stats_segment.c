// The scoreboard: its memory, its layout check, and the request text under concurrent reading.
#include "stats/stats_segment.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

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

TEST(request_text)
{
    char out[300], target[400];
    start(1);
    struct bk_slot *slot = &segment->slots[0];
    CHECK(bk_slot_get_request(slot, out, sizeof out));
    CHECK_STR(out, "");
    bk_slot_set_request(slot, BK_STR("GET"), BK_STR("/path?secret=1"));
    CHECK(bk_slot_get_request(slot, out, sizeof out));
    CHECK_STR(out, "GET /path");
    CHECK(bk_slot_get_request(slot, out, 5));
    CHECK_STR(out, "GET ");
    CHECK(bk_slot_get_request(slot, out, 0));
    memset(target, 't', sizeof target);
    bk_slot_set_request(slot, BK_STR("DELETE"), (struct bk_str){target, sizeof target});
    CHECK(bk_slot_get_request(slot, out, sizeof out));
    CHECK_INT(strlen(out), 232);
    CHECK(strncmp(out, "DELETE tttt", 11) == 0);
    bk_slot_set_request(slot, (struct bk_str){target, sizeof target}, BK_STR("/"));
    CHECK(bk_slot_get_request(slot, out, sizeof out));
    CHECK_INT(strlen(out), 34);  // a method of any length leaves room for the path
    bk_slot_set_request(slot, BK_STR(""), BK_STR(""));
    CHECK(bk_slot_get_request(slot, out, sizeof out));
    CHECK_STR(out, " ");
}

TEST(dead_writer)
{
    char out[300];
    start(1);
    struct bk_slot *slot = &segment->slots[0];
    bk_slot_set_request(slot, BK_STR("GET"), BK_STR("/a"));
    slot->request_lock++;  // died in the middle
    CHECK(!bk_slot_get_request(slot, out, sizeof out));
    bk_slot_set_request(slot, BK_STR("GET"), BK_STR("/b"));  // the next one in the slot
    CHECK(bk_slot_get_request(slot, out, sizeof out));
    CHECK_STR(out, "GET /b");
    slot->request_len = UINT32_MAX;  // a length nobody may believe
    CHECK(bk_slot_get_request(slot, out, sizeof out));
}

static _Atomic bool stop_writing;

static void *
write_texts(void *self)
{
    char text[200];
    for (unsigned i = 0; !atomic_load_explicit(&stop_writing, memory_order_relaxed); i++) {
        memset(text, 'a' + (int)(i % 26), sizeof text);
        struct bk_str target = {text, 1 + i % sizeof text};
        bk_slot_set_request(&segment->slots[0], BK_STR("GET"), target);
    }
    return NULL;
}

TEST(reader_never_sees_a_mixture)
{
    pthread_t writer;
    char out[300];
    unsigned seen = 0;
    start(1);
    bk_slot_set_request(&segment->slots[0], BK_STR("GET"), BK_STR("a"));
    CHECK(pthread_create(&writer, NULL, write_texts, NULL) == 0);
    while (seen < 300000) {
        if (!bk_slot_get_request(&segment->slots[0], out, sizeof out))
            continue;  // allowed: the writer was faster several times in a row
        seen++;
        CHECK(memcmp(out, "GET ", 4) == 0);
        for (const char *at = out + 4; *at; at++)
            CHECK_INT(*at, out[4]);
    }
    atomic_store(&stop_writing, true);
    pthread_join(writer, NULL);
}
