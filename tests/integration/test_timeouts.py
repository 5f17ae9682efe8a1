"""Every wait on a peer has an end."""
import os
import time

import pytest
from harness import procs, request, until

SECOND = 1.0 * procs.SLOW


def closes_within(conn, least, most):
    started = time.monotonic()
    raw = conn.recv_all()
    spent = time.monotonic() - started
    assert least <= spent <= most + SECOND, f"closed after {spent:.2f} s"
    return raw


def test_idle_keep_alive(serve):
    server = serve("everything", "--keep-alive", "1")
    with server.connect() as conn:
        conn.get("/hello")
        assert closes_within(conn, 0.7, 2.5) == b"", "an idle connection ends without a word"


def test_keep_alive_counts_from_the_last_answer(serve):
    server = serve("everything", "--keep-alive", "1")
    with server.connect() as conn:
        for _ in range(4):
            assert conn.get("/hello").status == 200
            time.sleep(0.5)


def test_connection_that_never_speaks(serve):
    server = serve("everything", "--header-timeout", "1", "--keep-alive", "1")
    with server.connect() as conn:
        raw = closes_within(conn, 0.7, 2.5)
        assert raw == b"" or raw.startswith(b"HTTP/1.1 408 ")


def test_slowloris(serve):
    """The deadline runs from the first byte of the head and no byte renews it."""
    server = serve("everything", "--header-timeout", "1")
    with server.connect() as conn:
        started = time.monotonic()
        conn.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        while time.monotonic() - started < 4 * SECOND:
            conn.send(b"X: y\r\n")
            if not conn.silent(0.1):
                break
        assert conn.recv_all()[:13] in (b"", b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 3.5 * SECOND


def test_slowloris_on_a_later_request(serve):
    server = serve("everything", "--header-timeout", "1")
    with server.connect() as conn:
        conn.get("/hello")
        conn.send(b"GET / HT")
        raw = closes_within(conn, 0.7, 2.5)
        assert raw == b"" or raw.startswith(b"HTTP/1.1 408 ")


def test_body_stall(serve):
    server = serve("everything", "--body-timeout", "1")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", fields=["Content-Length: 100"]) + b"x")
        raw = closes_within(conn, 0.7, 2.5)
        assert raw.startswith(b"HTTP/1.1 408 ") and b"onnection: close" in raw


def test_body_timeout_is_a_stall_not_a_total(serve):
    server = serve("everything", "--body-timeout", "1")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", fields=["Content-Length: 8"]))
        for _ in range(8):
            conn.send(b"x")
            time.sleep(0.3)
        assert conn.response().body == b"x" * 8


def test_unbuffered_body_stall(serve):
    server = serve("streaming", "--request-buffering", "off", "--body-timeout", "1")
    with server.connect() as conn:
        conn.send(request("/", "POST", fields=["Content-Length: 100"]) + b"part")
        server.wait_log(r"read raised \w+", stream="out")
        raw = conn.recv_all()
        assert not raw.startswith(b"HTTP/1.1 200")
    assert server.get("/", "POST", body=b"fine").body == b"fine"


def test_write_stall(serve):
    """A client that does not read its answer is given up; close() of the body is called."""
    server = serve("everything", "--write-timeout", "1")
    with server.connect(receive_buffer=4096) as conn:
        conn.send(request("/tracked?n=300&size=100000"))
        until(lambda: server.get("/counts").json()["closed"] == 1, 15, "close() of the body")
        assert len(conn.recv_all()) < 30_000_000


def test_write_timeout_is_a_stall_not_a_total(serve):
    server = serve("everything", "--write-timeout", "1")
    with server.connect(receive_buffer=65536) as conn:
        conn.send(request("/size?n=3000000&pieces=30"))
        got, started = 0, time.monotonic()
        while time.monotonic() - started < 3 and conn.fill(time.monotonic() + 10):
            got += len(conn.buffer)
            conn.buffer.clear()
            time.sleep(0.05)
        got += len(conn.recv_exactly(1)) if not conn.eof and got < 3_000_000 else 0
        while got < 3_000_000 and conn.fill(time.monotonic() + 10):
            got += len(conn.buffer)
            conn.buffer.clear()
        assert got >= 3_000_000


def test_the_application_is_not_timed_by_these(serve):
    server = serve("everything", "--header-timeout", "1", "--body-timeout", "1", "--write-timeout", "1", "--keep-alive", "1")
    assert server.get("/sleep?s=2.5").body == b"slept"


def test_lingering_close_ends(serve):
    """A client that is refused and never closes does not stay for ever."""
    server = serve("everything")
    with server.connect(timeout=30) as conn:
        conn.send(b"NONSENSE\r\n\r\n")
        assert conn.response().status == 400
        before = procs.established(server.port)
        assert conn.eof or conn.recv_all() == b""
        until(lambda: not procs.sockets(server.worker()) & before, 20, "the server's end to be closed")


def test_slow_requests_are_named(serve):
    server = serve("everything", "--slow-request", "0.2")
    server.get("/sleep?s=0.4")
    server.wait_log(r"GET /sleep.*\[request-slow\]|request-slow.*GET /sleep")


@pytest.mark.slow
def test_idle_worker_sleeps(serve):
    """An idle worker wakes at most a few times a second and uses no CPU to speak of."""
    server = serve("everything")
    server.get("/hello")
    pids = procs.tree(server.pid)

    def switches():
        total = 0
        for pid in pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                status = procs.read(f"/proc/{pid}/task/{task}/status").decode()
                total += int(status.split("voluntary_ctxt_switches:")[1].split()[0])
        return total

    time.sleep(1)
    before, cpu = switches(), procs.cpu_seconds(pids)
    time.sleep(4)
    assert (switches() - before) / 4 <= 8, "wake-ups a second, master and worker together"
    assert procs.cpu_seconds(pids) - cpu < 0.02 * procs.SLOW
