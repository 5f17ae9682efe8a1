"""What barkeep._engine offers: Worker, the log, the table of messages, the process title."""
import errno
import os
from threading import current_thread, main_thread

from __pypy__.thread import signals_enabled

from .door import NULL, borrowed, ffi, lib, refused, texts

VERSION = ffi.string(lib.bkpp_version()).decode()
WHY_ROOM = 4096


def read_messages():
    found = {}
    key, level, text = (ffi.new("const char **") for _ in range(3))
    code = ffi.new("int *")
    while lib.bkpp_message(len(found), key, code, level, text):
        found[ffi.string(key[0]).decode()] = (code[0], ffi.string(level[0]).decode(), ffi.string(text[0]).decode())
    return found


MESSAGES = read_messages()


def log(level, key, text, detail=""):
    """One record in the error log; key is None or one of MESSAGES."""
    text, detail, level_bytes = text.encode(), (detail or "").encode(), level.encode()
    result = lib.bkpp_log(level_bytes, len(level_bytes), NULL if key is None else key.encode(), text, len(text), detail, len(detail))
    if result < 0:
        raise ValueError(f"no log level {level}" if result == -errno.EINVAL else f"no message key {key}")


def set_title(text):
    """The process title. A final ' idle' becomes ' busy' while a request runs."""
    data = text.encode("utf-8", "surrogateescape")
    lib.bkpp_title(data, len(data))


def raise_os_error(code, why):
    text = ffi.string(why).decode("utf-8", "backslashreplace") or os.strerror(-code)
    raise OSError(-code, text)


def setting_text(value):
    """A value of a settings dict as the engine takes it."""
    text = "on" if value is True else "off" if value is False else "" if value is None else str(value)
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError("a setting contains a NUL")
    return data


def setting_pairs(settings):
    for key, value in settings.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            yield setting_text(key)
            yield setting_text(item)


class Worker:
    """One worker: Worker.inherit(fd) under a master, Worker.alone(settings) without."""

    def __init__(self, worker, is_alone):
        self._worker, self.is_alone = worker, is_alone
        self._hosts = []
        self._count = 0
        self._serving = False

    @classmethod
    def inherit(cls, fd):
        """The worker the master describes in this descriptor. OSError EPROTONOSUPPORT: versions do not fit."""
        return cls.made(lib.bkpp_inherit, False, fd)

    @classmethod
    def alone(cls, settings):
        """A worker without a master. ValueError: a setting is wrong."""
        if not isinstance(settings, dict):
            raise TypeError("Worker.alone takes a dict of settings")
        owners = [ffi.new("char[]", text) for text in setting_pairs(settings)]
        pairs = ffi.new("const char *[]", owners or 1)
        return cls.made(lib.bkpp_alone, True, pairs, len(owners) // 2)

    @classmethod
    def made(cls, function, is_alone, *arguments):
        worker, why = ffi.new("struct bk_worker **"), ffi.new("char[]", WHY_ROOM)
        code = function(*arguments, worker, why, WHY_ROOM)
        if code == -errno.EALREADY:
            raise RuntimeError("there is a Worker in this process already")
        if code == -errno.ENOTSUP and not ffi.string(why):
            raise ImportError("the engine and the host are of different versions")
        if code == -errno.EINVAL and is_alone:
            raise ValueError(ffi.string(why).decode("utf-8", "backslashreplace") or os.strerror(errno.EINVAL))
        if code < 0:
            raise_os_error(code, why)
        return cls(worker[0], is_alone)

    def close(self):
        """The end of it; CPython does this when nobody refers to the Worker any more."""
        if self._worker is not None:
            self._final = self.counts
            for host in self._hosts:
                host.close()
            self._hosts = []
            worker, self._worker = self._worker, None
            lib.bkpp_free(worker)

    # ---- what the boot code asks and tells -------------------------------------------------------------------------

    @property
    def _live(self):
        if self._worker is None:
            raise RuntimeError("this worker is closed")
        if lib.bkpp_gone():
            raise RuntimeError("this worker belongs to the parent process")
        return self._worker

    def setting(self, key):
        """A setting as text, '' when unset; list items one per line."""
        length = ffi.new("size_t *")
        return borrowed(lib.bkpp_setting(self._live, key.encode(), length), length)

    def arguments(self):
        """sys.argv of the application, its name first."""
        return texts(lib.bkpp_argument, self._live)

    def path(self):
        """sys.path as a bootstrap (PEX, Bazel) had made it, [] when none had."""
        return texts(lib.bkpp_path, self._live)

    @property
    def number(self):
        """Worker number, from 1."""
        return lib.bkpp_number(self._live)

    @property
    def address(self):
        """Address of the first listener."""
        length = ffi.new("size_t *")
        return borrowed(lib.bkpp_address(self._live, length), length)

    @property
    def counts(self):
        """(requests, errors) so far; also after the last one."""
        if self._worker is None:
            return self._final
        counts = ffi.new("uint64_t[2]")
        lib.bkpp_counts(self._worker, counts)
        return (counts[0], counts[1])

    @property
    def memo(self):
        """(hits, misses) of the header memo."""
        return (sum(host.door.hits for host in self._hosts), sum(host.door.misses for host in self._hosts))

    def failed(self, code, key, text, brief="", whole=False):
        """The boot failed; then exit with that code. brief: the same in one line; whole: and there is no more to say."""
        data = text.encode()
        lib.bkpp_failed(self._live, code, key.encode(), brief.encode(), whole, data, len(data))

    def files(self, names):
        """Names of imported files, bytes, one a line. False: the master did not take them."""
        return lib.bkpp_files(self._live, names, len(names)) == 0

    def debugging(self, on):
        """A person is at a breakpoint of this process, or has left it."""
        lib.bkpp_debugging(self._live, bool(on))

    def ready(self, facts):
        """Open the doors and tell the master."""
        if not isinstance(facts, dict):
            raise TypeError("ready takes a dict of facts")
        lines = [f"{key}={value}".replace("\n", " ") + "\n" for key, value in facts.items()]
        data = "".join(lines).encode("utf-8", "backslashreplace")
        code = lib.bkpp_ready(self._live, data, len(data))
        if code < 0:
            raise OSError(-code, os.strerror(-code))

    def stop(self, quick=False):
        """Finish what runs and leave serve(); quick: leave at once."""
        worker = self._worker
        if worker is not None:
            lib.bkpp_stop(worker, bool(quick))

    def abandon(self):
        """In a forked child, keep nothing of the server."""
        if self._worker is not None:
            lib.bkpp_abandon(self._worker)

    # ---- serving ---------------------------------------------------------------------------------------------------

    def threads(self, count):
        """serve() will run the application on so many threads. Before ready()."""
        if not 1 <= count <= 1000:
            raise ValueError("1 to 1000 threads")
        code = lib.bkpp_threads(self._live, count)
        if code < 0:
            raise refused(code)
        self._count = count

    def serve(self, app):
        """Run a WSGI application until told to stop."""
        if not callable(app):
            raise TypeError(f"serve takes an application, not {type(app).__name__}")
        self._live
        if self._serving:
            raise RuntimeError("this worker serves already")
        if not self._count:
            self.threads(1)
        self._serving = True
        try:
            from .serving import serve
            serve(self, app, self._count)
        finally:
            self._serving = False


def in_child():
    """PyPy lets only the main thread handle signals, and does not make one of the thread that forked. Runs before the hook of
    worker.py, which sets handlers."""
    lib.bkpp_forked()
    if current_thread() is not main_thread():
        signals_enabled.__enter__()


os.register_at_fork(after_in_child=in_child)
