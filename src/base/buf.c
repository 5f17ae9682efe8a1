// Growing bytes.
#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

#define LEAST 64

int
bk_buf_reserve(struct bk_buf *buf, size_t more, size_t most)
{
    if (more > most || buf->len > most - more)
        return -EMSGSIZE;
    size_t need = buf->len + more;
    if (need <= buf->size)
        return 0;
    size_t size = buf->size > most / 2 ? most : buf->size * 2;
    if (size < need)
        size = need;
    if (size < LEAST)
        size = LEAST;
    char *grown = realloc(buf->at, size);
    if (!grown)
        return -ENOMEM;
    buf->at = grown;
    buf->size = size;
    return 0;
}

int
bk_buf_append(struct bk_buf *buf, struct bk_str bytes, size_t most)
{
    if (bytes.len == 0)
        return 0;
    int error = bk_buf_reserve(buf, bytes.len, most);
    if (error < 0)
        return error;
    memcpy(buf->at + buf->len, bytes.at, bytes.len);
    buf->len += bytes.len;
    return 0;
}

void
bk_buf_release(struct bk_buf *buf)
{
    free(buf->at);
    *buf = (struct bk_buf){0};
}
