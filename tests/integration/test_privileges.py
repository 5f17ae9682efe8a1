"""Whose the workers are: --user and what goes with it, limits, the pid file, owners of unix sockets. What needs root is left out
without it."""
import json
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from harness import Server, procs
from harness.master import master  # noqa: F401
from harness.server import PRELOAD, PYTHON
from harness.tls import Authority, trusting

SYSTEM_PYTHON = "/usr/bin/python3"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")

APP = '''
import json, os, resource
def application(environ, start_response):
    mask = os.umask(0o77)
    os.umask(mask)
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    seen = {"uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "umask": mask, "nice": os.nice(0),
            "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
            "cpus": sorted(os.sched_getaffinity(0)), "no_new_privs": status["NoNewPrivs"].strip(), "cwd": os.getcwd(),
            "env": {name: os.environ.get(name) for name in ("HOME", "USER", "LOGNAME")}}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
'''


@pytest.fixture
def place(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def open_place(tmp_path_factory):
    """A directory that everybody may enter, with the application and a copy of the package for the system's Python."""
    if os.geteuid() != 0 or PRELOAD:
        pytest.skip("needs root, and a Python without a preloaded sanitizer")
    found = subprocess.run([PYTHON, "-c", "import sysconfig; print(sysconfig.get_config_var('SOABI'), sysconfig.get_path('platlib'))"],
                           capture_output=True, text=True, check=True).stdout.split()
    theirs = subprocess.run([SYSTEM_PYTHON, "-c", "import sysconfig; print(sysconfig.get_config_var('SOABI'))"], capture_output=True, text=True)
    if theirs.stdout.strip() != found[0]:
        pytest.skip("the system's Python is of another version")
    place = Path("/tmp") / f"barkeep-open-{os.getpid()}"
    place.mkdir(mode=0o755)
    shutil.copytree(Path(found[1]) / "barkeep", place / "lib/barkeep")
    (place / "app.py").write_text(APP)
    yield place
    shutil.rmtree(place)


def as_user(place, *options, **more):
    return Server("app:application", "--python", SYSTEM_PYTHON, *options, cwd=place, env={"PYTHONPATH": place / "lib", "BARKEEP_USER": None}, **more)


@needs_root
def test_a_tls_key_that_workers_cannot_read(open_place, tmp_path):
    """The master reads it as root; the workers are somebody else from the start."""
    certificate, key = Authority(tmp_path).pair("main")
    key.chmod(0o600)
    server = as_user(open_place, "--user", "nobody", "--certfile", certificate, "--keyfile", key).start()
    try:
        with server.connect(tls=trusting()) as conn:
            assert conn.get("/").json()["uids"][0] == pwd.getpwnam("nobody").pw_uid
        server.check()
    finally:
        server.kill()


@needs_root
def test_workers_become_the_user(open_place):
    nobody = pwd.getpwnam("nobody")
    server = as_user(open_place, "--user", "nobody", "--umask", "027").start()
    try:
        seen = server.get("/").json()
        assert seen["uids"] == [nobody.pw_uid] * 3 and seen["gids"] == [nobody.pw_gid] * 3
        assert seen["groups"] == sorted(set(os.getgrouplist("nobody", nobody.pw_gid)))
        assert seen["env"] == {"HOME": nobody.pw_dir, "USER": "nobody", "LOGNAME": "nobody"}
        assert seen["umask"] == 0o27 and seen["cwd"] == str(open_place)
        assert os.stat(f"/proc/{server.process.pid}").st_uid == 0  # the master stays root
        server.check()
    finally:
        server.kill()


@needs_root
def test_a_group_alone_and_no_supplementary_groups(open_place):
    server = as_user(open_place, "--user", "nobody", "--group", "daemon", "--no-initgroups").start()
    try:
        seen = server.get("/").json()
        assert seen["gids"] == [1] * 3 and seen["groups"] == [1]
        server.check()
    finally:
        server.kill()


@needs_root
def test_the_user_owns_unix_sockets(open_place):
    server = as_user(open_place, "--user", "nobody", "--socket-mode", "600", bind="unix:web.sock").start()
    try:
        facts = (open_place / "web.sock").stat()
        assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (pwd.getpwnam("nobody").pw_uid, 0o600)
        assert "unix:web.sock (0600 nobody:nogroup)" in server.describe()
        server.check()
    finally:
        server.kill()


@needs_root
def test_an_owner_for_sockets_alone(serve, place):
    serve("app:application", "--socket-owner", "nobody:daemon", cwd=place, bind="unix:web.sock")
    facts = (place / "web.sock").stat()
    assert (facts.st_uid, facts.st_gid) == (pwd.getpwnam("nobody").pw_uid, 1)


@needs_root
def test_what_keeps_the_user_out_is_named(master, tmp_path):
    tmp_path.chmod(0o700)
    master.launch("--user", "nobody", "--log-format", "short")
    assert master.ended() == 2
    assert "the workers' user nobody:nogroup may not " in master.err and "[venv-permission]" in master.err
    assert " is root:root 07" in master.err


def test_limits_reach_the_worker(serve, place):
    server = serve("app:application", "--rlimit", "nofile=300:400", "--rlimit", "core=0", "--nice", "3", "--no-new-privs",
                   "--umask", "077", cwd=place)
    seen = server.get("/").json()
    assert (seen["nofile"], seen["core"]) == ([300, 400], [0, 0])
    assert seen["nice"] == os.nice(0) + 3 and seen["no_new_privs"] == "1" and seen["umask"] == 0o77


def test_workers_take_cpus_in_turn(serve, place):
    mine = sorted(os.sched_getaffinity(0))
    server = serve("app:application", "--cpu-affinity", "1", cwd=place, workers=3)
    seen = set()
    procs.until(lambda: seen.add(tuple(server.get("/").json()["cpus"])) or len(seen) == min(3, len(mine)), 15, "every CPU")
    assert seen <= {(cpu,) for cpu in mine}


def test_root_is_warned_of(master):
    master.start("--log-format", "short", env={"BARKEEP_USER": ""})
    assert master.stop() == 0
    assert ("warning: the application runs as root [root-user]" in master.err) == (os.geteuid() == 0)


# ---- the pid file --------------------------------------------------------------------------------------------------

def test_pid_file(master):
    master.start("--pid", "run.pid")
    assert (master.cwd / "run.pid").read_text() == f"{master.pid}\n"
    again = subprocess.run([*master.process.args], cwd=master.cwd, env=master.environment(), capture_output=True, text=True, timeout=60)
    assert again.returncode == 1 and f"run.pid is held by a process that runs: pid {master.pid} [pid-taken]" in again.stderr
    assert (master.cwd / "run.pid").read_text() == f"{master.pid}\n"
    assert master.stop() == 0
    assert not (master.cwd / "run.pid").exists()


def test_a_stale_pid_file_is_taken_over(master):
    (master.cwd / "run.pid").write_text("1\nsomething long that is cut off\n")  # pid 1 lives, and holds nothing
    master.start("-p", "run.pid")
    assert (master.cwd / "run.pid").read_text() == f"{master.pid}\n"
    assert master.stop() == 0


def test_a_pid_file_of_somebody_else_stays(master):
    master.start("-p", "run.pid")
    (master.cwd / "run.pid").unlink()
    (master.cwd / "run.pid").write_text("4711\n")
    assert master.stop() == 0
    assert (master.cwd / "run.pid").read_text() == "4711\n"


def test_a_pid_file_that_cannot_be_written(master):
    master.launch("-p", "nowhere/run.pid", "--log-format", "short")
    assert master.ended() == 1
    assert "cannot write the pid file nowhere/run.pid: no such file or directory [pid-file]" in master.err
