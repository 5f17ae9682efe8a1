"""Requests that take too long (--slow-request, --timeout), loops that do not turn, processes that stand still: what the log
says, what becomes of the worker and of the requests beside."""
import os
import re
import signal
import time

import pytest
from harness import procs, until
from harness.procs import SLOW
from harness.server import PRELOAD
from harness.wire import request
from test_hup import Client

T = 0.6 * SLOW  # --timeout of most tests

no_greenlets = pytest.mark.skipif(bool(PRELOAD), reason="greenlets and the address sanitizer do not go together")
PASSED = r"error: request \S+ GET /{}\S* passed --timeout \S+ s, "


def start(serve, *options, app="stuck", timeout=T, slow="0", workers=1, **more):
    return serve(app, "--timeout", f"{timeout:g}", "--slow-request", slow, *options, workers=workers, **more)


def ask(server, target):
    """A request under way; its connection."""
    conn = server.connect(timeout=60 * SLOW)
    conn.send(request(target))
    return conn


def lines_below(server, pattern):
    """The first line that matches and the lines that belong to it."""
    server.wait_log(pattern, 20)
    found = re.search(pattern + r".*\n(?:  .*\n)*", server.log)
    return found[0]


def ended(conn):
    """The connection was closed without an answer."""
    try:
        return conn.recv_all() == b""
    except OSError:
        return True


def replaced(server, old, workers=1):
    until(lambda: len(server.workers()) == workers and old not in server.workers(), 30, "another worker in its place")
    server.note_baseline()


# ---- threads -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", ["spin", "sleep", "hold"])
def test_a_stuck_request_is_named_and_its_worker_replaced(serve, way):
    server = start(serve, "--threads", 2)
    old, conn = server.worker(), ask(server, f"/{way}")
    said = lines_below(server, PASSED.format(way))
    assert "worker 1 has no other requests and is replaced [request-timeout]" in said
    assert re.search(r"\n  after \d+\.\d s, \d\d+ bytes in, 0 bytes out, client 127\.0\.0\.1\n", said)
    assert re.search(r'thread [12]:\n(?:    .*\n)*    File "stuck\.py", line \d+,? in application\n', said), said
    if way != "sleep":
        assert re.search(rf'File "stuck\.py", line \d+,? in {way}\n', said), said
    assert "barkeep/" not in said and "threading.py" not in said
    replaced(server, old)
    assert ended(conn)
    assert server.get("/").status == 200
    server.expected_alarm = r".*worker-stuck.*"


def test_other_requests_are_finished_first(serve):
    server = start(serve, "--threads", 4, timeout=2 * SLOW)
    old, stuck = server.worker(), ask(server, "/naps?60")
    time.sleep(1.2 * SLOW)
    others = [ask(server, f"/sleep?{1.5 * SLOW}") for _ in range(2)]
    said = lines_below(server, PASSED.format("naps"))
    assert "worker 1 drains its 2 other requests, then is replaced" in said
    assert said.count("in application") == 2, "threads at the same place are shown together"
    for conn in others:
        assert conn.response().status == 200
    assert ended(stuck)
    replaced(server, old)


def test_a_running_stream_is_not_timed(serve):
    server = start(serve, "--threads", 2)
    old = server.worker()
    assert server.get(f"/stream?{3 * T}", timeout=60).body == b"begun\ndone\n"
    assert server.worker() == old and "request-timeout" not in server.log


def test_log_only(serve):
    server = start(serve, "--timeout-policy", "log")
    old, conn = server.worker(), ask(server, f"/sleep?{3 * T}")
    said = lines_below(server, PASSED.format("sleep"))
    assert "worker 1 goes on with it [request-timeout]" in said
    assert conn.response().status == 200 and server.worker() == old
    assert server.log.count("[request-timeout]") == 1


@pytest.mark.parametrize("options", [("--threads", "2"), ("-k", "sync")], ids=["threads", "sync"])
@pytest.mark.parametrize("way", ["spin", "naps"])
def test_raise_ends_the_request_alone(serve, options, way):
    server = start(serve, "--timeout-policy", "raise", *options)
    old = server.worker()
    with ask(server, f"/{way}") as conn:
        answer = conn.response()
        assert answer.status == 504 and "request" in answer.text
        conn.send(request("/"))
        assert conn.response().status == 200
    said = lines_below(server, r"error: RequestTimeout in the application, worker 1, request \S+ GET /")
    assert f"in {way}" in said and "[request-timeout]" in said
    assert server.worker() == old


def test_an_exception_for_one_request_never_hits_the_next(serve):
    """Requests end just when the exception is raised."""
    server = start(serve, "--timeout-policy", "raise", "--threads", 2, timeout=0.2)
    statuses = set()
    with server.connect(timeout=60) as conn:
        for i in range(60):
            conn.send(request(f"/naps?{0.15 + i * 0.003}"))
            statuses.add(conn.response().status)
            for _ in range(3):
                conn.send(request("/"))
                assert conn.response().status == 200
    assert statuses <= {200, 504}


def test_raise_that_has_no_effect_ends_in_a_replacement(serve):
    server = start(serve, "--timeout-policy", "raise", "--threads", 2)
    old, conn = server.worker(), ask(server, "/swallow")
    server.wait_log(r"GET /swallow did not end at its RequestTimeout, worker 1 is replaced \[request-timeout\]", 30)
    assert ended(conn)
    replaced(server, old)


def test_every_thread_stuck(serve):
    """The other worker serves meanwhile."""
    server = start(serve, "--threads", 2, workers=2)
    stuck = [ask(server, "/sleep") for _ in range(2)]
    time.sleep(0.2)
    for _ in range(20):
        assert server.get("/", timeout=30).status == 200
    server.wait_log(r"passed --timeout", 20, count=2)
    for conn in stuck:
        assert ended(conn)
    until(lambda: len(server.workers()) == 2, 30, "two workers")
    server.note_baseline()
    assert server.get("/").status == 200


def test_only_one_in_the_run_of_a_loaded_worker_is_lost(serve):
    """Clients on other connections see no failure while their worker is replaced for a stuck request."""
    server = start(serve, "--threads", 4, workers=2, timeout=1.0 * SLOW)
    clients = [Client(server.address) for _ in range(4)]
    try:
        assert ended(ask(server, "/naps"))
        until(lambda: len(server.workers()) == 2, 30, "two workers")
    finally:
        for client in clients:
            client.finish()
    assert [client.failures for client in clients] == [[]] * 4
    assert sum(len(client.answers) for client in clients) > 50
    server.note_baseline()


# ---- slow requests -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", ["spin", "sleep", "hold"])
def test_a_slow_request_is_named_while_it_runs(serve, way):
    server = start(serve, "--threads", 2, timeout=60, slow=f"{0.4 * SLOW:g}")
    conn = ask(server, f"/{way}?{2.5 * SLOW}")
    said = lines_below(server, rf"warning: request \S+ GET /{way}\?\S+ runs for \d+\.\d s in worker 1 thread [12] \[request-slow\]")
    assert not conn.readable(0)
    assert re.search(r'File "stuck\.py", line \d+,? in application\n', said), said
    assert "thread 1:" not in said and "thread 2:" not in said, "the stack of that thread alone"
    assert conn.response().status == 200
    conn.close()
    server.get("/")
    assert server.log.count("[request-slow]") == 1


def test_at_most_one_slow_line_a_second(serve):
    server = start(serve, "--threads", 8, timeout=60, slow="0.3")
    began = time.monotonic()
    conns = [ask(server, "/sleep?1.8") for _ in range(8)]
    for conn in conns:
        assert conn.response().status == 200
    stacks = [line for line in server.log.splitlines() if " runs for " in line]
    assert 1 <= len(stacks) <= 2 + (time.monotonic() - began)
    for conn in conns:
        conn.close()


# ---- loops ---------------------------------------------------------------------------------------------------------

@no_greenlets
def test_gevent_greenlets(serve):
    pytest.importorskip("gevent")
    server = start(serve, "-k", "gevent", timeout=2 * SLOW)
    old, stuck = server.worker(), ask(server, "/naps")
    time.sleep(1 * SLOW)
    others = [ask(server, f"/naps?{1.5 * SLOW}") for _ in range(2)]
    said = lines_below(server, PASSED.format("naps"))
    assert "worker 1 drains its 2 other requests, then is replaced" in said
    assert re.search(r'greenlet:\n(?:    .*\n)*    File "stuck\.py", line \d+, in naps\n', said), said
    for conn in others:
        assert conn.response().status == 200
    assert ended(stuck)
    replaced(server, old)
    assert server.get("/").status == 200


@no_greenlets
def test_gevent_raises_in_the_greenlet(serve):
    pytest.importorskip("gevent")
    server = start(serve, "-k", "gevent", "--timeout-policy", "raise")
    old = server.worker()
    with ask(server, "/naps") as conn:
        assert conn.response().status == 504
    assert server.get("/").status == 200 and server.worker() == old


@no_greenlets
@pytest.mark.parametrize("way", ["spin", "hold"])
def test_a_stuck_gevent_hub(serve, way):
    pytest.importorskip("gevent")
    server = start(serve, "-k", "gevent")
    old, conn = server.worker(), ask(server, f"/{way}")
    said = lines_below(server, PASSED.format(way))
    assert f"in {way}" in said
    replaced(server, old)
    assert ended(conn)
    assert server.get("/").status == 200
    server.expected_alarm = r".*worker-stuck.*"


def test_asgi_is_only_logged(serve):
    server = start(serve, app="stuck:asgi", slow=f"{T / 2:g}")
    old, conn = server.worker(), ask(server, f"/wait?{3 * T}")
    slow = lines_below(server, r"warning: request \S+ GET /wait\S* runs for \d+\.\d s in worker 1 \[request-slow\]")
    assert "in wait_for_nothing" in slow and "in deeper" in slow
    said = lines_below(server, PASSED.format("wait"))
    assert "worker 1 goes on with it" in said and re.search(r"task:\n(?:    .*\n)*    .* in deeper\n", said)
    assert conn.response().status == 200 and server.worker() == old


def test_asgi_raise_cancels_the_task(serve):
    server = start(serve, "--timeout-policy", "raise", app="stuck:asgi")
    old = server.worker()
    with ask(server, "/wait") as conn:
        assert conn.response().status == 504
        conn.send(request("/"))
        assert conn.response().status == 200
    assert server.worker() == old


def test_asgi_streams_are_not_timed(serve):
    server = start(serve, "--timeout-policy", "replace", app="stuck:asgi")
    old = server.worker()
    assert server.get(f"/stream?{2.5 * T}", timeout=60).status == 200
    assert server.worker() == old and "request-timeout" not in server.log


def test_a_stuck_loop_without_a_request(serve):
    """A callback of the application keeps the loop and the GIL: no request is late, and nobody is served."""
    server = start(serve, app="stuck:asgi")
    old = server.worker()
    assert server.get("/later").status == 200
    said = lines_below(server, r"error: the loop of worker 1 has not turned for \d+\.\d s, it is replaced \[loop-stuck\]")
    assert re.search(r'File "stuck\.py", line \d+,? in hold', said), said
    replaced(server, old)
    assert server.get("/").status == 200
    server.expected_alarm = r".*worker-stuck.*"


# ---- processes that stand still ------------------------------------------------------------------------------------

@pytest.mark.slow
def test_a_stopped_worker_is_replaced_when_it_stays_so(serve):
    server = start(serve, "--threads", 2, workers=2)
    old = server.workers()
    procs.freeze(old[0])
    for _ in range(10):
        assert server.get("/", timeout=30).status == 200, "the other one serves"
    server.wait_log(r"error: worker 1 \(pid \d+\) has not moved for \S+ s, it is stopped; it is killed when its successor is ready "
                    r"\[worker-frozen\]", 30)
    replaced(server, old[0], 2)
    assert not procs.alive(old[0]) and old[1] in server.workers()


@pytest.mark.slow
def test_a_worker_that_was_stopped_for_a_while_goes_on(serve):
    server = start(serve, "--threads", 2, timeout=20 * SLOW)
    pid = server.worker()
    conn = ask(server, "/sleep?1")
    procs.freeze(pid)
    time.sleep(6)
    os.kill(pid, signal.SIGCONT)
    assert conn.response().status == 200 and server.worker() == pid
    assert "worker-frozen" not in server.log


def test_a_request_that_was_only_logged_is_waited_for_at_the_end(serve):
    server = start(serve, "--threads", 4, "--timeout-policy", "log", "--graceful-timeout", 60, timeout=0.3)
    conn = ask(server, "/sleep?2")
    server.wait_log(PASSED.format("sleep"), 20)
    assert server.get("/").status == 200
    server.process.send_signal(signal.SIGTERM)
    assert conn.response().status == 200
    assert server.ended() == 0


@pytest.mark.slow
def test_a_long_import_shows_where_it_is(serve, tmp_path):
    (tmp_path / "long.py").write_text("import time\ndef load():\n    time.sleep(33)\nload()\nfrom stuck import application\n")
    server = serve("long", cwd=tmp_path, env={"PYTHONPATH": os.path.dirname(__file__) + "/apps"}, wait=False)
    said = server.wait_log(r"warning: worker 1 still imports the application, for 3\d s \[startup-slow\]\n(  .*\n)+", 60)
    assert 'File "long.py", line 3, in load' in said[0]
    server.await_ready()


def test_a_worker_killed_in_mid_request(serve):
    """Its own requests are lost, and said to be; nobody else's."""
    server = start(serve, "--threads", 2, workers=2, timeout=60)
    conn = ask(server, "/sleep?60")
    until(lambda: any("busy" in procs.title(pid) for pid in server.workers()), 20, "the request to run")
    [victim] = [pid for pid in server.workers() if "busy" in procs.title(pid)]
    clients = [Client(server.address) for _ in range(2)]
    try:
        # Connections of these clients may be the victim's: only what comes after it has to be served.
        os.kill(victim, signal.SIGKILL)
        server.wait_log(rf"error: worker \d \(pid {victim}\) died: signal 9 \(SIGKILL\) after .*, in GET /sleep for .*\[worker-died\]", 20)
        assert ended(conn)
        replaced(server, victim, 2)
    finally:
        for client in clients:
            client.over.set()
            client.join()
    lost = [failure for client in clients for failure in client.failures]
    assert len(lost) <= 2, lost
    assert server.get("/").status == 200
