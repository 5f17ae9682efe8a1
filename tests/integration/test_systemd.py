"""The service manager's protocols: sockets passed by number and by name, what is told by sd_notify, the watchdog. A small parent
plays systemd."""
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
from harness.master import master  # noqa: F401
from harness.procs import until
from harness.server import PYTHON
from harness.wire import get

# Puts descriptors where sd_listen_fds(3) wants them and becomes the program.
PARENT = """
import os, sys
count, names, own = int(sys.argv[1]), sys.argv[2], sys.argv[3]
given = [int(number) for number in own.split(",") if number]
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(given)]
for n in range(len(given)):
    os.dup2(100 + n, 3 + n)
    os.close(100 + n)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=names, WATCHDOG_PID=str(os.getpid()))
os.execv(sys.argv[4], sys.argv[4:])
"""


class Manager:
    """NOTIFY_SOCKET and sockets to pass."""

    def __init__(self, directory):
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify"))
        self.notify.settimeout(0.01)
        self.told, self.sockets = [], []

    def passes(self, count):
        self.sockets += [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        return [one.getsockname() for one in self.sockets]

    def heard(self, pattern):
        """Waits until a message matches."""
        def look():
            try:
                while True:
                    self.told.append(self.notify.recv(4096).decode())
            except TimeoutError:
                pass
            return next((match for text in self.told if (match := re.search(pattern, text))), None)
        until(look, 15, f"{pattern}: {self.told}")
        return look()

    def close(self):
        for one in (self.notify, *self.sockets):
            one.close()


@pytest.fixture
def manager(tmp_path):
    with_sockets = Manager(tmp_path)
    yield with_sockets
    with_sockets.close()


def launch(master, manager, *options, names="", bind=None, **env):
    fds = [one.fileno() for one in manager.sockets]
    before = [sys.executable, "-c", PARENT, str(len(fds)), names, ",".join(map(str, fds))]
    master.launch(*options, bind=bind, before=before, pass_fds=fds, env={"NOTIFY_SOCKET": manager.notify.getsockname(), **env})


def test_ready_and_stopping(master, manager):
    launch(master, manager, "--startup-timeout", "20", bind="127.0.0.1:0")
    assert int(manager.heard(r"^EXTEND_TIMEOUT_USEC=(\d+)$")[1]) == 30_000_000
    ready = manager.heard(r"READY=1\nMAINPID=(\d+)\nSTATUS=serving fake:boot\.py \(WSGI\) on http://127\.0\.0\.1:\d+")
    assert int(ready[1]) == master.pid
    assert master.stop() == 0
    manager.heard(r"STOPPING=1\n")


def test_nothing_private_reaches_a_worker(master, manager):
    launch(master, manager, bind="127.0.0.1:0", WATCHDOG_USEC="10000000")
    manager.heard("READY=1")
    [boot] = master.events("boot")
    assert not [name for name in boot["env"] if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
    assert master.stop() == 0


def test_reloads_are_told(master, manager):
    launch(master, manager, bind="127.0.0.1:0")
    manager.heard("READY=1")
    master.send(signal.SIGHUP)
    manager.heard(r"RELOADING=1\nMONOTONIC_USEC=\d+")
    manager.heard(r"READY=1\nMAINPID=\d+\nSTATUS=serving, reloaded")
    master.script(all={"fail": "the app broke"})
    master.send(signal.SIGHUP)
    manager.heard(r"READY=1\nMAINPID=\d+\nSTATUS=not reloaded, still serving .*: the app broke")
    assert master.stop() == 0


def test_watchdog(master, manager):
    launch(master, manager, bind="127.0.0.1:0", WATCHDOG_USEC="200000")
    manager.heard("READY=1")
    until(lambda: manager.heard("WATCHDOG=1") and manager.told.count("WATCHDOG=1") >= 3, 15, "three signs of life")
    assert master.stop() == 0


def test_passed_sockets_are_the_default(master, manager):
    first, second = manager.passes(2)
    launch(master, manager)
    manager.heard("READY=1")
    [boot] = master.events("boot")
    assert [item.split()[2] for item in boot["listeners"]] == [f"http://127.0.0.1:{first[1]}", f"http://127.0.0.1:{second[1]}"]
    assert master.stop() == 0


def test_by_name(master, manager):
    first, second, third = manager.passes(3)
    launch(master, manager, names="web:admin:web", bind="fd://web")
    manager.heard("READY=1")
    [boot] = master.events("boot")
    assert [item.split()[2] for item in boot["listeners"]] == [f"http://127.0.0.1:{first[1]}", f"http://127.0.0.1:{third[1]}"]
    assert "socket fd://4 'admin' was passed to barkeep and no --bind uses it [socket-unused]" in master.err
    assert master.stop() == 0


def test_a_name_that_was_not_passed(master, manager):
    manager.passes(1)
    launch(master, manager, "--log-format", "short", names="web", bind="fd://wen")
    assert master.ended() == 1
    assert "cannot use fd://wen: no socket of that name was passed, only web [bind-failed]" in master.err
    master.launch("--log-format", "short", bind="fd://web")
    assert master.ended() == 1
    assert "cannot use fd://web: no sockets were passed (LISTEN_FDS) [bind-failed]" in master.err


def test_sockets_meant_for_another_process(master, manager):
    manager.passes(1)
    master.launch(bind="127.0.0.1:0", env={"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}, pass_fds=[manager.sockets[0].fileno()])
    master.await_log("serving")
    [boot] = master.events("boot")
    assert len(boot["listeners"]) == 1
    assert master.stop() == 0


def test_an_application_is_served_on_a_passed_socket(serve, manager):
    [address] = manager.passes(1)
    fd = manager.sockets[0].fileno()
    command = [sys.executable, "-c", PARENT, "1", "web", str(fd), str(Path(PYTHON).parent / "barkeep")]
    serve(bind=None, command=command, close_fds=False, preexec=lambda: os.set_inheritable(fd, True))
    assert get(address, "/").status == 200
