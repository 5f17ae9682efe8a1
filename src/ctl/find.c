// Which servers are there? Their control sockets are named barkeep/UID/PID.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl/ctl.h"

#include "base/banned.h"

#define SERVERS_MAX 256

static unsigned list(const struct bk_ctl_options *options, struct bk_ctl_server *servers);
static bool read_line(const char *line, struct bk_ctl_server *ret);
static bool has_name(const struct bk_ctl_server *server, const char *name);
static void describe(const struct bk_ctl_server *servers, unsigned count, char *out, size_t room);

int
bk_ctl_find(const struct bk_ctl_options *options, struct bk_ctl_server *ret)
{
    struct bk_ctl_server servers[SERVERS_MAX];
    unsigned count = list(options, servers), kept = 0;
    char which[300] = "", detail[4096];

    for (unsigned i = 0; options->name && i < count; i++)
        if (has_name(&servers[i], options->name))
            servers[kept++] = servers[i];
    if (options->name) {
        count = kept;
        snprintf(which, sizeof which, " with the name '%s'", options->name);
    } else if (options->pid) {
        snprintf(which, sizeof which, " with the pid %d", (int)options->pid);
    }
    if (count == 1) {
        *ret = servers[0];
        return 0;
    }
    if (count == 0)
        return bk_ctl_fail(
            1, "control-none",
            "no server%s was found\n  a server is found by the user who runs it and by root, "
            "unless it was started with --no-control-socket",
            which);
    describe(servers, count, detail, sizeof detail);
    return bk_ctl_fail(2, "control-several",
                       "%u servers are running%s\n%s  try: barkeepctl --pid %d ...", count, which,
                       detail, (int)servers[0].pid);
}

static unsigned
list(const struct bk_ctl_options *options, struct bk_ctl_server *servers)
{
    FILE *file = fopen("/proc/net/unix", "re");
    unsigned count = 0, user = geteuid();
    char line[512];

    while (file && count < SERVERS_MAX && fgets(line, sizeof line, file)) {
        struct bk_ctl_server *server = &servers[count];
        if (!read_line(line, server) || (user != 0 && server->user != user) ||
            (options->pid && server->pid != options->pid))
            continue;
        count++;
    }
    if (file)
        fclose(file);
    return count;
}

// "0000000000000000: 00000002 00000000 00010000 0001 01 12345 @barkeep/1000/4711": flags 10000
// means that it listens; connections have the name too.
static bool
read_line(const char *line, struct bk_ctl_server *ret)
{
    unsigned flags, user;
    int pid, at = 0;

    if (sscanf(line, "%*x: %*x %*x %x", &flags) != 1 || !(flags & 0x10000))
        return false;
    const char *name = strstr(line, "@barkeep/");
    if (!name || sscanf(name, "@barkeep/%u/%d%n", &user, &pid, &at) != 2 || pid <= 0)
        return false;
    size_t len = strcspn(++name, "\n");
    if (len >= sizeof ret->name || memchr(name, ' ', len))
        return false;
    ret->user = user;
    ret->pid = pid;
    memcpy(ret->name, name, len);
    ret->name[len] = '\0';
    return true;
}

// --name of the server, or its application.
static bool
has_name(const struct bk_ctl_server *server, const char *name)
{
    struct bk_tree tree;
    bool same;

    if (bk_ctl_look(server, &tree) < 0)
        return false;
    same = bk_str_equal(bk_tree_text(&tree, bk_tree_root(&tree), "name"), bk_str_of(name)) ||
           bk_str_equal(bk_tree_text(&tree, bk_tree_root(&tree), "app"), bk_str_of(name));
    bk_tree_release(&tree);
    return same;
}

static void
describe(const struct bk_ctl_server *servers, unsigned count, char *out, size_t room)
{
    size_t len = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < count && i < 20 && len < room; i++) {
        char name[128] = "?", address[200] = "?";
        struct bk_tree tree;
        if (bk_ctl_look(&servers[i], &tree) == 0) {
            bk_tree_at root = bk_tree_root(&tree);
            bk_ctl_safe(bk_tree_text(&tree, root, "name"), name, sizeof name);
            bk_tree_at first = bk_tree_first(&tree, bk_tree_get(&tree, root, "listeners"));
            bk_ctl_safe(bk_tree_text(&tree, first, "address"), address, sizeof address);
            bk_tree_release(&tree);
        }
        len += (size_t)snprintf(out + len, room - len, "  pid %d: %s on %s\n", (int)servers[i].pid,
                                name, address);
    }
}
