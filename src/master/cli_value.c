// Takes one value into the settings, or says why it cannot be: the wording of all [option-value]
// errors is here. Values that only the net layer understands (addresses, networks) are checked
// before they are stored. Called by the other cli_*.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "master/cli_internal.h"
#include "net/addr.h"

#include "base/banned.h"

// One value on its way in.
struct value {
    struct bk__cli *read;
    const struct bk_option *option;
    const char *typed;
    struct bk_str text;
    const char *origin;
};

static bool fine_outside_config(const struct value *v);
static bool from_file(const char *origin);
static bool fine_class(const struct value *v);
static struct bk_str class_name(struct bk_str text);
static struct bk_str demand(struct bk_str text);

void
bk__cli_set(struct bk__cli *read, const struct bk_option *option, const char *typed,
            struct bk_str value, const char *origin)
{
    struct value v = {read, option, typed, value, origin};
    const char *why = "";
    if (strcmp(option->key, "worker_class") == 0)
        v.text = class_name(value);
    else if (strcmp(option->key, "cert_reqs") == 0)
        v.text = demand(value);
    if (!fine_outside_config(&v))
        return;
    int error = bk_config_set(read->config, bk_str_of(option->key), v.text, origin, &why);
    if (!error && v.text.at != value.at && memchr(value.at, '.', value.len))
        bk__cli_problem(read, BK_KEY_CLASS_TAKEN, "", "the worker class %.*s is taken as %.*s",
                        (int)value.len, value.at, (int)v.text.len, v.text.at);
    if (error == -EINVAL)
        bk__cli_refuse(read, option, typed, value, origin, BK_KEY_OPTION_VALUE, why);
    else if (error)
        read->out_of_memory = true;
}

void
bk__cli_refuse(struct bk__cli *read, const struct bk_option *option, const char *typed,
               struct bk_str value, const char *origin, enum bk_key key, const char *why)
{
    char shown[200];
    // -e holds secrets: only the name of the variable is shown.
    if (strcmp(option->key, "env") == 0 && memchr(value.at, '=', value.len))
        value.len = (size_t)((const char *)memchr(value.at, '=', value.len) - value.at);
    int len = (int)bk_str_escape(shown, sizeof(shown), value);
    if (from_file(origin))
        bk__cli_problem(read, key, "", "%s: %s '%.*s': %s", origin, typed, len, shown, why);
    else if (strncmp(origin, "environment", 11) == 0)
        bk__cli_problem(read, key, "", "%s '%.*s' (environment, sets --%s): %s", typed, len, shown,
                        option->name, why);
    else
        bk__cli_problem(read, key, "", "%s '%.*s': %s", typed, len, shown, why);
}

// Whoever reads the message has not typed the value just now.
static bool
from_file(const char *origin)
{
    return strncmp(origin, "environment", 11) != 0 && strcmp(origin, "command line") != 0
           && strcmp(origin, "default") != 0;
}

static bool fine_bind(const struct value *v, struct bk_str item);
static bool fine_net(const struct value *v, struct bk_str item);

static bool
fine_outside_config(const struct value *v)
{
    bool (*check)(const struct value *, struct bk_str) = NULL;
    struct bk_str lines = v->text, rest, item;
    if (strcmp(v->option->key, "worker_class") == 0)
        return fine_class(v);
    if (strcmp(v->option->key, "bind") == 0)
        check = fine_bind;
    else if (strcmp(v->option->key, "forwarded_allow_ips") == 0)
        check = fine_net;
    unsigned items = 0;
    while (check && bk_str_next_item(&lines, '\n', &rest)) {
        while (bk_str_next_item(&rest, ',', &item)) {
            if (item.len && !check(v, item))
                return false;
            items += item.len > 0;
        }
    }
    if (check != fine_bind || items)
        return true;
    bk__cli_refuse(v->read, v->option, v->typed, v->text, v->origin, BK_KEY_OPTION_VALUE,
                   "an address is missing");
    return false;
}

static bool
fine_bind(const struct value *v, struct bk_str item)
{
    static const char *const names[] = {
        [BK_SCHEME_UWSGI] = "the uwsgi protocol",
        [BK_SCHEME_SCGI] = "SCGI",
    };
    struct bk_bind bind;
    const char *why = "";
    if (bk_bind_parse(item, &bind, &why) < 0) {
        bk__cli_refuse(v->read, v->option, v->typed, item, v->origin, BK_KEY_OPTION_VALUE, why);
        return false;
    }
    if (bind.scheme == BK_SCHEME_DEFAULT || bind.scheme == BK_SCHEME_HTTP ||
        bind.scheme == BK_SCHEME_HTTPS)
        return true;
    char text[100];
    snprintf(text, sizeof(text), "%s is not in this version yet, only http and https",
             names[bind.scheme]);
    bk__cli_refuse(v->read, v->option, v->typed, item, v->origin, BK_KEY_SCHEME_UNSUPPORTED, text);
    return false;
}

static bool
fine_net(const struct value *v, struct bk_str item)
{
    struct bk_nets nets = {0};
    struct bk_str bad = {"", 0};
    int error = bk_nets_parse(item, &nets, &bad);
    bk_nets_release(&nets);
    if (error == -EINVAL)
        bk__cli_refuse(v->read, v->option, v->typed, item, v->origin, BK_KEY_OPTION_VALUE,
                       "not an address or network; 10.0.0.1, 10.0.0.0/8, fd00::/8 and * are");
    return error == 0;
}

// What other servers call our classes.
static struct bk_str
class_name(struct bk_str text)
{
    static const struct {
        const char *theirs, *ours;
    } names[] = {
        {"threads", "gthread"},
        {"gevent_wsgi", "gevent"},
        {"gevent_pywsgi", "gevent"},
        {"uvicorn.workers.UvicornWorker", "asgi"},
        {"uvicorn.workers.UvicornH11Worker", "asgi"},
        {"uvicorn_worker.UvicornWorker", "asgi"},
        {"uvicorn_worker.UvicornH11Worker", "asgi"},
        {"gunicorn.workers.sync.SyncWorker", "sync"},
        {"gunicorn.workers.gthread.ThreadWorker", "gthread"},
        {"gunicorn.workers.ggevent.GeventWorker", "gevent"},
        {"gunicorn.workers.ggevent.GeventPyWSGIWorker", "gevent"},
        {"gunicorn.workers.gtornado.TornadoWorker", "tornado"},
        {"gunicorn.workers.gasgi.ASGIWorker", "asgi"},
    };
    text = bk_str_trim(text);
    static const char egg[] = "egg:gunicorn#";
    if (bk_str_starts(text, bk_str_of(egg)))
        text = (struct bk_str){text.at + strlen(egg), text.len - strlen(egg)};
    for (unsigned i = 0; i < BK_COUNT(names); i++)
        if (bk_str_equal(bk_str_of(names[i].theirs), text))
            return bk_str_of(names[i].ours);
    return text;
}

// --cert-reqs by the names of Python's ssl module, in any case: CERT_REQUIRED.
static struct bk_str
demand(struct bk_str text)
{
    text = bk_str_trim(text);
    if (text.len > 5 && bk_str_equal_nocase((struct bk_str){text.at, 5}, BK_STR("CERT_")))
        return (struct bk_str){text.at + 5, text.len - 5};
    return text;
}

// A misspelt worker class has an error of its own.
static bool
fine_class(const struct value *v)
{
    struct bk_str words = bk_str_of(v->option->range), word, near = {"", 0};
    char shown[100], list[100] = "";
    size_t len = 0;
    while (bk_str_next_item(&words, '|', &word)) {
        if (bk_str_equal_nocase(word, v->text))
            return true;
        if (bk_str_distance(word, v->text, 2) <= 2)
            near = word;
        if (!bk_str_equal(word, BK_STR("auto")) && len < sizeof(list))
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%.*s", len ? ", " : "",
                                    (int)word.len, word.at);
    }
    shown[bk_str_escape(shown, sizeof(shown) - 1, v->text)] = '\0';
    if (near.len)
        bk__cli_problem(v->read, BK_KEY_CLASS_UNKNOWN, "",
                        "no worker class '%s'; did you mean %.*s? (%s)", shown, (int)near.len,
                        near.at, list);
    else
        bk__cli_problem(v->read, BK_KEY_CLASS_UNKNOWN, "", "no worker class '%s' (%s)", shown,
                        list);
    return false;
}
