"""Request bodies: in memory, spilled, streamed; limits, slow clients and full disks."""
import hashlib
import os
import subprocess
import threading
import time

import pytest
from harness import Conn, procs, request, until
from harness.server import CLASS

MIB = 1 << 20
buffered = pytest.mark.skipif(CLASS == "asgi", reason="ASGI applications read bodies as they come, nothing is spilled for them")


@pytest.fixture
def server(shared):
    return shared()


def pattern(size):
    """Bytes that show any shift, loss or repetition."""
    block = b"".join(number.to_bytes(4, "big") for number in range(16384))
    return (block * (size // len(block) + 1))[:size]


def chunks(body, size):
    return b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + size]), body[at:at + size]) for at in range(0, len(body), size)) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 65535, 262143, 262144, 262145, 300_000, 5 * MIB])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_every_byte_arrives(server, size, framing):
    body = pattern(size)
    with server.connect(timeout=30) as conn:
        if framing == "length":
            conn.send(request("/digest", "POST", body=body))
        else:
            conn.send(request("/digest", "POST", ["Transfer-Encoding: chunked"]) + chunks(body, 10_000))
        assert conn.response().json() == {"length": size, "sha256": hashlib.sha256(body).hexdigest()}
        assert conn.get("/hello").status == 200


def test_the_body_comes_back(server):
    body = pattern(3 * MIB)
    assert server.get("/echo", "POST", body=body, timeout=30).body == body


def spill_files(server, folder):
    return [target for target in procs.fds(server.worker()).values() if target.startswith(f"{folder}/")]


@buffered
def test_spilled_bodies_leave_no_file(serve, tmp_path):
    server = serve("everything", "--spill-dir", tmp_path)
    with server.connect() as conn:
        conn.send(request("/digest", "POST", body=None, fields=["Content-Length: 2000000"]))
        conn.send(b"x" * 1_500_000)
        until(lambda: spill_files(server, tmp_path), 10, "a spill file")
        assert list(tmp_path.iterdir()) == [], "a spill file has no name"
        conn.send(b"x" * 500_000)
        assert conn.response().json()["length"] == 2_000_000
    assert list(tmp_path.iterdir()) == []


def test_small_bodies_touch_no_disk(serve, tmp_path):
    server = serve("everything", "--spill-dir", tmp_path, "--request-memory", "256K")
    with server.connect() as conn:
        conn.send(request("/digest", "POST", body=None, fields=["Content-Length: 200000"]))
        conn.send(b"x" * 150_000)
        assert conn.silent(0.2)
        assert not spill_files(server, tmp_path)
        conn.send(b"x" * 50_000)
        assert conn.response().json()["length"] == 200_000


@buffered
def test_the_application_waits_for_the_whole_body(server):
    """Buffered: the call comes after the last byte, so a slow upload costs no worker."""
    before = server.get("/counts").json()["calls"]
    with server.connect() as conn:
        conn.send(request("/echo", "POST", fields=["Content-Length: 10"]) + b"12345")
        assert conn.silent(0.2)
        assert server.get("/counts").json()["calls"] == before + 1, "only our own look at it"
        conn.send(b"67890")
        assert conn.response().body == b"1234567890"


def test_slow_uploads_do_not_hold_others(server):
    slow = [server.connect() for _ in range(50)]
    for conn in slow:
        conn.send(request("/echo", "POST", fields=["Content-Length: 100"]) + b"x")
    for _ in range(20):
        assert server.get("/hello").status == 200
    for conn in slow:
        conn.send(b"y" * 99)
        assert len(conn.response().body) == 100
        conn.close()


@buffered
def test_client_leaves_during_the_upload(server):
    before = server.get("/counts").json()["calls"]
    for leave in (Conn.close, Conn.reset, Conn.half_close):
        conn = server.connect()
        conn.send(request("/echo", "POST", fields=["Content-Length: 1000000"]) + b"x" * 400_000)
        leave(conn)
        conn.close()
    assert server.get("/counts").json()["calls"] == before + 1


# ---- limits ------------------------------------------------------------------------------------------------------

def test_limit_known_from_the_length(serve):
    """FR12: refused before a 100 and before any byte of the body."""
    server = serve("everything", "--limit-request-body", "1000")
    assert server.get("/echo", "POST", body=b"x" * 1000).status == 200
    with server.connect() as conn:
        conn.send(request("/echo", "POST", fields=["Content-Length: 1001", "Expect: 100-continue"]))
        answer = conn.response()
        assert answer.status == 413 and answer.interim == [] and answer.closes


def test_limit_crossed_by_chunks(serve):
    server = serve("everything", "--limit-request-body", "1000")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", ["Transfer-Encoding: chunked"]) + chunks(b"x" * 1000, 100))
        assert len(conn.response().body) == 1000
        conn.send(request("/echo", "POST", ["Transfer-Encoding: chunked"]) + chunks(b"x" * 1001, 100))
        answer = conn.response()
        assert answer.status == 413 and answer.closes
        conn.expect_close()


def test_413_reaches_a_client_that_keeps_sending(serve):
    """CN3: no reset eats the answer while the client is still busy writing."""
    server = serve("everything", "--limit-request-body", "1M")
    body = b"x" * (8 * MIB)
    with server.connect(timeout=20) as conn:
        sender = threading.Thread(target=conn.send, args=(request("/echo", "POST", body=body),))
        sender.start()
        answer = conn.response()
        assert answer.status == 413
        sender.join()


def test_no_limit(serve):
    server = serve("everything", "--limit-request-body", "off")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", fields=[f"Content-Length: {1 << 40}", "Expect: 100-continue"]))
        assert conn.response_head().status == 100


@buffered
def test_spill_limit_is_507(serve):
    server = serve("everything", "--spill-limit", "1M", "--request-memory", "64K")
    assert server.get("/digest", "POST", body=b"x" * 900_000, timeout=20).status == 200
    with server.connect(timeout=20) as conn:
        conn.send(request("/digest", "POST", body=b"x" * (3 * MIB)))
        assert conn.response().status in (507, 413, 500)
        until(lambda: server.get("/digest", "POST", body=b"x" * 900_000).status == 200, 5, "the space to be given back")


@buffered
@pytest.mark.root
def test_full_disk_is_507_for_that_request_only(serve, tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        server = serve("everything", "--spill-dir", tmp_path, "--spill-limit", "1G", "--request-memory", "64K")
        with server.connect(timeout=20) as conn:
            conn.send(request("/digest", "POST", body=b"x" * (4 * MIB)))
            answer = conn.response()
            assert answer.status in (500, 507)
        assert server.get("/hello").status == 200
        assert server.get("/digest", "POST", body=b"x" * 300_000).status == 200
        server.wait_log(r"(error|warning): .*(space|spill|room)")
        server.stop()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=False)


# ---- the client that waits, and unbuffered ---------------------------------------------------------------------------

def test_100_comes_only_when_the_application_reads(server):
    with server.connect() as conn:
        conn.send(request("/unread", "POST", fields=["Content-Length: 10", "Expect: 100-continue"]))
        answer = conn.response()
        assert answer.status == 200 and answer.interim == [], "the application never read"
        assert answer.closes


def test_100_for_a_chunked_body(server):
    with server.connect() as conn:
        conn.send(request("/echo", "POST", fields=["Transfer-Encoding: chunked", "Expect: 100-continue"]))
        assert conn.response_head().status == 100
        conn.send(chunks(b"hello", 2))
        assert conn.response().body == b"hello"
        assert conn.get("/hello").status == 200


def test_unbuffered_application_reads_as_bytes_come(serve):
    server = serve("streaming", "--request-buffering", "off")
    with server.connect() as conn:
        conn.send(request("/", "POST", fields=["Content-Length: 12"]) + b"one ")
        server.wait_log(r"got b'one '", stream="out")
        conn.send(b"two ")
        server.wait_log(r"got b'two '", stream="out")
        conn.send(b"six ")
        assert conn.response().body == b"one two six "


def test_unbuffered_reader_does_not_hold_the_loop(serve):
    """While the one application thread waits for this client, the engine still reads and refuses for others."""
    server = serve("streaming", "--request-buffering", "off")
    with server.connect() as conn:
        conn.send(request("/", "POST", fields=["Content-Length: 8"]) + b"one ")
        server.wait_log(r"got b'one '", stream="out")
        with server.connect() as other:
            other.send(b"BAD\r\n\r\n")
            assert other.response().status == 400
        conn.send(b"two ")
        assert conn.response().body == b"one two "


@pytest.mark.parametrize("leave", [Conn.close, Conn.reset, Conn.half_close])
def test_unbuffered_client_leaves(serve, leave):
    """FR10: the application's read raises, it is never an early end."""
    server = serve("streaming", "--request-buffering", "off")
    conn = server.connect()
    conn.send(request("/", "POST", fields=["Content-Length: 100"]) + b"part")
    server.wait_log(r"got b'part'", stream="out")
    leave(conn)
    server.wait_log(r"read raised \w+", stream="out")
    conn.close()
    assert server.get("/", "POST", body=b"fine").body == b"fine"


def test_unbuffered_bad_chunk(serve):
    """CH8: a dedicated error in the application, a 400 for the client."""
    server = serve("streaming", "--request-buffering", "off")
    with server.connect() as conn:
        conn.send(request("/", "POST", fields=["Transfer-Encoding: chunked"]) + b"4\r\npart\r\n")
        server.wait_log(r"got b'part'", stream="out")
        conn.send(b"zz\r\n")
        server.wait_log(r"read raised \w+", stream="out")
        raw = conn.recv_all()
        assert not raw.startswith(b"HTTP/1.1 200") or not raw.endswith(b"0\r\n\r\n")


@pytest.mark.plain
def test_unbuffered_large_upload_is_bounded_in_memory(serve):
    """Back-pressure: an application that does not read stops the client."""
    server = serve("streaming", "--request-buffering", "off")
    before = procs.rss_kb(server.worker())
    with server.connect() as conn:
        conn.send(request("/wait", "POST", fields=[f"Content-Length: {64 * MIB}"]))
        server.wait_log(r"waiting", stream="out")
        conn.sock.setblocking(False)
        sent, quiet_since = 0, time.monotonic()
        while time.monotonic() - quiet_since < 0.5 and sent < 64 * MIB:
            try:
                sent += conn.sock.send(b"x" * 65536)
                quiet_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < 48 * MIB, "the client could send all of it"
        assert procs.rss_kb(server.worker()) - before < 16 * 1024
        conn.reset()


# ---- slow readers ------------------------------------------------------------------------------------------------

def test_slow_reader_gets_everything(server):
    with server.connect(timeout=60, receive_buffer=4096) as conn:
        conn.send(request("/size?n=3000000&pieces=30"))
        assert server.get("/hello").status == 200, "others go on"
        assert conn.response().body == b"x" * 3_000_000


def test_many_slow_readers_of_buffered_answers(server):
    """Answers under the write buffer are the engine's to deliver: no reader holds the application."""
    readers = []
    for _ in range(30):
        conn = server.connect(receive_buffer=4096)
        conn.send(request("/size?n=500000"))
        readers.append(conn)
    assert server.get("/hello").status == 200
    for conn in readers:
        assert len(conn.response().body) == 500_000
        conn.close()


def test_pieces_go_out_as_they_are_made(server):
    with server.connect() as conn:
        conn.send(request("/trickle?n=3&s=0.3"))
        started = time.monotonic()
        conn.recv_until(b"piece 0\n")
        first = time.monotonic() - started
        conn.recv_until(b"piece 2\n")
        assert time.monotonic() - started - first > 0.3, "the first piece did not wait for the last"
        conn.recv_until(b"0\r\n\r\n")


def test_large_answers_do_not_pile_up(server):
    """A generator faster than its client waits: the worker's memory stays where it was."""
    before = procs.rss_kb(server.worker())
    with server.connect(receive_buffer=4096) as conn:
        conn.send(request("/endless?size=1000000&n=200"))
        conn.recv_until(b"\r\n\r\n")
        most = 0
        for _ in range(20):
            time.sleep(0.02)
            most = max(most, procs.rss_kb(server.worker()))
        assert most - before < 24 * 1024
        conn.reset()


def test_worker_survives_a_spill_directory_that_goes_away(serve, tmp_path):
    folder = tmp_path / "spill"
    folder.mkdir()
    server = serve("everything", "--spill-dir", folder)
    assert server.get("/digest", "POST", body=b"x" * 400_000).status == 200
    os.rmdir(folder)
    assert server.get("/digest", "POST", body=b"x" * 400_000).status in (200, 500, 507)
    assert server.get("/hello").status == 200
