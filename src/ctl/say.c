// How barkeepctl puts things.
#include <stdarg.h>
#include <stdio.h>

#include "ctl/ctl.h"

#include "base/banned.h"

int
bk_ctl_fail(int code, const char *key, const char *format, ...)
{
    char text[8192];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct bk_str whole = bk_str_of(text);
    while (whole.len > 0 && whole.at[whole.len - 1] == '\n')
        whole.len--;
    const char *eol = whole.len > 0 ? memchr(whole.at, '\n', whole.len) : NULL;
    size_t first = eol ? (size_t)(eol - whole.at) : whole.len;
    fprintf(stderr, "barkeepctl: error: %.*s%s%s%s\n", (int)first, whole.at, *key ? " [" : "", key,
            *key ? "]" : "");
    if (eol)
        fprintf(stderr, "%.*s\n", (int)(whole.len - first - 1), eol + 1);
    return code;
}

const char *
bk_ctl_span(double seconds, char out[32])
{
    if (seconds < 1e-3)
        snprintf(out, 32, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(out, 32, seconds < 0.1 ? "%.1f ms" : "%.0f ms", seconds * 1e3);
    else if (seconds < 100)
        snprintf(out, 32, "%.1f s", seconds);
    else if (seconds < 100 * 60)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else if (seconds < 48 * 3600)
        snprintf(out, 32, "%.0f h", seconds / 3600);
    else
        snprintf(out, 32, "%.0f d", seconds / 86400);
    return out;
}

const char *
bk_ctl_bytes(double bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;

    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    snprintf(out, 32, unit == 0 || bytes >= 100 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return out;
}

// Thousands are set apart; small ones show a decimal.
const char *
bk_ctl_number(double value, char out[32])
{
    char digits[32];
    size_t len, at = 0;

    if (value < 100 && value != (double)(int)value) {
        snprintf(out, 32, "%.1f", value);
        return out;
    }
    len = (size_t)snprintf(digits, sizeof digits, "%.0f", value);
    for (size_t i = 0; i < len && at < 30; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *
bk_ctl_safe(struct bk_str text, char *out, size_t room)
{
    out[bk_str_escape(out, room - 1, text)] = '\0';
    return out;
}
