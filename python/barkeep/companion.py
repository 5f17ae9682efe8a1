"""The process that calls the master's hooks of a gunicorn.conf.py, `boot.py companion SETTINGS CHANNEL`: started by
src/master/companion.c when one is defined, fed with events, one after the other. What it logs goes back to the master.

It ends at the end of its channel. Signals that a supervisor sends to all are not for it.
"""
import logging
import os
import signal
import socket
import struct
import sys

from .config.execute import run
from .config.gunicorn_names import MASTER_HOOKS
from .config.gunicorn_values import Wrong, callable_of
from .config.problem import Problem
from .config.records import read
from .hook_objects import Config, Heartbeat, Log, Server

HOOK, CALLED, SAID = 128, 129, 130  # of src/process/channel.h
TEXT_MAX = 48 * 1024
LEVELS = (("critical", 50), ("error", 40), ("warning", 30), ("info", 20))


def main(words):
    settings_fd, channel_fd = map(int, words)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *given: None)
    channel = socket.socket(fileno=channel_fd)
    channel.set_inheritable(False)
    told = list(read(settings_fd, {"value": 2, "argument": 1, "end": 0}))
    sys.argv = [fields[0] for kind, *fields in told if kind == "argument"]
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    settings = {key: value for kind, key, value in (one for one in told if one[0] == "value")}
    Companion(channel, settings).serve()


class Companion:
    def __init__(self, channel, settings):
        self.channel, self.settings = channel, settings
        self.functions, self.server, self.age = {}, None, 0

    def serve(self):
        self.attach_logs()
        self.load()
        while True:
            data = self.channel.recv(65536)
            if not data:
                break
            fields = dict(line.split("=", 1) for line in data[4:].decode().splitlines() if "=" in line)
            self.obey(fields.pop("hook"), fields)
            self.send(CALLED)
        sys.exit(0)

    def load(self):
        try:
            module = run(self.settings["hooks"])
            self.functions = {name: callable_of(getattr(module, name)) for name in MASTER_HOOKS
                              if getattr(module, name, None) is not None}
        except (Problem, Wrong) as problem:
            self.say("error", f"hooks: {problem}", getattr(problem, "detail", "").splitlines(), raised=True, fatal=True)
            module = None
        cfg = Config(lambda key: self.settings.get(key, ""), vars(module) if module else {})
        self.server = Server(cfg, Log(cfg))

    # ---- events -----------------------------------------------------------------------------------------------------

    def obey(self, name, fields):
        if name == "spawned":
            worker = Worker(self.server, int(fields["age"]), int(fields["pid"]))
            self.server.WORKERS[worker.pid] = worker
        elif name == "pre_fork":
            self.server.worker_age = int(fields["age"])
            self.call(name, self.server, Worker(self.server, int(fields["age"]), "[booting]"))
        elif name == "child_exit":
            worker = self.server.WORKERS.pop(int(fields["pid"]), None) or Worker(self.server, int(fields["age"]), int(fields["pid"]))
            worker.alive, worker.exitcode = False, int(fields["status"])
            self.call(name, self.server, worker)
        elif name == "nworkers_changed":
            old = int(fields["old"]) if "old" in fields else None
            self.call(name, self.server, int(fields["new"]), old)
        else:
            self.call(name, self.server)

    def call(self, name, *arguments):
        if name not in self.functions:
            return
        try:
            self.functions[name](*arguments)
        except (Exception, SystemExit) as error:
            from .stack import exception_lines
            self.say("error", f"the hook {name} raised {type(error).__name__}", exception_lines(error), raised=True,
                     fatal=name == "on_starting")

    # ---- to the master ----------------------------------------------------------------------------------------------

    def attach_logs(self):
        handler = Handler(self)
        for name in ("barkeep.error", "gunicorn.error", "gunicorn.access", "uvicorn.error"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            logger.propagate = False
            logger.setLevel(self.settings.get("log_level", "info").upper())

    def say(self, level, text, lines=(), raised=False, fatal=False):
        from .words import clean, for_log
        flags = ("raised=yes\n" if raised else "") + ("fatal=yes\n" if fatal else "")
        self.send(SAID, f"level={level}\n{flags}text={clean(text)}\n{for_log(*lines)}".rstrip("\n"))

    def send(self, kind, text=""):
        try:
            self.channel.send(struct.pack("=I", kind) + text.encode("utf-8", "backslashreplace")[:TEXT_MAX])
        except OSError:
            os._exit(1)  # there is no master any more


class Handler(logging.Handler):
    """Records of Python's loggers, to the master's error log."""

    def __init__(self, companion):
        super().__init__()
        self.companion = companion

    def emit(self, record):
        try:
            first, *rest = self.format(record).split("\n") or [""]
            level = next((word for word, least in LEVELS if record.levelno >= least), "debug")
            self.companion.say(level, first, rest)
        except Exception:
            self.handleError(record)


class Worker:
    """A worker as the master sees it. `age` counts the workers that were started."""

    def __init__(self, server, age, pid):
        self.cfg, self.log, self.age, self.pid, self.ppid = server.cfg, server.log, age, pid, server.pid
        self.alive, self.booted, self.aborted, self.exitcode, self.tmp = True, False, False, None, Heartbeat()
        self.app = server.app

    def __str__(self):
        return f"<Worker {self.pid}>"
