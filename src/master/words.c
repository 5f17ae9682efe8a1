// Numbers and errors as people say them.
#include "master/words.h"

#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

#include "base/banned.h"

static bool group_name(unsigned gid, char *out, size_t room);

const char *
bk_words_error(int error, char out[BK_WORDS_ROOM])
{
    char buffer[BK_WORDS_ROOM];
    const char *text = strerror_r(error < 0 ? -error : error, buffer, sizeof buffer);

    snprintf(out, BK_WORDS_ROOM, "%c%s", tolower((unsigned char)text[0]), text[0] ? text + 1 : "");
    return out;
}

const char *
bk_words_duration(uint64_t ns, char out[BK_WORDS_ROOM])
{
    uint64_t seconds = ns / BK_SEC;

    if (ns < BK_SEC)
        snprintf(out, BK_WORDS_ROOM, "%u ms", (unsigned)(ns / BK_MSEC));
    else if (seconds < 10)
        snprintf(out, BK_WORDS_ROOM, "%u.%u s", (unsigned)seconds,
                 (unsigned)(ns % BK_SEC / (100 * BK_MSEC)));
    else if (seconds < 120)
        snprintf(out, BK_WORDS_ROOM, "%u s", (unsigned)seconds);
    else if (seconds < 120 * 60)
        snprintf(out, BK_WORDS_ROOM, "%u min", (unsigned)(seconds / 60));
    else if (seconds < 48 * 3600)
        snprintf(out, BK_WORDS_ROOM, "%u h", (unsigned)(seconds / 3600));
    else
        snprintf(out, BK_WORDS_ROOM, "%u d", (unsigned)(seconds / 86400));
    return out;
}

const char *
bk_words_size(uint64_t bytes, char out[BK_WORDS_ROOM])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024;
    unsigned unit = 0;

    while (value >= 1024 && unit + 1 < BK_COUNT(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, BK_WORDS_ROOM, unit > 0 && value < 100 ? "%.1f %s" : "%.0f %s", value,
             units[unit]);
    return out;
}

const char *
bk_words_signal(int number, char out[BK_WORDS_ROOM])
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGHUP, "HUP"},   {SIGINT, "INT"},   {SIGQUIT, "QUIT"}, {SIGILL, "ILL"},
                 {SIGTRAP, "TRAP"}, {SIGABRT, "ABRT"}, {SIGBUS, "BUS"},   {SIGFPE, "FPE"},
                 {SIGKILL, "KILL"}, {SIGUSR1, "USR1"}, {SIGSEGV, "SEGV"}, {SIGUSR2, "USR2"},
                 {SIGPIPE, "PIPE"}, {SIGALRM, "ALRM"}, {SIGTERM, "TERM"}, {SIGXCPU, "XCPU"},
                 {SIGXFSZ, "XFSZ"}, {SIGSYS, "SYS"}};

    for (unsigned i = 0; i < BK_COUNT(names); i++) {
        if (names[i].number == number) {
            snprintf(out, BK_WORDS_ROOM, "signal %d (SIG%s)", number, names[i].name);
            return out;
        }
    }
    snprintf(out, BK_WORDS_ROOM, "signal %d", number);
    return out;
}

const char *
bk_words_owner(unsigned uid, unsigned gid, char out[BK_WORDS_ROOM])
{
    char user[BK_WORDS_ROOM], group[BK_WORDS_ROOM];

    if (!group_name(gid, group, sizeof group))
        snprintf(group, sizeof group, "%u", gid);
    snprintf(out, BK_WORDS_ROOM, "%.30s:%.30s", bk_words_user(uid, user), group);
    return out;
}

const char *
bk_words_user(unsigned uid, char out[BK_WORDS_ROOM])
{
    struct passwd entry, *found = NULL;
    char buffer[4096];

    if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found)
        snprintf(out, BK_WORDS_ROOM, "%s", found->pw_name);
    else
        snprintf(out, BK_WORDS_ROOM, "%u", uid);
    return out;
}

static bool
group_name(unsigned gid, char *out, size_t room)
{
    struct group entry, *found = NULL;
    char buffer[16384];

    if (getgrgid_r(gid, &entry, buffer, sizeof buffer, &found) != 0 || !found)
        return false;
    snprintf(out, room, "%s", found->gr_name);
    return true;
}
