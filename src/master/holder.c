// From an address to a socket inode (/proc/net/tcp, tcp6, unix) to the processes that have it open
// (/proc/PID/fd).
#include "master/holder.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define LISTEN_STATE 0x0a
#define PROCESSES_MAX 20000

static unsigned long tcp_inode(const char *table, const struct bk_addr *addr);
static bool overlaps(const char *hex, const struct bk_addr *addr);
static unsigned long unix_inode(const struct bk_bind *bind);
static void find_process(unsigned long inode, struct bk_holder *ret);
static bool has_socket(const char *pid, unsigned long inode);
static bool read_start(const char *pid, char *name, size_t room, unsigned long long *ret_ticks);
static uint64_t age_of(unsigned long long ticks);

void
bk_holder_find(const struct bk_bind *bind, const struct bk_addr *addr, struct bk_holder *ret)
{
    unsigned long inode = 0;

    *ret = (struct bk_holder){0};
    if (bind->kind == BK_BIND_UNIX || bind->kind == BK_BIND_ABSTRACT)
        inode = unix_inode(bind);
    else if (addr->sa.sa_family == AF_INET || addr->sa.sa_family == AF_INET6)
        inode = tcp_inode("/proc/net/tcp", addr);
    if (inode == 0 && bind->kind == BK_BIND_TCP)
        inode = tcp_inode("/proc/net/tcp6", addr);
    if (inode == 0)
        return;
    ret->listening = true;
    find_process(inode, ret);
}

// "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 123456 1
// ..."
static unsigned long
tcp_inode(const char *table, const struct bk_addr *addr)
{
    unsigned wanted =
        ntohs(addr->sa.sa_family == AF_INET ? addr->in.sin_port : addr->in6.sin6_port);
    unsigned long found = 0;
    char line[512];
    FILE *file = fopen(table, "re");

    while (file && !found && fgets(line, sizeof line, file)) {
        char local[64];
        unsigned port, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %63[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu",
                   local, &port, &state, &inode) == 4 &&
            state == LISTEN_STATE && port == wanted && overlaps(local, addr))
            found = inode;
    }
    if (file)
        fclose(file);
    return found;
}

// Two addresses of one port exclude each other when they are equal or when one of them is "all".
static bool
overlaps(const char *hex, const struct bk_addr *addr)
{
    char mine[40] = "";

    if (strspn(hex, "0") == strlen(hex))
        return true;
    if (addr->sa.sa_family == AF_INET) {
        if (addr->in.sin_addr.s_addr == 0)
            return true;
        snprintf(mine, sizeof mine, "%08X", addr->in.sin_addr.s_addr);
        // ::ffff:a.b.c.d in the other table.
        return strcmp(hex, mine) == 0 || (strlen(hex) == 32 && strcmp(hex + 24, mine) == 0);
    }
    if (IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr))
        return true;
    uint32_t words[4];
    memcpy(words, &addr->in6.sin6_addr, sizeof words);
    snprintf(mine, sizeof mine, "%08X%08X%08X%08X", words[0], words[1], words[2], words[3]);
    return strcmp(hex, mine) == 0;
}

// "0000000000000000: 00000002 00000000 00010000 0001 01 34567 /run/web.sock"
static unsigned long
unix_inode(const struct bk_bind *bind)
{
    char line[512], wanted[300];
    unsigned long found = 0;
    FILE *file = fopen("/proc/net/unix", "re");

    snprintf(wanted, sizeof wanted, "%s%s", bind->kind == BK_BIND_ABSTRACT ? "@" : "", bind->host);
    while (file && !found && fgets(line, sizeof line, file)) {
        unsigned flags;
        unsigned long inode;
        int at = 0;
        if (sscanf(line, "%*x: %*x %*x %x %*x %*x %lu %n", &flags, &inode, &at) < 2 || at == 0 ||
            !(flags & 0x10000))
            continue;
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line + at, wanted) == 0)
            found = inode;
    }
    if (file)
        fclose(file);
    return found;
}

// A pre-forking server has it open many times: the oldest process is its master.
static void
find_process(unsigned long inode, struct bk_holder *ret)
{
    unsigned long long oldest = 0;
    struct dirent *entry;
    unsigned count = 0;
    DIR *directory = opendir("/proc");

    while (directory && (entry = readdir(directory)) && count++ < PROCESSES_MAX) {
        unsigned long long ticks;
        char name[64], path[300];
        struct stat facts;
        if (!isdigit((unsigned char)entry->d_name[0]) || !has_socket(entry->d_name, inode))
            continue;
        snprintf(path, sizeof path, "/proc/%s", entry->d_name);
        if (!read_start(entry->d_name, name, sizeof name, &ticks) || stat(path, &facts) < 0)
            continue;
        if (ret->pid && ticks >= oldest)
            continue;
        oldest = ticks;
        ret->pid = (pid_t)strtol(entry->d_name, NULL, 10);
        ret->uid = facts.st_uid;
        ret->age_ns = age_of(ticks);
        memcpy(ret->name, name, sizeof name);
    }
    if (directory)
        closedir(directory);
}

static bool
has_socket(const char *pid, unsigned long inode)
{
    char path[300], link[600], wanted[48], text[64];
    struct dirent *entry;
    bool found = false;

    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *directory = opendir(path);
    while (directory && !found && (entry = readdir(directory))) {
        snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
        ssize_t len = readlink(link, text, sizeof text - 1);
        if (len > 0) {
            text[len] = '\0';
            found = strcmp(text, wanted) == 0;
        }
    }
    if (directory)
        closedir(directory);
    return found;
}

// /proc/PID/stat: "PID (name with anything) S PPID ...", start time is field 22.
static bool
read_start(const char *pid, char *name, size_t room, unsigned long long *ret_ticks)
{
    char path[300], line[1024];

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool read = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (!read || !open || !close || close < open)
        return false;
    struct bk_str text = {open + 1, (size_t)(close - open - 1)};
    name[bk_str_escape(name, room - 1, text)] = '\0';
    return sscanf(
               close + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               ret_ticks) == 1;
}

static uint64_t
age_of(unsigned long long ticks)
{
    long per_second = sysconf(_SC_CLK_TCK);
    double up = 0;
    FILE *file = fopen("/proc/uptime", "re");

    if (!file)
        return 0;
    int read = fscanf(file, "%lf", &up);
    fclose(file);
    double age = up - (double)ticks / (double)(per_second > 0 ? per_second : 100);
    return read == 1 && age > 0 ? (uint64_t)(age * 1e9) : 0;
}
