"""barkeepctl and the control socket: every command with its outcome, who may ask, and clients that behave badly."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness import get, until
from harness.procs import SLOW
from harness.server import PYTHON
from harness.terminal import Terminal
from harness.tools import BARKEEPCTL, ctl, stats

APP = '''
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"VERSION"]
'''


@pytest.fixture
def place(tmp_path):
    write(tmp_path, "one")
    return tmp_path


@pytest.fixture
def controlled(serve, place):
    def start(*options, **more):
        return serve("controlled:application", *options, cwd=place, **more)
    return start


def write(place, version, broken=""):
    """Versions differ in length: a cached .pyc is valid while size and second of the file are the same."""
    beside = place / "controlled.new"
    beside.write_text(broken + APP.replace("VERSION", version))
    beside.replace(place / "controlled.py")


def socket_name(server):
    return f"\0barkeep/{os.getuid()}/{server.pid}"


def settle(server, workers):
    """There are so many workers now, on purpose: the harness compares with this at the end."""
    server.workers_wanted = workers
    server.note_baseline()


def raw(server, line):
    """What the control socket says to these bytes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20 * SLOW)
        sock.connect(socket_name(server))
        with contextlib.suppress(ConnectionError):
            sock.sendall(line)
        data = b""
        with contextlib.suppress(ConnectionError):
            while more := sock.recv(65536):
                data += more
        return data.decode()


# ---- looking ---------------------------------------------------------------------------------------------------------

def test_status_says_what_runs(controlled):
    server = controlled("--threads", "2", workers=2)
    for _ in range(3):
        get(server.address, "/")
    until(lambda: stats(server)["totals"]["requests"] == 3, 10, "the requests")
    done = ctl(server, "status")
    assert done.returncode == 0 and done.stderr == ""
    assert re.match(r"controlled:application \(WSGI\), barkeep \S+, python \S+\npid \d+, running for ", done.stdout)
    assert f"listens on http://127.0.0.1:{server.port}, 0 of " in done.stdout
    assert "3 requests, 0 errors of the application" in done.stdout
    for pid in server.workers():
        assert re.search(rf"^ +\d  idle +{pid} ", done.stdout, re.M)


def test_status_as_json_is_the_whole_report(controlled):
    server = controlled()
    report = stats(server)
    assert report["schema"] == 1 and report["pid"] == server.pid and len(report["workers"]) == 1


def test_config_shows_each_setting_with_its_origin(controlled):
    server = controlled("--threads", "3", "--env", "SECRET=hidden")
    text = ctl(server, "config").stdout
    assert re.search(r"^threads = 3 +# command line$", text, re.M)
    assert re.search(r"^keep_alive = 620 +# default$", text, re.M)
    assert "SECRET" in text and "hidden" not in text


def test_top_once_has_rates_and_running_requests(controlled):
    server = controlled(workers=2)
    over = threading.Event()

    def load():
        while not over.is_set():
            get(server.address, "/")

    threads = [threading.Thread(target=load), threading.Thread(target=get, args=(server.address, "/sleep?8"))]
    for thread in threads:
        thread.start()
    try:
        until(lambda: stats(server)["totals"]["running"] >= 1, 10, "a running request")
        done = ctl(server, "top", "--once")
        frame = json.loads(ctl(server, "top", "--once", "--json", "--interval", "0.5").stdout)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert done.returncode == 0
    assert re.search(r"requests [1-9][\d,.]*/s  errors 0/s", done.stdout)
    assert re.search(r"GET /sleep$", done.stdout, re.M)
    assert re.search(r"latency  p50 \d[\d.]* [um]?s", done.stdout)
    assert frame["requests_per_second"] > 0 and len(frame["workers"]) == 2 and frame["latency_p50"] > 0
    assert "/sleep" in [request["path"] for request in frame["current"]]
    assert sum(worker["requests_per_second"] for worker in frame["workers"]) == pytest.approx(frame["requests_per_second"], rel=0.01)


def test_top_draws_a_screen_of_80_by_24(controlled):
    server = controlled(workers=4)
    with Terminal("--pid", server.pid, "top", "--interval", "0.3", cwd="/", command=BARKEEPCTL,
                  env={"TERM": "xterm", "LANG": "C.UTF-8"}) as terminal:
        terminal.wait_text(r"(?s)\x1b\[H.*\x1b\[J.*\x1b\[H.*\x1b\[J.*\x1b\[H")  # two whole frames
        frames = re.findall(r"(?s)\x1b\[H(.*?)\x1b\[J", terminal.text)
        terminal.type("q")
        assert terminal.ended() == 0
    assert "\x1b[?1049h" in terminal.text and terminal.text.endswith("\x1b[?25h\x1b[?1049l")
    for frame in frames:
        lines = frame.replace("\x1b[K", "").rstrip("\n").split("\n")
        assert len(lines) <= 23 and max(map(len, lines)) <= 80, frame
        assert lines[0].startswith("controlled:application (WSGI)  pid ") and "WORKER STATE" in frame


def test_top_gives_the_terminal_back_when_it_is_interrupted_or_the_server_ends(controlled):
    server = controlled()
    with Terminal("--pid", server.pid, "top", "--interval", "0.2", cwd="/", command=BARKEEPCTL, env={"TERM": "xterm"}) as terminal:
        terminal.wait_text(r"WORKER STATE")
        server.stop()
        assert terminal.ended() == 1
        assert terminal.text.rstrip().endswith("[control-answer]") and "\x1b[?1049l" in terminal.text


def test_bytes_of_clients_do_not_reach_the_terminal(controlled):
    server = controlled()
    with socket.create_connection(server.address) as sock:
        sock.sendall(b"GET /sleep\xc2\x9b31m?3 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)
        for words in (("status",), ("top", "--once")):
            assert all(c in "\n" or c.isprintable() for c in ctl(server, *words).stdout)


# ---- acting ----------------------------------------------------------------------------------------------------------

def test_reload_waits_for_the_new_version(controlled, place):
    server = controlled(workers=2)
    write(place, "two two")
    done = ctl(server, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"reloaded in [\d.]+ m?s: generation 2, 2 workers\n", done.stdout)
    assert get(server.address, "/").body == b"two two"


def test_reload_of_broken_code_says_why_and_what_still_serves(controlled, place):
    server = controlled()
    write(place, "two two", broken="def x(:\n")
    done = ctl(server, "reload")
    assert done.returncode == 1 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "barkeepctl: error: not reloaded: the new code does not import [reload-refused]"
    assert re.search(r"SyntaxError", lines[1]) and "line 1" in lines[1] and lines[1].startswith("  ")
    assert re.fullmatch(r"  still serving generation 1 \(since \d\d:\d\d\), 1 worker", lines[-1])
    assert get(server.address, "/").body == b"one"
    write(place, "three three")
    done = ctl(server, "reload")
    assert done.returncode == 0 and "generation 3" in done.stdout
    assert get(server.address, "/").body == b"three three"


def test_each_of_many_reloads_gets_an_outcome(controlled):
    server = controlled()
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(subprocess.Popen([BARKEEPCTL, "--pid", str(server.pid), "reload"], stdout=subprocess.PIPE,
                                                        text=True, env=server.env)) for _ in range(5)]
        answers = [process.communicate(timeout=60 * SLOW)[0] for process in running]
        assert [process.returncode for process in running] == [0] * 5
    assert all(answer.startswith("reloaded in ") for answer in answers)


def test_who_asked_for_a_reload_may_go_away(controlled, place):
    server = controlled()
    write(place, "later", broken="import time; time.sleep(1)\n")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(socket_name(server))
        sock.sendall(b"barkeepctl 1 reload\n")
    server.wait_log(r"barkeepctl: reloaded in")
    assert get(server.address, "/").body == b"later"


def test_stop_waits_for_the_end_and_finishes_requests(controlled):
    server = controlled()
    answers = []
    slow = threading.Thread(target=lambda: answers.append(get(server.address, "/sleep?1")))
    slow.start()
    until(lambda: stats(server)["totals"]["running"] == 1, 10, "a running request")
    done = ctl(server, "stop")
    slow.join()
    assert done.returncode == 0 and done.stdout == "stopped: 1 requests, 0 errors\n"
    assert answers[0].status == 200
    assert server.ended() == 0


def test_stop_now_does_not_wait_for_requests(controlled):
    server = controlled()
    with socket.create_connection(server.address) as sock:
        sock.sendall(b"GET /sleep?60 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: stats(server)["totals"]["running"] == 1, 10, "a running request")
        assert ctl(server, "stop", "now").returncode == 0
    server.ended()


def test_scale_to_a_number_and_by_a_number(controlled):
    server = controlled()
    assert ctl(server, "scale", "3").stdout == "3 workers instead of 1\n"
    until(lambda: len(server.workers()) == 3, 20, "three workers")
    assert ctl(server, "scale", "-2").stdout == "1 worker instead of 3\n"
    until(lambda: len(server.workers()) == 1, 20, "one worker")
    assert ctl(server, "scale", "+1").stdout == "2 workers instead of 1\n"
    assert ctl(server, "scale", "2").stdout == "2 workers, as before\n"
    until(lambda: len(server.workers()) == 2, 20, "two workers")
    for words in (("0",), ("-5",), ("9999",), ("many",), ("1", "2"), ("",)):
        done = ctl(server, "scale", *words)
        assert done.returncode == 2 and "[control-command]" in done.stderr, words
    until(lambda: not stats(server)["leaving"], 20, "the end of those who leave")
    settle(server, 2)


def test_worker_kill_and_drain_bring_another_one(controlled):
    server = controlled(workers=2)
    first, second = server.workers()
    assert ctl(server, "worker", "1", "kill").stdout == f"worker 1 (pid {first}) was killed; another one starts\n"
    until(lambda: len(server.workers()) == 2 and first not in server.workers(), 20, "another first worker")
    assert "drains" in ctl(server, "worker", "2", "drain").stdout
    until(lambda: len(server.workers()) == 2 and second not in server.workers(), 20, "another second worker")
    assert [worker["restarts"] for worker in stats(server)["workers"]] == [{"asked": 1}, {"asked": 1}]
    for words in (("3", "kill"), ("0", "drain"), ("x", "kill"), ("1", "shout"), ("1",)):
        done = ctl(server, "worker", *words)
        assert done.returncode in (1, 2) and "[control-" in done.stderr, words


def test_log_level_takes_effect_at_once_and_for_later_workers(controlled):
    server = controlled()
    assert ctl(server, "log", "level", "warning").stdout == "log level is warning\n"
    said = len(server.log)
    assert ctl(server, "scale", "2").returncode == 0
    until(lambda: len(server.workers()) == 2, 20, "two workers")
    assert server.log[said:] == ""
    assert ctl(server, "log", "level", "loud").returncode == 2
    assert re.search(r"log_level = .warning. +# barkeepctl", ctl(server, "config").stdout)
    settle(server, 2)


def test_log_reopen_after_a_rotation(controlled, place):
    server = controlled("--access-logfile", "access.log")
    get(server.address, "/")
    until(lambda: (place / "access.log").exists() and (place / "access.log").read_text(), 10, "a line")
    (place / "access.log").rename(place / "access.log.1")
    assert ctl(server, "log", "reopen").returncode == 0
    until(lambda: (place / "access.log").exists(), 10, "the new file")
    get(server.address, "/")
    until(lambda: (place / "access.log").read_text().count("\n") == 1, 10, "a line in the new file")


# ---- which server ----------------------------------------------------------------------------------------------------

def test_name_and_pid_choose_among_several(controlled):
    one, two = controlled("--name", "shop"), controlled("--name", "blog")
    done = ctl(one, "status", "--json", "--name", "blog", pid=False)
    assert json.loads(done.stdout)["pid"] == two.pid
    done = ctl(one, "status", pid=False)  # others may run on this machine, but these two do
    assert done.returncode == 2 and "[control-several]" in done.stderr
    assert f"pid {one.pid}: shop on http://127.0.0.1:{one.port}" in done.stderr
    assert f"pid {two.pid}: blog on http://127.0.0.1:{two.port}" in done.stderr
    done = ctl(one, "status", "--name", "bakery", pid=False)
    assert done.returncode == 1 and "with the name 'bakery' was found" in done.stderr


def test_none_is_said_to_be_none(controlled):
    server = controlled("--no-control-socket")
    done = ctl(server, "status")
    assert done.returncode == 1 and f"no server with the pid {server.pid} was found" in done.stderr
    assert "[control-none]" in done.stderr


@pytest.mark.parametrize("words, key", [(["dance"], "control-command"), (["--loud", "status"], "option-unknown"), (["scale"], "control-command"),
                                        (["--pid", "x", "status"], "option-value"), (["status", "too", "many"], "control-command"),
                                        (["--interval", "0", "top"], "option-value"), (["reload", "a b"], "control-command")])
def test_mistakes_on_the_command_line(words, key):
    done = subprocess.run([BARKEEPCTL, *words], capture_output=True, text=True)
    assert done.returncode == 2 and f"[{key}]" in done.stderr and done.stderr.startswith("barkeepctl: error: ")


def test_help_and_version():
    text = subprocess.run([BARKEEPCTL, "--help"], capture_output=True, text=True, check=True).stdout
    for word in ("status", "top", "reload", "stop", "scale", "worker", "log", "config", "--pid", "--name"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120
    assert subprocess.run([BARKEEPCTL], capture_output=True).returncode == 2
    assert subprocess.run([BARKEEPCTL, "--version"], capture_output=True, text=True).stdout.startswith("barkeepctl ")


# ---- the socket ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line", ["barkeepctl 1 dance\n", "barkeepctl 1 \n", "barkeepctl 2 status\n", "hello\n", "\n",
                                  "barkeepctl 1 reload\0now\n", "barkeepctl 1 " + "a " * 100 + "\n", "x" * 5000,
                                  "barkeepctl 1 worker 1 kill extra\n", "barkeepctl 1 scale 99999999999999999999\n"])
def test_each_line_gets_an_answer(shared, line):
    server = shared("everything:application")
    head, _, text = raw(server, line.encode()).partition("\n")
    if len(line) < 4096:  # a longer one may see a reset
        assert re.fullmatch(r"barkeep 1 [12] control-\w+", head) and text.endswith("\n")
    assert ctl(server, "status").returncode == 0


def test_silent_and_many_clients_do_not_shut_out_others(controlled):
    server = controlled()
    held = []
    try:
        for number in range(100):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(socket_name(server))
            if number % 2:
                sock.sendall(b"barkeepctl 1 stats json\n")  # and never reads
            held.append(sock)
        assert ctl(server, "status").returncode == 0
        assert ctl(server, "reload").returncode == 0
        assert len(os.listdir(f"/proc/{server.pid}/fd")) < 80
    finally:
        for sock in held:
            sock.close()


@pytest.mark.root
def test_another_user_is_turned_away(controlled):
    server = controlled()
    code = ("import contextlib, os, socket\nos.setuid(1)\ns = socket.socket(socket.AF_UNIX)\ns.connect(%r)\n"
            "with contextlib.suppress(BrokenPipeError):\n    s.sendall(b'barkeepctl 1 stop\\n')\nprint(s.recv(1000))"
            % socket_name(server))
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, cwd="/")
    assert "control-foreign" in done.stdout and "another user" in done.stdout, done.stderr
    assert get(server.address, "/").status == 200


def test_an_impostor_is_not_believed(controlled, tmp_path):
    """Anybody may take an abstract name; barkeepctl talks to its own user and to root only."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = f"barkeep/{os.getuid()}/4194300"
    code = f"import os, socket, time\nos.setuid(1)\ns = socket.socket(socket.AF_UNIX); s.bind('\\0{name}'); s.listen(); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE, cwd="/") as impostor:
        try:
            impostor.stdout.readline()
            done = subprocess.run([BARKEEPCTL, "--pid", "4194300", "reload"], capture_output=True, text=True, timeout=20)
            assert done.returncode == 1 and "ot permitted" in done.stderr
        finally:
            impostor.kill()


@pytest.mark.root
def test_a_process_of_another_pid_namespace_may_look_but_not_act(controlled):
    server = controlled()
    if not shutil.which("unshare") or subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("no pid namespaces here")
    # The server is the one inside: it cannot see our pid.
    server.stop()
    inner = controlled(command=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", str(Path(PYTHON).parent / "barkeep")], wait=False)
    inner.wait_log("serving")
    [name] = [line.split("@", 1)[1].strip() for line in open("/proc/net/unix")
              if re.search(rf" 00010000 .* @barkeep/{os.getuid()}/1$", line.rstrip())][-1:]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + name)
        sock.sendall(b"barkeepctl 1 stop\n")
        assert sock.recv(1000).decode().startswith("barkeep 1 1 control-foreign\n")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + name)
        sock.sendall(b"barkeepctl 1 stats json\n")
        assert sock.makefile("rb").read().startswith(b"barkeep 1 0\n{")
    inner.baseline = None
    for pid in inner.members():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    inner.expected_exit = {-9, 137, 1}


def test_a_taken_name_is_never_fatal(controlled, place):
    """In a container that shares the network another may have the same pid; here somebody has taken all names."""

    code = ("import os, socket, sys\nkept = []\nfor end in ('', *(f'.{i}' for i in range(1, 9))):\n"
            "    s = socket.socket(socket.AF_UNIX); s.bind('\\0barkeep/%d/%d%s' % (os.getuid(), os.getpid(), end)); os.set_inheritable(s.fileno(), True); kept.append(s)\n"
            "os.execv(sys.argv[1], sys.argv[1:])")
    server = controlled(command=[PYTHON, "-c", code, str(Path(PYTHON).parent / "barkeep")], close_fds=True)
    assert get(server.address, "/").status == 200
    assert ctl(server, "status").returncode == 1


