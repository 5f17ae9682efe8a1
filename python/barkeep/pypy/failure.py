"""What becomes of an exception: the 500 page and one traceback in the log when the application is at fault, a 4xx when the
client is, nothing when there is nobody left to answer. The twin of hosts/cpython/failure.c.
"""
import errno
import os
import re
import traceback

from .door import lib
from .engine import log
from .request import BrokenRule

TRACEBACK_MAX = 32768  # bytes; of longer ones the end is kept, it says more
OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
REASONS = {400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found", 408: b"Request Timeout", 413: b"Content Too Large",
           503: b"Service Unavailable"}


def text_of(error):
    """The traceback as bytes, from the application's first frame on: frames of this package say nothing to its author."""
    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__)
        seen, rest = set(), [shown]
        while rest:
            one = rest.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            one.stack = traceback.StackSummary.from_list([frame for frame in one.stack if not frame.filename.startswith(OURS)])
            rest += [one.__cause__, one.__context__]
        data = "".join(shown.format()).encode("utf-8", "backslashreplace")
    except Exception:  # a __str__ of the application's, a recursion
        data = type(error).__name__.encode()
    return CONTROL.sub(b"?", data.rstrip(b"\n")[-TRACEBACK_MAX:])


def answer(host, request, error):
    """The exception ends the request; the commit comes after it."""
    broke_rule = isinstance(error, BrokenRule)
    if broke_rule:
        error = error.error
    if lib.bkpp_gone():
        end_child(host, error)
    elif leave(host, error):
        if not lib.bkpp_state(request.door, request.ticket) & lib.BKPP_IS_SENT:
            answer_text(request, 503, b"The server is stopping.\n")
    elif broke_rule or not answer_client(request, error):
        fail(request, "app-response" if broke_rule else "app-raised", error)


def fail(request, key, error):
    text = text_of(error) if key != "request-bad" else b""
    lib.bkpp_fail(request.door, request.ticket, key.encode(), type(error).__name__.encode("utf-8", "backslashreplace"), text, len(text))


def answer_text(request, status, text):
    """A short answer of the server's own, when nothing was sent yet."""
    fields = b"Content-Type\0text/plain; charset=utf-8"
    door, ticket, reason = request.door, request.ticket, REASONS[status]
    if lib.bkpp_begin(door, ticket, status, reason, len(reason), fields, len(fields), 1) == 0:
        lib.bkpp_push(door, ticket, text, len(text))


def answer_client(request, error):
    """The client's fault, seen by the application as an OSError from wsgi.input or write(). False: it is not."""
    if not isinstance(error, OSError):
        return False
    state, code = lib.bkpp_state(request.door, request.ticket), request.error
    if state & lib.BKPP_IS_GONE or code in (errno.ECONNRESET, errno.EPIPE):
        log("debug", None, f"the client left, the application stopped with {type(error).__name__}")
        return True
    if code not in (errno.ETIMEDOUT, errno.EPROTO, errno.EFBIG):
        return False
    if state & lib.BKPP_IS_SENT:  # too late for a status: the client must see a cut answer
        fail(request, "request-bad", error)
    elif code == errno.ETIMEDOUT:
        answer_text(request, 408, b"The request body stopped arriving.\n")
    elif code == errno.EPROTO:
        answer_text(request, 400, b"The request body is not valid HTTP.\n")
    else:
        answer_text(request, 413, b"The request body is too large.\n")
    return True


def leave(host, error):
    """Without a master SystemExit and KeyboardInterrupt end serve(), but not before other requests are served. Under a master
    they are a failed request like any other: a view must not be able to stop the worker."""
    if not host.worker.is_alone or not isinstance(error, (SystemExit, KeyboardInterrupt)):
        return False
    if host.leaving is None:
        host.leaving = error
    host.worker.stop(quick=isinstance(error, KeyboardInterrupt))
    return True


def end_child(host, error):
    """In a child that the application forked no connection is ours any more. SystemExit goes on, all else is printed."""
    if not isinstance(error, SystemExit):
        traceback.print_exception(type(error), error, error.__traceback__)
    elif host.leaving is None:
        host.leaving = error


def log_error(error, where):
    """An exception that belongs to no running request."""
    log("error", "app-raised", f"{type(error).__name__} in the application, {where}", text_of(error).decode("utf-8", "replace"))


def signalled(host, error):
    """A signal handler raised between two requests. False: it ends serve()."""
    if host.worker.is_alone or lib.bkpp_gone():
        return False
    if isinstance(error, SystemExit):
        if host.leaving is None:
            host.leaving = error
        host.worker.stop()
    elif not isinstance(error, KeyboardInterrupt):
        log_error(error, "in a signal handler")
    return True


def closing(host, environ, error):
    """The exception came from close(), the answer is out already."""
    if lib.bkpp_gone():
        end_child(host, error)
    elif not leave(host, error):
        from ..words import clean
        said = [clean(str((environ or {}).get(key, "-")), 160) for key in ("barkeep.request_id", "REQUEST_METHOD", "RAW_URI")]
        log_error(error, "in close() after the answer, request " + " ".join(said))
