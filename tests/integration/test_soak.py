"""Many requests of every kind, many of them cut off: nothing grows. BARKEEP_TEST_SOAK sets the number (see tools/check.py)."""
import os
import random
import threading

import pytest
from harness import Conn, Malformed, procs, request, until
from harness.server import PRELOAD

TOTAL = int(os.environ.get("BARKEEP_TEST_SOAK", "20000"))
CHUNKED = request("/echo", "POST", ["Transfer-Encoding: chunked"])


def plain(conn, rng):
    for _ in range(20):
        assert conn.get("/hello").body == b"Hello, World!"
    return 20


def pipelined(conn, rng):
    conn.send(request("/hello") * 20)
    for _ in range(20):
        assert conn.response().status == 200
    return 20


def bodies(conn, rng):
    for _ in range(4):
        body = rng.randbytes(rng.randrange(20_000))
        assert conn.get("/echo", "POST", body=body).body == body
    return 4


def chunks(conn, rng):
    parts = [rng.randbytes(rng.randrange(1, 3000)) for _ in range(4)]
    conn.send(CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n")
    assert conn.response().body == b"".join(parts)
    return 1


def spilled(conn, rng):
    if rng.random() > 0.1:
        return plain(conn, rng)
    assert conn.get("/digest", "POST", body=b"s" * 400_000).json()["length"] == 400_000
    return 1


def generated(conn, rng):
    assert conn.get("/generator").body == b"lazy answer"
    assert conn.get("/tracked?n=5").status == 200
    return 2


def failing(conn, rng):
    assert conn.get("/raise").status == 500
    return 1


def refused(conn, rng):
    conn.send(rng.choice([b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", request("/", "POST", ["Content-Length: x"])]))
    assert conn.response().status in (400, 505)
    return 1


def aborted_head(conn, rng):
    conn.send(request("/hello")[:rng.randrange(1, 20)])
    rng.choice([Conn.reset, Conn.close])(conn)
    return 1


def aborted_body(conn, rng):
    conn.send(request("/echo", "POST", ["Content-Length: 500000"]) + b"x" * rng.randrange(400_000))
    rng.choice([Conn.reset, Conn.close])(conn)
    return 1


def aborted_answer(conn, rng):
    conn.send(request(f"/tracked?n=100&size={rng.randrange(1, 30_000)}"))
    conn.recv_exactly(rng.randrange(1, 100))
    rng.choice([Conn.reset, Conn.close])(conn)
    return 1


def aborted_pipeline(conn, rng):
    conn.send(request("/hello") * 30)
    conn.recv_exactly(1)
    conn.reset()
    return 5


KINDS = [plain] * 6 + [pipelined] * 4 + [bodies, chunks, spilled, generated, failing, refused, aborted_head, aborted_body, aborted_answer, aborted_pipeline]


def load(server, total, seed, failures):
    rng, done = random.Random(seed), 0
    while done < total and not failures:
        kind = rng.choice(KINDS)
        try:
            with server.connect(timeout=30) as conn:
                done += kind(conn, rng)
        except (AssertionError, OSError, Malformed) as error:
            failures.append((kind.__name__, repr(error)))


def run(server, total):
    failures = []
    threads = [threading.Thread(target=load, args=(server, total // 4, seed, failures)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def settled(server, before):
    return all(len(procs.fds(pid)) <= count for pid, count in before.items())


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nothing_grows(serve):
    """After a first part that warms everything up, descriptors and memory stay where they are."""
    server = serve("everything", workers=2)
    run(server, TOTAL // 4)
    pids = [server.pid, *server.workers()]
    until(lambda: all(not procs.sockets(pid) & procs.established(server.port) for pid in pids), 20, "all connections to be closed")
    fds = {pid: len(procs.fds(pid)) for pid in pids}
    memory = {pid: procs.rss_kb(pid) for pid in pids}
    run(server, TOTAL - TOTAL // 4)
    assert [server.pid, *server.workers()] == pids, "no worker died"
    until(lambda: settled(server, fds), 20, f"descriptors to be as before: {fds}, {({pid: len(procs.fds(pid)) for pid in pids})}")
    grown = {pid: procs.rss_kb(pid) - memory[pid] for pid in pids}
    if not PRELOAD:  # the sanitizer keeps freed memory for a while on purpose
        assert max(grown.values()) < 4 * 1024, f"KiB grown: {grown}"
    counts = server.get("/counts").json()
    assert counts["calls"] > 0
