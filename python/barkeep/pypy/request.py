"""One request of a WSGI application (PEP 3333): start_response, write() and early hints, and the way of its answer."""
import errno

from .door import ffi, lib, refused
from .engine import log  # noqa: F401
from .objects import FileWrapper

IS_SENT = lib.BKPP_IS_SENT
STATUSES_MAX = 256
HINTS_MAX = 64
NO_SECOND = object()

statuses = {}  # "200 OK": (200, b"OK"), at most STATUSES_MAX of them


class BrokenRule(Exception):
    """Carries an exception that says that the application broke a rule of WSGI."""

    def __init__(self, error):
        self.error = error


class Request:
    __slots__ = ("host", "door", "ticket", "begun", "spoiled", "error")

    def __init__(self, host, door, ticket):
        self.host, self.door, self.ticket = host, door, ticket
        self.begun = False    # start_response was called with success
        self.spoiled = False  # its last call failed half-way
        self.error = 0        # errno of the last failed read of the body

    # ---- start_response --------------------------------------------------------------------------------------------

    def start_response(self, status, response_headers=NO_SECOND, exc_info=None, *, headers=NO_SECOND):
        if response_headers is NO_SECOND:
            response_headers = headers
            if headers is NO_SECOND:
                raise TypeError("start_response takes (status, response_headers[, exc_info])")
        if exc_info is not None:
            self.check_again(exc_info)
        elif self.begun and not self.spoiled:
            raise AssertionError("start_response was called a second time without exc_info")
        found = statuses.get(status) if type(status) is str else None
        code, reason = found or read_status(status)
        count, fields = flatten(response_headers)
        result = lib.bkpp_begin(self.door, self.ticket, code, reason, len(reason), fields, len(fields), count)
        if result < 0:
            self.refuse(result, status, response_headers, count)
        self.begun, self.spoiled = True, False
        return self.write

    def check_again(self, exc_info):
        """With exc_info the answer may be started over until something was sent; afterwards the exception goes on."""
        if not isinstance(exc_info, tuple) or len(exc_info) != 3:
            raise TypeError("start_response: exc_info must be a tuple as sys.exc_info() returns it")
        if not self.state() & IS_SENT:
            return
        error, traceback = exc_info[1:]
        if not isinstance(error, BaseException):
            raise TypeError("start_response: exc_info holds no exception")
        raise error.with_traceback(traceback) if traceback is not None else error

    def refuse(self, code, status, headers, count):
        """Raises what the engine's answer to start_response means."""
        if code == -errno.EALREADY:
            raise AssertionError("start_response was called a second time without exc_info")
        if code not in (-errno.EINVAL, -errno.EILSEQ, -errno.EMSGSIZE):
            raise refused(code)
        why, wrong = ffi.string(self.door.why).decode(), self.door.wrong
        pairs = list(headers)
        if code == -errno.EINVAL and wrong >= count:
            raise ValueError(f"start_response: status {status!r}: {why}")
        self.begun = self.spoiled = True
        if code == -errno.EILSEQ:
            wrong = next(n for n, pair in enumerate(pairs) if "\0" in pair[0] or "\0" in pair[1])
            why = "the header name is not a token" if "\0" in pairs[wrong][0] else "the header value has a control character"
        elif code == -errno.EMSGSIZE:
            why = "the head of the answer is too large"
        raise ValueError(f"start_response: header {pairs[wrong]!r}: {why}")

    def state(self):
        state = lib.bkpp_state(self.door, self.ticket)
        if state < 0:
            raise refused(state)
        return state

    def write(self, data):
        if not isinstance(data, bytes):
            raise TypeError(f"write takes bytes, not {type(data).__name__}")
        if data and not self.send(data):
            raise BrokenPipeError("the client is gone")
        if not data:
            self.state()

    def early_hints(self, headers):
        """wsgi.early_hints(headers): sends a 103 answer before the real one (RFC 8297)."""
        pairs = list(headers)
        if len(pairs) > HINTS_MAX:
            raise ValueError(f"at most {HINTS_MAX} early hints at once")
        parts = []
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], str):
                raise TypeError("wsgi.early_hints takes a list of (str, str) tuples")
            parts += pair
        if any("\0" in part for part in parts):
            raise ValueError(f"not a valid header: {pairs[[('NUL' if chr(0) in a + b else '') for a, b in pairs].index('NUL')]!r}")
        try:
            fields = "\0".join(parts).encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"not a valid header: {not_latin1(pairs)!r}") from None
        code = lib.bkpp_interim(self.door, self.ticket, fields, len(fields), len(pairs))
        if code == -errno.EILSEQ:
            raise ValueError(f"not a valid header: {pairs[self.door.wrong]!r}")
        if code == -errno.EALREADY:
            raise RuntimeError("early hints after the answer has begun")
        if code == -errno.EINVAL:
            raise ValueError("the early hints are too large")
        if code in (-errno.ESTALE, -errno.EBUSY, -errno.ECHILD, -errno.ENOMEM):
            raise refused(code)

    # ---- body ------------------------------------------------------------------------------------------------------

    def send(self, data):
        """Appends, flushes, waits for room. False: the client is gone."""
        code = lib.bkpp_write(self.door, self.ticket, data, len(data))
        if code == 0:
            return True
        if code > 0:
            code = self.host.wait(self.ticket, 2)
        if code in (-errno.ESTALE, -errno.EBUSY, -errno.ECHILD, -errno.ENOMEM):
            raise refused(code)
        return code == 0

    def check_item(self, item):
        if not isinstance(item, bytes):
            raise BrokenRule(TypeError(f"the application's answer must consist of bytes, not {type(item).__name__}"))
        if item:
            self.check_begun()

    def check_begun(self):
        if self.spoiled:
            raise BrokenRule(AssertionError("the application ignored the exception of start_response"))
        if not self.begun:
            raise BrokenRule(AssertionError("the application did not call start_response"))

    def answer(self, result, head_only):
        """Everything the application returned; the commit comes after it."""
        kind = type(result)
        if kind is list or kind is tuple:
            self.answer_whole(result)
        elif not (kind is FileWrapper and self.begun and result.send(self)):
            self.answer_iterable(result, head_only)

    def answer_whole(self, items):
        """All at once, so that head and body leave in one write with a Content-Length."""
        for item in items:
            self.check_item(item)
            if item:
                code = lib.bkpp_push(self.door, self.ticket, item, len(item))
                if code == -errno.EPIPE:
                    return
                if code < 0:
                    raise refused(code)
        self.check_begun()

    def answer_iterable(self, result, head_only):
        """Each item is on its way before the next one is asked for."""
        if isinstance(result, (bytes, str)):  # iterable, into integers; saying so at once is kinder
            raise BrokenRule(TypeError(f"the application returned {type(result).__name__}, not an iterable of bytes"))
        try:
            iterator = iter(result)
        except TypeError:
            if hasattr(type(result), "__iter__") or hasattr(type(result), "__getitem__"):
                raise
            raise BrokenRule(TypeError(f"the application returned {type(result).__name__}, not an iterable of bytes")) from None
        for item in iterator:
            if lib.bkpp_gone():
                return
            self.check_item(item)
            if item and (not self.send(item) or head_only):
                return
        if not lib.bkpp_gone():
            self.check_begun()


# ---- reading what start_response is given ------------------------------------------------------------------------------

def read_status(status):
    """"200 OK" as number and reason. A missing reason is filled in by the engine."""
    if not isinstance(status, str):
        raise TypeError(f"start_response: the status must be str, not {type(status).__name__}")
    digits = status[:3]
    if len(digits) < 3 or not digits.isascii() or not digits.isdigit() or digits[0] == "0" or status[3:4] not in ("", " "):
        raise ValueError(f"start_response: the status must look like '200 OK', not {status!r}")
    try:
        found = int(digits), status[4:].encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"start_response: the status must look like '200 OK', not {status!r}") from None
    if type(status) is str and len(statuses) < STATUSES_MAX and len(status) < 100:
        statuses[status] = found
    return found


def flatten(headers):
    """(count, b"name NUL value NUL ...")."""
    parts = []
    try:
        pairs = iter(headers)
    except TypeError:
        raise TypeError("start_response: the headers must be a list of (name, value) tuples") from None
    for pair in pairs:
        if type(pair) is not tuple and not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"start_response: headers must be (name, value) tuples, not {pair!r}")
        name, value = pair
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"start_response: names and values of headers must be str, not {pair!r}")
        parts.append(name)
        parts.append(value)
    try:
        return len(parts) // 2, "\0".join(parts).encode("latin-1")
    except UnicodeEncodeError:
        pairs = list(zip(parts[::2], parts[1::2]))
        raise ValueError(f"start_response: header {not_latin1(pairs)!r} has characters outside latin-1") from None


def not_latin1(pairs):
    return next(pair for pair in pairs if any(ord(c) > 255 for c in pair[0] + pair[1]))
