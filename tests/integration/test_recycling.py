"""Workers that are replaced for their age, their requests or their memory, and a number of workers that follows the load. No
request may fail meanwhile."""
import os
import re
import threading
import time
from pathlib import Path

import pytest
from harness import procs, until
from harness.procs import SLOW
from harness.server import PRELOAD
from harness.wire import request
from test_hup import Client

REPLACED = r"info: worker \d+ \(pid \d+\) is replaced: "


def load(server, count=4, target="/"):
    return [Client(server.address, target) for _ in range(count)]


def finish(clients):
    for client in clients:
        client.finish()
    assert [client.failures for client in clients] == [[]] * len(clients)
    return [answer for client in clients for answer in client.answers]


def settled(server):
    until(lambda: len(server.workers()) == server.workers_wanted, 60, "the old workers to leave")
    server.note_baseline()


@pytest.mark.parametrize("workers", [1, 2])
def test_max_requests_loses_none(serve, workers):
    server = serve("stuck", "--max-requests", 50, "--threads", 2, workers=workers)
    clients = load(server)
    try:
        server.wait_log(REPLACED + "it has answered --max-requests", 60, count=6)
    finally:
        pids = finish(clients)
    assert len(set(pids)) >= 4, "many workers answered"
    settled(server)


def test_max_requests_under_asgi(serve):
    server = serve("stuck:asgi", "--max-requests", 50)
    clients = load(server)
    try:
        server.wait_log(REPLACED, 60, count=3)
    finally:
        finish(clients)
    settled(server)


def test_jitter_spreads_the_workers(serve):
    """Each has a limit of its own, N or more."""
    server = serve("stuck", "--max-requests", 10, "--max-requests-jitter", "1000%", "--threads", 1)
    counts = []
    while len(counts) < 6:
        old, count = server.worker(), 0
        with server.connect() as conn:
            while server.log.count("is replaced") == len(counts):
                conn.send(request("/"))
                assert conn.response().status == 200
                count += 1
        counts.append(count)
        until(lambda: len(server.workers()) == 1 and server.worker() != old, 30, "the next worker")
    assert min(counts) >= 10 and len(set(counts)) > 2, counts
    server.note_baseline()


def test_requests_in_flight_are_finished(serve):
    server = serve("stuck", "--max-requests", 1, "--threads", 2)
    with server.connect(timeout=30) as conn:
        conn.send(request(f"/sleep?{1.5 * SLOW}"))
        time.sleep(0.2)
        server.get("/")
        server.wait_log(REPLACED, 20)
        assert conn.response().status == 200
    settled(server)


def test_lifetime(serve):
    server = serve("stuck", "--max-worker-lifetime", "1", "--threads", 2)
    clients = load(server, 2)
    try:
        server.wait_log(REPLACED + r"it has served for \S+ m?s \(--max-worker-lifetime\)", 60, count=2)
    finally:
        assert len(set(finish(clients))) >= 2
    until(lambda: len(server.workers()) >= 1, 30, "a worker")
    server.baseline = {}


def test_memory_above_the_limit(serve):
    server = serve("stuck", "--max-worker-memory", "120M", "--threads", 2)
    old = server.worker()
    clients = load(server, 2)
    try:
        assert server.get("/eat?150").status == 200
        server.wait_log(REPLACED + r"it has \S+ MiB, above --max-worker-memory 120 MiB", 30)
        until(lambda: len(server.workers()) == 1 and server.worker() != old, 60, "another worker")
    finally:
        finish(clients)
    settled(server)


def test_memory_far_above_the_limit(serve):
    server = serve("stuck", "--max-worker-memory-hard", "120M", "--threads", 2)
    old = server.worker()
    server.get("/eat?150")
    server.wait_log(r"error: worker 1 \(pid \d+\) has \S+ MiB, above --max-worker-memory-hard 120 MiB: killed \[worker-memory\]", 30)
    until(lambda: len(server.workers()) == 1 and server.worker() != old, 60, "another worker")
    server.note_baseline()
    assert server.get("/").status == 200


def test_few_at_a_time(serve):
    """All workers are due at once: at most a quarter are on their way out."""
    server = serve("stuck", "--max-worker-lifetime", "1", "--threads", 1, workers=4)
    most, until_then = 0, time.monotonic() + 6 * SLOW
    while time.monotonic() < until_then:
        most = max(most, len([pid for pid in procs.children(server.pid) if procs.alive(pid)]))
        time.sleep(0.01)
    assert 4 <= most <= 5
    assert len(re.findall(REPLACED, server.log)) >= 2
    server.baseline = {}


def test_a_successor_that_cannot_start_changes_nothing(serve, tmp_path):
    file = tmp_path / "fragile.py"
    file.write_text("from stuck import application\n")
    server = serve("fragile", "--max-requests", 5, "--threads", 1, cwd=tmp_path,
                   env={"PYTHONPATH": os.path.dirname(__file__) + "/apps"})
    file.write_text("raise RuntimeError('broken deployment')\n")
    old = server.worker()
    for _ in range(30):
        assert server.get("/").status == 200
    server.wait_log(r"could not start: .*RuntimeError", 30)
    assert old in server.workers() and server.get("/").status == 200
    file.write_text("from stuck import application  # again\n")
    until(lambda: len(server.workers()) == 1 and server.worker() != old, 60, "a successor that starts")
    server.note_baseline()


# ---- killed by the kernel ------------------------------------------------------------------------------------------

@pytest.fixture
def group():
    """A memory cgroup of our own, where that is possible: version 1 or 2, as root."""
    made = None
    for line in procs.read("/proc/self/cgroup").decode().splitlines():
        _, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup/memory" if controllers == "memory" else "/sys/fs/cgroup")
        if controllers not in ("memory", ""):
            continue
        place = root / path.strip("/") / f"barkeep-test-{os.getpid()}"
        limit = "memory.limit_in_bytes" if controllers == "memory" else "memory.max"
        try:
            place.mkdir()
        except OSError:
            continue
        if not (place / limit).exists():
            place.rmdir()
            continue
        made = place
        made_limit = limit
        break
    if made is None:
        pytest.skip("no memory cgroup can be made here")

    def limited(size):
        try:
            (made / made_limit).write_text(str(size))
            for swap in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
                if (made / swap).exists():
                    (made / swap).write_text(str(size if "memsw" in swap else 0))
        except OSError as error:
            pytest.skip(f"no limit can be set: {error}")
        return lambda: (made / "cgroup.procs").write_text(str(os.getpid()))
    yield limited
    until(lambda: not (made / "cgroup.procs").read_text(), 10, "an empty group")
    made.rmdir()


def test_killed_by_the_kernel_for_memory(group, serve):
    server = serve("stuck", "--threads", 4, "--max-worker-memory", "off", preexec=group(150 << 20))
    old = server.worker()
    others = [server.connect(timeout=60) for _ in range(2)]
    for conn in others:
        conn.send(request("/sleep?30"))
    time.sleep(0.3)
    with server.connect(timeout=60) as conn:
        conn.send(request("/eat?400"))
        assert conn.recv_all() == b""
    server.wait_log(r"error: worker 1 \(pid \d+\) was killed by the kernel for memory \(cgroup oom_kill \d+ -> \d+\), RSS \S+ MiB, "
                    r"in GET /sleep for \S+ m?s, 2 other requests lost \[worker-oom\]", 30)
    until(lambda: len(server.workers()) == 1 and server.worker() != old, 60, "another worker")
    server.note_baseline()
    assert server.get("/").status == 200


@pytest.mark.skipif(bool(PRELOAD), reason="the sanitizer's own memory counts too")
def test_auto_relieves_the_group_before_the_kernel_does(group, serve):
    server = serve("stuck", "--threads", 2, preexec=group(500 << 20), workers=2)
    old = set(server.workers())
    with server.connect(timeout=60) as conn:  # one worker takes it all
        conn.send(request("/eat?440"))
        largest = int(conn.response().body.split()[0])
    server.wait_log(REPLACED + r"\S+ MiB of the cgroup's 500 MiB are used, and it has most, 4\d\d MiB", 30)
    until(lambda: largest not in server.workers() and len(server.workers()) == 2, 60, "another in its place")
    assert old - {largest} <= set(server.workers())
    server.note_baseline()


# ---- the number of workers -----------------------------------------------------------------------------------------

def test_more_workers_under_load_and_fewer_after(serve):
    server = serve("stuck", "--workers-min", 1, "--workers-max", 3, "--workers-idle", "2", "--threads", 1)
    over, failures = threading.Event(), []

    def client():
        """A connection for each request: an idle worker gets the next one."""
        while not over.is_set():
            try:
                if server.get("/naps?0.05", timeout=60).status != 200:
                    failures.append("status")
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=client) for _ in range(6)]
    for thread in clients:
        thread.start()
    try:
        until(lambda: len(server.workers()) == 3, 60, "three workers")
    finally:
        over.set()
        for thread in clients:
            thread.join()
    server.wait_log(r"info: load \(\d+ % busy, \d+ connections? waiting\): [23] workers instead of 1", 10)
    until(lambda: len(server.workers()) == 1, 60, "one worker")
    assert not failures
    server.note_baseline()
    assert server.get("/").status == 200


def test_a_worker_with_a_request_is_never_retired(serve, tmp_path):
    server = serve("stuck", "--workers-min", 1, "--workers-max", 4, "--workers-idle", "0.5", "--threads", 1, "--graceful-timeout", 1,
                   "--slow-request", 0, "--timeout", 0, "--log-level", "debug")
    conns = []
    for count in range(1, 5):
        if count > 1:
            server.wait_log(r"worker \d+ \(pid \d+\) is ready", 60, count=count - 1)
            time.sleep(0.5)  # a busy worker looks ten times a second whether there is another one
        conns.append(server.connect(timeout=60))
        conns[-1].send(request(f"/until?{tmp_path}/{'last' if count == 4 else 'first'}"))
    until(lambda: sum("busy" in procs.title(pid) for pid in server.workers()) == 4, 20, "four requests at work")
    (tmp_path / "first").touch()
    for conn in conns[:3]:
        assert conn.response().status == 200
        conn.close()
    time.sleep(3)
    assert len(server.workers()) == 4, "the last one has a request"
    (tmp_path / "last").touch()
    assert conns[3].response().status == 200
    conns[3].close()
    until(lambda: len(server.workers()) == 1, 60, "one worker")
    server.note_baseline()


def test_bounds_that_do_not_fit(serve):
    server = serve("stuck", "--workers-min", 4, "--workers-max", 2, wait=False)
    server.expected_exit = {2}
    assert server.ended() == 2
    assert re.search(r"--workers-min 4 \(command line\) is above --workers-max 2 \(command line\)", server.log)
