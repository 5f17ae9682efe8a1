// Binding, and what to say when it does not work. No retries: waiting is the supervisor's job.
#include "master/bind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/certificates.h"
#include "master/holder.h"
#include "master/words.h"

#include "base/banned.h"

#define DEFAULT_BIND "127.0.0.1:8000"
#define TEXT_ROOM 320

static void tell_unused(const struct bk_master_pool *pool, unsigned passed);
static bool open_named(struct bk_master_pool *pool, const struct bk_bind *bind, int backlog);
static bool open_one(struct bk_master_pool *pool, const char *text, int backlog);
static int clamp_backlog(const struct bk_config *config);
static void explain(struct bk_master *master, const struct bk_bind *bind, const char *shown,
                    int error);
static void explain_taken(struct bk_master *master, const struct bk_bind *bind, const char *shown);
static void explain_permission(struct bk_master *master, const struct bk_bind *bind,
                               const char *shown);
static void explain_failed(struct bk_master *master, const struct bk_bind *bind, const char *shown,
                           int error);
static void suggest_other(const struct bk_master *master, const struct bk_bind *bind, char *out,
                          size_t room);
static bool is_free(const struct bk_bind *bind);
static void wanted_text(const struct bk_bind *bind, const char *typed, char *out, size_t room);
static void split_directory(const char *path, char *out, size_t room);
static const char *nth_bind(const struct bk_config *config, unsigned n);

bool
bk_bind_open(struct bk_master_pool *pool)
{
    unsigned binds = pool->config->bind.count ? pool->config->bind.count : 1;
    unsigned passed = bk_systemd_passed();
    int backlog = clamp_backlog(pool->config);
    bool fine = true;

    pool->listeners = calloc(binds + passed, sizeof *pool->listeners);
    if (!pool->listeners) {
        bk_master_fail(pool->master, BK_KEY_INTERNAL, "", "out of memory");
        return false;
    }
    for (unsigned i = 0; fine && i < binds; i++)
        fine = open_one(pool, nth_bind(pool->config, i), backlog);
    if (fine)
        tell_unused(pool, passed);
    else
        bk_bind_close(pool);
    return fine;
}

// fd://NAME: all sockets of that name; a unit may have several with one.
static bool
open_named(struct bk_master_pool *pool, const struct bk_bind *bind, int backlog)
{
    unsigned passed = bk_systemd_passed(), found = 0;
    char name[256], all[400] = "", one[32];
    size_t len = 0;

    for (unsigned n = 0; n < passed; n++) {
        bk_systemd_name(n, name);
        if (len < sizeof all)
            len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", n ? ", " : "", name);
        if (strcmp(name, bind->host) != 0)
            continue;
        found++;
        snprintf(one, sizeof one, "fd://%u", BK_SYSTEMD_FIRST + n);
        if (!open_one(pool, one, backlog))
            return false;
    }
    if (!found)
        bk_master_fail(pool->master, BK_KEY_BIND_FAILED, "",
                       passed ? "cannot use fd://%s: no socket of that name was passed, only %s"
                              : "cannot use fd://%s: no sockets were passed (LISTEN_FDS)%s",
                       bind->host, all);
    return found > 0;
}

// A socket that is passed and not served looks to clients like a server that never answers.
static void
tell_unused(const struct bk_master_pool *pool, unsigned passed)
{
    char name[256];

    for (unsigned n = 0; n < passed; n++) {
        bool used = false;
        for (unsigned i = 0; i < pool->listener_count; i++)
            used = used || pool->listeners[i].fd == (int)(BK_SYSTEMD_FIRST + n);
        if (!used)
            bk_log(BK_LOG_WARNING, BK_MASTER_KEY(SOCKET_UNUSED),
                   "socket fd://%u '%s' was passed to barkeep and no --bind uses it",
                   BK_SYSTEMD_FIRST + n, bk_systemd_name(n, name));
    }
}

void
bk_bind_close(struct bk_master_pool *pool)
{
    for (unsigned i = 0; i < pool->listener_count; i++)
        bk_listen_close(&pool->listeners[i], true);
    pool->listener_count = 0;
    free(pool->listeners);
    pool->listeners = NULL;
}

void
bk_bind_describe(const struct bk_master_pool *pool, char *out, size_t room)
{
    size_t len = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < pool->listener_count && len < room; i++) {
        const struct bk_listener *listener = &pool->listeners[i];
        char text[TEXT_ROOM], access[BK_WORDS_ROOM + 16] = "", owner[BK_WORDS_ROOM];
        struct stat facts;
        bk_addr_text(text, sizeof text, listener->scheme, &listener->addr);
        // Answers the question behind nginx's "13: Permission denied" before it is asked.
        if (listener->addr.sa.sa_family == AF_UNIX && listener->addr.un.sun_path[0] &&
            stat(listener->addr.un.sun_path, &facts) == 0)
            snprintf(access, sizeof access, " (%04o %s)", facts.st_mode & 07777,
                     bk_words_owner(facts.st_uid, facts.st_gid, owner));
        len += (size_t)snprintf(out + len, room - len, "%s%s%s", i ? ", " : "", text, access);
    }
}

void
bk_bind_describe_wanted(const struct bk_config *config, char *out, size_t room)
{
    unsigned count = config->bind.count ? config->bind.count : 1;
    size_t len = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < count && len < room; i++) {
        const char *typed = nth_bind(config, i), *why;
        char text[TEXT_ROOM];
        struct bk_bind bind;
        if (bk_bind_parse(bk_str_of(typed), &bind, &why) == 0) {
            bind.scheme = bk_certificates_scheme(config, bind.scheme);
            wanted_text(&bind, typed, text, sizeof text);
        } else {
            snprintf(text, sizeof text, "%s", typed);
        }
        len += (size_t)snprintf(out + len, room - len, "%s%s", i ? ", " : "", text);
    }
}

static bool
open_one(struct bk_master_pool *pool, const char *text, int backlog)
{
    const struct bk_privileges *privileges = &pool->master->privileges;
    struct bk_listen_options options = {.backlog = backlog,
                                        .reuse_port = pool->config->reuse_port,
                                        .unix_mode = privileges->socket_mode,
                                        .unix_chown = privileges->socket_uid != (uid_t)-1 ||
                                                      privileges->socket_gid != (gid_t)-1,
                                        .unix_uid = privileges->socket_uid,
                                        .unix_gid = privileges->socket_gid};
    char shown[TEXT_ROOM];
    const char *why = "";
    struct bk_bind bind;
    int rc = 0;

    if (bk_bind_parse(bk_str_of(text), &bind, &why) < 0) {
        bk_master_fail(pool->master, BK_KEY_OPTION_VALUE, "", "--bind '%s': %s", text, why);
        return false;
    }
    bind.scheme = bk_certificates_scheme(pool->config, bind.scheme);
    if (bind.scheme != BK_SCHEME_HTTPS && bind.scheme != BK_SCHEME_HTTP) {
        bk_master_fail(pool->master, BK_KEY_SCHEME_UNSUPPORTED, "",
                       "--bind '%s': only http and https are in this version", text);
        return false;
    }
    if (bind.kind == BK_BIND_FD && bind.fd < 0)
        return open_named(pool, &bind, backlog);
    wanted_text(&bind, text, shown, sizeof shown);
    if (options.reuse_port)
        rc = bk_listen_probe(&bind);  // another server there would silently get half of the clients
    if (rc == 0)
        rc = bk_listen_open(&bind, &options, &pool->listeners[pool->listener_count]);
    if (rc < 0) {
        explain(pool->master, &bind, shown, -rc);
        return false;
    }
    pool->listener_count++;
    return true;
}

static int
clamp_backlog(const struct bk_config *config)
{
    int most = bk_listen_somaxconn();

    if (config->backlog <= most)
        return (int)config->backlog;
    bk_log(BK_LOG_WARNING, BK_MASTER_KEY(BACKLOG_CLAMPED),
           "--backlog %d (%s) is more than net.core.somaxconn allows: %d is used",
           (int)config->backlog, bk_config_origin(config, "backlog"), most);
    return most;
}

static void
explain(struct bk_master *master, const struct bk_bind *bind, const char *shown, int error)
{
    char user[BK_WORDS_ROOM];

    if (error == EADDRINUSE)
        explain_taken(master, bind, shown);
    else if (bind->kind == BK_BIND_TCP && error == EACCES && bind->port < 1024)
        bk_master_fail(
            master, BK_KEY_BIND_PRIVILEGED,
            "try: --bind :8080, a systemd socket unit, or AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "cannot listen on port %d as user %s: ports below 1024 need a capability", bind->port,
            bk_words_user(geteuid(), user));
    else if (bind->kind == BK_BIND_UNIX && (error == EACCES || error == EPERM || error == EROFS))
        explain_permission(master, bind, shown);
    else
        explain_failed(master, bind, shown, error);
}

static void
explain_taken(struct bk_master *master, const struct bk_bind *bind, const char *shown)
{
    char detail[1200], user[BK_WORDS_ROOM], age[BK_WORDS_ROOM], other[600];
    struct bk_holder holder;
    struct bk_addr addr = {0};
    size_t len = 0;

    if (bind->kind != BK_BIND_FD && bk_bind_resolve(bind, &addr) == 0)
        bk_holder_find(bind, &addr, &holder);
    else
        holder = (struct bk_holder){0};
    if (holder.pid == getpid())
        len = (size_t)snprintf(detail, sizeof detail,
                               "by: this program itself, another --bind covers it\n");
    else if (holder.pid)
        len = (size_t)snprintf(detail, sizeof detail, "by: %s (pid %d, user %s), for %s\n",
                               holder.name, (int)holder.pid, bk_words_user(holder.uid, user),
                               bk_words_duration(holder.age_ns, age));
    else if (holder.listening)
        len = (size_t)snprintf(detail, sizeof detail, "by: a process of another user\n");
    suggest_other(master, bind, other, sizeof other);
    snprintf(detail + len, sizeof detail - len, "%s", other);
    bk_master_fail(master, BK_KEY_BIND_IN_USE, detail, "%s is taken", shown);
}

static void
explain_permission(struct bk_master *master, const struct bk_bind *bind, const char *shown)
{
    char directory[300], detail[800], theirs[BK_WORDS_ROOM], ours[BK_WORDS_ROOM],
        user[BK_WORDS_ROOM];
    struct stat facts;

    split_directory(bind->host, directory, sizeof directory);
    bk_words_user(geteuid(), user);
    if (stat(directory, &facts) == 0)
        snprintf(detail, sizeof detail,
                 "directory %s is %s %04o, this process is %s\n"
                 "try: RuntimeDirectory= in the unit file, or give the directory to %s",
                 directory, bk_words_owner(facts.st_uid, facts.st_gid, theirs),
                 facts.st_mode & 07777, bk_words_owner(geteuid(), getegid(), ours), user);
    else
        snprintf(detail, sizeof detail,
                 "try: RuntimeDirectory= in the unit file, or a directory that %s may enter", user);
    bk_master_fail(master, BK_KEY_BIND_PERMISSION, detail, "cannot create %s: permission denied",
                   shown);
}

static void
explain_failed(struct bk_master *master, const struct bk_bind *bind, const char *shown, int error)
{
    char directory[300], detail[400], why[BK_WORDS_ROOM];

    bk_words_error(error, why);
    split_directory(bind->host, directory, sizeof directory);
    if (bind->kind == BK_BIND_FD) {
        bk_master_fail(master, BK_KEY_BIND_FAILED, "", "cannot use fd://%d: %s", bind->fd,
                       error == EBADF        ? "it is not open"
                       : error == ENOTSOCK   ? "it is no socket"
                       : error == EINVAL     ? "it does not listen"
                       : error == EPROTOTYPE ? "it is no stream socket"
                                             : why);
    } else if (bind->kind == BK_BIND_TCP && error == ENOENT) {
        bk_master_fail(master, BK_KEY_BIND_ADDRESS, "", "cannot listen on %s: no such host name",
                       shown);
    } else if (error == EADDRNOTAVAIL) {
        bk_master_fail(master, BK_KEY_BIND_ADDRESS, "",
                       "cannot listen on %s: this machine has no such address", shown);
    } else if (bind->kind == BK_BIND_UNIX && error == ENOENT && access(directory, F_OK) < 0) {
        snprintf(detail, sizeof detail, "try: mkdir -p %s", directory);
        bk_master_fail(master, BK_KEY_BIND_FAILED, detail,
                       "cannot create %s: there is no directory '%s'", shown, directory);
    } else if (bind->kind == BK_BIND_UNIX && error == ENOTSOCK) {
        bk_master_fail(master, BK_KEY_BIND_FAILED, "",
                       "cannot create %s: a file that is no socket is in its place", shown);
    } else if (bind->kind == BK_BIND_UNIX) {
        bk_master_fail(master, BK_KEY_BIND_FAILED, "", "cannot create %s: %s", shown, why);
    } else {
        bk_master_fail(master, BK_KEY_BIND_FAILED, "", "cannot listen on %s: %s", shown, why);
    }
}

// The next port that is free, or another file.
static void
suggest_other(const struct bk_master *master, const struct bk_bind *bind, char *out, size_t room)
{
    const char *app = master->start->config->app ? master->start->config->app : "";
    struct bk_bind other = *bind;
    bool v6 = strchr(bind->host, ':') != NULL;

    out[0] = '\0';
    if (bind->kind != BK_BIND_TCP)
        return;
    for (unsigned i = 0; i < 50 && other.port < 65535; i++) {
        other.port++;
        if (!is_free(&other))
            continue;
        snprintf(out, room, "try: barkeep %s --bind %s%s%s:%d", app, v6 ? "[" : "", other.host,
                 v6 ? "]" : "", other.port);
        return;
    }
}

static bool
is_free(const struct bk_bind *bind)
{
    return bk_listen_probe(bind) == 0;
}

// What the user will see as the address, before it is bound.
static void
wanted_text(const struct bk_bind *bind, const char *typed, char *out, size_t room)
{
    struct bk_addr addr = {0};

    if (bind->kind != BK_BIND_FD && bk_bind_resolve(bind, &addr) == 0)
        bk_addr_text(out, room, bind->scheme, &addr);
    else
        snprintf(out, room, "%s", typed);
}

static void
split_directory(const char *path, char *out, size_t room)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        snprintf(out, room, ".");
    else if (slash == path)
        snprintf(out, room, "/");
    else
        snprintf(out, room, "%.*s", (int)(slash - path), path);
}

static const char *
nth_bind(const struct bk_config *config, unsigned n)
{
    return n < config->bind.count ? config->bind.items[n] : DEFAULT_BIND;
}
