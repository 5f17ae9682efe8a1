"""Stands for barkeep._engine in the tests of this directory: same names, no network. A worker is described by JSON on the
heritage descriptor; every call is written to a log; serve() calls the application once, or what the test asked for."""
import json
import os
import re
import signal
from pathlib import Path

VERSION = "0.0.test"
MESSAGES = {}
for row in re.finditer(r'^X\(\w+, "([a-z-]+)", (\d), (\w+), "(.*)"\)$', (Path(__file__).parent / "messages.def").read_text(), re.M):
    MESSAGES[row[1]] = (int(row[2]), row[3].lower(), row[4])

records = []   # what log() was given
workers = []   # what Worker.alone() made
on_serve = []  # called by serve() of a worker without heritage


def log(level, key, text, detail=""):
    "".join((level, key or "", text, detail)).encode()  # as the real one: cannot take lone surrogates
    assert key is None or key in MESSAGES
    records.append((level, key, text, detail))
    for worker in workers:
        worker.note("log", level, key, text, detail)


def set_title(text):
    text.encode()
    for worker in workers:
        worker.note("title", text)


DEFAULTS = {"worker_class": "auto", "threads": "auto"}


class Worker:
    number, address, counts = 1, "http://127.0.0.1:8000", (3, 1)

    def __init__(self, told):
        self.told, self.stopped = told, []
        workers.append(self)

    @classmethod
    def inherit(cls, fd):
        told = json.loads(os.read(fd, 65536))
        os.close(fd)
        if told["settings"]["app"] == "version-skew":
            raise OSError(93, "the master is barkeep 9, the package in this environment is 1: they do not fit together")
        return cls(told)

    @classmethod
    def alone(cls, settings):
        for key, value in settings.items():
            if key == "wokers":
                raise ValueError(f"{key} '{value}': no such setting")
        return cls({"settings": settings, "arguments": [], "log": None, "serve": None})

    def note(self, *call):
        if self.told["log"]:
            with open(self.told["log"], "a") as file:
                file.write(json.dumps(call) + "\n")

    def setting(self, key):
        value = self.told["settings"].get(key, DEFAULTS.get(key, ""))
        return "\n".join(value) if isinstance(value, list) else str(value)

    def arguments(self):
        return self.told["arguments"]

    def path(self):
        return self.told.get("path", [])

    def failed(self, code, key, text, brief="", whole=False):
        (text + brief).encode()
        self.note("failed", code, key, text)

    def files(self, names):
        self.note("files", names.decode().splitlines())
        return True

    def debugging(self, on):
        self.note("debugging", on)

    def watch_over(self, report, interrupt, own, threading):
        return os.memfd_create("stacks"), signal.SIGRTMAX - 7

    def threads(self, count):
        pass

    def ready(self, facts):
        self.note("ready", facts)

    def serve(self, app):
        self.note("serve")
        if self.told["serve"]:
            exec(self.told["serve"], {"app": app, "worker": self})
        for action in on_serve:
            action(self, app)

    def stop(self, quick=False):
        self.stopped.append(quick)

    def abandon(self):
        self.note("abandon")
