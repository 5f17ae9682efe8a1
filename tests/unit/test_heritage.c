// The heritage crosses a memfd unchanged, and damaged or foreign ones are refused.
#include "process/heritage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "check.h"

static int
sealed(struct bk_heritage *heritage)
{
    int fd = -1;
    CHECK_INT(bk_heritage_seal(heritage, &fd), 0);
    bk_heritage_free(heritage);
    return fd;
}

// A copy of `fd` that can be written.
static int
copied(int fd)
{
    char bytes[65536];
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    CHECK(n > 0 && n < (ssize_t)sizeof bytes);
    int copy = memfd_create("copy", MFD_CLOEXEC);
    CHECK(copy >= 0 && write(copy, bytes, (size_t)n) == n);
    return copy;
}

static struct bk_heritage *
sample(void)
{
    struct bk_heritage *heritage = bk_heritage_new();
    CHECK(heritage);
    CHECK_INT(bk_heritage_add(heritage, BK_HERITAGE_VERSION, BK_STR("0.1.0")), 0);
    CHECK_INT(bk_heritage_add(heritage, BK_HERITAGE_SETTING,
                              BK_STR("workers\0"
                                     "4\0default")),
              0);
    CHECK_INT(bk_heritage_addf(heritage, BK_HERITAGE_LISTENER, "%d %s %s", 7, "http",
                               "http://127.0.0.1:8000"),
              0);
    CHECK_INT(bk_heritage_add(heritage, BK_HERITAGE_SETTING, BK_STR("")), 0);
    return heritage;
}

TEST(crosses_a_memfd)
{
    struct bk_heritage *got;
    struct bk_str text;
    int fd = sealed(sample());
    CHECK_INT(bk_heritage_open(fd, &got), 0);
    CHECK(bk_heritage_get(got, BK_HERITAGE_VERSION, 0, &text));
    CHECK_TEXT(text, "0.1.0");
    CHECK(bk_heritage_get(got, BK_HERITAGE_SETTING, 0, &text));
    CHECK(bk_str_equal(text, BK_STR("workers\0"
                                    "4\0default")));
    CHECK(bk_heritage_get(got, BK_HERITAGE_SETTING, 1, &text));
    CHECK_INT(text.len, 0);
    CHECK(!bk_heritage_get(got, BK_HERITAGE_SETTING, 2, &text));
    CHECK(bk_heritage_get(got, BK_HERITAGE_LISTENER, 0, &text));
    CHECK_TEXT(text, "7 http http://127.0.0.1:8000");
    CHECK(!bk_heritage_get(got, BK_HERITAGE_CHANNEL, 0, &text));
    bk_heritage_free(got);
    close(fd);
}

TEST(is_sealed_and_inheritable)
{
    int fd = sealed(sample());
    CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    CHECK_INT(pwrite(fd, "x", 1, 0), -1);
    CHECK_INT(ftruncate(fd, 1), -1);
    close(fd);
}

TEST(long_values_and_many_records)
{
    struct bk_heritage *heritage = bk_heritage_new(), *got;
    struct bk_str text;
    size_t len = 300000;
    char *value = malloc(len);
    memset(value, 'v', len);
    CHECK_INT(bk_heritage_add(heritage, BK_HERITAGE_ARGUMENT, (struct bk_str){value, len}), 0);
    for (int i = 0; i < 1000; i++)
        CHECK_INT(bk_heritage_addf(heritage, BK_HERITAGE_ARGUMENT, "%d", i), 0);
    int fd = sealed(heritage);
    CHECK_INT(bk_heritage_open(fd, &got), 0);
    CHECK(bk_heritage_get(got, BK_HERITAGE_ARGUMENT, 0, &text));
    CHECK_INT(text.len, len);
    CHECK_INT(memcmp(text.at, value, len), 0);
    CHECK(bk_heritage_get(got, BK_HERITAGE_ARGUMENT, 1000, &text));
    CHECK_TEXT(text, "999");
    bk_heritage_free(got);
    free(value);
    close(fd);
}

TEST(an_unknown_layout_still_names_its_version)
{
    struct bk_heritage *got = NULL;
    struct bk_str text;
    int fd = sealed(sample()), copy = copied(fd);
    uint32_t layout = BK_HERITAGE_LAYOUT + 7;
    CHECK_INT(pwrite(copy, &layout, 4, 8), 4);
    CHECK_INT(bk_heritage_open(copy, &got), -EPROTONOSUPPORT);
    CHECK(bk_heritage_get(got, BK_HERITAGE_VERSION, 0, &text));
    CHECK_TEXT(text, "0.1.0");
    CHECK(!bk_heritage_get(got, BK_HERITAGE_SETTING, 0, &text));
    bk_heritage_free(got);
    close(fd);
    close(copy);
}

TEST(damage_is_refused)
{
    struct bk_heritage *got = NULL;
    int fd = sealed(sample()), copy = copied(fd);
    struct stat facts;
    uint32_t huge = 0xfffffff0u;
    CHECK_INT(fstat(copy, &facts), 0);
    CHECK_INT(ftruncate(copy, facts.st_size - 4), 0);
    CHECK_INT(bk_heritage_open(copy, &got), -EBADMSG);
    close(copy);
    copy = copied(fd);
    CHECK_INT(pwrite(copy, &huge, 4, 20), 4);  // length of the first record
    CHECK_INT(bk_heritage_open(copy, &got), -EBADMSG);
    close(copy);
    copy = copied(fd);
    CHECK_INT(pwrite(copy, "no", 2, 0), 2);  // magic
    CHECK_INT(bk_heritage_open(copy, &got), -EBADMSG);
    CHECK_INT(ftruncate(copy, 3), 0);
    CHECK_INT(bk_heritage_open(copy, &got), -EBADMSG);
    CHECK_INT(bk_heritage_open(-1, &got), -EBADF);
    close(copy);
    close(fd);
}

TEST(too_much_is_refused)
{
    struct bk_heritage *heritage = bk_heritage_new();
    size_t len = 17u << 20;
    char *value = calloc(1, len);
    CHECK_INT(bk_heritage_add(heritage, BK_HERITAGE_ARGUMENT, (struct bk_str){value, len}), -E2BIG);
    free(value);
    bk_heritage_free(heritage);
    bk_heritage_free(NULL);
}
