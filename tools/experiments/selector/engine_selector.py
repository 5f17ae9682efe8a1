"""An asyncio selector that does one epoll_wait over "our own" epoll, with the app's fds registered in it.

Stands for the C selector of the real host: raw epoll through ctypes (the GIL is dropped in epoll_wait, EINTR comes
back to us), the engine's own fds under a tag in the same epoll, their work done inside select().
EXPERIMENT_BUSY=1 gives the engine something to do 2,000 times a second: each time it runs Python inside select(),
on 3.12+ an eager task. Installed for every loop by `install()`.
"""
import asyncio
import collections.abc
import ctypes
import errno
import os
import select
import selectors
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
ENGINE = 1 << 32  # tag of the engine's fds; an app's fd is its own number


class Event(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("events", ctypes.c_uint32), ("data", ctypes.c_uint64)]


class Map(collections.abc.Mapping):
    def __init__(self, selector):
        self.selector = selector

    def __len__(self):
        return len(self.selector.keys)

    def __iter__(self):
        return iter(self.selector.keys)

    def __getitem__(self, fileobj):
        fd = self.selector.lookup(fileobj)
        try:
            return self.selector.keys[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def get(self, fileobj, default=None):
        try:
            return self.selector.keys[self.selector.lookup(fileobj)]
        except (KeyError, ValueError):
            return default


class EngineSelector(selectors.BaseSelector):
    made = 0

    def __init__(self):
        EngineSelector.made += 1
        self.keys = {}
        self.map = Map(self)
        self.epoll_fd = libc.epoll_create1(os.O_CLOEXEC)
        self.batch = (Event * 256)()
        self.engine_fd = -1
        self.turns = 0
        self.engine_fds = set()  # numbers the engine owns now: a late unregister of the app must not hit them
        if os.environ.get("EXPERIMENT_BUSY"):
            self.engine_fd = libc.timerfd_create(1, os.O_CLOEXEC | os.O_NONBLOCK)
            libc.timerfd_settime(self.engine_fd, 0, struct.pack("4q", 0, 500_000, 0, 500_000), None)
            self.control(1, self.engine_fd, select.EPOLLIN, ENGINE)

    def control(self, op, fd, events, data):
        if libc.epoll_ctl(self.epoll_fd, op, fd, ctypes.byref(Event(events, data))) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def app_control(self, op, fd, events):
        if fd in self.engine_fds:
            raise FileNotFoundError(errno.ENOENT, "not the app's any more")
        self.control(op, fd, events, fd)

    def lookup(self, fileobj):
        try:
            return selectors._fileobj_to_fd(fileobj)
        except ValueError:
            for key in self.keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise

    @staticmethod
    def mask(events):
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        return (select.EPOLLIN if events & 1 else 0) | (select.EPOLLOUT if events & 2 else 0)

    def register(self, fileobj, events, data=None):
        mask = self.mask(events)
        fd = self.lookup(fileobj)
        if fd in self.keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self.app_control(1, fd, mask)
        key = self.keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj):
        fd = self.lookup(fileobj)
        try:
            key = self.keys.pop(fd)
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        try:
            self.app_control(2, fd, 0)
        except OSError:
            pass  # closed already: the kernel has forgotten it
        return key

    def modify(self, fileobj, events, data=None):
        fd = self.lookup(fileobj)
        try:
            key = self.keys[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        if events != key.events:
            try:
                self.app_control(3, fd, self.mask(events))
            except BaseException:
                del self.keys[fd]
                try:
                    self.app_control(2, fd, 0)
                except OSError:
                    pass
                raise
        key = self.keys[fd] = key._replace(events=events, data=data)
        return key

    def select(self, timeout=None):
        if timeout is None:
            wait = -1
        elif timeout <= 0:
            wait = 0
        else:
            wait = min(int(-(-timeout * 1000 // 1)), 2**31 - 1)  # up: never before the deadline
        ready = []
        n = libc.epoll_wait(self.epoll_fd, self.batch, len(self.batch), wait)
        if n < 0:
            code = ctypes.get_errno()
            if code == errno.EINTR:
                return ready
            raise OSError(code, os.strerror(code))
        engine = False
        for i in range(n):
            events, data = self.batch[i].events, self.batch[i].data
            if data == ENGINE:
                engine = True
                continue
            key = self.keys.get(data)
            if key:
                mask = (1 if events & ~select.EPOLLOUT else 0) | (2 if events & ~select.EPOLLIN else 0)
                ready.append((key, mask & key.events))
        if engine:
            self.turn()  # may register, modify, unregister; app fds that are ready stay in `ready`
            ready = [(self.keys[k.fd], m & self.keys[k.fd].events) for k, m in ready if k.fd in self.keys]
        return [item for item in ready if item[1]]

    def turn(self):
        """An engine turn that runs Python: on 3.12+ an eager task, as a request would."""
        self.turns += 1
        os.read(self.engine_fd, 8)
        loop = asyncio._get_running_loop()
        if loop is None or getattr(loop, "_selector", None) is not self:
            return
        if sys.version_info >= (3, 12):
            task = asyncio.Task(request(), loop=loop, eager_start=True)
            assert task.done()

    def close(self):
        for fd in (self.engine_fd, self.epoll_fd):
            if fd >= 0:
                os.close(fd)
        self.engine_fd = self.epoll_fd = -1
        self.keys.clear()
        self.map = None

    def fileno(self):
        return self.epoll_fd

    def get_map(self):
        return self.map

    def get_key(self, fileobj):
        if self.map is None:
            raise RuntimeError("Selector is closed")
        return self.map[fileobj]


async def request():
    """What an app does: looks at its task, uses a finished awaitable."""
    assert asyncio.current_task() is not None


def install():
    selectors.DefaultSelector = selectors.EpollSelector = EngineSelector
