"""Connections spread evenly over the workers, and a worker that cannot take one does not get one (pitfalls 4, 41)."""
import os
import signal
import time
from collections import Counter

import pytest
from harness import procs, request, until


@pytest.fixture
def server(serve):
    """Four workers, all of which turn their loop by now."""
    server = serve("everything", workers=4)
    until(lambda: all(procs.waits_in_epoll(pid) for pid in server.workers()), 10, "all workers to wait for connections")
    return server


def spread(server, conns):
    """Connections per worker; each is asked once who serves it, and all stay open."""
    counts = Counter({pid: 0 for pid in server.workers()})
    for conn in conns:
        counts[int(conn.response().body)] += 1
    return counts


def close_all(conns):
    for conn in conns:
        conn.close()


@pytest.mark.timing
def test_paced_connections(server):
    conns = []
    for _ in range(400):
        conn = server.connect()
        conn.send(request("/pid"))
        conns.append(conn)
        time.sleep(0.001)
    counts = spread(server, conns)
    close_all(conns)
    assert len(counts) == 4
    assert max(counts.values()) / max(1, min(counts.values())) <= 1.3, counts


@pytest.mark.parametrize("pause", [0.02, 0.08])
def test_slowly_paced_connections(server, pause):
    """Arrivals so rare that every worker sleeps in between, as from a proxy that warms up its pool."""
    conns = []
    for _ in range(48):
        conns.append(server.connect())
        conns[-1].send(request("/pid"))
        time.sleep(pause)
    counts = spread(server, conns)
    close_all(conns)
    assert max(counts.values()) <= 2 * max(1, min(counts.values())), counts


@pytest.mark.timing
def test_burst(server):
    conns = [server.connect() for _ in range(400)]
    for conn in conns:
        conn.send(request("/pid"))
    counts = spread(server, conns)
    close_all(conns)
    assert max(counts.values()) / max(1, min(counts.values())) <= 2, counts


def test_each_worker_serves(server):
    """Also with the sanitizers' slowness: nobody is left out."""
    conns = []
    for _ in range(80):
        conn = server.connect()
        conn.send(request("/pid"))
        conns.append(conn)
    counts = spread(server, conns)
    close_all(conns)
    assert min(counts.values()) > 0, counts


def test_new_connections_avoid_the_loaded_worker(server):
    """After one worker's connections were closed the next ones go there."""
    conns = []
    for _ in range(200):
        conn = server.connect()
        conn.send(request("/pid"))
        conns.append(conn)
    owners = [(int(conn.response().body), conn) for conn in conns]
    emptied = owners[0][0]
    for pid, conn in owners:
        if pid == emptied:
            conn.close()
    until(lambda: len(procs.sockets(emptied)) < 20, 10, "the closed connections to be gone")
    fresh, counts = [], Counter()
    for _ in range(40):
        conn = server.connect()
        counts[int(conn.get("/pid").body)] += 1
        fresh.append(conn)
    close_all(fresh + [conn for pid, conn in owners if pid != emptied])
    assert counts[emptied] >= 20, counts


@pytest.mark.timing
def test_frozen_least_loaded_worker(server):
    """SIGSTOP the worker that would be chosen next: 100 new connections are answered within 100 ms each."""
    conns = []
    for _ in range(40):
        conn = server.connect()
        conn.send(request("/pid"))
        conns.append(conn)
    counts = spread(server, conns)
    frozen = min(counts, key=counts.get)
    procs.freeze(frozen)
    until(lambda: procs.state(frozen) == "T", 5, "the worker to be stopped")
    try:
        slow = []
        for _ in range(100):
            started = time.monotonic()
            with server.connect() as conn:
                assert int(conn.get("/pid").body) != frozen
            slow.append(time.monotonic() - started)
        assert max(slow) < 0.1, sorted(slow)[-5:]
    finally:
        os.kill(frozen, signal.SIGCONT)
        close_all(conns)


def test_frozen_worker_loses_nobody(server):
    """The same without the clock: every connection is answered while one worker is stopped."""
    frozen = server.workers()[0]
    procs.freeze(frozen)
    try:
        for _ in range(60):
            assert server.get("/hello", timeout=5).status == 200
    finally:
        os.kill(frozen, signal.SIGCONT)


@pytest.mark.timing
def test_busy_worker_gets_no_new_connection(server):
    """A worker whose one application thread is busy is not given connections while others are free."""
    with server.connect() as busy:
        busy.send(request("/sleep?s=2"))
        server.wait_log(r"sleeping", stream="out")
        for _ in range(60):
            started = time.monotonic()
            assert server.get("/hello").status == 200
            assert time.monotonic() - started < 0.2
        busy.reset()


def test_all_busy_still_accepts(serve):
    """When every worker is busy, new connections wait for one of them and are served."""
    server = serve("everything", workers=2)
    busy = [server.connect() for _ in range(2)]
    for number, conn in enumerate(busy, 1):
        conn.send(request("/sleep?s=1"))
        server.wait_log(r"sleeping", stream="out", count=number)
    assert server.get("/hello").status == 200
    for conn in busy:
        assert conn.response().body == b"slept"
        conn.close()
