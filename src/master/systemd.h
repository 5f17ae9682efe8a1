// The service manager's side of the master: sockets it passes on (sd_listen_fds(3)), what it is told (sd_notify(3)) and
// its watchdog. All of it comes from the environment; without that every call does nothing. Used by master.c, bind.c,
// hear.c, reload.c and stop.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "loop/timer.h"

struct bk_master;

#define BK_SYSTEMD_FIRST 3  // descriptor of the first socket passed

struct bk_systemd {
    int fd;                   // owns: sends to NOTIFY_SOCKET; -1: nobody listens
    struct sockaddr_un addr;
    socklen_t addr_len;
    uint64_t watchdog;        // ns between two signs of life; 0: none is wanted
    struct bk_timer beat;
};

// Sockets that were passed to this process; 0 when they were meant for another one.
unsigned bk_systemd_passed(void);
// Name of the n-th (FileDescriptorName=), "" when it has none; borrows `room`.
const char *bk_systemd_name(unsigned n, char room[256]);

// NOTIFY_SOCKET and WATCHDOG_USEC. Asks for as much time as the import may take.
void bk_systemd_open(struct bk_master *master);
void bk_systemd_close(struct bk_master *master);
// The first worker serves, or a reload has come to its end. `status` is one line.
void bk_systemd_ready(struct bk_master *master, const char *status);
void bk_systemd_reloading(struct bk_master *master);
// Asks for as much time as the workers may take.
void bk_systemd_stopping(struct bk_master *master);
