"""What is written, where, in which shape, and that writing it never holds a request."""
import base64
import fcntl
import json
import os
import re
import signal
import socket

import pytest
from harness import procs, request, until

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def test_error_log_lines_have_time_pid_and_level(serve):
    server = serve("everything")
    first = server.log.splitlines()[0]
    assert re.fullmatch(rf"{ISO} barkeep\[{server.pid}\] info: barkeep \S+ serving everything:application \(WSGI\) on http://127\.0\.0\.1:\d+", first)


def test_no_access_log_by_default_but_5xx(serve):
    server = serve("wsgi_cases:mount")
    server.get("/list_of_one")
    server.get("/nothing/at/all")
    server.get("/raise_in_call")
    server.wait_log(r"\[app-raised\]")
    server.stop()
    assert "/list_of_one" not in server.log + server.out


def test_access_log_to_standard_output(serve):
    server = serve("everything", "--access-logfile", "-")
    server.get("/hello?x=1", fields=["User-Agent: tester", "Referer: http://before/"])
    server.wait_log(r"/hello", stream="out")
    line = next(line for line in server.out.splitlines() if "/hello" in line)
    assert re.fullmatch(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /hello\?x=1 HTTP/1\.1" 200 13 "http://before/" "tester"', line)


def test_access_log_to_a_file(serve, tmp_path):
    path = tmp_path / "access.log"
    server = serve("everything", "--access-logfile", path)
    for _ in range(10):
        server.get("/hello")
    until(lambda: len(lines_of(path)) == 10, 10, "ten lines")


@pytest.mark.parametrize("atom, pattern", [
    ("%(h)s", r"127\.0\.0\.1"), ("%(l)s", "-"), ("%(u)s", "-"), ("%(r)s", r"POST /echo\?a=b HTTP/1\.1"), ("%(m)s", "POST"), ("%(U)s", "/echo"),
    ("%(q)s", "a=b"), ("%(H)s", r"HTTP/1\.1"), ("%(s)s", "200"), ("%(B)s", "5"), ("%(b)s", "5"), ("%(f)s", "ref"), ("%(a)s", "agent"),
    ("%(T)s", r"\d+"), ("%(M)s", r"\d+"), ("%(D)s", r"\d+"), ("%(L)s", r"\d+\.\d{6}"), ("%(p)s", r"<?\d+>?"), ("%({x-a}i)s", "in"),
    ("%({content-type}o)s", "text/plain"), ("%({wsgi.url_scheme}e)s", "http"), ("%({missing}i)s", "-"), ("%%%(m)s", "%POST"), ("%(t)s", r"\[.*\]"),
])
def test_atoms(shared, atom, pattern):
    server = shared("everything:application", "--access-logfile", "-", "--access-logformat", f"atom <<{atom}>>")
    before = server.out.count("atom <<")
    server.get("/echo?a=b", "POST", ["X-A: in", "User-Agent: agent", "Referer: ref"], body=b"hello")
    server.wait_log(r"atom <<(.*)>>", stream="out", count=before + 1)
    value = re.findall(r"atom <<(.*)>>", server.out)[-1]
    assert re.fullmatch(pattern, value), value


@pytest.mark.parametrize("credentials, shown", [
    ("bob:secret", "bob"), (":secret", "-"), ("secret", "-"), ("a b:secret", r"a\x20b"), ('x" 200\n:secret', r"x\x22\x20200\x0a"),
    ("é:secret", r"\xc3\xa9"), ("n" * 300 + ":secret", "n" * 128),
])
def test_user_of_basic_credentials(shared, credentials, shown):
    server = shared("everything:application", "--access-logfile", "-", "--access-logformat", "user <<%(u)s>>")
    before = server.out.count("user <<")
    coded = base64.b64encode(credentials.encode()).decode()
    server.get("/hello", fields=[f"Authorization: Basic {coded}"])
    server.wait_log(r"user <<(.*)>>", stream="out", count=before + 1)
    assert re.findall(r"user <<(.*)>>", server.out)[-1] == shown
    assert "secret" not in server.out + server.log


def test_json_preset(serve):
    server = serve("everything", "--access-logfile", "-", "--access-logformat", "json")
    server.get('/hello?q="x', fields=['User-Agent: a"b\\c', "Authorization: Basic Ym9iOnB3"])
    line = json.loads(server.wait_log(r"\{.*\}", stream="out")[0])
    assert line["user"] == "bob" and "Ym9iOnB3" not in json.dumps(line)
    assert line["status"] == 200 and line["method"] == "GET" and "/hello" in json.dumps(line)


def test_json_error_log(serve):
    server = serve("wsgi_cases:mount", "--log-format", "json", wait=False)
    found = server.wait_log(r"\{.*serving.*http://127\.0\.0\.1:(\d+).*\}")
    server.addresses = [("127.0.0.1", int(found[1]))]
    server.get("/raise_in_call")
    server.wait_log(r"app-raised")
    server.stop()
    records = [json.loads(line) for line in server.log.splitlines()]
    assert any(record.get("key") == "app-raised" and "Traceback" in json.dumps(record) or "raise_in_call" in json.dumps(record) for record in records)


def test_error_log_to_a_file(serve, tmp_path):
    path = tmp_path / "error.log"
    server = serve("everything", "--error-logfile", path, wait=False)
    until(lambda: any("serving" in line for line in lines_of(path)), 20, "the start line in the file")
    server.addresses = []
    assert server.stop() == 0


@pytest.mark.parametrize("level, said", [("info", True), ("warning", False), ("error", False)])
def test_level(serve, level, said):
    server = serve("everything", "--log-level", level, wait=False)
    until(lambda: procs.children(server.pid) and server.workers(), 20, "a worker")
    if said:
        server.wait_log("serving")
    server.stop()
    assert ("serving" in server.log) == said


def test_usr1_reopens(serve, tmp_path):
    """Log rotation: the old name's file ends, a new one begins, no line is lost."""
    path = tmp_path / "access.log"
    server = serve("everything", "--access-logfile", path)
    for _ in range(5):
        server.get("/hello")
    until(lambda: len(lines_of(path)) == 5, 10, "five lines")
    path.rename(tmp_path / "old.log")
    os.kill(server.pid, signal.SIGUSR1)
    until(path.exists, 10, "the new file")
    for _ in range(7):
        server.get("/hello")
    until(lambda: len(lines_of(path)) == 7, 10, "seven lines")
    assert len(lines_of(tmp_path / "old.log")) == 5


def test_usr1_to_workers_does_nothing(serve):
    server = serve("everything")
    worker = server.worker()
    os.kill(worker, signal.SIGUSR1)
    assert server.get("/hello").status == 200
    assert server.worker() == worker


def test_lines_stay_whole_with_many_workers(serve, tmp_path):
    path = tmp_path / "access.log"
    server = serve("everything", "--access-logfile", path, "--access-logformat", "begin %(U)s %({x-a}i)s end", workers=4)
    conns = [server.connect() for _ in range(16)]
    for _ in range(50):
        for conn in conns:
            conn.send(request("/hello", fields=["X-A: " + "v" * 500]))
        for conn in conns:
            conn.response()
    for conn in conns:
        conn.close()
    until(lambda: len(lines_of(path)) == 800, 20, "800 lines")
    assert set(lines_of(path)) == {"begin /hello " + "v" * 500 + " end"}


def test_kill_9_loses_no_finished_line(serve, tmp_path):
    """Records live in a ring the master reads: what a worker finished is written even if the worker is killed at once."""
    path = tmp_path / "access.log"
    server = serve("everything", "--access-logfile", path)
    worker = server.worker()
    with server.connect() as conn:
        for _ in range(100):
            conn.get("/hello")
        os.kill(worker, signal.SIGKILL)
    until(lambda: len(lines_of(path)) >= 99, 10, "the lines of the killed worker")


def test_a_full_pipe_never_holds_a_request(serve, tmp_path):
    """Nobody reads the access log's pipe: requests go on, the lines that found no room are counted."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    keep = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(keep, 1031, 4096)  # F_SETPIPE_SZ
    try:
        server = serve("everything", "--access-logfile", fifo)
        with server.connect() as conn:
            for _ in range(20_000 // (10 if procs.SLOW > 1 else 1)):  # one that is held runs into the connection's timeout
                assert conn.get("/hello").status == 200
        assert server.stop() == 0
    finally:
        os.close(keep)


def test_syslog(serve, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        syslog.settimeout(20)
        server = serve("everything", "--access-logfile", "syslog", "--log-syslog-to", f"unix:{tmp_path}/log", "--log-syslog-facility", "local3")
        server.get("/hello")
        datagram = syslog.recv(8192).decode()
    assert re.match(r"<158>", datagram), "local3.info"
    assert "barkeep" in datagram and "GET /hello" in datagram


def test_application_output_passes_through(serve):
    server = serve("everything")
    server.get("/print?text=seen")
    server.wait_log(r"seen\n", stream="out")
    server.wait_log(r"seen\n", stream="err")


def test_application_output_is_line_buffered(serve):
    """print() shows at once though standard output is a pipe."""
    server = serve("everything")
    with server.connect() as conn:
        conn.send(request("/print?text=now"))
        conn.response()
        server.wait_log(r"now\n", stream="out", seconds=2)


@pytest.mark.parametrize("secret", ["Authorization: Basic c2VjcmV0OnNlY3JldA==", "Cookie: session=c2VjcmV0"])
def test_secrets_are_not_logged(serve, secret):
    server = serve("wsgi_cases:mount", "--log-level", "debug", "--access-logfile", "-")
    server.get("/raise_in_call", fields=[secret])
    server.wait_log(r"\[app-raised\]")
    assert "c2VjcmV0" not in server.log + server.out


def test_the_log_says_how_a_worker_died(serve):
    server = serve("everything")
    server.expected_alarm = "Fatal Python error|AddressSanitizer"
    worker = server.worker()
    os.kill(worker, signal.SIGSEGV)
    server.wait_log(rf"worker 1 \(pid {worker}\).*SIG(SEGV|ABRT)")


def test_bad_log_file_is_an_error_at_start(serve):
    server = serve("everything", "--access-logfile", "no/such/directory/access.log", wait=False)
    server.expected_exit = {1, 2}
    assert server.ended(10) in (1, 2)
    assert "error: cannot open the log" in server.log and "[log-file]" in server.log
