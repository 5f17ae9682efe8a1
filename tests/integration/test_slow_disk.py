"""A disk that takes two seconds for everything holds up the request that needs it, and no other (pitfalls 21)."""
import subprocess
import time
from pathlib import Path

import pytest
from harness import request
from harness.server import PRELOAD

DELAY = 2.0


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "slow_disk.so"
    source = Path(__file__).with_name("slow_disk.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def server(serve, shim):
    return serve("everything:application", "--request-memory", "64K",
                 env={"LD_PRELOAD": f"{PRELOAD or ''} {shim}".strip(), "SLOW_DISK_MS": int(DELAY * 1000)})


def others_are_answered(server):
    """How long the slowest of twenty small requests took."""
    slowest = 0.0
    for _ in range(20):
        started = time.monotonic()
        assert server.get("/hello").status == 200
        slowest = max(slowest, time.monotonic() - started)
    return slowest


def test_slow_spill_file(server):
    body = b"s" * 300_000
    with server.connect(timeout=30) as conn:
        started = time.monotonic()
        conn.send(request("/digest", "POST", fields=[f"Content-Length: {len(body)}"]) + body)
        assert others_are_answered(server) < DELAY / 2
        assert conn.response().json()["length"] == len(body)
        assert time.monotonic() - started >= DELAY, "the shim was not in the way"


def test_slow_sendfile(server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"f" * 100_000)
    with server.connect(timeout=30) as conn:
        started = time.monotonic()
        conn.send(request(f"/file?path={path}"))
        assert others_are_answered(server) < DELAY / 2
        assert conn.response().body == path.read_bytes()
        assert time.monotonic() - started >= DELAY, "the shim was not in the way"


def test_client_leaves_while_the_disk_works(server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"f" * 100_000)
    with server.connect() as conn:
        conn.send(request(f"/file?path={path}"))
        assert server.get("/hello").status == 200  # the disk is at work for the first by now
        conn.reset()
    assert server.get("/hello").status == 200
