// What lies around in a directory: applications (files are read as text, never imported) and
// virtual environments. Only for hints below an error, so everything is bounded and a wrong guess
// costs nothing. Called by cli_check.c.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/cli_internal.h"

#include "base/banned.h"

#define FILES_MAX 200           // looked into
#define FILE_BYTES (64 * 1024)  // read of each
#define FOUND_MAX 16            // kept
#define SHOWN_MAX 4             // printed

struct app {
    int rank;  // what to recommend first: 0 surely WSGI, 1 unknown, 2 a factory, 3 not WSGI
    char file[120];
    char attribute[16];
    const char *kind;  // "WSGI", "Flask", "" when it could not be seen
};

struct search {
    const char *directory;
    char *text;  // owns: contents of the file being read, FILE_BYTES + 1
    unsigned files;
    struct app apps[FOUND_MAX];
    unsigned count;
};

static void look_into_directory(struct search *search, const char *below, bool only_usual);
static int compare_apps(const void *a, const void *b);
static void write_module(char *out, size_t room, const struct app *app);

unsigned
bk__cli_find_apps(const char *directory, char *out, size_t room, char *ret_try, size_t try_room)
{
    struct search search = {.directory = directory, .text = malloc(FILE_BYTES + 1)};
    out[0] = ret_try[0] = '\0';
    if (!search.text)
        return 0;
    look_into_directory(&search, "", false);
    free(search.text);
    qsort(search.apps, search.count, sizeof(search.apps[0]), compare_apps);
    size_t len = 0;
    for (unsigned i = 0; i < search.count && i < SHOWN_MAX && len < room; i++) {
        const struct app *app = &search.apps[i];
        bool has_kind = *app->kind != '\0';
        len += (size_t)snprintf(out + len, room - len, "%s%s has '%s'%s%s%s", i ? ", " : "",
                                app->file, app->attribute, has_kind ? " (" : "", app->kind,
                                has_kind ? ")" : "");
    }
    if (search.count && search.apps[0].rank < 3)
        write_module(ret_try, try_room, &search.apps[0]);
    return search.count;
}

static int
compare_apps(const void *a, const void *b)
{
    const struct app *one = a, *other = b;
    if (one->rank != other->rank)
        return one->rank - other->rank;
    return strcmp(one->file, other->file);
}

// "shop/wsgi.py" and "application" give "shop.wsgi:application".
static void
write_module(char *out, size_t room, const struct app *app)
{
    char module[sizeof(app->file)];
    snprintf(module, sizeof(module), "%s", app->file);
    module[strlen(module) - 3] = '\0';
    for (char *at = module; *at; at++)
        if (*at == '/')
            *at = '.';
    snprintf(out, room, app->rank == 2 ? "'%s:%s()'" : "%s:%s", module, app->attribute);
}

static bool is_module(const char *name);
static bool is_usual(const char *name);
static bool is_package_directory(const struct search *search, const char *name);
static void look_into_file(struct search *search, const char *file);

// All modules of the directory; in the directories below those that usually hold an application.
static void
look_into_directory(struct search *search, const char *below, bool only_usual)
{
    char path[4096];
    struct dirent **names = NULL;
    snprintf(path, sizeof(path), "%s/%s", search->directory, below);
    int count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        char file[300];
        int len = snprintf(file, sizeof(file), "%s%s%s", below, *below ? "/" : "", name);
        if (len < (int)sizeof(search->apps[0].file) && search->files < FILES_MAX) {
            if (is_module(name) && (!only_usual || is_usual(name)))
                look_into_file(search, file);
            else if (!only_usual && is_package_directory(search, name))
                look_into_directory(search, name, true);
        }
        free(names[i]);
    }
    free(names);
}

static bool
is_module(const char *name)
{
    size_t len = strlen(name), stem = len - 3;
    if (len <= 3 || strcmp(name + stem, ".py") != 0 || (name[0] >= '0' && name[0] <= '9'))
        return false;
    for (size_t i = 0; i < stem; i++)
        if (!(name[i] == '_' || (name[i] >= '0' && name[i] <= '9')
              || ((name[i] | 32) >= 'a' && (name[i] | 32) <= 'z')))
            return false;
    return strncmp(name, "test_", 5) != 0 && strcmp(name, "conftest.py") != 0
           && strcmp(name, "setup.py") != 0;
}

static bool
is_usual(const char *name)
{
    static const char *const usual[] = {
        "wsgi.py", "asgi.py", "app.py", "main.py", "server.py", "__init__.py"};
    for (unsigned i = 0; i < BK_COUNT(usual); i++)
        if (strcmp(usual[i], name) == 0)
            return true;
    return false;
}

// A directory that could be imported and is no virtual environment.
static bool
is_package_directory(const struct search *search, const char *name)
{
    char path[4096];
    struct stat status;
    if (strpbrk(name, ".- ") || strcmp(name, "node_modules") == 0 || strcmp(name, "tests") == 0)
        return false;
    if (snprintf(path, sizeof(path), "%s/%s/pyvenv.cfg", search->directory, name)
        >= (int)sizeof(path))
        return false;
    if (access(path, F_OK) == 0)
        return false;
    *strrchr(path, '/') = '\0';
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool look_at_line(const char *line, struct app *ret);

// Keeps the best definition at the left margin.
static void
look_into_file(struct search *search, const char *file)
{
    char path[4096];
    struct app best = {.rank = 9}, seen;
    search->files++;
    if (snprintf(path, sizeof(path), "%s/%s", search->directory, file) >= (int)sizeof(path))
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t len = fd < 0 ? -1 : read(fd, search->text, FILE_BYTES);
    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return;
    search->text[len] = '\0';
    char *rest = search->text, *line;
    while ((line = strsep(&rest, "\n")))
        if (look_at_line(line, &seen) && seen.rank < best.rank)
            best = seen;
    if (best.rank == 9 || search->count >= FOUND_MAX)
        return;
    const char *package = strstr(file, "/__init__.py");
    snprintf(best.file, sizeof(best.file), "%.*s%s",
             package ? (int)(package - file) : (int)strlen(file), file, package ? ".py" : "");
    search->apps[search->count++] = best;
}

static void judge_assignment(const char *value, struct app *ret);
static void judge_function(const char *parameters, bool is_async, struct app *ret);

static bool
look_at_line(const char *line, struct app *ret)
{
    static const char *const names[] = {"application", "app"};
    static const char *const factories[] = {"create_app", "make_app"};
    bool is_async = strncmp(line, "async def ", 10) == 0;
    bool is_function = is_async || strncmp(line, "def ", 4) == 0;
    const char *at = is_async ? line + 10 : is_function ? line + 4 : line;
    *ret = (struct app){.rank = 9, .kind = ""};
    for (unsigned i = 0; i < BK_COUNT(names) && ret->rank == 9; i++) {
        size_t len = strlen(names[i]);
        if (strncmp(at, names[i], len) != 0)
            continue;
        const char *after = at + len + strspn(at + len, " ");
        const char *equals = *after == ':' ? strchr(after, '=') : after;  // app: Flask = Flask(...)
        snprintf(ret->attribute, sizeof(ret->attribute), "%s", names[i]);
        if (is_function && *after == '(')
            judge_function(after + 1, is_async, ret);
        else if (!is_function && equals && equals[0] == '=' && equals[1] != '=')
            judge_assignment(equals + 1, ret);
    }
    for (unsigned i = 0; i < BK_COUNT(factories) && ret->rank == 9; i++) {
        size_t len = strlen(factories[i]);
        if (!is_function || is_async || strncmp(at, factories[i], len) != 0 || at[len] != '(')
            continue;
        snprintf(ret->attribute, sizeof(ret->attribute), "%s", factories[i]);
        ret->rank = 2;
        ret->kind = "factory";
    }
    return ret->rank != 9;
}

static void
judge_assignment(const char *value, struct app *ret)
{
    static const struct {
        const char *word, *kind;
        int rank;
    } makers[] = {
        {"falcon.asgi.", "ASGI", 3}, {"get_asgi_application(", "ASGI", 3},
        {"FastAPI(", "FastAPI", 3}, {"Starlette(", "Starlette", 3},
        {"Quart(", "Quart", 3}, {"Litestar(", "Litestar", 3},
        {"Flask(", "Flask", 0}, {"get_wsgi_application(", "Django", 0},
        {"Bottle(", "Bottle", 0}, {"default_app(", "Bottle", 0},
        {"falcon.App(", "Falcon", 0}, {"make_wsgi_app(", "Pyramid", 0},
    };
    ret->rank = 1;
    for (unsigned i = 0; i < BK_COUNT(makers); i++) {
        if (!strstr(value, makers[i].word))
            continue;
        ret->rank = makers[i].rank;
        ret->kind = makers[i].kind;
        return;
    }
}

// The number of parameters tells (environ, start_response) from (scope, receive, send).
static void
judge_function(const char *parameters, bool is_async, struct app *ret)
{
    const char *end = strchr(parameters, ')');
    unsigned commas = 0;
    for (const char *at = parameters; end && at < end; at++)
        commas += *at == ',';
    ret->rank = is_async ? 3 : 1;
    ret->kind = is_async ? "ASGI" : "";
    if (!is_async && end && commas == 1) {
        ret->rank = 0;
        ret->kind = "WSGI";
    }
}

static bool read_venv(const char *directory, const char *name, char version[32]);

unsigned
bk__cli_find_venvs(const char *directory, char *out, size_t room, char *ret_first,
                   size_t first_room)
{
    struct dirent **names = NULL;
    unsigned found = 0;
    size_t len = 0;
    out[0] = ret_first[0] = '\0';
    int count = scandir(directory, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char version[32];
        if (found < SHOWN_MAX && len < room && read_venv(directory, names[i]->d_name, version)) {
            len += (size_t)snprintf(out + len, room - len, "%s%s%s%s%s", found ? ", " : "",
                                    names[i]->d_name, *version ? " (python " : "", version,
                                    *version ? ")" : "");
            if (!found++)
                snprintf(ret_first, first_room, "%s", names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    return found;
}

// A directory with pyvenv.cfg and an interpreter; the version is in the file ("version = 3.13.1",
// by virtualenv "version_info = 3.13.1.final.0").
static bool
read_venv(const char *directory, const char *name, char version[32])
{
    char path[4096], line[300];
    version[0] = '\0';
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strlen(name) > 60)
        return false;
    snprintf(path, sizeof(path), "%s/%s/bin/python", directory, name);
    if (access(path, X_OK) < 0)
        return false;
    snprintf(path, sizeof(path), "%s/%s/pyvenv.cfg", directory, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (fgets(line, sizeof(line), file)) {
        unsigned major, minor, patch;
        if (sscanf(line, "version = %u.%u.%u", &major, &minor, &patch) == 3
            || sscanf(line, "version_info = %u.%u.%u", &major, &minor, &patch) == 3)
            snprintf(version, 32, "%u.%u.%u", major, minor, patch);
    }
    fclose(file);
    return true;
}
