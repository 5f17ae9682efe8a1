"""`python -m barkeep.config QUESTION ANSWER`: reads settings files and says what they mean. Both words are descriptors, see
records.py. Started by the master, with a time limit, when there is a file to read; whatever a file does, only this process
can come to harm.

A reader is a function read(name, found) in a module of this package, see READERS.
"""
import os
import sys
from _thread import allocate_lock, get_ident, start_new_thread  # as they are before a file lets gevent patch them
from importlib import import_module

READERS = {"toml": "toml", "gunicorn": "gunicorn", "uwsgi": "uwsgi"}


def main(words):
    question, answer = map(int, words)
    os.set_inheritable(question, False)
    os.set_inheritable(answer, False)
    keep_stdout_apart()
    from .found import Found, TooMuch
    from .records import read
    from .table import Table
    asked = list(read(question))
    found = Found(Table(asked))
    prepare(asked)
    try:
        for kind, *fields in asked:
            if kind == "file":
                with Watch(fields[1], asked, answer):
                    read_one(*fields, found)
    except TooMuch:
        found = Found(found.table)
        found.error("the settings files say more than fits in 1 MiB", "config-failed")
    send(answer, found.answer())


def keep_stdout_apart():
    """What a file prints is no answer to whoever asked for --print-config."""
    os.dup2(2, 1)


def prepare(asked):
    """What a settings file finds: the server's words, the current directory first on the path."""
    sys.argv = [fields[0] for kind, *fields in asked if kind == "argument"] or ["barkeep"]
    path = [fields[0] for kind, *fields in asked if kind == "path"]
    sys.path[:] = dict.fromkeys([os.getcwd(), *path, *sys.path])


def read_one(kind, name, found):
    from .problem import Problem
    try:
        import_module(f".{READERS[kind]}", __package__).read(name, found)
    except Problem as problem:
        found.error(problem.text, problem.word, problem.detail)
    except Exception as error:  # ours, not the file's
        from traceback import format_exc
        found.error(f"{name} could not be read: {type(error).__name__}", "internal", format_exc().rstrip())


class Watch:
    """Says where a file hangs, shortly before the master loses its patience. Nothing can be said when it holds the GIL."""

    def __init__(self, name, asked, answer):
        self.name, self.answer = name, answer
        self.seconds = next((int(fields[0]) for kind, *fields in asked if kind == "limit"), 0)
        self.over, self.main = allocate_lock(), get_ident()

    def __enter__(self):
        if self.seconds:
            self.over.acquire()
            start_new_thread(self.run, ())

    def __exit__(self, *error):
        if self.seconds:
            self.over.release()

    def run(self):
        if self.over.acquire(timeout=self.seconds):
            return
        from .found import Found
        from ..stack import stack_lines
        found = Found(None)
        lines = stack_lines(sys._current_frames().get(self.main))
        found.error(f"{self.name} was not read within {self.seconds} s", "config-failed", "\n".join(lines))
        send(self.answer, found.answer())


def send(fd, data):
    """All of it, then the end without farewell: threads and exit handlers that a file has made are not waited for."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
