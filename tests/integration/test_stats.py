"""Statistics: what --stats gives to whom, that counters survive a respawn, and that nobody who asks can slow the master."""
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from harness import Conn, get, until
from harness.procs import SLOW
from harness.server import PYTHON, with_greenlets
from harness.terminal import Terminal
from harness.tools import connect, ctl, fetch, read_all, stats_address

APP = '''
import threading, time
go = threading.Event()

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hold":
        go.wait(60)
    elif path == "/go":
        go.set()
    elif path == "/raise":
        raise ValueError("as asked")
    elif path == "/read":
        environ["wsgi.input"].read()
    elif path == "/sleep":
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("404 Not Found" if path == "/no" else "200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
'''
JSON = ("--stats", "127.0.0.1:0")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "watched.py").write_text(APP)
    return tmp_path


@pytest.fixture
def watched(serve, place):
    def start(*options, **more):
        return serve("watched:application", *options, cwd=place, **more)
    return start


def look(server):
    return json.loads(fetch(stats_address(server), "/json")[2])


def numbers(server, key):
    return [worker[key] for worker in look(server)["workers"]]


def in_background(server, path):
    """A request whose answer nobody waits for yet."""
    conn = Conn(server.address)
    conn.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return conn


# ---- what is told ----------------------------------------------------------------------------------------------------

def test_counts_are_those_of_the_requests(watched):
    server = watched(*JSON, "--threads", "2")
    for path in ("/", "/", "/no", "/raise"):
        get(server.address, path)
    until(lambda: look(server)["totals"]["requests"] == 4, 10, "four requests")
    report = look(server)
    totals, [worker] = report["totals"], report["workers"]
    assert totals["statuses"] == {"200": 2, "404": 1, "500": 1}
    assert totals["errors_app"] == 1 and totals["responses_5xx"] == 1
    assert totals["latency"]["count"] == 4 and sum(count for _, count in totals["latency"]["buckets"]) == 4
    assert 0 < totals["latency"]["p50"] <= totals["latency"]["p99"] <= totals["latency"]["max"]
    assert totals["queue_wait"]["count"] == 4
    assert totals["bytes_in"] > 4 * 20 and totals["bytes_out"] > 4 * 20
    assert worker["requests"] == 4 and worker["requests_of_process"] == 4 and worker["pid"] == server.worker()
    assert sum(thread["requests"] for thread in worker["threads"]) == 4 and len(worker["threads"]) == 2
    assert sum(thread["errors"] for thread in worker["threads"]) == 1
    assert sum(thread["bytes_out"] for thread in worker["threads"]) > 4 * 20
    assert 0 < worker["busy"] < 60
    assert worker["rss"] > 1 << 20 and worker["vsz"] > worker["rss"]
    assert report["schema"] == 1 and report["pid"] == server.pid and report["phase"] == "running"
    assert report["app"] == "watched:application" and report["uid"] == os.getuid()


def test_a_request_that_runs_is_shown_without_its_query(watched):
    server = watched(*JSON)
    conn = in_background(server, "/hold?token=secret")
    until(lambda: look(server)["totals"]["running"] == 1, 10, "a running request")
    report = look(server)
    [worker] = report["workers"]
    [current] = worker["current"]
    assert (current["method"], current["path"], current["step"]) == ("GET", "/hold", "application")
    assert current["age"] >= 0 and current["client"] == "127.0.0.1:%d" % conn.sock.getsockname()[1]
    assert worker["state"] == "busy"
    assert [thread["state"] for thread in worker["threads"]].count("busy") == 1
    assert "secret" not in json.dumps(report)
    get(server.address, "/go")
    assert conn.response().status == 200
    until(lambda: look(server)["totals"]["running"] == 0, 10, "the end of the request")
    assert look(server)["workers"][0]["current"] == []


def test_who_waits_for_its_client_is_told_apart(watched):
    server = watched(*JSON, "--no-request-buffering")
    conn = Conn(server.address)
    conn.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    until(lambda: [c["step"] for w in look(server)["workers"] for c in w["current"]] == ["waits for the body"], 10,
          "the step of the request")
    conn.send(b"cd")
    assert conn.response().status == 200


def test_behind_a_trusted_proxy_the_client_is_who_it_says(watched):
    server = watched(*JSON)
    conn = Conn(server.address)
    start = time.time() - 0.25
    conn.send(b"GET /hold HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1, 203.0.113.9\r\n"
              + f"X-Request-Start: t={start:.3f}\r\n\r\n".encode())
    until(lambda: [c["client"] for w in look(server)["workers"] for c in w["current"]] == ["203.0.113.9"], 10, "the client")
    waited = look(server)["totals"]["proxy_wait"]
    assert waited["count"] == 1 and 0.2 < waited["sum"] < 60
    get(server.address, "/go")
    conn.response()


@pytest.mark.parametrize("value", ["", "t=", "x", "t=99999999999999999999", "-5", "t=1.2.3", "9" * 400, "t=4000000000"])
def test_nonsense_in_x_request_start_is_ignored(shared, value):
    server = shared("everything:application", *JSON)
    conn = Conn(server.address)
    conn.send(f"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Start: {value}\r\n\r\n".encode())
    conn.response()
    assert look(server)["totals"]["proxy_wait"]["count"] == 0


def test_more_requests_than_are_shown_are_counted(watched):
    server = watched(*JSON, "--threads", "80")
    conns = [in_background(server, "/hold") for _ in range(75)]
    until(lambda: look(server)["totals"]["running"] == 75, 20, "75 running requests")
    [worker] = look(server)["workers"]
    assert len(worker["current"]) == 64 and len(worker["threads"]) == 64
    get(server.address, "/go")
    for conn in conns:
        assert conn.response().status == 200
    until(lambda: look(server)["totals"]["running"] == 0, 10, "the end of all")
    assert look(server)["workers"][0]["current"] == []


def test_waiting_for_a_thread_is_counted_and_dropped_when_the_client_leaves(watched):
    server = watched(*JSON, "-k", "sync")
    first = in_background(server, "/sleep?1.5")
    until(lambda: look(server)["totals"]["running"] == 1, 10, "a running request")
    second, third = in_background(server, "/"), in_background(server, "/")
    until(lambda: look(server)["totals"]["queued"] == 2, 10, "two waiting requests")
    third.reset()
    assert first.response().status == second.response().status == 200
    until(lambda: look(server)["totals"]["dropped"] == 1, 10, "a dropped request")
    assert look(server)["totals"]["requests"] == 2
    assert look(server)["totals"]["queue_wait"]["max"] > 0.3


def test_connections_that_nobody_took_are_counted(watched, place):
    """All workers are stopped: what comes now stays with the kernel."""
    server = watched(*JSON, bind=["127.0.0.1:0", "unix:web.sock"])
    os.kill(server.worker(), signal.SIGSTOP)
    held = []
    try:
        for address in (server.address, str(place / "web.sock")):
            held += [connect(address) for _ in range(3)]
        for sock in held:  # a listener may wait for the first byte
            sock.sendall(b"G")
        tcp, unix = look(server)["listeners"]
        until(lambda: look(server)["listeners"][0]["backlog"] == 3, 10, "three connections in the TCP backlog")
        if "backlog" in unix:  # the kernel may lack unix_diag
            assert unix["backlog"] == 3
        assert tcp["backlog_limit"] > 3
    finally:
        os.kill(server.worker(), signal.SIGCONT)
        for sock in held:
            sock.close()


# ---- counters outlive processes --------------------------------------------------------------------------------------

def test_counters_survive_a_crash_and_never_go_back(watched):
    server = watched(*JSON)
    seen, over = [], threading.Event()

    def watch():
        while not over.is_set():
            seen.append(look(server)["totals"]["requests"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for crash in range(3):
            for _ in range(20):
                get(server.address, "/")
            until(lambda: look(server)["totals"]["requests"] == 20 * (crash + 1), 10, "the requests")
            old = server.worker()
            os.kill(old, signal.SIGKILL)
            until(lambda: server.workers() and server.worker() != old, 20, "another worker")
    finally:
        over.set()
        watcher.join()
    assert seen == sorted(seen)
    until(lambda: look(server)["workers"][0]["starts"] == 4, 10, "the fourth process")
    report = look(server)
    [worker] = report["workers"]
    assert worker["requests"] == report["totals"]["requests"] == 60 and worker["requests_of_process"] == 0
    assert worker["restarts"] == {"crash": 3}
    assert report["totals"]["statuses"] == {"200": 60} and report["totals"]["latency"]["count"] == 60


def test_reloads_and_fewer_workers_are_counted_by_reason(watched):
    server = watched(*JSON, workers=2)
    get(server.address, "/")
    server.signal(signal.SIGHUP)
    server.wait_log("reloaded in")
    until(lambda: numbers(server, "restarts") == [{"reload": 1}, {"reload": 1}], 20, "two replaced workers")
    server.signal(signal.SIGTTOU)
    until(lambda: len(look(server)["workers"]) == 1 and not look(server)["leaving"], 20, "one worker")
    assert look(server)["totals"]["requests"] == 1  # also of the number that is no longer wanted
    assert look(server)["generation"] == 2
    assert look(server)["reload"]["result"] == "reloaded"
    server.workers_wanted = 1


def test_a_bad_reload_is_told(watched, place):
    server = watched(*JSON)
    (place / "watched.py").write_text("def application(:\n")
    server.signal(signal.SIGHUP)
    server.wait_log("reload-refused")
    until(lambda: look(server)["reload"], 10, "the outcome")
    assert look(server)["reload"]["result"].startswith("refused: SyntaxError") and look(server)["generation"] == 1
    until(lambda: look(server)["workers"][0]["restarts"] == {"boot": 1}, 10, "the end of the process that tried")


# ---- forms -----------------------------------------------------------------------------------------------------------

def test_the_text_comes_without_a_word_from_the_client(watched):
    server = watched(*JSON)
    report = json.loads(read_all(stats_address(server)))
    assert report["schema"] == 1


def test_nothing_to_say_and_no_more_to_come_is_enough(watched):
    server = watched(*JSON)
    with connect(stats_address(server)) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert json.loads(sock.makefile("rb").read())["schema"] == 1


def test_http_pages(watched):
    server = watched(*JSON)
    address = stats_address(server)
    status, fields, body = fetch(address)
    assert status == 200 and fields["content-type"] == "application/json" and int(fields["content-length"]) == len(body)
    assert json.loads(body)["schema"] == 1
    assert json.loads(fetch(address, "/uwsgi?x=1")[2])["workers"][0]["id"] == 1
    assert fetch(address, "/metrics", "HEAD")[::2] == (200, b"")
    assert fetch(address, "/nothing")[0] == 404
    assert fetch(address, "/", "POST")[0] == 405
    assert read_all(address, b"GET / HTTP/1.1\r\nX: " + b"a" * 8000).startswith(b"HTTP/1.1 431 ")
    assert read_all(address, b"GET / HTTP/1.0\n\n").startswith(b"HTTP/1.1 200 ")


def test_a_request_in_pieces_is_http_all_the_same(watched):
    server = watched(*JSON)
    with connect(stats_address(server)) as sock:
        for piece in (b"G", b"ET /met", b"rics HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n"):
            time.sleep(0.05)
            sock.sendall(piece)
        assert b"barkeep_requests_total" in sock.makefile("rb").read()


@pytest.mark.parametrize("where", ["unix:stats.sock", "unix:@barkeep-test-stats"])
def test_unix_sockets(watched, place, where):
    server = watched("--stats", f"{where}-{os.getpid()}" if "@" in where else where)
    assert json.loads(read_all(stats_address(server)))["schema"] == 1
    assert server.stop() == 0
    assert not (place / "stats.sock").exists()


def test_prometheus_text_is_what_its_parser_takes(watched):
    from prometheus_client.parser import text_string_to_metric_families
    server = watched(*JSON, "--stats-format", "prometheus", "--threads", "2", workers=2)
    for _ in range(5):
        get(server.address, "/")
    get(server.address, "/no")
    until(lambda: look(server)["totals"]["requests"] == 6, 10, "the requests")
    status, fields, body = fetch(stats_address(server), "/metrics")
    assert fields["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert read_all(stats_address(server)).startswith(b"# HELP barkeep_info")
    assert {family.type for family in families.values()} == {"gauge", "counter", "histogram"}
    assert all(family.samples and family.documentation for family in families.values()), "a family without samples"
    requests = families["barkeep_requests"].samples
    assert {sample.labels["worker"] for sample in requests} == {"1", "2"} and sum(s.value for s in requests) == 6
    assert {s.labels["status"]: s.value for s in families["barkeep_responses"].samples} == {"200": 5, "404": 1}
    histogram = families["barkeep_request_duration_seconds"].samples
    bounds = [(float(s.labels["le"]), s.value) for s in histogram if s.name.endswith("_bucket")]
    assert bounds == sorted(bounds) and bounds[-1] == (float("inf"), 6)
    assert [s.value for s in histogram if s.name.endswith("_count")] == [6]
    [info] = families["barkeep_info"].samples
    assert info.labels["app"] == "watched:application"


def test_uwsgi_json_has_the_fields_that_its_readers_want(watched):
    server = watched(*JSON, "--stats-format", "uwsgi", "--threads", "2", workers=2)
    conn = in_background(server, "/sleep?3")
    until(lambda: look(server)["totals"]["running"] == 1, 10, "a running request")
    report = json.loads(read_all(stats_address(server)))
    for key in ("listen_queue", "listen_queue_errors", "signal_queue", "load", "pid", "uid", "gid"):
        assert isinstance(report[key], int), key
    assert isinstance(report["version"], str) and isinstance(report["cwd"], str) and report["locks"] == []
    assert {"name", "proto", "queue", "max_queue", "shared", "can_offload"} == set(report["sockets"][0])
    assert len(report["workers"]) == 2
    for worker in report["workers"]:
        for key in ("id", "pid", "accepting", "requests", "delta_requests", "exceptions", "harakiri_count", "signals",
                    "signal_queue", "rss", "vsz", "uss", "pss", "running_time", "last_spawn", "respawn_count", "tx", "avg_rt"):
            assert isinstance(worker[key], int), key
        assert len(worker["apps"]) == 1 and len(worker["cores"]) == 2
        for core in worker["cores"]:
            for key in ("id", "requests", "static_requests", "routed_requests", "offloaded_requests", "write_errors",
                        "read_errors", "in_request"):
                assert isinstance(core[key], int), key
    assert sorted(worker["status"] for worker in report["workers"]) == ["busy", "idle"]
    [core] = [core for worker in report["workers"] for core in worker["cores"] if core["in_request"]]
    assert core["vars"] == ["REQUEST_METHOD=GET", "REQUEST_URI=/sleep", ""]
    assert abs(core["req_info"]["request_start"] - time.time()) < 60 * SLOW
    conn.response()


def test_uwsgitop_itself_runs_against_it(watched, place):
    server = watched("--stats", "unix:stats.sock", "--stats-format", "uwsgi", workers=2)
    for _ in range(7):
        get(server.address, "/")
    command = Path(PYTHON).parent / "uwsgitop"
    with Terminal("--frequency", "1", place / "stats.sock", cwd=place, command=command, env={"TERM": "xterm"}) as terminal:
        shown = terminal.wait_text(r"uwsgi-\S+ - .* - req: (\d+)[^\n]*")
        assert int(shown[1]) == 7
        terminal.wait_text(rf"\b{server.workers()[0]}\b")
        terminal.wait_text(r"idle")
        terminal.type("q")
        terminal.ended()
    assert "Traceback" not in terminal.text


def test_statsd_gets_gunicorns_names(watched):
    lines, over = [], threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.2)

        def collect():
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    lines.extend(listener.recv(65536).decode().split("\n"))

        collector = threading.Thread(target=collect)
        collector.start()
        try:
            server = watched("--statsd-host", "127.0.0.1:%d" % listener.getsockname()[1], "--statsd-prefix", "shop.",
                             "--dogstatsd-tags", "env:test,blue")
            for _ in range(250):
                get(server.address, "/")
            get(server.address, "/raise")

            def total(name):
                found = [re.fullmatch(rf"shop\.{re.escape(name)}:(\d+)\|c\|#env:test,blue", line) for line in list(lines)]
                return sum(int(match[1]) for match in found if match)

            until(lambda: total("gunicorn.requests") == 251, 20, "all requests")
            until(lambda: total("gunicorn.log.error") >= 1, 20, "the log's errors")
            assert total("gunicorn.request.status.200") == 250 and total("gunicorn.request.status.500") == 1
            assert total("gunicorn.log.exception") == 1
            assert "shop.gunicorn.workers:1|g|#env:test,blue" in lines
            assert any(re.fullmatch(r"shop\.gunicorn\.backlog:\d+\|ms\|#env:test,blue", line) for line in lines)
            weight = 0
            for line in list(lines):
                if match := re.fullmatch(r"shop\.gunicorn\.request\.duration:([\d.]+)\|ms(?:\|@([\d.]+))?\|#env:test,blue", line):
                    weight += 1 / float(match[2] or 1)
            assert abs(weight - 251) < 1
        finally:
            over.set()
            collector.join()


def test_a_statsd_that_is_not_there_is_said_once_and_harms_nobody(watched):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = watched("--statsd-host", f"127.0.0.1:{port}")
    server.wait_log(r"statsd-address")
    assert get(server.address, "/").status == 200
    assert len(re.findall("statsd-address", server.log)) == 1


# ---- bad settings ----------------------------------------------------------------------------------------------------

def test_an_address_that_is_taken_ends_the_start(serve, place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = serve("watched:application", "--stats", "127.0.0.1:%d" % taken.getsockname()[1], cwd=place, wait=False)
        server.expected_exit = {1}
        server.ended()
    assert re.search(r"error: cannot listen on --stats '127\.0\.0\.1:\d+': .* \[stats-address\]", server.log)


@pytest.mark.parametrize("options", [("--stats", "127.0.0.1:99999"), ("--statsd-host", "a:b:c"), ("--stats-format", "xml")])
def test_values_that_cannot_be_are_refused(serve, place, options):
    server = serve("watched:application", *options, cwd=place, wait=False)
    server.expected_exit = {2}
    server.ended()
    assert "[option-value]" in server.log


def test_an_address_for_everybody_is_warned_of(watched):
    server = watched("--stats", "0.0.0.0:0")
    server.wait_log(r"can be reached from other machines.* \[stats-public\]")


# ---- hostile clients -------------------------------------------------------------------------------------------------

def test_a_thousand_clients_that_never_read_or_never_ask(watched):
    """They come as fast as they can; supervision and honest clients go on all the while."""
    server = watched(*JSON, workers=2)
    address = stats_address(server)
    held = []
    try:
        for number in range(1000):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(10 * SLOW)
            sock.connect(address)
            if number % 3 == 0:
                sock.sendall(b"GET / HTTP/1.1\r\n")  # half a request
            elif number % 3 == 1:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")  # and does not read the answer
            held.append(sock)
            if number % 250 == 200:
                assert look(server)["schema"] == 1
                old = set(server.workers())
                os.kill(server.workers()[0], signal.SIGKILL)
                until(lambda old=old: len(server.workers()) == 2 and set(server.workers()) != old, 20, "another worker")
        fds = len(os.listdir(f"/proc/{server.pid}/fd"))
        assert fds < 64 + 40, "clients are bounded"
        assert ctl(server, "status").returncode == 0
        assert get(server.address, "/").status == 200
    finally:
        for sock in held:
            sock.close()
    assert json.loads(fetch(address)[2])["schema"] == 1


def test_a_client_that_says_nothing_useful_is_let_go(watched):
    """A visit takes ten seconds at most; here half a request."""
    server = watched(*JSON)
    with connect(stats_address(server), 30) as sock:
        sock.sendall(b"GET / HT")
        assert sock.recv(10) == b""


@pytest.mark.parametrize("garbage", [b"\0" * 100 + b"\n", b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" + os.urandom(200) + b"\n",
                                     b"A" * 100000, b"\r\n\r\n", b"HEAD"])
def test_garbage_gets_an_answer_or_the_door(shared, garbage):
    server = shared("everything:application", *JSON)
    with contextlib.suppress(ConnectionError):
        with connect(stats_address(server)) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(garbage)
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
    assert look(server)["schema"] == 1


def test_out_of_descriptors_the_desk_rests_instead_of_spinning(watched):
    import resource

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    server = watched(*JSON, preexec=few)
    held = []
    try:
        for _ in range(60):
            sock = socket.socket()
            sock.settimeout(5)
            sock.connect(stats_address(server))
            held.append(sock)
        before = cpu_of_master(server)
        time.sleep(1)
        assert cpu_of_master(server) - before < 0.5
    finally:
        for sock in held:
            sock.close()
    assert get(server.address, "/").status == 200
    until(lambda: look_or_none(server), 20, "the statistics again")


def look_or_none(server):
    try:
        return look(server)
    except (OSError, AttributeError, TypeError, ValueError):
        return None


def cpu_of_master(server):
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_stats_need_no_worker(watched):
    """All workers are stopped: the master answers from shared memory."""
    server = watched(*JSON, workers=2)
    get(server.address, "/")
    until(lambda: look(server)["totals"]["requests"] == 1, 10, "the request")
    pids = server.workers()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        report = look(server)
        assert report["totals"]["requests"] == 1 and [w["pid"] for w in report["workers"]] == pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@with_greenlets
def test_stats_of_the_other_classes(serve):
    server = serve("everything:application", *JSON, "-k", "gevent")
    conn = in_background(server, "/")
    conn.response()
    until(lambda: look(server)["totals"]["requests"] == 1, 10, "the request")
    [worker] = look(server)["workers"]
    assert [thread["requests"] for thread in worker["threads"]] == [1] and worker["busy"] > 0

