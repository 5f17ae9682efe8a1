"""A real `barkeep` under test: started as a user would start it, watched through its log and /proc, and held to the same
invariants whatever the test was about (see Server.check)."""
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from . import procs
from .procs import ROOT_IS_MEANT, SLOW, until
from .wire import OVER_TLS, Conn, get, request

PYTHON = os.environ.get("BARKEEP_TEST_PYTHON", sys.executable)
CLASS = os.environ.get("BARKEEP_TEST_CLASS")  # runs a WSGI suite under another worker class
THREADS = os.environ.get("BARKEEP_TEST_THREADS")  # runs a suite with so many threads
PRELOAD = os.environ.get("BARKEEP_TEST_PRELOAD")  # libasan for a sanitizer build
with_greenlets = pytest.mark.skipif(bool(PRELOAD), reason="greenlets and the address sanitizer do not go together")
PYPY = "PyPy" in subprocess.run([PYTHON, "-VV"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
APPS = Path(__file__).resolve().parent.parent / "apps"

SERVING = re.compile(r"barkeep \S+ serving (?P<app>.+?) \((?P<kind>[^)]*)\) on (?P<where>.*)")
BAD = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|\balert\b|\bpanic\b|Fatal Python error|assertion .* failed")
# Descriptors a process may open once, on first use, and keep.
KEPT = re.compile(r"/dev/(urandom|random|null)$|anon_inode:\[eventpoll\]$")


class ServerFailed(AssertionError):
    """The server ended, or said nothing, instead of serving."""


class Server:
    def __init__(self, app, *options, bind="127.0.0.1:0", workers=1, env=None, cwd=APPS, python=PYTHON, command=None,
                 stdin=subprocess.DEVNULL, preexec=None, close_fds=True):
        self.app, self.workers_wanted, self.cwd = app, workers, Path(cwd)
        self.marker = f"TEST_OF_BARKEEP={secrets.token_hex(8)}"
        binds = [] if bind is None else [bind] if isinstance(bind, str) else list(bind)
        self.command = list(command or [Path(python).parent / "barkeep"])
        self.command += [word for one in binds for word in ("--bind", one)]
        if workers is not None and workers != 1:
            self.command += ["--workers", str(workers)]
        env = dict(env or {})
        if CLASS and not {"-k", "--worker-class"} & set(options):
            self.command += ["-k", CLASS]
            if CLASS == "asgi" and app:  # the same application with an ASGI face
                env["TEST_APPLICATION"], app = app, "as_asgi:application"
        if THREADS and app and "--threads" not in options:
            self.command += ["--threads", THREADS]
        if OVER_TLS and not any(str(one).startswith(("unix:", "http")) for one in binds):
            self.command.append("--tls-selfsigned")
        self.command += [str(option) for option in options] + ([app] if app else [])
        self.command = [str(word) for word in self.command]
        self.env = self.environment(env)
        self.stdin, self.preexec, self.close_fds = stdin, preexec, close_fds
        self.process = self.baseline = None
        self.lines = {"out": "", "err": ""}
        self.changed = threading.Condition()
        self.exit_code = None          # set by stop() or ended()
        self.expected_exit = {0}
        self.expected_alarm = "$^"     # a pattern that the test provokes
        self.check_fds = True
        self.ready_line = None

    def environment(self, extra):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        kept.update(ROOT_IS_MEANT)
        kept[self.marker.split("=")[0]] = self.marker.split("=")[1]
        if PRELOAD:
            kept.update(LD_PRELOAD=PRELOAD, PYTHONMALLOC="malloc", UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
                        ASAN_OPTIONS="detect_leaks=0:abort_on_error=1")
        kept.update({name: str(value) for name, value in extra.items() if value is not None})
        return {name: value for name, value in kept.items() if extra.get(name, "") is not None}

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self):
        """Starts and waits until it serves and all workers are there."""
        self.launch()
        self.await_ready()
        return self

    def launch(self):
        """Starts without waiting."""
        self.process = subprocess.Popen(self.command, cwd=self.cwd, env=self.env, stdin=self.stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, start_new_session=True, preexec_fn=self.preexec,
                                        close_fds=self.close_fds)
        self.pid = self.process.pid
        for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr)):
            threading.Thread(target=self.collect, args=(name, pipe), daemon=True).start()

    def collect(self, name, pipe):
        while data := os.read(pipe.fileno(), 65536):
            with self.changed:
                self.lines[name] += data.decode("utf-8", "replace")
                self.changed.notify_all()
        pipe.close()

    def await_ready(self, seconds=30):
        found = self.wait_log(SERVING, seconds)
        self.ready_line = found[0]
        self.addresses = [self.address_of(text) for text in re.findall(r"(?:https?://(?!unix)|unix:)[^\s,]+", found["where"])]
        self.baseline = {}
        until(lambda: len(self.workers()) == self.workers_wanted, seconds, f"{self.workers_wanted} workers\n{self.log}")
        if "gevent" in self.command:  # the loop's descriptors are opened after the ready line
            until(lambda: all("anon_inode:[timerfd]" in procs.fd_kinds(pid) for pid in self.workers()), seconds, "gevent's loop")
        self.note_baseline()

    @staticmethod
    def address_of(text):
        if text.startswith("unix:"):
            return text[5:]
        host, _, port = text.split("://")[1].rstrip("/").rpartition(":")
        return (host.strip("[]"), int(port))

    @property
    def address(self):
        """What a client connects to: (host, port), or a path made absolute."""
        first = self.addresses[0]
        return str(self.cwd / first) if isinstance(first, str) and not first.startswith("@") else first

    @property
    def port(self):
        return self.address[1]

    def stop(self, sig=signal.SIGTERM, seconds=30):
        """Signals the master and waits for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.ended(seconds)

    def signal(self, sig):
        """Sends the master a signal and waits until it has taken it."""
        self.process.send_signal(sig)
        until(lambda: not procs.pending(self.pid, sig), 10, f"the master to take signal {sig}")

    def stop_only(self, seconds=30):
        """Like stop(), but processes of the application may hold on to the server's output."""
        self.process.send_signal(signal.SIGTERM)
        self.exit_code = self.wait_exit(seconds)
        return self.exit_code

    def wait_exit(self, seconds):
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds * SLOW:g} s\n{self.describe()}") from None

    def ended(self, seconds=30):
        """Waits until the server ends by itself; the exit code."""
        self.exit_code = self.wait_exit(seconds)
        until(lambda: self.process.stdout.closed and self.process.stderr.closed, 10, "the end of the server's output")
        return self.exit_code

    def kill(self):
        """The last word, for the end of a failed test: nothing of this server stays."""
        if self.process is None:
            return
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.process.wait(10)

    def members(self):
        """All living processes that stem from this server, wherever they went."""
        return procs.members(self.pid, self.marker.encode())

    # ---- looking -----------------------------------------------------------------------------------------------

    @property
    def log(self):
        """Standard error so far."""
        return self.lines["err"]

    @property
    def out(self):
        return self.lines["out"]

    def wait_log(self, pattern, seconds=10, stream="err", count=1):
        """Waits until `pattern` was said `count` times; the last match."""
        pattern = re.compile(pattern)
        deadline = time.monotonic() + seconds * SLOW
        with self.changed:
            while True:
                found = list(pattern.finditer(self.lines[stream]))
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not said within {seconds * SLOW:g} s: {pattern.pattern}\n{self.describe()}")
                if self.process.poll() is not None and not self.changed.wait(1):
                    raise ServerFailed(f"ended with {self.process.returncode} before saying {pattern.pattern}\n{self.describe()}")
                self.changed.wait(min(left, 0.2))

    def workers(self):
        """Pids of the workers that are booted, in order of their start."""
        return [pid for pid in procs.children(self.pid) if procs.alive(pid) and re.match(r"barkeep: worker \d+", procs.title(pid))]

    def worker(self):
        [pid] = self.workers()
        return pid

    def describe(self):
        shown = "\n".join(f"    {pid} {procs.state(pid)} {procs.title(pid)}" for pid in procs.tree(self.pid)) if self.process else ""
        return f"  command: {' '.join(self.command)}\n  processes:\n{shown}\n  stdout: {self.out[-2000:]}\n  stderr: {self.log[-6000:]}"

    # ---- talking -----------------------------------------------------------------------------------------------

    def connect(self, timeout=10.0, receive_buffer=None, **more):
        return Conn(self.address, timeout, receive_buffer, **more)

    def get(self, target="/", method="GET", fields=(), body=None, timeout=10.0):
        """One request on a connection of its own."""
        return get(self.address, target, method, fields, body, timeout)

    # ---- what every test promises ------------------------------------------------------------------------------

    def note_baseline(self):
        self.baseline = {pid: procs.fd_kinds(pid) for pid in [self.pid, *self.workers()]}

    def check_running(self):
        """Between the tests of a shared server: nothing leaked, nobody died, nothing bad in the log."""
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}\n{self.describe()}"
        self.check_log()
        if self.check_fds:
            for pid, before in self.baseline.items():
                if procs.alive(pid):
                    until(lambda pid=pid, before=before: not self.leaked(pid, before), 5,
                          f"process {pid} ({procs.title(pid)}) to close {dict(self.leaked(pid, before))}")
        until(lambda: not self.zombies(), 5, f"zombies {self.zombies()} to be reaped")

    def zombies(self):
        """Dead children that the master has not reaped (an application's own children are its own affair)."""
        return [pid for pid in procs.children(self.pid) if procs.state(pid) == "Z"]

    def check(self):
        """At the end of a server: stops it if it runs; then no process, no open port, no alarm in the log."""
        if self.process is None:
            return
        if self.process.poll() is None:
            if self.baseline is not None:
                self.check_running()
            self.stop()
        elif self.exit_code is None:
            self.ended()
        assert self.exit_code in self.expected_exit, f"exit code {self.exit_code}\n{self.describe()}"
        self.check_log()
        until(lambda: not self.members(), 5, f"no process left behind: {[(p, procs.title(p)) for p in self.members()]}")
        for address in getattr(self, "addresses", []):
            if isinstance(address, tuple):
                assert not self.listening(address), f"{address} is still open"

    def check_log(self):
        said = re.sub(r".* \[tls-handshake\]", "", self.log)  # OpenSSL calls what the client said an alert
        found = BAD.search(re.sub(self.expected_alarm, "", said)) or BAD.search(self.out)
        assert not found, f"alarm in the log: {found[0]}\n{self.describe()}"

    @staticmethod
    def leaked(pid, before):
        more = procs.fd_kinds(pid) - before
        return {kind: count for kind, count in more.items() if not KEPT.search(kind)}

    @staticmethod
    def listening(address):
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
            probe.settimeout(1)
            return probe.connect_ex(address) == 0


__all__ = ["APPS", "Conn", "PRELOAD", "PYTHON", "Server", "ServerFailed", "request"]
