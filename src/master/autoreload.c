// From "something has changed" to a reload: a short wait until it is quiet, a look at all files, a
// line that names them.
#include "master/autoreload.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "master/files.h"
#include "master/notify.h"
#include "master/reload.h"
#include "master/scale.h"
#include "master/state.h"
#include "master/words.h"

#include "base/banned.h"

#define QUIET (100 * BK_MSEC)  // without an event: editors and git touch several files
#define QUIET_LATEST BK_SEC    // after the first event
#define POLL BK_SEC
#define POLL_BESIDE (2 * BK_SEC)  // auto: network and shared file systems send no events

struct bk_autoreload {
    struct bk_master_pool *pool;  // borrows
    struct bk_files files;
    struct bk_notify notify;
    struct bk_timer timer;   // the next look
    uint64_t stirred_since;  // monotonic ns: first event after a look, 0: none
    unsigned blind;          // files whose directory cannot be watched
    bool said_polled, said_full;
};

static bool add_roots(struct bk_autoreload *self, const struct bk_text_list *list,
                      enum bk_file_kind kind);
static void start_watching(struct bk_autoreload *self);
static void stirred(struct bk_notify *notify);
static void lost(struct bk_notify *notify);
static void look(struct bk_timer *timer);
static void look_within(struct bk_autoreload *self, uint64_t wait);
static uint64_t period(const struct bk_autoreload *self);
static void watch_all(struct bk_autoreload *self);
static int watch_one(struct bk_autoreload *self, const struct bk_file *file);
static void say_polled(struct bk_autoreload *self, int error);
static void act(struct bk_autoreload *self, const struct bk_files_news *news);
static void start_again(struct bk_master_pool *pool);
static void name_cause(const struct bk_autoreload *self, const struct bk_files_news *news,
                       char *out, size_t room);
static size_t shown(const struct bk_autoreload *self, const char *path, char *out, size_t room);

bool
bk_autoreload_open(struct bk_master_pool *pool)
{
    const struct bk_config *config = pool->config;
    const char *place = pool->master->surroundings.worker_cwd;

    if (!config->reload && config->touch_reload.count == 0)
        return true;
    struct bk_autoreload *self = pool->autoreload = calloc(1, sizeof *self);
    if (!self)
        return false;
    self->pool = pool;
    self->notify.watch.fd = -1;
    bk_timer_init(&self->timer, look);
    if (config->reload && (!add_roots(self, &config->reload_extra_file, BK_FILE_EXTRA) ||
                           bk_files_add(&self->files, BK_FILE_PLACE, bk_str_of(place), 0, 0) < 0))
        return false;
    if (!add_roots(self, &config->touch_reload, BK_FILE_TOUCH))
        return false;
    start_watching(self);
    return true;
}

static bool
add_roots(struct bk_autoreload *self, const struct bk_text_list *list, enum bk_file_kind kind)
{
    const char *place = self->pool->master->surroundings.worker_cwd;
    char path[PATH_MAX];

    for (unsigned i = 0; i < list->count; i++) {
        const char *item = list->items[i];
        while (item[0] == '.' && item[1] == '/')
            item += 2;
        bool absolute = item[0] == '/';
        int len = snprintf(path, sizeof path, "%s%s%s", absolute ? "" : place, absolute ? "" : "/",
                           strcmp(item, ".") == 0 ? "" : item);
        if (len >= (int)sizeof path)
            continue;
        while (len > 1 && path[len - 1] == '/')
            path[--len] = '\0';
        unsigned before = self->files.count;
        if (bk_files_add_root(&self->files, kind, path) == -ENOMEM)
            return false;
        bool there = self->files.count > before &&
                     (self->files.count > before + 1 || self->files.items[before].stamp.exists);
        if (!there && self->files.count > before)
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(RELOAD_FILES),
                   "'%s' is not there yet; it is watched for", item);
    }
    return true;
}

static void
start_watching(struct bk_autoreload *self)
{
    struct bk_master_pool *pool = self->pool;
    int rc;

    if (strcmp(pool->config->reload_engine, "poll") != 0) {
        self->notify.stirred = stirred;
        self->notify.lost = lost;
        rc = bk_notify_open(&self->notify, &pool->master->loop);
        if (rc < 0)
            say_polled(self, rc);
    }
    watch_all(self);
    look_within(self, period(self));
}

void
bk_autoreload_close(struct bk_master_pool *pool)
{
    struct bk_autoreload *self = pool->autoreload;

    if (!self)
        return;
    bk_timer_cancel(&pool->master->loop.wheel, &self->timer);
    bk_notify_close(&self->notify);
    bk_files_release(&self->files);
    free(self);
    pool->autoreload = NULL;
}

void
bk_autoreload_files(struct bk_member *member, struct bk_str names)
{
    struct bk_autoreload *self = member->pool->autoreload;
    uint64_t born = bk_clock_wall() - (bk_clock_mono() - member->born);
    bool suspicion = false;
    struct bk_str name;

    if (!self || !self->pool->config->reload)
        return;
    while (bk_str_next_item(&names, '\n', &name)) {
        if (name.len == 0 || name.at[0] != '/' || name.len >= PATH_MAX)
            continue;
        if (bk_files_add(&self->files, BK_FILE_MODULE, name, member->generation, born) == 1)
            suspicion = suspicion || self->files.items[self->files.count - 1].suspected;
    }
    if (self->files.full && !self->said_full) {
        self->said_full = true;
        bk_log(BK_LOG_WARNING, BK_MASTER_KEY(RELOAD_FILES),
               "--reload watches %u files, and there are more", BK_FILES_MAX);
    }
    watch_all(self);
    if (suspicion)
        look_within(self, QUIET);
}

void
bk_autoreload_ready(struct bk_member *member)
{
    struct bk_autoreload *self = member->pool->autoreload;

    if (self && member->generation == member->pool->reload.generation)
        bk_files_forget(&self->files, member->generation);
}

bool
bk_autoreload_waits(struct bk_master_pool *pool, int code)
{
    char count[64];

    if (!pool->autoreload || !pool->config->reload || pool->master->start->check_only ||
        code != bk_message(BK_KEY_APP_IMPORT)->exit_code)
        return false;
    pool->waiting = true;
    bk_autoreload_describe(pool, count, sizeof count);
    bk_log(BK_LOG_INFO, NULL, "nothing is served until a file changes%s%s", count,
           pool->master->surroundings.terminal ? "; Ctrl-C stops" : "");
    return true;
}

void
bk_autoreload_describe(const struct bk_master_pool *pool, char *out, size_t room)
{
    const struct bk_autoreload *self = pool->autoreload;
    unsigned count = 0;

    out[0] = '\0';
    for (unsigned i = 0; self && i < self->files.count; i++) {
        const struct bk_file *file = &self->files.items[i];
        count += file->stamp.exists && !file->stamp.is_directory;
    }
    if (self)
        snprintf(out, room, "; watching %u file%s", count, count == 1 ? "" : "s");
}

static void
stirred(struct bk_notify *notify)
{
    struct bk_autoreload *self = BK_OUTER(notify, struct bk_autoreload, notify);
    uint64_t now = bk_clock_mono();

    if (!self->stirred_since)
        self->stirred_since = now;
    uint64_t latest = self->stirred_since + QUIET_LATEST;
    look_within(self, now + QUIET < latest ? QUIET : latest > now ? latest - now : 0);
}

static void
lost(struct bk_notify *notify)
{
    struct bk_autoreload *self = BK_OUTER(notify, struct bk_autoreload, notify);

    for (unsigned i = 0; i < self->files.count; i++)
        self->files.items[i].watched = false;
}

static void
look_within(struct bk_autoreload *self, uint64_t wait)
{
    struct bk_loop *loop = &self->pool->master->loop;

    if (wait == UINT64_MAX)
        bk_timer_cancel(&loop->wheel, &self->timer);
    else
        bk_timer_set(&loop->wheel, &self->timer, bk_clock_mono() + wait);
}

static void
look(struct bk_timer *timer)
{
    struct bk_autoreload *self = BK_OUTER(timer, struct bk_autoreload, timer);
    struct bk_files_news news = {0};

    self->stirred_since = 0;
    bk_files_look(&self->files, bk_clock_mono(), &news);
    watch_all(self);
    look_within(self, news.again ? BK_FILES_GRACE + 10 * BK_MSEC : period(self));
    if (news.changed + news.touched > 0 && self->pool->master->phase == BK_MASTER_RUNNING)
        act(self, &news);
}

// Until the next look without a reason.
static uint64_t
period(const struct bk_autoreload *self)
{
    if (self->notify.watch.fd < 0 || self->blind > 0)
        return POLL;
    return strcmp(self->pool->config->reload_engine, "inotify") == 0 ? UINT64_MAX : POLL_BESIDE;
}

static void
watch_all(struct bk_autoreload *self)
{
    self->blind = 0;
    if (self->notify.watch.fd < 0)
        return;
    for (unsigned i = 0; i < self->files.count; i++) {
        struct bk_file *file = &self->files.items[i];
        if (file->watched)
            continue;
        int rc = watch_one(self, file);
        file->watched = rc >= 0;
        if (rc >= 0)
            continue;
        self->blind++;
        if (rc != -ENOENT && rc != -ENOTDIR)
            say_polled(self, rc);
    }
}

static int
watch_one(struct bk_autoreload *self, const struct bk_file *file)
{
    char inside[PATH_MAX];
    int rc;

    // The directory above the project may be a busy one; only a link there is of interest.
    if (file->kind == BK_FILE_PLACE) {
        snprintf(inside, sizeof inside, "%s/.", file->path);
        return bk_notify_links(&self->notify, inside);
    }
    rc = bk_notify_file(&self->notify, file->path);
    if (rc >= 0 && file->stamp.is_directory)
        rc = bk_notify_directory(&self->notify, file->path);
    return rc;
}

static void
say_polled(struct bk_autoreload *self, int error)
{
    char why[BK_WORDS_ROOM];

    if (self->said_polled)
        return;
    self->said_polled = true;
    const char *what = error == -ENOSPC   ? "no inotify watches are left"
                       : error == -EMFILE ? "this user has no inotify instances left"
                                          : bk_words_error(error, why);
    bk_log(BK_LOG_WARNING, BK_MASTER_KEY(RELOAD_POLLED),
           "%s: files are looked at every second instead", what);
}

static void
act(struct bk_autoreload *self, const struct bk_files_news *news)
{
    struct bk_master_pool *pool = self->pool;
    char cause[300];

    name_cause(self, news, cause, sizeof cause);
    if (news->changed > 0 && !pool->served)
        start_again(pool);
    else
        bk_reload_begin(pool, cause, news->changed > 0);
}

// Nothing has served yet: the first worker imports something old, or waits for this.
static void
start_again(struct bk_master_pool *pool)
{
    for (unsigned i = 0; i < pool->seat_count; i++)
        if (pool->seats[i].member)
            bk_scale_dismiss(pool->seats[i].member, BK_DISMISS_QUIT);
    pool->waiting = false;
    pool->reload.generation++;
    pool->starting = bk_clock_mono();
    bk_scale_fill(pool);
}

// "api.py changed", "api.py, views.py changed", "api.py and 3 more changed".
static void
name_cause(const struct bk_autoreload *self, const struct bk_files_news *news, char *out,
           size_t room)
{
    unsigned count = news->changed + news->touched;
    char first[120], second[120];
    const char *what = news->changed == 0               ? "touched"
                       : news->removed == news->changed ? "removed"
                                                        : "changed";

    int first_len = (int)shown(self, news->first, first, sizeof first);
    int second_len = count == 2 ? (int)shown(self, news->second, second, sizeof second) : 0;
    if (count == 1)
        snprintf(out, room, "%.*s %s", first_len, first, what);
    else if (count == 2)
        snprintf(out, room, "%.*s, %.*s %s", first_len, first, second_len, second, what);
    else
        snprintf(out, room, "%.*s and %u more %s", first_len, first, count - 1, what);
}

// Escaped, and relative to where the application runs, whichever of its names that has.
static size_t
shown(const struct bk_autoreload *self, const char *path, char *out, size_t room)
{
    const char *place = self->pool->master->surroundings.worker_cwd;
    char real[PATH_MAX];
    size_t len = strlen(place);

    if (strncmp(path, place, len) != 0 && realpath(place, real))
        len = strlen(place = real);
    if (len > 1 && strncmp(path, place, len) == 0 && path[len] == '/')
        path += len + 1;
    return bk_str_escape(out, room, bk_str_of(path));
}
