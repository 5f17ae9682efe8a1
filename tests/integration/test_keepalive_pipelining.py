"""One connection, many requests: keep-alive, pipelining, orderly ends."""
import time

import pytest
from harness import Conn, procs, request, until


@pytest.fixture
def server(shared):
    return shared()


def test_many_requests_on_one_connection(server):
    with server.connect() as conn:
        for number in range(200):
            assert conn.get(f"/environ?{number}").json()["QUERY_STRING"] == str(number)


def test_mixed_requests_on_one_connection(server):
    with server.connect() as conn:
        for _ in range(20):
            assert conn.get("/hello").body == b"Hello, World!"
            assert conn.get("/hello", "HEAD").body == b""
            assert conn.get("/echo", "POST", body=b"b" * 5000).body == b"b" * 5000
            assert conn.get("/generator").body == b"lazy answer"
            assert conn.get("/status?line=204+No+Content").status == 204
            assert conn.get("/nothing").status == 404


def test_the_last_answer_says_close(server):
    with server.connect() as conn:
        conn.send(request("/hello", fields=["Connection: close"]))
        answer = conn.response()
        assert answer.closes
        conn.expect_close()


def test_keep_alive_off(serve):
    server = serve("everything", "--keep-alive", "0")
    with server.connect() as conn:
        conn.send(request("/hello"))
        assert conn.response().closes
        conn.expect_close()


def test_date_and_server(server):
    answer = server.get("/hello")
    assert time.strptime(answer.get("Date"), "%a, %d %b %Y %H:%M:%S GMT")
    assert answer.get("Server") == "barkeep"


def test_server_header_off(serve):
    assert serve("everything", "--server-header", "off").get("/hello").get("Server") is None


@pytest.mark.parametrize("count", [2, 10, 100])
def test_pipelined(server, count):
    with server.connect() as conn:
        conn.send(b"".join(request(f"/environ?{number}") for number in range(count)))
        assert [conn.response().json()["QUERY_STRING"] for _ in range(count)] == [str(number) for number in range(count)]


def test_pipelined_with_bodies(server):
    with server.connect() as conn:
        conn.send(b"".join(request("/echo", "POST", body=b"%d" % number * number) for number in range(1, 40)))
        for number in range(1, 40):
            assert conn.response().body == b"%d" % number * number


def test_pipelined_one_byte_at_a_time(server):
    with server.connect() as conn:
        conn.send_bytewise(b"".join(request("/echo", "POST", body=b"%d" % number) for number in range(5)))
        assert [conn.response().body for _ in range(5)] == [b"%d" % number for number in range(5)]


def test_pipelined_heads_and_chunks(server):
    chunked = request("/echo", "POST", ["Transfer-Encoding: chunked"]) + b"3\r\nabc\r\n0\r\n\r\n"
    with server.connect() as conn:
        conn.send((request("/hello", "HEAD") + chunked + request("/generator")) * 5)
        for _ in range(5):
            assert conn.response("HEAD").get("Content-Length") == "13"
            assert conn.response().body == b"abc"
            assert conn.response().body == b"lazy answer"


def test_pipelined_behind_a_slow_answer(server):
    """PI1: one at a time, in order, even though the second is quicker."""
    with server.connect() as conn:
        conn.send(request("/sleep?s=0.2") + request("/hello"))
        assert conn.response().body == b"slept"
        assert conn.response().body == b"Hello, World!"


def test_good_then_malformed_in_one_segment(server):
    """PI2: the good one is answered, then the 400."""
    with server.connect() as conn:
        conn.send(request("/hello") + b"NONSENSE\r\n\r\n" + request("/hello"))
        assert conn.response().status == 200
        answer = conn.response()
        assert answer.status == 400 and answer.closes
        conn.expect_close()


def test_nothing_is_served_after_close_was_said(server):
    """PI3."""
    before = server.get("/counts").json()["calls"]
    with server.connect() as conn:
        conn.send(request("/hello", fields=["Connection: close"]) + request("/hello") * 3)
        assert conn.response().closes
        conn.expect_close()
    assert server.get("/counts").json()["calls"] == before + 2


@pytest.mark.plain
def test_flood_of_pipelined_requests_is_fair(server):
    """A client that never stops sending does not starve another."""
    with server.connect() as flood:
        flood.sock.setblocking(False)
        block = request("/hello") * 200
        with server.connect() as other:
            for _ in range(20):
                try:
                    flood.sock.send(block)
                    flood.sock.recv(1 << 20)
                except BlockingIOError:
                    pass
                started = time.monotonic()
                assert other.get("/hello").status == 200
                assert time.monotonic() - started < 2 * procs.SLOW
        flood.reset()


@pytest.mark.plain
def test_pipeline_flood_without_reading_is_bounded(server):
    """Answers that nobody reads stop the reading of requests: memory does not grow without end."""
    before = procs.rss_kb(server.worker())
    with server.connect() as conn:
        conn.sock.setblocking(False)
        block = request("/size?n=20000") * 100
        blocked = 0
        while blocked < 10:
            try:
                conn.sock.send(block)
            except BlockingIOError:
                blocked += 1
                time.sleep(0.02)
            assert procs.rss_kb(server.worker()) - before < 32 * 1024
        assert server.get("/hello").status == 200
        conn.reset()


def test_half_close_after_the_request(server):
    """The answer still comes."""
    with server.connect() as conn:
        conn.send(request("/hello"))
        conn.half_close()
        assert conn.response().body == b"Hello, World!"
        conn.expect_close()


def test_half_close_after_pipelined_requests(server):
    with server.connect() as conn:
        conn.send(request("/size?n=100000") * 5)
        conn.half_close()
        for _ in range(5):
            assert len(conn.response().body) == 100_000
        conn.expect_close()


def test_half_close_during_a_slow_answer(server):
    with server.connect() as conn:
        conn.send(request("/sleep?s=0.2"))
        conn.half_close()
        assert conn.response().body == b"slept"


def test_connection_without_a_request(server):
    for _ in range(20):
        with server.connect():
            pass
    with server.connect() as conn:
        conn.half_close()
        conn.expect_close()


def test_half_a_head_then_gone(server):
    for leave in (Conn.close, Conn.reset):
        conn = server.connect()
        conn.send(b"GET / HTTP/1.1\r\nHost")
        leave(conn)
    with server.connect() as conn:
        conn.send(b"GET / HTTP/1.1\r\nHost")
        conn.half_close()
        assert conn.recv_all()[:13] in (b"", b"HTTP/1.1 400 ", b"HTTP/1.1 408 ")


def test_crlf_between_requests(server):
    """RL2: old clients send one after a POST."""
    with server.connect() as conn:
        conn.send(request("/echo", "POST", body=b"x") + b"\r\n" + request("/hello"))
        assert conn.response().body == b"x"
        assert conn.response().status == 200


def test_client_resets_while_the_application_runs(server):
    for _ in range(3):
        conn = server.connect()
        conn.send(request("/sleep?s=0.1"))
        conn.reset()
    assert server.get("/hello").status == 200


@pytest.mark.plain
@pytest.mark.timing
def test_idle_connections_are_cheap(server):
    """Memory per idle connection, kernel excluded: a few hundred bytes, not a buffer each."""
    worker = server.worker()
    conns = [server.connect() for _ in range(50)]
    for conn in conns:
        assert conn.get("/hello").status == 200
    before = procs.pss_kb(worker)
    more = [server.connect() for _ in range(400)]
    for conn in more:
        assert conn.get("/hello").status == 200
    grown = (procs.pss_kb(worker) - before) * 1024 / 400
    for conn in conns + more:
        conn.close()
    assert grown < 4096, f"{grown:.0f} bytes per idle connection"
    until(lambda: len(procs.sockets(worker)) < 50, 10, "connections to be closed")
