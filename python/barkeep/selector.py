"""The selector of a loop that the engine drives: asyncio's and tornado's (docs/decisions/004). The engine's one epoll_wait is
the loop's; what the application watches are guests in the engine's set. select() itself is C (hosts/cpython/asgi_selector.c).

Given to our own loop only; loops that the application makes keep theirs.
"""
import selectors
from collections.abc import Mapping

from ._engine import Turner

READ_OR_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE


class Keys(Mapping):
    """What get_map() returns: by file object or descriptor."""

    def __init__(self, selector):
        self.selector = selector

    def __len__(self):
        return len(self.selector.keys)

    def __iter__(self):
        return iter(self.selector.keys)

    def __getitem__(self, fileobj):
        try:
            return self.selector.keys[self.selector.number(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def get(self, fileobj, default=None):
        try:
            return self.selector.keys.get(self.selector.number(fileobj), default)
        except ValueError:
            return default


class Selector(Turner, selectors.BaseSelector):
    def __new__(cls, worker):
        keys = {}
        self = super().__new__(cls, worker, keys)
        self.keys, self.map = keys, Keys(self)
        return self

    def __init__(self, worker):
        pass

    def number(self, fileobj):
        """The descriptor of a file object, also of one that was closed after it was registered."""
        if type(fileobj) is int:
            fd = fileobj
        else:
            try:
                fd = int(fileobj.fileno())
            except (AttributeError, TypeError, ValueError):
                for key in self.keys.values():
                    if key.fileobj is fileobj:
                        return key.fd
                raise ValueError(f"Invalid file object: {fileobj!r}") from None
        if fd < 0:
            for key in self.keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise ValueError(f"Invalid file descriptor: {fd}")
        return fd

    def register(self, fileobj, events, data=None):
        check(events)
        fd = self.number(fileobj)
        if fd in self.keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self._watch(fd, events)
        key = self.keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj):
        try:
            key = self.keys.pop(self.number(fileobj))
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        try:
            self._watch(key.fd, 0)
        except OSError:
            pass  # closed already: the kernel has forgotten it
        return key

    def modify(self, fileobj, events, data=None):
        check(events)
        try:
            key = self.keys[self.number(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        if events != key.events:
            try:
                self._watch(key.fd, events)
            except BaseException:
                self.unregister(key.fd)
                raise
        key = self.keys[key.fd] = key._replace(events=events, data=data)
        return key

    def close(self):
        for fd in self.keys:
            try:
                self._watch(fd, 0)
            except OSError:
                pass
        self.keys.clear()
        self.map = None

    def get_map(self):
        return self.map

    def get_key(self, fileobj):
        if self.map is None:
            raise RuntimeError("Selector is closed")
        return self.map[fileobj]


def check(events):
    if not events or events & ~READ_OR_WRITE:
        raise ValueError(f"Invalid events: {events!r}")
