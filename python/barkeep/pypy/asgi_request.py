"""One request of an ASGI application: receive, send, and its end. The twin of hosts/cpython/asgi_request.c, asgi_send.c,
asgi_receive.c, asgi_wait.c and asgi_end.c.
"""
import asyncio
import errno
import os
import stat
from _thread import get_ident
from collections.abc import Coroutine

from . import failure
from .door import ffi, lib, refused
from .engine import log
from .objects import F_DUPFD_CLOEXEC, PIECE, fcntl, raw_bytes
from .request import BrokenRule

# Stages of an answer: none yet (a WebSocket: not accepted); started; the head is out; a WebSocket that is open, denied by an
# answer, closed by us; committed.
START, HELD, BODY, OPEN, DENIAL, CLOSED, DONE = range(7)
WAIT_BODY, WAIT_DRAIN, WAIT_GONE, WAIT_MESSAGE = lib.BKPP_WAIT_BODY, lib.BKPP_WAIT_DRAIN, lib.BKPP_WAIT_GONE, lib.BKPP_WAIT_MESSAGE
WAIT_ACCEPT = 0x80  # a receive() before websocket.accept
IS_SENT, IS_GONE, HEAD_ONLY, WEBSOCKET = lib.BKPP_IS_SENT, lib.BKPP_IS_GONE, lib.BKPP_HEAD_ONLY, lib.BKPP_WEBSOCKET
HINTS_MAX = 64
WHOLE = (1 << 64) - 1


class Disconnected(OSError):
    """send() after the client has gone."""


Disconnected.__module__ = "barkeep._engine"


class NoWait(Coroutine):
    """The awaitable of a send() that need not wait; also what takes coroutines only takes it."""
    __slots__ = ()

    def __await__(self):
        return iter(())

    def send(self, value):
        raise StopIteration

    def throw(self, kind, value=None, traceback=None):
        raise kind if value is None else value

    def close(self):
        pass


NO_WAIT = NoWait()


class Request:
    """What the application is given as `send`; its receive() is the other half."""
    __slots__ = ("asgi", "host", "door", "ticket", "flags", "stage", "websocket", "connected", "head_only", "body_over", "left",
                 "broke_rule", "length", "pushed", "error", "waits", "leaving", "scope")

    def __init__(self, asgi, door):
        self.asgi, self.host, self.door, self.ticket, self.flags = asgi, asgi.host, door, door.ticket, door.flags
        self.stage, self.length, self.pushed = START, None, 0
        self.websocket = bool(door.flags & WEBSOCKET)
        self.connected = self.head_only = self.body_over = self.left = self.broke_rule = False
        self.error = 0     # errno of a broken body
        self.waits = []    # [future, what] of the awaitables that wait
        self.leaving = self.scope = None

    def refuse(self, kind, text):
        """The exception for a wrong message of the application."""
        self.broke_rule = True
        return kind(text)

    def gone(self):
        return Disconnected(errno.EPIPE, "the client is gone")

    def is_gone(self):
        state = lib.bkpp_state(self.door, self.ticket)
        return state < 0 or bool(state & IS_GONE)

    def commit(self):
        """The answer is complete: the engine has the exchange again, and who waits is woken."""
        self.stage = DONE
        self.asgi.by_ticket.pop(self.ticket, None)
        lib.bkpp_commit(self.door, self.ticket)
        self.leaving = None
        if self.waits:
            self.wake(WAIT_GONE)

    def task_done(self, task):
        self.asgi.finished(self, task)

    # ---- receive ---------------------------------------------------------------------------------------------------

    async def receive(self):
        while True:
            if get_ident() != self.host.thread:
                raise RuntimeError("receive was awaited in another thread than the loop's")
            message, what = self.message()
            if message is not None:
                return message
            await self.hang(what)

    def message(self):
        """(the next message, 0), or (None, what to wait for)."""
        if self.websocket:
            from .asgi_websocket import next_message
            return next_message(self)
        what = 0
        if self.stage != DONE and not self.left and not self.body_over and not self.is_gone():
            message = self.take_body()
            if message is not None:
                return message, 0
            what = WAIT_BODY
        if self.stage != DONE and not self.left and not self.is_gone():
            return None, what
        return {"type": "http.disconnect"}, 0

    def take_body(self):
        """The next part of the body. None: there is none yet, or it broke."""
        room, more = raw_bytes("char[]", PIECE), ffi.new("int *")
        got = lib.bkpp_take_body(self.door, self.ticket, room, PIECE, more)
        if got == -errno.EAGAIN:
            return None
        if got < 0:
            self.error, self.left = -got, True
            return None
        self.body_over = not more[0]
        return {"type": "http.request", "body": ffi.unpack(room, got) if got else b"", "more_body": bool(more[0])}

    # ---- waiting ---------------------------------------------------------------------------------------------------

    async def hang(self, what):
        """Until one of `what` is so, or the client is gone."""
        if self.asgi.loop is None:
            raise RuntimeError("this request is over and its loop is closed")
        future = self.asgi.loop.create_future()
        entry = (future, what)
        self.waits.append(entry)
        self.watch()
        try:
            await future
        finally:
            self.waits.remove(entry)

    def watch(self):
        """Tells the engine what all of the request's awaitables wait for. What is so already wakes at once."""
        what = WAIT_GONE if self.waits or self.leaving is not None else 0
        for future, wanted in self.waits:
            if not future.done():
                what |= wanted & ~WAIT_ACCEPT
        already = what if self.stage == DONE else lib.bkpp_watch(self.door, self.ticket, what)
        if already:
            self.wake(already)

    def wake(self, what):
        rest = False
        if what & WAIT_GONE:
            self.left = True
        for future, wanted in list(self.waits):
            if future.done():
                continue
            if not what & (wanted | WAIT_GONE):
                rest = True
                continue
            try:
                future.set_result(None)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass
        if rest or self.leaving is not None and not what & WAIT_GONE:
            self.watch()
        elif self.leaving is not None:
            callback, self.leaving = self.leaving, None
            self.asgi.loop.call_soon(callback)

    # ---- send ------------------------------------------------------------------------------------------------------

    def __call__(self, message):
        """send(message): checked and taken at once; what it returns is to be awaited."""
        if get_ident() != self.host.thread:
            raise self.refuse(RuntimeError, "send was called from another thread than the loop's")
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(message, dict):
            raise self.refuse(TypeError, f"a message is a dict, not {type(message).__name__}")
        if not isinstance(kind, str):
            raise self.refuse(TypeError, f"a message is a dict with a str 'type', not {message!r}")
        if self.stage == DONE or lib.bkpp_gone():
            if self.stage == DONE and not self.left and not lib.bkpp_gone():
                raise self.refuse(RuntimeError, f"message '{kind}' after the answer was complete")
            raise self.gone()
        if self.websocket:
            from .asgi_websocket import send
            must_wait = send(self, message, kind)
        else:
            must_wait = self.take(message, kind)
        return self.room() if must_wait else NO_WAIT

    async def room(self):
        await self.hang(WAIT_DRAIN)
        if self.stage != DONE and self.is_gone():
            raise self.gone()

    def on_leave(self, callback):
        """Calls it once when the client leaves before the answer is complete; for tornado_bridge.py."""
        self.leaving = callback
        self.watch()

    def take(self, message, kind):
        """A message of an http request. True: there is no room for more."""
        if kind == "http.response.body":
            return self.send_body(message)
        if kind == "http.response.start":
            if self.stage != START:
                raise self.refuse(RuntimeError, "the answer was started already")
            self.start_answer(message)
            self.stage = HELD
            return False
        if kind == "http.response.pathsend":
            return self.send_path(message)
        if kind == "http.response.zerocopysend":
            return self.send_file(message)
        if kind == "http.response.early_hint":
            return self.send_hint(message)
        raise self.refuse(RuntimeError, f"unknown message '{kind}'")

    def start_answer(self, message):
        status = message.get("status")
        if not isinstance(status, int):
            raise self.refuse(TypeError if "status" in message else KeyError, "a start message needs an int 'status'")
        if not -(1 << 31) <= status < 1 << 31:
            raise OverflowError("Python int too large to convert to C int")
        self.length, parts = None, []
        for pair in message.get("headers", ()):
            name, value = self.pair(pair)
            if len(name) == 14 and name.lower() == b"content-length" and value.strip().isdigit():
                self.length = int(value)
            parts += (name, value)
        fields, count = b"\0".join(parts), len(parts) // 2
        code = lib.bkpp_begin(self.door, self.ticket, status, b"", 0, fields, len(fields), count)
        if code < 0:
            self.refuse_start(code, status, parts, count)
        self.head_only = bool(self.flags & HEAD_ONLY) or status < 200 or status in (204, 304)

    def pair(self, pair):
        if isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], bytes) and isinstance(pair[1], bytes):
            return pair
        raise self.refuse(TypeError, f"a header is a pair of bytes, not {pair!r}")

    def refuse_start(self, code, status, parts, count):
        if code not in (-errno.EINVAL, -errno.EILSEQ, -errno.EMSGSIZE):
            raise refused(code)
        why, wrong = ffi.string(self.door.why).decode(), self.door.wrong
        if code == -errno.EINVAL and wrong >= count:
            raise self.refuse(ValueError, f"status {status}: {why}")
        if code == -errno.EILSEQ:
            wrong = next(n for n, part in enumerate(parts) if b"\0" in part) // 2
            why = "the header name is not a token" if b"\0" in parts[2 * wrong] else "the header value has a control character"
        elif code == -errno.EMSGSIZE:
            why = "the head of the answer is too large"
        raise self.refuse(ValueError, f"header {(parts[2 * wrong], parts[2 * wrong + 1])!r}: {why}")

    def check_going(self):
        if self.stage == START:
            raise self.refuse(RuntimeError, "a body before 'http.response.start'")
        if self.is_gone():
            raise self.gone()

    def check_length(self, size):
        if self.length is not None and not self.head_only and self.pushed + size > self.length:
            raise self.refuse(RuntimeError, f"the body is longer than the Content-Length of {self.length}")
        self.pushed += size

    def pushed_or(self, code):
        if code < 0:
            raise MemoryError if code == -errno.ENOMEM else self.gone()
        return code

    def send_body(self, message):
        self.check_going()
        body, more = message.get("body"), bool(message.get("more_body"))
        if "body" in message:
            if type(body) is not bytes:
                try:
                    body = bytes(memoryview(body))
                except TypeError:
                    raise self.refuse(TypeError, f"a body is bytes, not {type(body).__name__}") from None
            self.check_length(len(body))
            if body:
                self.pushed_or(lib.bkpp_push(self.door, self.ticket, body, len(body)))
        return self.go_on(more)

    def go_on(self, more):
        """After something was pushed: the end, or what was pushed goes out."""
        if not more:
            self.commit()
            return False
        if self.stage == HELD:
            self.stage = BODY
        return self.pushed_or(lib.bkpp_flush(self.door, self.ticket)) > 0

    def send_path(self, message):
        self.check_going()
        if self.stage == BODY:
            raise self.refuse(RuntimeError, "'http.response.pathsend' after a body")
        if "path" not in message:
            raise self.refuse(KeyError, "'http.response.pathsend' needs a 'path'")
        path = message["path"]
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(fd)
        try:
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            self.check_length(found.st_size)
        except BaseException:
            os.close(fd)
            raise
        self.pushed_or(lib.bkpp_push_file(self.door, self.ticket, fd, 0, WHOLE))
        return self.go_on(False)

    def number(self, message, key):
        value = message.get(key)
        if value is None:
            return None
        if value < 0:
            raise self.refuse(ValueError, "offset and count are not negative")
        return value

    def send_file(self, message):
        """Bytes of a regular file. Without an offset from its position on, which moves; the file stays the application's."""
        offset, count, more = self.number(message, "offset"), self.number(message, "count"), bool(message.get("more_body"))
        self.check_going()
        if "file" not in message:
            raise self.refuse(KeyError, "'http.response.zerocopysend' needs a 'file'")
        file = message["file"]
        fd = file if isinstance(file, int) else file.fileno()
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise self.refuse(ValueError, "'http.response.zerocopysend' sends regular files")
        begin = os.lseek(fd, 0, os.SEEK_CUR) if offset is None else offset
        rest = max(found.st_size - begin, 0)
        size = rest if count is None else min(count, rest)
        self.check_length(size)
        if size:
            self.pushed_or(lib.bkpp_push_file(self.door, self.ticket, fcntl(fd, F_DUPFD_CLOEXEC, 3), begin, size))
            if offset is None:
                os.lseek(fd, begin + size, os.SEEK_SET)
        return self.go_on(more)

    def send_hint(self, message):
        if self.stage != START:
            raise self.refuse(RuntimeError, "'http.response.early_hint' after the answer was started")
        if "links" not in message:
            raise self.refuse(KeyError, "'http.response.early_hint' needs 'links'")
        links = tuple(message["links"])
        wrong = len(links) > HINTS_MAX or any(not isinstance(link, bytes) or b"\0" in link for link in links)
        fields = b"" if wrong else b"\0".join(part for link in links for part in (b"Link", link))
        code = -errno.EILSEQ if wrong else lib.bkpp_interim(self.door, self.ticket, fields, len(fields), len(links))
        if code == -errno.ENOMEM:
            raise MemoryError
        if code in (-errno.EILSEQ, -errno.EINVAL):
            raise self.refuse(ValueError, f"links are at most {HINTS_MAX} values of bytes")
        return False

    # ---- the end ---------------------------------------------------------------------------------------------------

    def end_silent(self):
        """The application returned and the answer is not complete."""
        if self.websocket and self.stage != DENIAL:
            from .asgi_websocket import end_session
            end_session(self, False)
        elif not self.is_gone() and (not self.left or self.error):
            what = "starting an answer" if self.stage == START else "completing its answer"
            failure.answer(self.host, self, BrokenRule(RuntimeError(f"the application returned without {what}")))
        self.commit()


def is_departure(error):
    """Was it the client's leaving that the application stopped at? Its own words for it ("ClientDisconnect") count too, and
    what was raised while one of those was handled."""
    for _ in range(8):
        if error is None:
            return False
        if isinstance(error, (OSError, asyncio.CancelledError)) or "Disconnect" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False


def end(request, error, scope):
    """The application ended with an exception."""
    asgi, host = request.asgi, request.host
    if not isinstance(error, Exception):
        asgi.last_exit = error
    over = request.stage == DONE
    gone = not over and request.is_gone()
    if (gone or request.left) and is_departure(error):
        log("debug", None, f"the client left, the application stopped with {type(error).__name__}")
        if not over:
            if request.error and not gone:  # it did not leave: its body broke, and it is owed an answer
                failure.answer(host, request, OSError(request.error, os.strerror(request.error)))
            request.commit()
        return
    cancelled = asgi.cancelling and isinstance(error, asyncio.CancelledError)
    if over:
        if not cancelled and not failure.leave(host, error):
            log_late(error, scope or {})
        return
    if cancelled and not lib.bkpp_state(request.door, request.ticket) & IS_SENT:
        failure.answer_text(request, 503, b"The server is stopping.\n")  # that they were cancelled is said once for all
    else:
        was_open = request.websocket and request.stage == OPEN
        failure.answer(host, request, BrokenRule(error) if request.broke_rule else error)
        if was_open:
            from .asgi_websocket import end_session
            end_session(request, True)
    request.commit()


def log_late(error, scope):
    """An exception that comes when there is no answer left that could show it."""
    from ..words import clean
    path = scope.get("raw_path")
    path = clean(path.decode("latin-1"), 300) if isinstance(path, bytes) else "?"
    method = scope.get("method", "WebSocket")
    failure.log_error(error, f"after the answer, request {clean(str(method), 40)} {path}")
