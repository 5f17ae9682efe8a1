"""The library, its functions, and what its numbers mean. Imported by every module here."""
import errno
import os

from ._abi import ffi

PLACE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_bin", "libbarkeep.so")

lib = ffi.dlopen(PLACE)
if lib.bkpp_door_size() != ffi.sizeof("struct bkpp_door"):
    raise ImportError(f"{PLACE} is of another version than the package around it")

NULL = ffi.NULL
REQUEST, STOP, GONE = lib.BKPP_REQUEST, lib.BKPP_STOP, lib.BKPP_GONE
OVER = "the request this object belongs to is over"


def latin1(at, length):
    return ffi.unpack(at, length).decode("latin-1")


def borrowed(at, length):
    """A text of the engine's as Python has paths and arguments."""
    return os.fsdecode(ffi.unpack(at, length[0])) if length[0] else ""


def texts(function, *arguments):
    """What a function of door.cdef gives out one by one until it returns NULL."""
    found, length = [], ffi.new("size_t *")
    while True:
        at = function(*arguments, len(found), length)
        if at == NULL:
            return found
        found.append(borrowed(at, length))


def refused(code, over=RuntimeError):
    """The exception for a negative number that has nothing to do with what was asked."""
    if code == -errno.ENOMEM:
        return MemoryError()
    if code == -errno.EBUSY:
        return RuntimeError("another thread uses this request while the thread that serves it waits for the client")
    if code in (-errno.ESTALE, -errno.ECHILD):
        return over(OVER)
    return OSError(-code, os.strerror(-code))
