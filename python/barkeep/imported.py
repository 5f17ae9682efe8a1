"""Which files the application consists of: told to the master, which watches them for --reload. Used by worker.py.

The standard library and Barkeep itself are left out, everything else that was imported counts, installed packages too. An
import that failed counts with the files of its traceback, and with those it looked for and did not find.
"""
import _thread
import os
import sys
import time

MESSAGE_MAX = 48 * 1024  # bytes of names in one message to the master
FRESH_SECONDS = 2.0      # a source file younger than this is not cached: .pyc files know only its second and its size
LATE_SECONDS = 0.5       # between a late import and the message about it

LIBRARY = tuple(os.path.join(os.path.dirname(path), "") for path in {os.__file__, os.path.realpath(os.__file__)})
OWN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)


class Imported:
    """Tells the worker's master each file once. From the main thread at first, later from one that begins at an import and
    ends when the imports have been told."""

    # Not looked up later: gevent may have put others in their place.
    start_thread, sleep = staticmethod(_thread.start_new_thread), staticmethod(time.sleep)

    def __init__(self, worker):
        self.worker, self.told, self.under_way = worker, set(), False

    over = False  # the interpreter ends soon: no new threads

    def tell(self, more=()):
        names = {name for path in (*module_files(), *more) if (name := own_file(path)) and name not in self.told}
        for message in messages(names):
            if not self.worker.files(message):
                return
        self.told |= names

    def tell_failed(self, error, path):
        """After an import that failed, of the file `path` if it was one."""
        self.tell((*failed_files(error), *([path] if path else [])))

    def watch(self):
        """From now on imports are noticed as they come."""
        sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        if not self.under_way and not self.over:
            self.under_way = True
            try:
                self.start_thread(self.tell_late, ())
            except RuntimeError:  # no thread to be had, or the interpreter ends
                pass
        return None

    def tell_late(self):
        while True:
            before = len(sys.modules)
            self.sleep(LATE_SECONDS)
            if len(sys.modules) == before:
                break
        self.under_way = False
        try:
            self.tell()
        except RuntimeError:  # a forked child has no master
            pass


def module_files():
    for module in list(sys.modules.values()):
        try:
            yield object.__getattribute__(module, "__dict__").get("__file__")  # wakes no lazy module
        except (AttributeError, TypeError):
            pass


def own_file(path):
    """The absolute name of a file to watch, None for others. A module inside an archive stands for the archive."""
    if not isinstance(path, str) or not path or path.startswith("<") or "\n" in path or "\0" in path:
        return None
    path = os.path.abspath(path)
    if path.startswith(OWN) or path.startswith(LIBRARY) and not any(place in path for place in PACKAGES):
        return None
    inside = path
    while not os.path.exists(inside) and len(inside) > 1:
        inside = os.path.dirname(inside)
    return inside if os.path.isfile(inside) else path


def messages(names):
    """The names as bytes, one a line, in pieces that fit into a message."""
    lines, size = [], 0
    for name in sorted(names):
        line = os.fsencode(name)
        if size + len(line) + 1 > MESSAGE_MAX and lines:
            yield b"\n".join(lines)
            lines, size = [], 0
        if len(line) < MESSAGE_MAX:
            lines.append(line)
            size += len(line) + 1
    if lines:
        yield b"\n".join(lines)


def failed_files(error):
    """Files that have to do with a failed import: a change in one of them may mend it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        step = error.__traceback__
        while step is not None:
            yield step.tb_frame.f_code.co_filename
            step = step.tb_next
        if isinstance(error, SyntaxError):
            yield error.filename
        if isinstance(error, ImportError) and error.name:
            yield from places_of(error.name)
        error = error.__cause__ or error.__context__


def places_of(name):
    """Where a module of that name would be, in the directories of the application."""
    for directory in sys.path:
        directory = os.path.abspath(directory)
        if os.path.isdir(directory) and not os.path.join(directory, "").startswith(LIBRARY):
            path = os.path.join(directory, *name.split("."))
            yield path + ".py"
            yield os.path.join(path, "__init__.py")


def cache_less():
    """Two edits within a second that leave a file's size as it is look alike to .pyc files: fresh files get none."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import source_from_cache
    write = SourceFileLoader.set_data

    def set_data(self, path, data, **more):
        try:
            if path.endswith(".pyc") and time.time() - os.stat(source_from_cache(path)).st_mtime < FRESH_SECONDS:
                return
        except (OSError, ValueError):
            pass
        write(self, path, data, **more)
    SourceFileLoader.set_data = set_data
