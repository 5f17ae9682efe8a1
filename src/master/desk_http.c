// As much HTTP as a scraper needs: GET and HEAD, one request a connection. Anything else that comes
// in is taken for a client that wants the text as it is.
#include <stdio.h>
#include <string.h>

#include "master/desk_internal.h"

#include "base/banned.h"

static const char *head_end(const char *at, size_t len);
static int take_path(struct bk__caller *caller, struct bk_str path);
static int refuse(struct bk__caller *caller, const char *status, const char *why);

int
bk__http_read(struct bk__caller *caller)
{
    static const struct bk_str methods[] = {BK_STR("GET "), BK_STR("HEAD ")};
    struct bk_str in = {caller->in, caller->in_len};
    bool could = false;

    for (unsigned i = 0; i < BK_COUNT(methods); i++) {
        size_t known = in.len < methods[i].len ? in.len : methods[i].len;
        if (memcmp(in.at, methods[i].at, known) != 0)
            continue;
        could = true;
        if (in.len < methods[i].len)
            continue;
        caller->http = true;
        caller->head_only = i == 1;
    }
    if (!could) {
        const char *eol = memchr(in.at, '\n', in.len);
        if (eol && memmem(in.at, (size_t)(eol - in.at), " HTTP/1.", 8)) {
            caller->http = true;
            return refuse(caller, "405 Method Not Allowed\r\nAllow: GET, HEAD",
                          "Only GET is understood here.");
        }
        // "POST /" may still become one; a line of something else, or none at all, does not matter.
        return eol || in.len > 1024 ? 1 : 0;
    }
    if (!caller->http || !head_end(in.at, in.len))
        return caller->in_len == sizeof caller->in
                   ? refuse(caller, "431 Request Header Fields Too Large",
                            "The request head is too large.")
                   : 0;
    size_t from = caller->head_only ? 5 : 4;
    const char *end = memchr(in.at + from, '\n', in.len - from);
    const char *space = memchr(in.at + from, ' ', (size_t)(end - in.at) - from);
    if (!space)
        space = end;
    return take_path(caller, (struct bk_str){in.at + from, (size_t)(space - in.at) - from});
}

static const char *
head_end(const char *at, size_t len)
{
    const char *end = memmem(at, len, "\r\n\r\n", 4);

    return end ? end : memmem(at, len, "\n\n", 2);
}

static int
take_path(struct bk__caller *caller, struct bk_str path)
{
    static const struct {
        const char *path;
        enum bk_doc_format format;
    } pages[] = {{"/metrics", BK_DOC_PROMETHEUS}, {"/json", BK_DOC_JSON}, {"/uwsgi", BK_DOC_UWSGI}};
    const char *query = memchr(path.at, '?', path.len);

    if (query)
        path.len = (size_t)(query - path.at);
    if (bk_str_equal(path, BK_STR("/")))
        return 1;
    for (unsigned i = 0; i < BK_COUNT(pages); i++)
        if (bk_str_equal(path, bk_str_of(pages[i].path))) {
            caller->format = pages[i].format;
            return 1;
        }
    return refuse(caller, "404 Not Found", "There are /, /json, /uwsgi and /metrics here.");
}

static int
refuse(struct bk__caller *caller, const char *status, const char *why)
{
    int len = snprintf(caller->head, sizeof caller->head,
                       "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                       "Connection: close\r\n\r\n%s\n",
                       status, strlen(why) + 1, caller->head_only ? "" : why);

    caller->head_len = (size_t)len - caller->head_only;
    return -1;
}

void
bk__http_head(struct bk__caller *caller, size_t len)
{
    const char *type = caller->format == BK_DOC_PROMETHEUS
                           ? "text/plain; version=0.0.4; charset=utf-8"
                           : "application/json";

    caller->head_len =
        (size_t)snprintf(caller->head, sizeof caller->head,
                         "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                         "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                         type, len);
}
