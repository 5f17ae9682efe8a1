// Chooses the interpreter and finds its barkeep package. The interpreter the user names is asked
// once, by a short-lived child; the one that invoked us needs no asking: it has just started from
// the package beside this program.
#include "master/interpreter.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "master/ask.h"

#include "base/banned.h"

#define BOOT "_boot/boot.py"

struct choice {
    const char *typed;  // what to call it in messages
    bool by_option;     // --python or --venv: it may be a stranger
};

static int choose_python(struct bk_interpreter *ret, const struct bk_master_start *start,
                         const struct bk_surroundings *surroundings, struct choice *ret_choice);
static char *search_path(const struct bk_surroundings *surroundings, const char *name);
static char *package_beside_program(void);
static int ask(struct bk_interpreter *ret, const struct bk_master_start *start,
               const struct bk_surroundings *surroundings, const struct choice *choice,
               char **ret_package, struct bk_interpreter_error *error);
static int judge(const struct bk_interpreter *interpreter,
                 const struct bk_surroundings *surroundings, const struct choice *choice,
                 const struct bk_answer *answer, struct bk_interpreter_error *error);
static bool same_series(const char *a, const char *b);
static void describe_place(struct bk_interpreter *ret, const struct bk_surroundings *surroundings);
static int refuse(struct bk_interpreter_error *error, enum bk_key key, const char *format, ...)
    BK_PRINTF(3, 4);

int
bk_interpreter_find(struct bk_interpreter *ret, const struct bk_master_start *start,
                    const struct bk_surroundings *surroundings, struct bk_interpreter_error *error)
{
    struct choice choice = {0};
    char *package = NULL;
    int rc;

    *ret = (struct bk_interpreter){0};
    error->detail[0] = '\0';
    rc = choose_python(ret, start, surroundings, &choice);
    if (rc == -ENOENT)
        return refuse(error, BK_KEY_PYTHON_MISSING, "no interpreter '%s' in PATH", choice.typed);
    if (rc < 0)
        return refuse(error, BK_KEY_INTERNAL, "out of memory");
    if (eaccess(ret->python, X_OK) < 0)
        return refuse(error, BK_KEY_PYTHON_MISSING, "the interpreter %s cannot be run",
                      ret->python);
    if (!choice.by_option)
        package = start->package ? strdup(start->package) : package_beside_program();
    if (!package) {
        rc = ask(ret, start, surroundings, &choice, &package, error);
        if (rc < 0)
            return rc;
    }
    if (asprintf(&ret->boot, "%s/" BOOT, package) < 0)
        ret->boot = NULL;
    free(package);
    if (!ret->boot)
        return refuse(error, BK_KEY_INTERNAL, "out of memory");
    if (eaccess(ret->boot, R_OK) < 0)
        return refuse(error, BK_KEY_WORKER_BOOT,
                      "the barkeep package is incomplete: cannot read %s", ret->boot);
    describe_place(ret, surroundings);
    return 0;
}

void
bk_interpreter_release(struct bk_interpreter *interpreter)
{
    free(interpreter->python);
    free(interpreter->boot);
    *interpreter = (struct bk_interpreter){0};
}

static int
choose_python(struct bk_interpreter *ret, const struct bk_master_start *start,
              const struct bk_surroundings *surroundings, struct choice *ret_choice)
{
    const struct bk_config *config = start->config;
    char joined[PATH_MAX];
    const char *path = config->python;

    *ret_choice = (struct choice){.typed = path, .by_option = true};
    if (!path && config->venv) {
        snprintf(joined, sizeof joined, "%s/bin/python", config->venv);
        path = joined;
        ret_choice->typed = config->venv;
    } else if (!path) {
        path = start->python ? start->python : "python3";
        *ret_choice = (struct choice){.typed = path};
    }
    if (!strchr(path, '/')) {
        ret->python = search_path(surroundings, path);
        return ret->python ? 0 : -ENOENT;
    }
    ret->python = bk_surroundings_absolute(surroundings, path);
    // Naming the interpreter one was started with changes nothing.
    if (ret->python && start->python && strcmp(ret->python, start->python) == 0)
        ret_choice->by_option = false;
    return ret->python ? 0 : -ENOMEM;
}

static char *
search_path(const struct bk_surroundings *surroundings, const char *name)
{
    const char *variable = getenv("PATH");
    struct bk_str rest = bk_str_of(variable ? variable : "/usr/local/bin:/usr/bin:/bin"), directory;
    char path[PATH_MAX];

    while (bk_str_next_item(&rest, ':', &directory)) {
        int len = snprintf(path, sizeof path, "%.*s%s%s", (int)directory.len, directory.at,
                           directory.len ? "/" : "./", name);
        if (len > 0 && (size_t)len < sizeof path && eaccess(path, X_OK) == 0)
            return bk_surroundings_absolute(surroundings, path);
    }
    return NULL;
}

// .../barkeep/_bin/barkeep is .../barkeep. NULL when this program stands somewhere else (a
// distribution's /usr/bin).
static char *
package_beside_program(void)
{
    char path[PATH_MAX], boot[PATH_MAX + sizeof BOOT];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);

    if (len <= 0)
        return NULL;
    path[len] = '\0';
    for (unsigned up = 0; up < 2; up++) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            return NULL;
        *slash = '\0';
    }
    snprintf(boot, sizeof boot, "%s/" BOOT, path);
    return eaccess(boot, R_OK) == 0 ? strdup(path) : NULL;
}

static int
ask(struct bk_interpreter *ret, const struct bk_master_start *start,
    const struct bk_surroundings *surroundings, const struct choice *choice, char **ret_package,
    struct bk_interpreter_error *error)
{
    struct bk_answer answer;

    if (bk_ask_interpreter(ret->python, start->python_flags,
                           choice->by_option ? 0 : start->python_flag_count, surroundings,
                           &answer) < 0) {
        snprintf(error->detail, sizeof error->detail, "%s", answer.complaint);
        return refuse(error, BK_KEY_PYTHON_MISSING, "the interpreter %s does not work",
                      ret->python);
    }
    snprintf(ret->version, sizeof ret->version, "%s", answer.python_version);
    int rc = judge(ret, surroundings, choice, &answer, error);
    if (rc < 0)
        return rc;
    *ret_package = strdup(answer.package);
    return *ret_package ? 0 : refuse(error, BK_KEY_INTERNAL, "out of memory");
}

static int
judge(const struct bk_interpreter *interpreter, const struct bk_surroundings *surroundings,
      const struct choice *choice, const struct bk_answer *answer,
      struct bk_interpreter_error *error)
{
    const char *dot = strchr(BK_VERSION, '.'), *second = dot ? strchr(dot + 1, '.') : NULL;
    int series = second ? (int)(second - BK_VERSION) : (int)strlen(BK_VERSION);

    if (answer->package[0] && same_series(answer->package_version, BK_VERSION))
        return 0;
    snprintf(error->detail, sizeof error->detail, "try: %s -m pip install 'barkeep==%.*s.*'",
             bk_surroundings_shorten(surroundings, interpreter->python), series, BK_VERSION);
    if (!answer->package[0])
        return refuse(error, BK_KEY_VENV_WITHOUT_BARKEEP,
                      "%s (python %s) does not contain barkeep, so no worker can start in it",
                      choice->typed, answer->python_version);
    return refuse(error, BK_KEY_VERSION_SKEW,
                  "%s has barkeep %s, this master is %s: they do not fit together", choice->typed,
                  answer->package_version, BK_VERSION);
}

// Equal in the first two numbers: what may change between them is said in CHANGES.
static bool
same_series(const char *a, const char *b)
{
    unsigned major[2] = {0}, minor[2] = {0};

    return sscanf(a, "%u.%u", &major[0], &minor[0]) == 2 &&
           sscanf(b, "%u.%u", &major[1], &minor[1]) == 2 && major[0] == major[1] &&
           minor[0] == minor[1];
}

static void
describe_place(struct bk_interpreter *ret, const struct bk_surroundings *surroundings)
{
    char directory[PATH_MAX], mark[PATH_MAX + 16];

    snprintf(directory, sizeof directory, "%s", ret->python);
    for (unsigned up = 0; up < 2; up++) {
        char *slash = strrchr(directory, '/');
        if (slash)
            *slash = '\0';
    }
    snprintf(mark, sizeof mark, "%s/pyvenv.cfg", directory);
    if (access(mark, F_OK) == 0)
        snprintf(ret->place, sizeof ret->place, "in %.150s",
                 bk_surroundings_shorten(surroundings, directory));
    else
        snprintf(ret->place, sizeof ret->place, "at %.150s", ret->python);
}

static int
refuse(struct bk_interpreter_error *error, enum bk_key key, const char *format, ...)
{
    va_list args;

    error->key = key;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return -EINVAL;
}
