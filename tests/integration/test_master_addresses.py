"""The master alone, with a fake worker: addresses that cannot be bound and interpreters that cannot be used."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness.master import Master, master  # noqa: F401
from harness.procs import SLOW
from harness.server import PYTHON


def test_taken_port_names_its_holder(master):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        started = time.monotonic()
        master.launch(bind=f"127.0.0.1:{port}")
        assert master.ended() == 1
        assert time.monotonic() - started < 3 * SLOW
    lines = master.err.splitlines()
    assert lines[0] == f"barkeep: error: http://127.0.0.1:{port} is taken [bind-in-use]"
    assert re.fullmatch(rf"  by: \S.* \(pid {os.getpid()}, user \w+\), for [\d.]+ \w+", lines[1])
    found = re.fullmatch(r"  try: barkeep fake:application --bind 127\.0\.0\.1:(\d+)", lines[2])
    assert int(found[1]) > port and len(lines) == 3
    assert master.events() == []


def test_taken_twice_by_ourselves(master):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    master.launch("--bind", f"0.0.0.0:{port}", bind=f"127.0.0.1:{port}")
    assert master.ended() == 1
    assert "  by: this program itself, another --bind covers it\n" in master.err


def test_taken_unix_socket(master):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(master.cwd / "web.sock"))
        other.listen()
        master.launch(bind=f"unix:{master.cwd}/web.sock")
        assert master.ended() == 1
    assert re.fullmatch(rf"barkeep: error: unix:\S+/web\.sock is taken \[bind-in-use\]\n  by: \S.* \(pid {os.getpid()}, .*\n", master.err)


def test_unix_socket_in_a_missing_directory(master):
    master.launch(bind="unix:run/web.sock")
    assert master.ended() == 1
    assert master.err == ("barkeep: error: cannot create unix:run/web.sock: there is no directory 'run' [bind-failed]\n"
                          "  try: mkdir -p run\n")


def test_unix_socket_where_none_can_be(master):
    """The directory is there: /proc says ENOENT to whoever creates something."""
    master.launch(bind="unix:/proc/web.sock")
    assert master.ended() == 1
    assert master.err == "barkeep: error: cannot create unix:/proc/web.sock: no such file or directory [bind-failed]\n"


@pytest.mark.root
def test_unix_socket_without_permission():
    """In a directory of its own: pytest's are closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        master = Master(Path(name))
        (master.cwd / "run").mkdir()
        master.launch(bind="unix:run/web.sock", user=65534, group=65534, extra_groups=[], env={"BARKEEP_USER": ""})
        assert master.ended() == 1
    assert re.fullmatch(r"barkeep: error: cannot create unix:run/web\.sock: permission denied \[bind-permission\]\n"
                        r"  directory run is root:root 0755, this process is nobody:nogroup\n"
                        r"  try: RuntimeDirectory= in the unit file, or give the directory to nobody\n", master.err)


@pytest.mark.root
def test_privileged_port():
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        pytest.skip("ports below 1024 are free for all here")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        master = Master(Path(name))
        master.launch(bind="127.0.0.1:999", user=65534, group=65534, extra_groups=[], env={"BARKEEP_USER": ""})
        assert master.ended() == 1
    assert master.err == (
        "barkeep: error: cannot listen on port 999 as user nobody: ports below 1024 need a capability [bind-privileged]\n"
        "  try: --bind :8080, a systemd socket unit, or AmbientCapabilities=CAP_NET_BIND_SERVICE\n")


def test_unknown_address(master):
    master.launch(bind="203.0.113.7:8000")
    assert master.ended() == 1
    assert master.err == "barkeep: error: cannot listen on http://203.0.113.7:8000: this machine has no such address [bind-address]\n"


def test_inherited_listener(master):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        master.start(bind=f"fd://{listener.fileno()}", pass_fds=[listener.fileno()])
        assert master.port() == port
        assert master.stop() == 0


def test_bad_descriptor(master):
    master.launch(bind="fd://77")
    assert master.ended() == 1
    assert master.err == "barkeep: error: cannot use fd://77: it is not open [bind-failed]\n"


def make_venv(master, name):
    venv = master.cwd / name
    (venv / "bin").mkdir(parents=True)
    real = Path(subprocess.run([PYTHON, "-c", "import sys; print(getattr(sys, '_base_executable', sys.executable))"],
                               capture_output=True, text=True).stdout.strip())
    (venv / "bin" / "python").symlink_to(real)
    (venv / "pyvenv.cfg").write_text(f"home = {real.parent}\nversion = 3.11.7\ninclude-system-site-packages = false\n")
    return venv


def test_venv_without_barkeep(master):
    make_venv(master, ".venv")
    master.launch("--venv", ".venv")
    assert master.ended() == 2
    series = ".".join(master.version().split(".")[:2])
    assert re.fullmatch(r"barkeep: error: \.venv \(python [\d.]+\) does not contain barkeep, so no worker can start in it "
                        rf"\[venv-without-barkeep\]\n  try: \.venv/bin/python -m pip install 'barkeep=={series}\.\*'\n", master.err)


def test_venv_with_another_barkeep(master):
    venv = make_venv(master, ".venv")
    site = subprocess.run([venv / "bin" / "python", "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True)
    package = Path(site.stdout.strip()) / "barkeep"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '99.2.0'\n")
    master.launch("--venv", ".venv")
    assert master.ended() == 2
    assert re.match(rf"barkeep: error: \.venv has barkeep 99\.2\.0, this master is {master.version()}: they do not fit together "
                    r"\[version-skew\]\n  try: \.venv/bin/python -m pip", master.err)


def test_venv_is_used_and_stays_a_venv(master):
    venv = make_venv(master, ".venv")
    site = subprocess.run([venv / "bin" / "python", "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True)
    shutil.copytree(master.package, Path(site.stdout.strip()) / "barkeep")
    (Path(site.stdout.strip()) / "barkeep" / "__init__.py").write_text(f"__version__ = '{master.version()}'\n")
    master.start("--venv", ".venv", "--log-format", "short")
    assert "  python 3.11.7 in .venv, 1 worker, " in master.await_log("(?s).*ready in.*")[0]
    [boot] = master.events("boot")
    assert boot["argv"][0].startswith(str(venv))
    assert master.stop() == 0


def test_something_that_is_no_python(master):
    fake = master.cwd / "python"
    fake.write_text("#!/bin/sh\necho what do you want >&2\nexit 3\n")
    fake.chmod(0o755)
    master.launch("--python", "./python")
    assert master.ended() == 2
    assert re.fullmatch(r"barkeep: error: the interpreter \S+/python does not work \[python-missing\]\n  what do you want\n", master.err)


def test_python_that_is_not_there(master):
    master.launch("--python", "python9.9")
    assert master.ended() == 2
    assert "[python-missing]" in master.err
