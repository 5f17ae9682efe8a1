"""The native master with a fake worker in place of the engine (fake_package/_boot/boot.py): what test_master*.py share."""
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from . import procs
from .procs import ROOT_IS_MEANT, SLOW, until
from .server import PRELOAD, PYTHON

HERE = Path(__file__).resolve().parent.parent
DRAIN, QUIT = 64, 65


def native_program():
    """The native master: BARKEEP_TEST_NATIVE, or the one inside the package under test."""
    if "BARKEEP_TEST_NATIVE" in os.environ:
        return Path(os.environ["BARKEEP_TEST_NATIVE"])
    code = "import os, barkeep; print(os.path.dirname(barkeep.__file__))"
    package = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, cwd="/", check=True).stdout.strip()
    return Path(package) / "_bin" / "barkeep"


NATIVE = native_program()


class Master:
    """`barkeep` with the fake package around it, in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.package = directory / "installed" / "barkeep"
        shutil.copytree(HERE / "fake_package", self.package)
        (self.package / "_bin").mkdir()
        shutil.copy(NATIVE, self.package / "_bin" / "barkeep")
        self.cwd = directory / "project"
        self.cwd.mkdir()
        self.notes_file, self.script_file = directory / "notes", directory / "script"
        self.process, self.lines, self.changed = None, {"out": "", "err": ""}, threading.Condition()
        self.script()

    def script(self, **workers):
        """script(all={...}, w2={...}): how workers behave from now on."""
        named = {"*" if name == "all" else name[1:]: how for name, how in workers.items()}
        self.script_file.write_text(json.dumps(named))

    def environment(self, **more):
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        env.update(ROOT_IS_MEANT)
        if PRELOAD:
            env.update(ASAN_OPTIONS="detect_leaks=0:abort_on_error=1")
        env.update(FAKE_NOTES=str(self.notes_file), FAKE_SCRIPT=str(self.script_file), **more)
        return env

    def launch(self, *options, app="fake:application", bind="127.0.0.1:0", env=None, cwd=None, before=(), **popen):
        self.notes_file.write_text("")
        command = [*before, self.package / "_bin" / "barkeep", *(["--bind", bind] if bind else []), *options, *([app] if app else [])]
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True, **popen}
        self.process = subprocess.Popen([str(word) for word in command], cwd=cwd or self.cwd, env=self.environment(**(env or {})), **popen)
        for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr)):
            if pipe:
                threading.Thread(target=self.collect, args=(name, pipe), daemon=True).start()
        return self

    def collect(self, name, pipe):
        while data := os.read(pipe.fileno(), 65536):
            with self.changed:
                self.lines[name] += data.decode()
                self.changed.notify_all()
        pipe.close()

    def start(self, *options, workers=1, **more):
        if workers != 1:
            options = (*options, "--workers", str(workers))
        self.launch(*options, **more)
        self.await_event("ready", workers)
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def err(self):
        return self.lines["err"]

    def await_log(self, pattern, seconds=15, count=1):
        until(lambda: len(re.findall(pattern, self.err)) >= count, seconds, f"{pattern}\n{self.err}")
        return list(re.finditer(pattern, self.err))[count - 1]

    def events(self, *kinds):
        found = [json.loads(line) for line in self.notes_file.read_text().splitlines(keepends=True)
                 if line.endswith("\n")]  # the last one may be half written
        return [event for event in found if not kinds or event["event"] in kinds]

    def await_event(self, kind, count=1, seconds=20):
        until(lambda: len(self.events(kind)) >= count, seconds, f"{count} x {kind}: {self.events(kind)}\n{self.err}")
        return self.events(kind)

    def workers(self):
        return [pid for pid in procs.children(self.pid) if procs.alive(pid)]

    def send(self, number):
        self.process.send_signal(number)

    def ended(self, seconds=20):
        code = self.process.wait(seconds * SLOW)
        for name in ("stdout", "stderr"):
            if pipe := getattr(self.process, name):
                until(lambda pipe=pipe: pipe.closed, 10, "the end of the output")
        assert "runtime error:" not in self.err and "AddressSanitizer" not in self.err
        return code

    def stop(self, number=signal.SIGTERM):
        self.send(number)
        return self.ended()

    def port(self):
        return int(self.await_log(r"on http://127\.0\.0\.1:(\d+)")[1])

    def version(self):
        output = subprocess.run([self.package / "_bin" / "barkeep", "--version"], capture_output=True, text=True,
                                env=self.environment(), check=True)
        return re.search(r"\d+\.\d+\.\d+", output.stdout)[0]

    def orders(self, kind):
        """Orders of that kind the workers noted."""
        return [event for event in self.events("order") if event["kind"] == kind]


@pytest.fixture
def master(tmp_path):
    made = Master(tmp_path)
    yield made
    if made.process:
        for pid in procs.tree(made.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait(10)
