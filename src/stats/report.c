// Parts that all forms of a report share.
#include "stats/report.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/banned.h"

static void release_workers(struct bk_report_worker *workers, unsigned count);

void
bk_report_free(struct bk_report *report)
{
    if (!report)
        return;
    release_workers(report->workers, report->worker_count);
    release_workers(report->leaving, report->leaving_count);
    free(report->listeners);
    free(report);
}

static void
release_workers(struct bk_report_worker *workers, unsigned count)
{
    for (unsigned i = 0; workers && i < count; i++)
        free(workers[i].rows);
    free(workers);
}

const char *
bk_report_client(const struct bk_row_peer *peer, char out[256])
{
    char text[INET6_ADDRSTRLEN] = "?";

    if (peer->family == BK_ROW_FORWARDED) {
        size_t len = peer->port < sizeof peer->bytes ? peer->port : sizeof peer->bytes;
        struct bk_str said = {(const char *)peer->bytes, len};
        out[bk_str_escape(out, 255, said)] = '\0';
    } else if (peer->family == AF_INET || peer->family == AF_INET6) {
        inet_ntop(peer->family, peer->bytes, text, sizeof text);
        snprintf(out, 256, peer->family == AF_INET ? "%s:%u" : "[%s]:%u", text, peer->port);
    } else {
        snprintf(out, 256, "%s", peer->family == AF_UNIX ? "unix" : "");
    }
    return out;
}

const char *
bk_report_step(enum bk_row_step step)
{
    switch (step) {
    case BK_ROW_BODY:
        return "waits for the body";
    case BK_ROW_SEND:
        return "waits for the client";
    case BK_ROW_SOCKET:
        return "WebSocket";
    case BK_ROW_APP:
        break;
    }
    return "application";
}
