// Which files have changed: stamps, directories, patterns, what is forgotten.
#include "master/files.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/clock.h"
#include "check.h"

static char place[64];

static const char *
at(const char *name)
{
    static char path[4][PATH_MAX];
    static unsigned turn;
    turn = (turn + 1) % 4;
    if (!place[0]) {
        snprintf(place, sizeof place, "/tmp/barkeep-files-XXXXXX");
        CHECK(mkdtemp(place) != NULL);
    }
    snprintf(path[turn], PATH_MAX, "%s%s%s", place, name[0] ? "/" : "", name);
    return path[turn];
}

static void
put(const char *name, const char *text)
{
    FILE *file = fopen(at(name), "w");
    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

static int
add(struct bk_files *files, const char *name, unsigned generation)
{
    return bk_files_add(files, BK_FILE_MODULE, bk_str_of(at(name)), generation, 0);
}

static struct bk_files_news
look(struct bk_files *files, uint64_t now)
{
    struct bk_files_news news = {0};
    bk_files_look(files, now, &news);
    return news;
}

static void
clear(struct bk_files *files)
{
    char command[100];
    bk_files_release(files);
    snprintf(command, sizeof command, "rm -rf %s", place);
    CHECK_INT(system(command), 0);
}

TEST(a_change_is_seen_once)
{
    struct bk_files files = {0};
    put("a.py", "1");
    CHECK_INT(add(&files, "a.py", 1), 1);
    CHECK_INT(add(&files, "a.py", 2), 0);
    CHECK_INT(look(&files, 1).changed, 0);
    put("a.py", "12");
    struct bk_files_news news = look(&files, 2);
    CHECK_INT(news.changed, 1);
    CHECK_INT(news.removed, 0);
    CHECK(strcmp(news.first, at("a.py")) == 0);
    CHECK_INT(look(&files, 3).changed, 0);
    clear(&files);
}

TEST(only_the_time_counts_too)
{
    struct bk_files files = {0};
    put("a.py", "1");
    CHECK_INT(add(&files, "a.py", 1), 1);
    CHECK_INT(chmod(at("a.py"), 0600), 0);
    CHECK_INT(look(&files, 1).changed, 0);
    CHECK_INT(utimes(at("a.py"), (struct timeval[2]){{1, 0}, {1, 0}}), 0);
    CHECK_INT(look(&files, 2).changed, 1);
    clear(&files);
}

TEST(a_file_that_is_gone_for_a_moment_is_only_changed)
{
    struct bk_files files = {0};
    put("a.py", "1");
    CHECK_INT(add(&files, "a.py", 1), 1);
    unlink(at("a.py"));
    struct bk_files_news news = look(&files, 1);
    CHECK(news.again && news.changed == 0);
    put("a.py", "12");
    news = look(&files, 2);
    CHECK(!news.again && news.changed == 1 && news.removed == 0);
    unlink(at("a.py"));
    CHECK(look(&files, 10).again);
    CHECK(look(&files, 10 + BK_FILES_GRACE - 1).again);
    news = look(&files, 10 + BK_FILES_GRACE);
    CHECK(news.changed == 1 && news.removed == 1);
    news = look(&files, 11 + BK_FILES_GRACE);
    CHECK(news.changed == 0 && !news.again);
    put("a.py", "1");
    CHECK_INT(look(&files, 12 + BK_FILES_GRACE).changed, 1);
    clear(&files);
}

TEST(a_file_that_was_written_while_it_was_imported_is_suspect_once)
{
    struct bk_files files = {0};
    uint64_t born = bk_clock_wall() - 10 * BK_SEC;
    put("a.py", "1");
    CHECK_INT(bk_files_add(&files, BK_FILE_MODULE, bk_str_of(at("a.py")), 1, born), 1);
    CHECK_INT(look(&files, 1).changed, 1);
    CHECK_INT(bk_files_add(&files, BK_FILE_MODULE, bk_str_of(at("a.py")), 2, born), 0);
    CHECK_INT(look(&files, 2).changed, 0);
    unlink(at("a.py"));
    put("a.py", "1");  // as an application does that writes a module of its own
    CHECK_INT(look(&files, 3).changed, 0);
    put("a.py", "2");
    CHECK_INT(look(&files, 4).changed, 1);
    put("b.py", "1");
    CHECK_INT(
        bk_files_add(&files, BK_FILE_MODULE, bk_str_of(at("b.py")), 2, bk_clock_wall() + BK_SEC),
        1);
    CHECK_INT(look(&files, 3).changed, 0);
    clear(&files);
}

TEST(older_versions_are_forgotten)
{
    struct bk_files files = {0};
    put("a.py", "1");
    put("b.py", "1");
    CHECK_INT(add(&files, "a.py", 1), 1);
    CHECK_INT(add(&files, "b.py", 1), 1);
    CHECK_INT(add(&files, "b.py", 2), 0);
    bk_files_forget(&files, 2);
    CHECK_INT(files.count, 1);
    put("a.py", "12");
    CHECK_INT(look(&files, 1).changed, 0);
    CHECK_INT(add(&files, "a.py", 3), 1);
    put("a.py", "123");
    put("b.py", "123");
    CHECK_INT(look(&files, 1).changed, 2);
    clear(&files);
}

TEST(directories_and_patterns)
{
    struct bk_files files = {0};
    CHECK_INT(mkdir(at("dir"), 0700), 0);
    CHECK_INT(mkdir(at("dir/sub"), 0700), 0);
    put("dir/sub/a.html", "1");
    put("x1.ini", "1");
    CHECK_INT(bk_files_add_root(&files, BK_FILE_EXTRA, at("dir")), 0);
    CHECK_INT(bk_files_add_root(&files, BK_FILE_TOUCH, at("x?.ini")), 0);
    CHECK_INT(look(&files, 1).changed, 0);
    put("dir/sub/b.html", "1");
    put("dir/sub/.b.html.swp", "1");
    put("dir/sub/c.html~", "1");
    CHECK_INT(mkdir(at("dir/sub/__pycache__"), 0700), 0);
    put("dir/sub/__pycache__/x", "1");
    struct bk_files_news news = look(&files, 2);
    CHECK(news.changed == 1 && news.touched == 0);
    put("x2.ini", "1");
    put("xyz.ini", "1");
    news = look(&files, 3);
    CHECK(news.changed == 0 && news.touched == 1);
    unlink(at("dir/sub/a.html"));
    unlink(at("dir/sub/b.html"));
    CHECK(look(&files, 4).again);
    news = look(&files, 4 + BK_FILES_GRACE);
    CHECK(news.changed == 2 && news.removed == 2);
    CHECK_INT(look(&files, 5 + BK_FILES_GRACE).changed, 0);
    clear(&files);
}

TEST(a_link_that_points_elsewhere_is_another_place)
{
    struct bk_files files = {0};
    CHECK_INT(mkdir(at("one"), 0700), 0);
    CHECK_INT(mkdir(at("two"), 0700), 0);
    CHECK_INT(symlink("one", at("current")), 0);
    CHECK_INT(bk_files_add(&files, BK_FILE_PLACE, bk_str_of(at("current")), 0, 0), 1);
    put("one/file", "1");
    CHECK_INT(look(&files, 1).changed, 0);
    unlink(at("current"));
    CHECK_INT(symlink("two", at("current")), 0);
    CHECK_INT(look(&files, 2).changed, 1);
    clear(&files);
}

TEST(there_is_a_most)
{
    struct bk_files files = {0};
    char path[32];
    int rc = 0;
    for (unsigned i = 0; i <= BK_FILES_MAX; i++) {
        snprintf(path, sizeof path, "/none/%u", i);
        rc = bk_files_add(&files, BK_FILE_MODULE, bk_str_of(path), i % 2, 0);
        CHECK_INT(rc, i < BK_FILES_MAX ? 1 : -ENOSPC);
    }
    CHECK(files.full);
    bk_files_forget(&files, 1);
    CHECK_INT(files.count, BK_FILES_MAX / 2);
    CHECK_INT(bk_files_add(&files, BK_FILE_MODULE, BK_STR("/none/1"), 1, 0), 0);
    CHECK_INT(bk_files_add(&files, BK_FILE_MODULE, BK_STR("/none/2"), 1, 0), 1);
    bk_files_release(&files);
}

TEST(names_nobody_edits)
{
    static const char *const noise[] = {"a.pyc", ".a.py.swp", "a.py~", "4913", "__pycache__",
                                        "#a.py#"};
    static const char *const news[] = {"a.py", ".env", "a", "pyc", "x4913", "swp"};
    for (unsigned i = 0; i < BK_COUNT(noise); i++)
        CHECK(bk_files_is_noise(noise[i]));
    for (unsigned i = 0; i < BK_COUNT(news); i++)
        CHECK(!bk_files_is_noise(news[i]));
}
