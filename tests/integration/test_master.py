"""The master alone, with a fake worker: start, what a worker inherits, deaths. What the real worker does is tested elsewhere."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import procs
from harness.master import master  # noqa: F401
from harness.procs import SLOW, until  # noqa: F401
from harness.server import PYTHON


def test_start_and_stop_lines(master):
    master.start("--log-format", "short")
    master.await_log("ready in")
    assert master.stop() == 0
    lines = master.err.splitlines()
    assert re.fullmatch(r"barkeep \S+ serving fake:boot\.py \(WSGI\) on http://127\.0\.0\.1:\d+", lines[0])
    assert re.fullmatch(r"  python 3\.11\.7 (in|at) \S+, 1 worker, ready in \d+(\.\d)? m?s", lines[1])
    assert lines[2:] == ["stopped: 0 requests, 0 errors"]


def test_iso_lines_on_a_pipe(master):
    master.start(workers=2)
    assert master.stop() == 0
    head = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z barkeep\[{master.pid}\] info: "
    texts = [re.fullmatch(head + "(.*)", line)[1] for line in master.err.splitlines()]
    assert re.fullmatch(r"barkeep \S+ serving fake:boot\.py \(WSGI\) on http://127\.0\.0\.1:\d+", texts[0])
    assert re.fullmatch(r"2 workers; python 3\.11\.7 (in|at) \S+", texts[1])
    assert texts[2] == "stopped: 0 requests, 0 errors"


def test_json_is_one_object_a_line(master):
    master.script(all={"fail": "the app broke\nTraceback:\n  File \"x\""})
    master.launch("--log-format", "json")
    assert master.ended() == 4
    [record] = [json.loads(line) for line in master.err.splitlines()]
    assert record["message"] == "the app broke" and record["key"] == "app-import" and record["level"] == "error"
    assert record["detail"] == "Traceback:\n  File \"x\"" and record["pid"] == master.pid


def test_several_listeners_are_named(master):
    master.start("--bind", "unix:web.sock", "--bind", "[::1]:0")
    where = master.await_log(r"serving .* on (.*)")[1]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+, unix:web\.sock \(0660 \w+:\w+\), http://\[::1\]:\d+", where)
    [boot] = master.events("boot")
    assert [item.split()[1:] for item in boot["listeners"]][1] == ["http", "unix:web.sock"]
    assert (master.cwd / "web.sock").exists()
    assert master.stop() == 0
    assert not (master.cwd / "web.sock").exists()


def test_one_worker_starts_alone_then_the_others(master):
    master.script(all={"ready_after": 0.3})
    master.start(workers=4)
    events = master.events("boot", "ready")
    assert [event["event"] for event in events[:2]] == ["boot", "ready"]
    assert {event["worker"] for event in events} == {1, 2, 3, 4}
    # Never more at once than there are CPUs.
    at_once = most = 0
    for event in events:
        at_once += 1 if event["event"] == "boot" else -1
        most = max(most, at_once)
    assert most <= max(1, len(os.sched_getaffinity(0)))
    assert len(re.findall("serving", master.err)) == 1


def test_first_failure_ends_the_program_with_its_text_and_code(master):
    master.script(all={"fail": "barkeep: error: no module named 'ap' [app-module]\n  looked in: .\n  try: barkeep app:application\n",
                       "key": "app-module"})
    master.launch("--workers", "4")
    assert master.ended() == 4
    assert master.err == "barkeep: error: no module named 'ap' [app-module]\n  looked in: .\n  try: barkeep app:application\n"
    assert len(master.events("boot")) == 1


@pytest.mark.parametrize("how, said", [({"kill": 9}, r"signal 9 \(SIGKILL\)"), ({"exit": 7}, "exit code 7")])
def test_first_worker_dies_silently(master, how, said):
    master.script(all=how)
    master.launch()
    assert master.ended() == 3
    assert re.fullmatch(rf"barkeep: error: the first worker ended before it was ready: {said} \[worker-boot\]\n", master.err)


def test_startup_timeout(master):
    master.script(all={"ready_after": 600})
    master.launch("--startup-timeout", "0.5")
    assert master.ended() == 3
    assert master.err == "barkeep: error: the application was not ready within --startup-timeout 500 ms [startup-timeout]\n"
    assert not [event for event in master.events("boot") if procs.alive(event["pid"])]


def test_check_config(master):
    master.launch("--check-config", "--workers", "8", bind=None, env={"PORT": "12345"})
    assert master.ended() == 0
    assert re.fullmatch(
        r"ok: fake:boot\.py \(WSGI\) imports in 1\.8 s with python 3\.11\.7 (in|at) \S+\n"
        r"  bind http://\S+:12345 \(environment PORT\), workers 8 \(command line\)\n", master.lines["out"])
    [boot] = master.events("boot")
    assert boot["listeners"] == [] and boot["settings"]["check_config"] == "on"
    assert master.err == ""


def test_check_config_of_a_broken_app(master):
    master.script(all={"fail": "it broke", "key": "app-import"})
    master.launch("--check-config")
    assert master.ended() == 4
    assert master.err == "barkeep: error: it broke [app-import]\n"


def test_worker_inherits_what_is_meant_and_nothing_else(master):
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    master.start("--env", "GREETING=hello", "--bind", "unix:web.sock", "--", bind="127.0.0.1:0", app="fake:application",
                 env={"LISTEN_FDS": "1", "LISTEN_PID": "1", "NOTIFY_SOCKET": "/x"}, pass_fds=[reader])
    os.close(reader)
    os.close(writer)
    [boot] = master.events("boot")
    # 0, 1, 2, the channel, two listeners, scoreboard, log rings, their eventfd; listing costs one more.
    kinds = sorted(re.sub(r"[\[:\(\d].*", "", text) for fd, text in boot["targets"].items() if int(fd) > 2)
    assert kinds == sorted(["socket"] * 3 + ["/memfd"] * 2 + ["anon_inode"])
    assert boot["env"]["GREETING"] == "hello" and boot["env"]["SERVER_SOFTWARE"].startswith("barkeep/")
    assert not {"LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"} & set(boot["env"])
    assert boot["stdin"] == "/dev/null"
    assert int(boot["blocked"][0], 16) == 0
    assert boot["group"] == os.getpgid(master.pid)
    assert boot["settings"]["app"] == "fake:application" and boot["settings"]["workers"] == "1"
    assert boot["arguments"][1:] == ["--bind", "127.0.0.1:0", "--env", "GREETING=hello", "--bind", "unix:web.sock", "--", "fake:application"]
    assert master.stop() == 0


def test_directory_is_followed_by_name(master):
    for release in ("1", "2"):
        (master.directory / "releases" / release).mkdir(parents=True)
    current = master.directory / "current"
    current.symlink_to("releases/1")
    master.start("--chdir", "../current")
    fresh = master.directory / "fresh"
    fresh.symlink_to("releases/2")
    fresh.rename(current)
    os.kill(master.workers()[0], signal.SIGKILL)
    first, second = master.await_event("boot", 2)
    assert first["cwd"].endswith("releases/1") and second["cwd"].endswith("releases/2")
    assert Path(first["pwd"]).samefile(current)


def test_process_titles(master):
    master.start(env={"LONG": "x" * 300})
    assert procs.title(master.pid).rstrip("\0 ") == "barkeep: master [fake:application]"
    assert Path(f"/proc/{master.pid}/comm").read_text().strip() == "barkeep"
    assert b"\0FAKE_NOTES=" in Path(f"/proc/{master.pid}/environ").read_bytes()


def test_a_killed_worker_is_replaced_and_reported(master):
    master.start(workers=2)
    [victim] = [event["pid"] for event in master.events("ready") if event["worker"] == 2]
    os.kill(victim, signal.SIGKILL)
    master.await_event("ready", 3)
    assert [event["worker"] for event in master.events("ready")][2] == 2
    said = master.await_log(r"error: (worker 2 .*)")[1]
    assert re.fullmatch(rf"worker 2 \(pid {victim}\) died: signal 9 \(SIGKILL\) after \S+ m?s, no request yet, peak RSS [\d.]+ [KM]iB; "
                        r"the next one starts in 100 ms \[worker-died\]", said)
    assert master.stop() == 0


def test_pauses_grow_and_the_others_go_on(master):
    master.start(workers=2)
    master.script(w2={"exit": 9})
    [victim] = [event["pid"] for event in master.events("ready") if event["worker"] == 2]
    os.kill(victim, signal.SIGKILL)
    boots = [event for event in master.await_event("boot", 6) if event["worker"] == 2]
    gaps = [later["time"] - earlier["time"] for earlier, later in zip(boots[1:], boots[2:])]
    assert gaps[0] >= 0.19 and gaps[1] >= 0.39 and gaps[2] >= 0.79
    assert [event["worker"] for event in master.events("ready")] == [1, 2]
    assert "died before it was ready: exit code 9" in master.err
    before = cpu_seconds(master.pid)
    time.sleep(0.5)  # not synchronisation: the time over which the master must not spin
    assert cpu_seconds(master.pid) - before < 0.2
    assert master.stop() == 0


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_later_import_failures_never_end_the_master(master):
    master.start()
    master.script(all={"fail": "the new code is broken\n  File \"x\", line 1", "key": "app-import"})
    os.kill(master.workers()[0], signal.SIGKILL)
    master.await_log(r"worker 1 could not start: the new code is broken \[app-import\]\n  File", count=1)
    master.await_log(r"worker 1 could not start: the new code is broken \[app-import\]\n\d", count=1)
    master.script()
    master.await_event("ready", 2)
    assert master.stop() == 0


def test_the_interpreter_vanishes(master, tmp_path):
    python = tmp_path / "python"
    python.symlink_to(PYTHON)
    (tmp_path / "installed" / "barkeep" / "__init__.py").write_text("__version__ = '%s'\n" % master.version())
    master.start("--python", python, env={"PYTHONPATH": str(tmp_path / "installed")})
    python.unlink()
    os.kill(master.workers()[0], signal.SIGKILL)
    master.await_log(r"worker 1 could not start: cannot run \S+/python: no such file or directory \[worker-boot\]")
    python.symlink_to(PYTHON)
    master.await_event("ready", 2)
    assert master.stop() == 0


def test_orphans_are_reaped(master):
    master.script(all={"spawn": "sleep 0.2"})
    master.start()
    until(lambda: not [pid for pid in procs.tree(master.pid) if procs.title(pid).startswith("sleep") or procs.state(pid) == "Z"], 10,
          "the orphan to be reaped")
    assert master.process.poll() is None
    assert "died" not in master.err
    assert master.stop() == 0


@pytest.mark.root
def test_as_pid_1(master):
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-pf", "--mount-proc", "true"], capture_output=True).returncode:
        pytest.skip("cannot make a pid namespace here")
    master.script(all={"spawn": "sleep 0.3"})
    master.notes_file.write_text("")
    master.process = subprocess.Popen([unshare, "-pf", "--mount-proc", str(master.package / "_bin" / "barkeep"), "--bind", "127.0.0.1:0",
                                       "fake:application"], cwd=master.cwd, env=master.environment(), stdin=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True, start_new_session=True)
    master.await_event("ready")
    [inner] = procs.children(master.pid)
    until(lambda: not [pid for pid in procs.tree(inner) if procs.state(pid) == "Z" or procs.title(pid).startswith("sleep")], 10,
          "no zombies in the namespace")
    os.kill(inner, signal.SIGTERM)
    assert master.process.wait(20) == 0
    assert "stopped: 0 requests" in master.process.stderr.read()
    master.process.stderr.close()
