// Descriptors of a foreign loop in our epoll set. Called by the host's selector, and by loop.c for
// their events. They carry an odd number in place of a pointer, so that a stale event can never be
// followed.
#include "loop/guests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "loop/loop.h"

#include "base/banned.h"

struct bk_guests {
    unsigned room;  // numbers `asked` has room for
    uint8_t *asked; // owns: by number, the events asked for; 0: no guest
    unsigned count;
    struct bk_guest found[BK_LOOP_BATCH];
};

static int make_room(struct bk_loop *loop, int fd);
static bool is_guest(const struct bk_loop *loop, int fd);
static int control(struct bk_loop *loop, int operation, int fd, uint32_t events);

int
bk_guests_set(struct bk_loop *loop, int fd, uint32_t events)
{
    if (fd < 0)
        return -EBADF;
    events &= EPOLLIN | EPOLLOUT | EPOLLPRI;
    if (events == 0) {
        if (is_guest(loop, fd)) {
            loop->guests->asked[fd] = 0;
            control(loop, EPOLL_CTL_DEL, fd, 0); // fails when the fd was closed before: gone too
        }
        return 0;
    }
    int error = make_room(loop, fd);
    if (error < 0)
        return error;
    if (is_guest(loop, fd)) {
        error = control(loop, EPOLL_CTL_MOD, fd, events);
        if (error == -ENOENT) // closed and opened again meanwhile
            error = control(loop, EPOLL_CTL_ADD, fd, events);
    } else {
        error = control(loop, EPOLL_CTL_ADD, fd, events);
    }
    if (error == 0)
        loop->guests->asked[fd] = (uint8_t)events;
    return error;
}

static int
control(struct bk_loop *loop, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)fd << 1 | 1};
    return epoll_ctl(loop->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

static bool
is_guest(const struct bk_loop *loop, int fd)
{
    const struct bk_guests *guests = loop->guests;
    return guests && (unsigned)fd < guests->room && guests->asked[fd];
}

static int
make_room(struct bk_loop *loop, int fd)
{
    struct bk_guests *guests = loop->guests;
    if (!guests && !(guests = loop->guests = calloc(1, sizeof *guests)))
        return -ENOMEM;
    if ((unsigned)fd < guests->room)
        return 0;
    unsigned room = guests->room ? guests->room : 256;
    while (room <= (unsigned)fd)
        room *= 2;
    uint8_t *grown = realloc(guests->asked, room);
    if (!grown)
        return -ENOMEM;
    memset(grown + guests->room, 0, room - guests->room);
    guests->asked = grown;
    guests->room = room;
    return 0;
}

void
bk__guests_ready(struct bk_loop *loop, int fd, uint32_t events)
{
    struct bk_guests *guests = loop->guests;
    if (!is_guest(loop, fd))
        return;
    events &= guests->asked[fd] | EPOLLERR | EPOLLHUP;
    if (events && guests->count < BK_LOOP_BATCH) // left behind they come again
        guests->found[guests->count++] = (struct bk_guest){fd, events};
}

unsigned
bk_guests_take(struct bk_loop *loop, struct bk_guest *out, unsigned room)
{
    struct bk_guests *guests = loop->guests;
    unsigned taken = 0;
    if (!guests)
        return 0;
    for (unsigned i = 0; i < guests->count && taken < room; i++)
        if (is_guest(loop, guests->found[i].fd))
            out[taken++] = guests->found[i];
    guests->count = 0;
    return taken;
}

bool
bk_guests_any(const struct bk_loop *loop)
{
    return loop->guests && loop->guests->count;
}

void
bk__guests_forget(struct bk_loop *loop, int fd)
{
    if (is_guest(loop, fd))
        loop->guests->asked[fd] = 0;
}

void
bk__guests_release(struct bk_loop *loop)
{
    if (!loop->guests)
        return;
    free(loop->guests->asked);
    free(loop->guests);
    loop->guests = NULL;
}
