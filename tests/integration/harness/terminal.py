"""A user at a terminal: runs barkeep on a pseudo terminal and shows what that user reads."""
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

from .procs import SLOW
from .server import PYTHON, Server

BARKEEP = Path(PYTHON).parent / "barkeep"


class Terminal:
    """One command on a terminal of its own. Text is what was shown so far, without carriage returns and colours."""

    def __init__(self, *words, cwd, env=None, command=BARKEEP):
        self.leader, follower = pty.openpty()
        self.text = ""
        environment = Server(None, bind=None, workers=None, env=env).env
        self.process = subprocess.Popen([str(command), *map(str, words)], cwd=cwd, env=environment, stdin=follower, stdout=follower,
                                        stderr=follower, start_new_session=True, preexec_fn=take_terminal)
        os.close(follower)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        os.close(self.leader)

    def read(self, seconds):
        """Takes what comes within the time; False at the end."""
        if not select.select([self.leader], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.leader, 65536)
        except OSError:
            return False
        self.text += re.sub(r"\x1b\[[0-9;]*m", "", data.decode("utf-8", "replace").replace("\r", ""))
        return bool(data)

    def wait_text(self, pattern, seconds=20):
        deadline = time.monotonic() + seconds * SLOW
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"not shown: {pattern}\n{self.text}"
            assert self.read(0.2) or self.process.poll() is None, f"ended before showing {pattern}\n{self.text}"
        return found

    def type(self, text):
        os.write(self.leader, text.encode())

    def ended(self, seconds=20):
        """Waits for the end; the exit code."""
        deadline = time.monotonic() + seconds * SLOW
        while self.read(0.1):
            assert time.monotonic() < deadline, f"still running\n{self.text}"
        return self.process.wait(10)


def take_terminal():
    """The follower becomes the controlling terminal, so that Ctrl-C and hang-up work as they do for people; whoever runs the tests
    in the background ignores them."""
    import fcntl
    import termios
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def run(*words, cwd, env=None):
    """(exit code, everything shown) of a command that ends by itself. A start that gets as far as an address takes a free one:
    other tests run at the same time."""
    if "--bind" not in words and "--check-config" not in words:
        env = {"BARKEEP_BIND": "127.0.0.1:0", **(env or {})}
    with Terminal(*words, cwd=cwd, env=env) as terminal:
        code = terminal.ended()
        return code, terminal.text


def matches(expected, text):
    """None when the text is the expected one, where each <...> stands for something that varies; else what differs."""
    import difflib
    wanted, got = expected.strip("\n").splitlines(), text.strip("\n").splitlines()
    if len(wanted) == len(got) and all(re.fullmatch(pattern(a), b) for a, b in zip(wanted, got)):
        return None
    return "\n" + "\n".join(difflib.ndiff(wanted, got))


def pattern(line):
    """<...> is one or more characters; (...)? marks what may be missing."""
    return "".join(".+?" if part.startswith("<") and part.endswith(">") and len(part) > 2 else re.escape(part)
                   for part in re.split(r"(<[^<>]+>)", line))
