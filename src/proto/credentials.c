// Basic credentials, read as far as the colon.
#include "proto/credentials.h"

#include "base/banned.h"

static bool take_scheme(struct bk_str *rest);
static int sextet(char c);

size_t
bk_credentials_user(struct bk_str authorization, char *out, size_t room)
{
    size_t len = 0;
    unsigned bits = 0, held = 0;
    if (!take_scheme(&authorization))
        return 0;
    for (size_t i = 0; i < authorization.len; i++) {
        int value = sextet(authorization.at[i]);
        if (value < 0)
            return 0;
        bits = (bits << 6 | (unsigned)value) & 0xffff;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        char c = (char)(bits >> held & 0xff);
        if (c == ':')
            return len;
        if (len < room)
            out[len++] = c;
    }
    return 0;
}

// "Basic" in any case, then at least one space (RFC 9110 §11.4).
static bool
take_scheme(struct bk_str *rest)
{
    static const struct bk_str basic = {"basic ", 6};
    if (rest->len < basic.len || !bk_str_equal_nocase((struct bk_str){rest->at, basic.len}, basic))
        return false;
    *rest = bk_str_trim((struct bk_str){rest->at + basic.len, rest->len - basic.len});
    return true;
}

// -1: not of the base64 alphabet (RFC 4648 §4).
static int
sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}
