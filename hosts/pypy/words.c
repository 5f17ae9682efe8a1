// Tables and texts for the Python side: the log, the keys of messages, the names of environ, the
// process title.
#include <errno.h>
#include <string.h>

#include "base/argv.h"
#include "config/messages.h"
#include "door.h"

static _Atomic unsigned busy;  // threads that run the application

int
bkpp_log(const char *level, size_t level_len, const char *key, const char *text, size_t len,
         const char *detail, size_t detail_len)
{
    enum bk_log_level number;
    struct bk_str key_text = bk_str_of(key);
    if (bk_log_level_parse((struct bk_str){level, level_len}, &number) < 0)
        return -EINVAL;
    if (key_text.len && !bk_message_find(key_text))
        return -ENOENT;
    if (bk_log_on(number)) {
        struct bk_log_record record = {
            .level = number, .key = key_text, .text = {text, len}, .detail = {detail, detail_len}};
        bk_log_record(&record);
    }
    return 0;
}

int
bkpp_message(unsigned n, const char **ret_key, int *ret_code, const char **ret_level,
             const char **ret_text)
{
    unsigned count;
    const struct bk_message_info *rows = bk_messages(&count);
    if (n >= count)
        return 0;
    *ret_key = rows[n].key;
    *ret_code = rows[n].exit_code;
    *ret_level = bk_log_level_name(rows[n].level);
    *ret_text = rows[n].text;
    return 1;
}

void
bkpp_title(const char *text, size_t len)
{
    bk_argv_title((struct bk_str){text, len});
}

void
bkpp_title_busy(bool on)
{
    unsigned before = on ? busy++ : busy--;
    if (before == !on)
        bk_argv_busy(on);
}

// Proxy never becomes HTTP_PROXY, which programs take for a proxy setting (httpoxy).
int
bkpp_header_key(unsigned id, char *out, size_t room)
{
    struct bk_str name = bk_header_name((enum bk_header)id);
    bool bare = id == BK_HEADER_CONTENT_TYPE || id == BK_HEADER_CONTENT_LENGTH;
    size_t len = bare ? 0 : 5;
    *out = 0;
    if (id >= BK_HEADER_COUNT)
        return 0;
    if (id == BK_HEADER_OTHER || id == BK_HEADER_PROXY || name.len + len >= room)
        return 1;
    memcpy(out, "HTTP_", len);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        out[len++] = c == '-' ? '_' : (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
    }
    out[len] = 0;
    return 1;
}
