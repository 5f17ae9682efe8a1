"""bk-null under test: the engine with a host in C (hosts/null), without a master and without Python. `make` builds it with the
unit tests; BARKEEP_TEST_NULL names it, else the one of the build directory is taken."""
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from . import procs
from .procs import SLOW, until
from .wire import Conn

ROOT = Path(__file__).resolve().parent.parent.parent.parent
ASAN = "-asan" if os.environ.get("BARKEEP_TEST_PRELOAD") else ""
PROGRAM = Path(os.environ.get("BARKEEP_TEST_NULL", ROOT / f"build/unit{ASAN}/hosts/null/bk-null"))
BAD = re.compile(r"Sanitizer|runtime error:|\balert\b|\bpanic\b")


class Null:
    """One process, started with key=value settings; a host with a loop of its own unless `threads` is given."""

    def __init__(self, *settings, threads=None):
        pairs = [f"threads={threads}"] if threads else ["LOOP=on"]
        self.err = ""
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        environment.update(ASAN_OPTIONS="detect_leaks=1:abort_on_error=1", UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")
        self.process = subprocess.Popen([PROGRAM, "bind=127.0.0.1:0", *pairs, *settings], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.reader = threading.Thread(target=self.collect, daemon=True)
        self.reader.start()
        line = self.process.stdout.readline()
        found = re.search(r"listening on \D*([\d.]+):(\d+)", line)
        assert found, f"bk-null said {line!r}\n{self.err}"
        self.address = (found[1], int(found[2]))
        self.pid = self.process.pid
        self.fds = procs.fd_kinds(self.pid)

    def collect(self):
        for line in self.process.stderr:
            self.err += line

    def connect(self, timeout=10.0, receive_buffer=None):
        return Conn(self.address, timeout, receive_buffer)

    def order(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)

    def ended(self, seconds=30):
        """Waits for the end; what was logged."""
        self.process.wait(seconds * SLOW)
        self.reader.join(10)
        return self.err

    def check(self):
        """Nothing leaked, a clean end, nothing bad said."""
        if self.process.poll() is None:
            until(lambda: not self.leaked(), 10, f"bk-null to close {self.leaked()}")
            self.order()
            self.ended()
        assert self.process.returncode == 0, f"exit code {self.process.returncode}\n{self.err}"
        assert not BAD.search(self.err), self.err

    def leaked(self):
        """More descriptors than at the start; epoll sets and timers are the threads' own."""
        more = procs.fd_kinds(self.pid) - self.fds
        return {kind: count for kind, count in more.items() if not kind.startswith("anon_inode")}

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
