"""The objects that environ holds: wsgi.input, wsgi.errors, wsgi.file_wrapper."""
import errno
import io
import operator
import os
import re
import stat
from fcntl import fcntl

from .door import ffi, lib, refused

BODY, BODY_BUFFERED = lib.BKPP_BODY, lib.BKPP_BODY_BUFFERED
PIECE = 65536
LINE_PIECE = 4096
LINE_MAX = 16384  # characters; longer lines are logged in pieces
UNLIMITED = 1 << 62
F_DUPFD_CLOEXEC = 1030  # linux/fcntl.h; the fcntl of PyPy does not name it

raw_bytes = ffi.new_allocator(should_clear_after_alloc=False)


class BodyError(OSError):
    """The request body is broken, too large or unreadable."""


BodyError.__module__ = "barkeep._engine"
BODY_TEXTS = {errno.EPROTO: "the framing of the request body is broken",
              errno.EFBIG: "the request body is larger than --limit-request-body"}


class Input:
    """wsgi.input: the request body. Reads never pass its end; a body that breaks off raises an OSError instead of looking
    complete."""
    __slots__ = ("request", "has_body", "buffered", "length")
    closed = False

    def __init__(self, request, flags, length):
        self.request = request
        self.has_body, self.buffered = bool(flags & BODY), bool(flags & BODY_BUFFERED)
        self.length = length

    def check(self):
        request = self.request
        code = lib.bkpp_tell(request.door, request.ticket)
        if code < 0:
            raise refused(code, ValueError)
        return code

    def broken(self, code):
        if code in (-errno.ESTALE, -errno.EBUSY, -errno.ECHILD):
            return refused(code, ValueError)
        self.request.error = -code
        if code in (-errno.ECONNRESET, -errno.EPIPE):
            return ConnectionResetError("the client left before its request body was complete")
        if code == -errno.ETIMEDOUT:
            return TimeoutError("the request body stopped arriving")
        return BodyError(-code, BODY_TEXTS.get(-code, "the request body cannot be read"))

    def again(self, code):
        """After a negative number: returns when there is something new to see."""
        if code == -errno.EAGAIN:
            code = self.request.host.wait(self.request.ticket, 1)
        if code < 0:
            raise self.broken(code)

    def piece(self, size):
        """Between 1 and `size` bytes, none only at the end."""
        request = self.request
        room = raw_bytes("char[]", size)
        while True:
            got = lib.bkpp_read(request.door, request.ticket, room, size)
            if got >= 0:
                return ffi.unpack(room, got)
            self.again(got)

    def read(self, size=-1):
        size = number(size)
        position = self.check()
        if not self.has_body or size == 0:
            return b""
        want = UNLIMITED if size < 0 else size
        if self.buffered:
            want = min(want, self.length - position)
        data = self.piece(min(want, PIECE)) if want else b""
        if len(data) == want or not data:
            return data
        parts, want = [data], want - len(data)
        while want:
            data = self.piece(min(want, PIECE * 16 if self.buffered else PIECE))
            if not data:
                break
            parts.append(data)
            want -= len(data)
        return b"".join(parts)

    def read1(self, size=-1):
        size = number(size)
        self.check()
        if not self.has_body or size == 0:
            return b""
        return self.piece(PIECE if size < 0 else min(size, PIECE))

    def readinto(self, buffer):
        view = memoryview(buffer)
        if view.readonly:
            raise TypeError("readinto() argument must be read-write bytes-like object")
        view = view.cast("B")
        data = self.read(len(view))
        view[:len(data)] = data
        return len(data)

    def readline(self, size=-1):
        size = number(size)
        self.check()
        return self.line(size)

    def line(self, size=-1):
        want = UNLIMITED if size < 0 else size
        if not self.has_body or not want:
            return b""
        request, parts = self.request, []
        room, ended = raw_bytes("char[]", LINE_PIECE), ffi.new("int *")
        while want and not ended[0]:
            got = lib.bkpp_readline(request.door, request.ticket, room, min(want, LINE_PIECE), ended)
            if got < 0:
                self.again(got)
                continue
            parts.append(ffi.unpack(room, got))
            want -= got
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint=-1):
        hint, total, lines = number(hint), 0, []
        self.check()
        while True:
            line = self.line()
            if line:
                lines.append(line)
            total += len(line)
            if not line or 0 < hint <= total:
                return lines

    def __iter__(self):
        return self

    def __next__(self):
        self.check()
        line = self.line()
        if not line:
            raise StopIteration
        return line

    def tell(self):
        return self.check()

    def seek(self, offset, whence=0):
        position = self.check()
        offset, whence = operator.index(offset), operator.index(whence)
        if not self.buffered:
            raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))
        base = position if whence == 1 else self.length if whence == 2 else 0
        if not 0 <= whence <= 2 or base + offset < 0:
            raise ValueError(f"seek to {offset} with whence {whence}")
        position = min(base + offset, self.length)
        code = lib.bkpp_seek(self.request.door, self.request.ticket, position)
        if code < 0:
            raise self.broken(code)
        return position

    def seekable(self):
        self.check()
        return self.buffered

    def readable(self):
        return True

    def writable(self):
        return False

    isatty = writable

    def close(self):
        """Does nothing: the body belongs to the request."""

    flush = close


def number(size):
    """The optional size of read and its kin: None and negative mean all."""
    return -1 if size is None else operator.index(size)


# ---- wsgi.errors -------------------------------------------------------------------------------------------------------

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


class Errors:
    """wsgi.errors: text written here appears in the error log. Complete lines of one write() are one record; an unfinished
    line waits for its end, for flush() or until it is too long."""
    encoding = "utf-8"

    def __init__(self):
        self.line = ""

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        for at in range(0, len(text), LINE_MAX):
            self.line += CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text[at:at + LINE_MAX])
            complete, newline, rest = self.line.rpartition("\n")
            if newline:
                self.line = rest
                emit(complete)
            if len(self.line) > LINE_MAX:
                self.flush()
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        line, self.line = self.line, ""
        emit(line)

    def isatty(self):
        return False

    readable = seekable = isatty

    def writable(self):
        return True


def emit(text):
    """The first line of a record, the rest as its detail."""
    if not text:
        return
    data = text.encode("utf-8", "backslashreplace")
    first, _, rest = data.partition(b"\n")
    if len(first) > 3500:  # a log line is cut at 4 KiB
        first, rest = data[:3500], data[3500:]
    lib.bkpp_log(b"error", 5, ffi.NULL, first, len(first), rest, len(rest))


# ---- wsgi.file_wrapper -------------------------------------------------------------------------------------------------

class FileWrapper:
    """wsgi.file_wrapper(filelike, blksize=65536): a file as an answer, sent by sendfile() when it is a real one."""

    def __init__(self, filelike, blksize=65536):
        if not isinstance(blksize, int):
            raise TypeError(f"blksize must be int, not {type(blksize).__name__}")
        self.filelike, self.blksize = filelike, blksize
        # read1() of a plain BufferedReader: pipes do not wait
        self._read = filelike.read1 if type(filelike) is io.BufferedReader else filelike.read

    def __iter__(self):
        return self

    def __next__(self):
        data = self._read(self.blksize)
        if not data:
            raise StopIteration
        return data

    def close(self):
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()

    def send(self, request):
        """True: it is on its way as a range of a file."""
        plain = find_plain(self.filelike)
        if plain is None:
            return False
        try:
            offset, fd = plain.tell(), plain.fileno()
            found = os.fstat(fd)
            if offset < 0 or not stat.S_ISREG(found.st_mode):
                return False
            fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)
        except Exception:
            return False
        length = found.st_size - offset
        if length <= 0 or lib.bkpp_gone():
            os.close(fd)
            return True
        code = lib.bkpp_push_file(request.door, request.ticket, fd, offset, length)
        if code < 0 and code != -errno.EPIPE:
            raise refused(code)
        return True


def find_plain(file):
    """The plain io object under `file`, or None. Only those are trusted to have a fileno() whose bytes are the bytes read()
    gives: a GzipFile has a fileno() too. Wrappers of tempfile and Django keep the real one in `.file`."""
    for _ in range(4):
        kind = type(file)
        if kind is io.FileIO:
            return file
        if kind in (io.BufferedReader, io.BufferedRandom):
            return file if type(getattr(file, "raw", None)) is io.FileIO else None
        try:
            file = file.file
        except Exception:
            return None
    return None
