"""The pull loop that feeds a WSGI application: on the main thread, or with --threads above 1 on as many threads, while the
main one waits for signals and the end. Each thread has a Host of its own, so that nothing a request uses is shared.
"""
import errno
import os
import sys
from _thread import get_ident

from . import failure
from .door import GONE, REQUEST, STOP, ffi, lib, refused
from .environ import forget, make, mount, templates
from .objects import Errors, Input
from .request import Request

HEAD_ONLY = lib.BKPP_HEAD_ONLY
MEMO_SLOTS, MEMO_MIN = 512, 16


class Host:
    """What one thread that runs the application has."""

    def __init__(self, worker, app, number, threads):
        self.worker, self.app, self.number = worker, app, number
        slots = MEMO_SLOTS
        while slots > MEMO_MIN and slots * threads > MEMO_SLOTS:
            slots //= 2
        place = mount()
        self.door = lib.bkpp_door_new(worker._live, number, slots, place, len(place))
        if self.door == ffi.NULL:
            raise MemoryError
        self.memo = [(0, None)] * slots
        self.templates = templates(worker, Errors(), threads)
        self.atoms = atoms(worker)
        self.thread = get_ident()
        self.request = None  # that is running
        self.leaving = None  # SystemExit or KeyboardInterrupt raised by the application

    def close(self):
        if self.door is not None:
            door, self.door = self.door, None
            lib.bkpp_door_free(door)

    def wait(self, ticket, what):
        """Waits for body bytes (1) or room (2), while signal handlers run. 0, or a negative number."""
        if get_ident() != self.thread:
            raise RuntimeError("only the thread that was called with this request may wait for its client")
        while True:
            code = lib.bkpp_wait(self.door, ticket, what)
            if code != -errno.EINTR:
                return code


def atoms(worker):
    """Environ keys the access log asks for."""
    length = ffi.new("size_t *")
    return [ffi.unpack(lib.bkpp_log_atom(worker._live, n, length), length[0]).decode("latin-1")
            for n in range(lib.bkpp_log_atom_count(worker._live))]


# ---- one thread ----------------------------------------------------------------------------------------------------

def serve_loop(host):
    """Until the engine is drained or this is a forked child. An exception of a signal handler may end it too."""
    door, flags = host.door, 0
    while True:
        try:
            while True:
                if flags == REQUEST:
                    flags = run(host, door)
                elif flags == 0:
                    if door.forgotten:
                        forget(host, door)
                    flags = lib.bkpp_pull(door, -1)
                elif flags & (STOP | GONE):
                    return
                else:
                    raise refused(flags)
        except BaseException as error:
            flags = recover(host, door, error)


def recover(host, door, error):
    """A signal handler raised outside the application. A request that was handed out meanwhile is not lost."""
    if not failure.signalled(host, error):
        if door.open:
            lib.bkpp_commit(door, door.ticket)
        raise error
    if not door.open:
        return 0
    request = host.request
    if request is not None and request.ticket == door.ticket:  # it had begun
        failure.answer(host, request, error)
        lib.bkpp_commit(door, door.ticket)
        return 0
    return REQUEST


def run(host, door):
    """One request through the application; returns what bkpp_pull says next."""
    ticket, flags = door.ticket, door.flags
    host.request = request = Request(host, door, ticket)
    environ = result = None
    try:
        environ = make(host, door, ticket)
        environ["wsgi.input"] = Input(request, flags, door.body_length)
        environ["wsgi.early_hints"] = request.early_hints
        result = host.app(environ, request.start_response)
        if type(result) is list and len(result) == 1 and request.begun and not request.spoiled and not host.atoms:
            item = result[0]
            if type(item) is bytes:
                after = lib.bkpp_finish(door, ticket, item, len(item), -1)
                if after >= 0:
                    return after
                raise refused(after)
        request.answer(result, flags & HEAD_ONLY)
    except BaseException as error:
        if not door.open:  # a signal handler raised after the commit
            raise
        failure.answer(host, request, error)
    return wrap_up(host, door, request, environ, result)


def wrap_up(host, door, request, environ, result):
    """The commit, and close() exactly once after the answer is on its way: it often does the work the client need not wait
    for."""
    if host.atoms and environ is not None:
        note_atoms(host, request, environ)
    lib.bkpp_commit(door, request.ticket)
    if type(result) is not list and type(result) is not tuple and result is not None:
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            failure.closing(host, environ, error)
    return lib.bkpp_pull(door, -1)


def note_atoms(host, request, environ):
    """Values for %({NAME}e)s in the access log."""
    for n, key in enumerate(host.atoms):
        try:
            if key in environ:
                data = str(environ[key]).encode("utf-8", "backslashreplace")
                lib.bkpp_log_value(request.door, request.ticket, n, data, len(data))
        except Exception:
            pass


# ---- the whole worker ----------------------------------------------------------------------------------------------

def serve(worker, app, count):
    hosts = worker._hosts
    try:
        if count == 1:
            hosts.append(Host(worker, app, 1, 1))
            serve_loop(hosts[0])
        else:
            serve_threads(worker, app, count)
    finally:
        for host in hosts:
            host.app = host.request = host.templates = None
            host.memo = [(0, None)] * len(host.memo)
    for host in hosts:
        if host.leaving is not None:
            error, host.leaving = host.leaving, None
            raise error
    if lib.bkpp_gone():  # the application forked, and its child came back to us
        raise SystemExit


def serve_threads(worker, app, count):
    """Threads that Python made have names, trace functions and an end Python waits for."""
    from threading import Semaphore, Thread
    ended, threads = Semaphore(0), []
    worker._hosts.extend(Host(worker, app, number, count) for number in range(1, count + 1))
    failures = []

    def run_thread(host):
        host.thread = get_ident()
        try:
            serve_loop(host)
        except BaseException as error:
            failures.append(error)
            worker.stop()
        if lib.bkpp_gone():
            leave_child(host, failures)
        ended.release()

    try:
        for host in worker._hosts:
            thread = Thread(target=run_thread, args=(host,), name=f"barkeep-{host.number}")
            thread.start()
            threads.append(thread)
    except BaseException:
        worker.stop(quick=True)
        raise
    wait_for_threads(worker, ended, len(threads))
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def wait_for_threads(worker, ended, count):
    """An exception of a signal handler (Ctrl-C without a master) makes them leave; a second one does not wait for them."""
    first = None
    while count:
        try:
            ended.acquire()
            count -= 1
        except BaseException as error:
            if failure.signalled(worker._hosts[0], error):
                continue
            if first is not None:
                raise
            first = error
            worker.stop(quick=True)
    if first is not None:
        raise first


def leave_child(host, failures):
    """In a child that its application forked this thread is all there is: it ends as a program does."""
    error = host.leaving or (failures[0] if failures else None)
    code = getattr(error, "code", None)
    status = 0 if code is None else code if isinstance(code, int) else 1
    import atexit
    try:
        atexit._run_exitfuncs()
    except BaseException:
        pass
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    os._exit(status & 255)
