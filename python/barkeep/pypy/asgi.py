"""An ASGI application on the loop of this worker: turns of the engine as the loop's selector, tasks, the end of both. The twin
of hosts/cpython/asgi.c and asgi_selector.c; barkeep/asgi_worker.py and barkeep/selector.py use it.
"""
import asyncio
import contextvars
import os
import time
from _thread import get_ident
from math import ceil

from . import asgi_scope, failure
from .asgi_request import DONE, Request, end
from .door import GONE, REQUEST, STOP, ffi, lib
from .engine import log
from .environ import forget, mount

EVENT, GUEST, SIGNAL = lib.BKPP_EVENT, lib.BKPP_GUEST, lib.BKPP_SIGNAL
WAIT_MAX = 2147483647
GUESTS_MAX = 256
EPOLLIN, EPOLLOUT = 1, 4
MEMO_SLOTS = 512
SAID_AGAIN = 60.0  # seconds between two lines about a blocked loop


class Hosted:
    """The engine of a worker whose loop is Python's: what the selector and the requests share."""

    def __init__(self, worker):
        place = b"" if worker.setting("root_path").rstrip("/") else mount()
        self.worker, self.asgi, self.leaving = worker, None, None
        self.door = lib.bkpp_door_new(worker._live, 1, MEMO_SLOTS, place, len(place))
        if self.door == ffi.NULL:
            raise MemoryError
        lib.bkpp_host_loop(worker._live, True)
        self.memo = [(0, None)] * MEMO_SLOTS
        self.thread = get_ident()
        self.fds, self.events = ffi.new("int[]", GUESTS_MAX), ffi.new("uint32_t[]", GUESTS_MAX)
        self.left_select = 0.0  # when select() gave the loop control; 0: it did not
        self.say_blocked = 0.0

    def close(self):
        if self.door is not None:
            door, self.door = self.door, None
            lib.bkpp_door_free(door)

    def turn(self, wait_ms):
        """One turn, and what it found for the application. (number of guests, did Python run)."""
        door, asgi = self.door, self.asgi
        flags = lib.bkpp_turn(door, wait_ms)
        if flags & GONE:
            raise SystemExit
        if door.forgotten:
            forget(self, door)
        count = lib.bkpp_guests(door, self.fds, self.events, GUESTS_MAX) if flags & GUEST else 0
        ran = bool(flags & (GUEST | EVENT | SIGNAL))
        if asgi is not None:
            if flags & EVENT:
                asgi.wake_waiting()
            if flags & REQUEST and asgi.start_ready():
                ran = True
            if asgi.stop is not None and lib.bkpp_stopping(self.worker._worker) and asgi.tell_stop(flags & STOP):
                ran = True
        return count, ran

    def watch_step(self, began, what):
        """Everything else waits while a step runs, so a long one is worth a line, once a minute."""
        now = time.monotonic()
        if self.asgi is None or self.asgi.app is None or now - began < self.asgi.blocked or now < self.say_blocked:
            return
        self.say_blocked = now + SAID_AGAIN
        log("warning", "loop-blocked", f"{what} held up the event loop for {now - began:.1f} s: nothing else was served meanwhile")


def hosted(worker):
    """The Hosted of a worker, made by whoever comes first."""
    for host in worker._hosts:
        if isinstance(host, Hosted):
            return host
    host = Hosted(worker)
    worker._hosts.append(host)
    return host


# ---- the selector's part -----------------------------------------------------------------------------------------------

class Turner:
    """Turner(worker, keys): select() over a worker's engine. selector.py adds the rest of the interface."""

    def __new__(cls, worker, keys):
        self = super().__new__(cls)
        self._hosted, self._keys = hosted(worker), keys
        return self

    def select(self, timeout=None):
        host = self._hosted
        wait_ms = -1 if timeout is None else 0 if timeout <= 0 else min(ceil(timeout * 1000), WAIT_MAX)
        deadline = time.monotonic() + wait_ms / 1000 if wait_ms > 0 else 0.0
        if host.left_select:
            host.watch_step(host.left_select, "a callback of the event loop")
        while True:
            count, ran = host.turn(wait_ms)
            # Once Python ran it may have more to do: never wait again.
            if ran or wait_ms == 0:
                break
            if wait_ms > 0:
                left = deadline - time.monotonic()
                if left < 0:
                    break
                wait_ms = ceil(left * 1000)
        if host.asgi is not None and host.asgi.blocked:
            host.left_select = time.monotonic()
        return self._found(count) if count else []

    def _found(self, count):
        """[(key, mask)] of the guests that are still watched; what nobody asked for is left out."""
        found, host = [], self._hosted
        for n in range(count):
            key, events = self._keys.get(host.fds[n]), host.events[n]
            if key is not None:
                mask = (1 if events & ~EPOLLOUT else 0) | (2 if events & ~EPOLLIN else 0)
                if mask & key.events:
                    found.append((key, mask & key.events))
        return found

    def _watch(self, fd, events):
        """0 ends it."""
        worker = self._hosted.worker._worker
        if worker is None:
            return
        code = lib.bkpp_guest_set(worker, fd, (EPOLLIN if events & 1 else 0) | (EPOLLOUT if events & 2 else 0))
        if code < 0:
            raise OSError(-code, os.strerror(-code))


# ---- the application's part --------------------------------------------------------------------------------------------

class Asgi:
    """An ASGI application on a loop."""

    def __init__(self, worker, loop, wrap, root_path, root_bytes, blocked):
        self.host = hosted(worker)
        if self.host.asgi is not None:
            raise RuntimeError("this worker serves already")
        self.worker, self.loop, self.wrap, self.blocked = worker, loop, wrap, blocked
        self.scopes = asgi_scope.Scopes(self.host, root_path, root_bytes)
        self.context = contextvars.copy_context()
        self.app = self.stop = None
        self.stopping = self.stopped = self.cancelling = False
        self.by_ticket = {}   # uncommitted requests
        self.unfinished = {}  # requests whose task is not done: {request: task}
        self.last_exit = None
        self.host.asgi = self

    def serve(self, app, state, stop, wsgi=False):
        """Take requests; stop() is called when drained."""
        if wsgi:
            raise RuntimeError("WSGI on a loop is not served under PyPy")
        self.scopes.state = state
        self.app, self.stop = app, stop

    def pump(self):
        """One turn, for loops that poll fileno()."""
        self.host.turn(0)

    def fileno(self):
        fd = lib.bkpp_fd(self.worker._live)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        return fd

    def cancel(self):
        """Cancel the tasks of all requests."""
        self.cancelling = True
        for task in list(self.unfinished.values()):
            task.cancel()

    def owns(self, error):
        """Did the task of a request end with this very exception?"""
        return error is self.last_exit or any(task.done() and not task.cancelled() and task.exception() is error
                                              for task in list(self.unfinished.values()))

    def close(self):
        """Forget the application and the loop."""
        if self.host.asgi is self:
            self.host.asgi = None
            self.by_ticket.clear()
            self.unfinished.clear()
            self.app = self.stop = self.loop = None
            if not lib.bkpp_gone():
                lib.bkpp_busy(False)

    @property
    def running(self):
        """Requests whose application still runs."""
        return len(self.unfinished)

    @property
    def forked(self):
        """Is this a child that the application forked?"""
        return bool(lib.bkpp_gone())

    @property
    def leaving(self):
        """SystemExit or KeyboardInterrupt of a request without a master, or None."""
        return self.host.leaving

    # ---- in a turn -------------------------------------------------------------------------------------------------

    def tell_stop(self, stopped):
        """stop(False) when the engine begins to drain, stop(True) when it is empty; once each."""
        told = False
        if not self.stopping:
            self.stopping = told = True
            self.stop(False)
        if stopped and not self.stopped:
            self.stopped = told = True
            self.stop(True)
        return told

    def wake_waiting(self):
        ticket, door = ffi.new("uint64_t *"), self.host.door
        while True:
            what = lib.bkpp_event(door, ticket)
            if not what:
                return
            request = self.by_ticket.get(ticket[0])
            if request is not None:
                request.wake(what)

    def start_ready(self):
        door, ran = self.host.door, False
        while self.app is not None and lib.bkpp_next(door, True):
            ran = True
            began = time.monotonic() if self.blocked else 0.0
            self.start(door)
            if began:
                self.host.watch_step(began, "the first step of a request")
        return ran

    def start(self, door):
        """The application is called, its task made."""
        request = self.by_ticket[door.ticket] = Request(self, door)
        scope = None
        try:
            scope = self.scopes.make(door, request)
            if scope is None:
                failure.answer_text(request, 404, b"There is nothing at this path.\n")
                request.commit()
                return
            given = self.app(scope, request.receive, request)
            task = given if isinstance(given, asyncio.Future) else self.make_task(given)
        except BaseException as error:
            if not lib.bkpp_gone():
                end(request, error, scope)
            return
        if not self.unfinished:
            lib.bkpp_busy(True)
        self.unfinished[request] = task
        request.scope = scope
        task.add_done_callback(request.task_done)

    def make_task(self, given):
        coroutine = given if asyncio.iscoroutine(given) else self.wrap(given)
        return self.context.copy().run(self.loop.create_task, coroutine)

    def finished(self, request, task):
        """A task is done."""
        if self.unfinished.pop(request, None) is None or lib.bkpp_gone():
            return
        if not self.unfinished:
            lib.bkpp_busy(False)
        try:
            error = task.exception()
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if error is None:
            if request.stage != DONE:
                request.end_silent()
        else:
            end(request, error, request.scope)
