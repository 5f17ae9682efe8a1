// Files and their stamps, in an array with a hash index.
#include "master/files.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"

#include "base/banned.h"

#define DEPTH_MAX 32
#define DIGEST_MAX (4u << 20)  // bytes of a file

// One look on its way.
struct look {
    struct bk_files *files;
    struct bk_files_news *news;  // NULL: nothing is news
    enum bk_file_kind kind;
};

static bool is_passed_over(const char *name);
static bool ends_in(const char *name, const char *const *ends, unsigned count);
static void look_at(struct look *look, unsigned index, uint64_t now);
static void look_for_new(struct look *look);
static void find_below(struct look *look, const char *directory, unsigned depth);
static void find_pattern(struct look *look, const char *pattern);
static void found_one(struct look *look, const char *path);
static void report(struct bk_files_news *news, const struct bk_file *file);
static void drop(struct bk_files *files, unsigned index);
static void read_stamp(const char *path, enum bk_file_kind kind, struct bk_file_stamp *ret);
static uint64_t digest_of(const char *path);
static bool same(const struct bk_file_stamp *a, const struct bk_file_stamp *b);
static int grow(struct bk_files *files);
static void index_all(struct bk_files *files);
static unsigned *bucket_of(const struct bk_files *files, struct bk_str path);
static bool is_pattern(const char *path);

void
bk_files_release(struct bk_files *files)
{
    for (unsigned i = 0; i < files->count; i++)
        free(files->items[i].path);
    for (unsigned i = 0; i < files->root_count; i++)
        free(files->roots[i]);
    free(files->items);
    free(files->buckets);
    free(files->roots);
    free(files->root_kinds);
    *files = (struct bk_files){0};
}

int
bk_files_add(struct bk_files *files, enum bk_file_kind kind, struct bk_str path,
             unsigned generation, uint64_t born)
{
    unsigned *bucket = files->bucket_count ? bucket_of(files, path) : NULL;
    if (bucket && *bucket) {
        struct bk_file *known = &files->items[*bucket - 1];
        if (known->generation < generation)
            known->generation = generation;
        return 0;
    }
    if (files->count == BK_FILES_MAX) {
        files->full = true;
        return -ENOSPC;
    }
    if (grow(files) < 0)
        return -ENOMEM;
    struct bk_file *file = &files->items[files->count];
    *file = (struct bk_file){.kind = kind, .generation = generation};
    if (!(file->path = strndup(path.at, path.len)))
        return -ENOMEM;
    read_stamp(file->path, kind, &file->stamp);
    if (born && file->stamp.exists && file->stamp.modified > born) {
        file->suspected = true;
        file->digest = digest_of(file->path);
        file->stamp = (struct bk_file_stamp){.exists = true};  // as no file looks: changed
    }
    *bucket_of(files, path) = ++files->count;
    return 1;
}

int
bk_files_add_root(struct bk_files *files, enum bk_file_kind kind, const char *path)
{
    size_t count = files->root_count + 1u;
    char **roots = realloc(files->roots, count * sizeof *roots);
    if (!roots)
        return -ENOMEM;
    files->roots = roots;
    enum bk_file_kind *kinds = realloc(files->root_kinds, count * sizeof *kinds);
    if (!kinds)
        return -ENOMEM;
    files->root_kinds = kinds;
    if (!(roots[files->root_count] = strdup(path)))
        return -ENOMEM;
    kinds[files->root_count++] = kind;
    int rc = is_pattern(path) ? 0 : bk_files_add(files, kind, bk_str_of(path), 0, 0);
    look_for_new(&(struct look){.files = files});
    return rc < 0 ? rc : 0;
}

void
bk_files_forget(struct bk_files *files, unsigned generation)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < files->count; i++) {
        struct bk_file *file = &files->items[i];
        if (file->kind == BK_FILE_MODULE && file->generation < generation)
            free(file->path);
        else
            files->items[kept++] = *file;
    }
    files->count = kept;
    files->full = false;
    index_all(files);
}

void
bk_files_look(struct bk_files *files, uint64_t now, struct bk_files_news *news)
{
    struct look look = {.files = files, .news = news};

    // Backwards: whoever is dropped is replaced by the last one, which has been looked at.
    for (unsigned i = files->count; i-- > 0;)
        look_at(&look, i, now);
    look_for_new(&look);
}

bool
bk_files_is_noise(const char *name)
{
    static const char *const ends[] = {"~", ".pyc", ".pyo", ".swp", ".swo", ".swx"};

    return name[0] == '#' || strcmp(name, "4913") == 0 || strcmp(name, "__pycache__") == 0 ||
           ends_in(name, ends, BK_COUNT(ends));
}

static bool
is_passed_over(const char *name)
{
    static const char *const ends[] = {".tmp", ".bak", "___jb_tmp___", "___jb_old___"};

    return name[0] == '.' || strcmp(name, "node_modules") == 0 ||
           ends_in(name, ends, BK_COUNT(ends)) || bk_files_is_noise(name);
}

static bool
ends_in(const char *name, const char *const *ends, unsigned count)
{
    size_t len = strlen(name);

    for (unsigned i = 0; i < count; i++) {
        size_t end = strlen(ends[i]);
        if (len >= end && strcmp(name + len - end, ends[i]) == 0)
            return true;
    }
    return false;
}

static void
look_at(struct look *look, unsigned index, uint64_t now)
{
    struct bk_file *file = &look->files->items[index];
    struct bk_file_stamp stamp;

    read_stamp(file->path, file->kind, &stamp);
    if (stamp.exists)
        file->missed = 0;
    if (same(&stamp, &file->stamp))
        return;
    if (!stamp.exists && (!file->missed || now < file->missed + BK_FILES_GRACE)) {
        if (!file->missed)
            file->missed = now;
        look->news->again = true;
        return;
    }
    bool seen = file->stamp.inode != 0;
    file->missed = 0;
    file->stamp = stamp;
    file->watched = false;  // perhaps in another place now
    if (file->suspected && stamp.exists) {
        uint64_t before = file->digest;
        file->digest = digest_of(file->path);
        if (seen && before == file->digest)
            return;
    }
    report(look->news, file);
    if (!stamp.exists && file->found)
        drop(look->files, index);
}

// Files that have come into directories and patterns.
static void
look_for_new(struct look *look)
{
    struct bk_files *files = look->files;
    struct bk_file_stamp stamp;

    for (unsigned i = 0; i < files->root_count; i++) {
        look->kind = files->root_kinds[i];
        if (is_pattern(files->roots[i])) {
            find_pattern(look, files->roots[i]);
            continue;
        }
        read_stamp(files->roots[i], look->kind, &stamp);
        if (stamp.is_directory)
            find_below(look, files->roots[i], 0);
    }
}

// Links to directories are not followed: they may lead in circles.
static void
find_below(struct look *look, const char *directory, unsigned depth)
{
    DIR *stream = depth < DEPTH_MAX && !look->files->full ? opendir(directory) : NULL;
    struct dirent *entry;
    struct stat status;
    char path[PATH_MAX];

    while (stream && (entry = readdir(stream))) {
        if (is_passed_over(entry->d_name))
            continue;
        int len = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (len >= (int)sizeof path || lstat(path, &status) < 0)
            continue;
        found_one(look, path);
        if (S_ISDIR(status.st_mode))
            find_below(look, path, depth + 1);
    }
    if (stream)
        closedir(stream);
}

static void
find_pattern(struct look *look, const char *pattern)
{
    glob_t found;

    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        found_one(look, found.gl_pathv[i]);
    globfree(&found);
}

static void
found_one(struct look *look, const char *path)
{
    struct bk_files *files = look->files;

    if (bk_files_add(files, look->kind, bk_str_of(path), 0, 0) != 1)
        return;
    struct bk_file *file = &files->items[files->count - 1];
    file->found = true;
    if (look->news && !file->stamp.is_directory)
        report(look->news, file);
}

static void
report(struct bk_files_news *news, const struct bk_file *file)
{
    char *name = news->changed + news->touched == 0   ? news->first
                 : news->changed + news->touched == 1 ? news->second
                                                      : NULL;

    if (name)
        snprintf(name, sizeof news->first, "%s", file->path);
    if (file->kind == BK_FILE_TOUCH)
        news->touched++;
    else
        news->changed++;
    news->removed += file->kind != BK_FILE_TOUCH && !file->stamp.exists;
}

static void
drop(struct bk_files *files, unsigned index)
{
    free(files->items[index].path);
    files->items[index] = files->items[--files->count];
    files->full = false;
    index_all(files);
}

// A directory is looked at for what is in it; its own times say too much.
static void
read_stamp(const char *path, enum bk_file_kind kind, struct bk_file_stamp *ret)
{
    struct stat status;

    *ret = (struct bk_file_stamp){0};
    if (stat(path, &status) < 0)
        return;
    ret->exists = true;
    ret->is_directory = S_ISDIR(status.st_mode);
    if (!ret->is_directory || kind == BK_FILE_PLACE) {
        ret->device = status.st_dev;
        ret->inode = status.st_ino;
    }
    if (ret->is_directory)
        return;
    ret->size = status.st_size;
    ret->modified = (uint64_t)status.st_mtim.tv_sec * BK_SEC + (uint64_t)status.st_mtim.tv_nsec;
}

static uint64_t
digest_of(const char *path)
{
    uint64_t hash = 1469598103934665603ull;
    FILE *file = fopen(path, "re");
    int c;

    for (unsigned n = 0; file && n < DIGEST_MAX && (c = getc_unlocked(file)) != EOF; n++)
        hash = (hash ^ (unsigned char)c) * 1099511628211ull;
    if (file)
        fclose(file);
    return hash;
}

static bool
same(const struct bk_file_stamp *a, const struct bk_file_stamp *b)
{
    return a->exists == b->exists && a->is_directory == b->is_directory && a->device == b->device &&
           a->inode == b->inode && a->size == b->size && a->modified == b->modified;
}

static int
grow(struct bk_files *files)
{
    if (files->count < files->room)
        return 0;
    unsigned room = files->room ? 2 * files->room : 256;
    struct bk_file *items = realloc(files->items, room * sizeof *items);
    if (!items)
        return -ENOMEM;
    files->items = items;
    unsigned *buckets = calloc(4 * (size_t)room, sizeof *buckets);
    if (!buckets)
        return -ENOMEM;
    free(files->buckets);
    files->buckets = buckets;
    files->bucket_count = 4 * room;
    files->room = room;
    index_all(files);
    return 0;
}

static void
index_all(struct bk_files *files)
{
    if (files->bucket_count)
        memset(files->buckets, 0, files->bucket_count * sizeof *files->buckets);
    for (unsigned i = 0; i < files->count; i++)
        *bucket_of(files, bk_str_of(files->items[i].path)) = i + 1;
}

// Where this path is, or would be put. There is always a free one.
static unsigned *
bucket_of(const struct bk_files *files, struct bk_str path)
{
    uint64_t hash = 1469598103934665603ull;

    for (size_t i = 0; i < path.len; i++)
        hash = (hash ^ (unsigned char)path.at[i]) * 1099511628211ull;
    unsigned at = (unsigned)(hash & (files->bucket_count - 1));
    while (files->buckets[at] &&
           !bk_str_equal(bk_str_of(files->items[files->buckets[at] - 1].path), path))
        at = (at + 1) & (files->bucket_count - 1);
    return &files->buckets[at];
}

static bool
is_pattern(const char *path)
{
    return strpbrk(path, "*?[") != NULL;
}
