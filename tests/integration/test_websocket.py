"""WebSocket sessions of the engine, over the null host: what Autobahn (tools/autobahn.py) does not ask."""
import asyncio
import os
import signal
import struct
import threading
import time

import pytest
from harness import procs, request, until
from harness.null import PROGRAM, Null
from harness.sockets import (BINARY, CLOSE, FIN, PING, PONG, RSV1, TEXT, Session, close_frame, deflate, frame, handshake, text)

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="bk-null is not built (tools/build.py unit)")
DEFLATE = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]
MIB = 1024 * 1024


@pytest.fixture
def null(request):
    """null(*settings) -> a running bk-null, checked at the end of the test."""
    started = []

    def start(*settings, **more):
        started.append(Null(*settings, **more))
        return started[-1]

    yield start
    try:
        failed = getattr(request.node, "report_call", None) and request.node.report_call.failed
        for one in started:
            if failed:
                print(one.err)
            else:
                one.check()
    finally:
        for one in started:
            one.kill()


# ---- the handshake -----------------------------------------------------------------------------------------------

def test_echo_and_close(null):
    server = null()
    with server.connect() as conn:
        session = Session(conn)
        assert session.answer.get("X-Host") == "null" and session.answer.get("Sec-WebSocket-Protocol") is None
        session.send(text("grüß"), frame(FIN | BINARY, b"\0\xff"))
        assert session.message() == "grüß".encode()
        assert session.message() == b"\0\xff"
        session.send(close_frame(4321, b"enough"))
        assert session.closed() == 4321, "the client's code comes back"


BAD_KEYS = ["", "x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQAA", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25j*Q=="]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_bad_key(null, key):
    server = null()
    with server.connect() as conn:
        conn.send(handshake(drop=["Sec-WebSocket-Key"], fields=[("Sec-WebSocket-Key", key)]) + text("smuggled"))
        answer = conn.response()
        assert answer.status == 400 and answer.closes
        conn.expect_close()


@pytest.mark.parametrize("version", ["8", "0", "14", "13x", "", "013"])
def test_other_version(null, version):
    server = null()
    with server.connect() as conn:
        conn.send(handshake(version=version))
        answer = conn.response()
        assert answer.status == 426 and answer.get("Sec-WebSocket-Version") == "13"
        assert answer.get("Upgrade") == "websocket" and answer.closes
        conn.expect_close()


def test_missing_fields(null):
    server = null()
    for drop, status in (("Sec-WebSocket-Key", 400), ("Sec-WebSocket-Version", 426), ("Upgrade", 200), ("Connection", 200)):
        with server.connect() as conn:
            conn.send(handshake(drop=[drop]))
            assert conn.response().status == status, drop


def test_what_is_no_handshake(null):
    """An upgrade that HTTP/1.0 cannot do is ignored; one with a body, a second key or another method is refused."""
    server = null()
    with server.connect() as conn:
        conn.send(handshake(http="1.0"))
        assert conn.response().status == 200
    for bytes_ in (handshake(method="POST"), handshake(fields=["Content-Length: 3"]) + b"abc",
                   handshake(fields=["Transfer-Encoding: chunked"]) + b"0\r\n\r\n",
                   handshake(fields=["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]),
                   handshake(fields=["Sec-WebSocket-Version: 13"]),
                   handshake(fields=["Sec-WebSocket-Extensions: ;"]),
                   handshake(fields=["Sec-WebSocket-Protocol: a b"])):
        with server.connect() as conn:
            conn.send(bytes_)
            answer = conn.response()
            assert answer.status == 400 and answer.closes, bytes_
            conn.expect_close()


def test_head_byte_by_byte(null):
    server = null()
    with server.connect() as conn:
        conn.send_bytewise(handshake(key="dGhlIHNhbXBsZSBub25jZQ=="))
        assert conn.response().get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_frames_behind_the_handshake(null):
    """Bytes that come with the head are frames, also half ones."""
    server = null()
    frames = text("one") + frame(FIN | PING, b"p") + text("two" * 100)
    for cut in (0, 1, 5, len(frames) - 1, len(frames)):
        with server.connect() as conn:
            session = Session(conn, behind=frames[:cut])
            session.send(frames[cut:])
            got = [session.frame() for _ in range(3)]
            assert sorted(got) == sorted([(TEXT, b"one"), (PONG, b"p"), (TEXT, b"two" * 100)]), cut


def test_denied(null):
    """A denial is a plain answer, and what follows it is no request."""
    server = null()
    with server.connect() as conn:
        conn.send(handshake("/ws/deny") + request("/hello"))
        answer = conn.response()
        assert answer.status == 403 and answer.body == b"no\n" and answer.closes
        conn.expect_close(reset_allowed=True)


def test_subprotocol(null):
    server = null()
    with server.connect() as conn:
        session = Session(conn, "/ws/sub", [("Sec-WebSocket-Protocol", "chat, superchat"), ("Sec-WebSocket-Protocol", "other")])
        assert session.answer.get("Sec-WebSocket-Protocol") == "chat"


def test_plain_requests_before(null):
    server = null()
    with server.connect() as conn:
        assert conn.get("/").status == 200
        session = Session(conn)
        session.send(text("after"))
        assert session.message() == b"after"


# ---- frames ------------------------------------------------------------------------------------------------------

WRONG = [(b"\x81\x01x", 1002), (frame(FIN | TEXT | 0x20, b"x"), 1002), (frame(FIN | TEXT | RSV1, b"x"), 1002), (frame(FIN | 3), 1002),
         (frame(FIN | 11), 1002), (frame(PING, b"x"), 1002), (frame(FIN | PING, b"x" * 126), 1002), (frame(FIN, b"x"), 1002),
         (frame(TEXT, b"x") + frame(FIN | TEXT, b"y"), 1002), (frame(FIN | CLOSE, b"x"), 1002), (close_frame(1005), 1002),
         (close_frame(1006), 1002), (close_frame(999), 1002), (close_frame(5000), 1002), (close_frame(1000, b"\xff"), 1007),
         (frame(FIN | TEXT, b"\xff"), 1007), (frame(TEXT, b"\xed\xa0"), 1007), (frame(FIN | TEXT, b"\xe2\x82"), 1007),
         (b"\x82\xfe\x00\x05aaaahello", 1002), (frame(FIN | BINARY, length=1 << 63), 1002), (frame(FIN | BINARY, length=17 * MIB), 1009)]


@pytest.mark.parametrize("bytes_, code", WRONG, ids=range(len(WRONG)))
def test_wrong_frames(null, bytes_, code):
    server = null()
    with server.connect() as conn:
        Session(conn, behind=bytes_).closed(code)


def test_wrong_frames_byte_by_byte(null):
    server = null()
    for bytes_, code in WRONG:
        with server.connect() as conn:
            session = Session(conn)
            conn.send_bytewise(bytes_)
            session.closed(code)


def test_control_frames_between_fragments(null):
    server = null()
    with server.connect() as conn:
        session = Session(conn)
        session.send(frame(TEXT, b"a"), frame(FIN | PING, b"1"), frame(0, b"b"), frame(FIN | PONG), frame(FIN | PING, b""), frame(FIN, b"c"))
        assert [session.frame() for _ in range(3)] == [(PONG, b"1"), (PONG, b""), (TEXT, b"abc")]


def test_every_length(null):
    server = null()
    sizes = [0, 1, 7, 8, 125, 126, 127, 4096, 16384, 65535, 65536, 131072, 1_000_003]
    with server.connect(timeout=30) as conn:
        session = Session(conn)
        for size in sizes:
            payload = os.urandom(size)
            session.send(frame(FIN | BINARY, payload))
            assert session.message() == payload


def test_lent_bytes(null):
    """A message that the application lends goes out whole, compressed and not."""
    server = null()
    for fields in ([], DEFLATE):
        for size in (10, 5000, 300_000):
            with server.connect() as conn:
                assert Session(conn, f"/ws/lent?{size}", fields).message() == b"l" * size


# ---- limits and bombs ----------------------------------------------------------------------------------------------

def test_message_size(null):
    server = null("ws_max_size=1M")
    with server.connect() as conn:
        session = Session(conn)
        session.send(frame(FIN | BINARY, b"x" * MIB))
        assert len(session.message()) == MIB
        session.send(frame(BINARY, b"x" * (MIB - 1)), frame(0, b"x"), frame(FIN, b"x"))
        session.closed(1009)


def test_fragment_bomb(null):
    """Endless empty fragments, and fragments that would add up to more than the limit."""
    server = null("ws_max_size=64K")
    with server.connect() as conn:
        Session(conn, behind=frame(TEXT) + frame(0) * 5000).closed(1008)
    with server.connect() as conn:
        Session(conn, behind=frame(BINARY) + frame(0, b"x") * 70_000).closed(1009)
    assert procs.rss_kb(server.pid) < 200_000


def test_announced_but_never_sent(null):
    """A hundred clients that announce 16 MiB each take next to nothing."""
    server = null()
    before = procs.rss_kb(server.pid)
    conns = [server.connect() for _ in range(100)]
    sessions = [Session(conn, behind=frame(FIN | BINARY, b"x", length=16 * MIB)) for conn in conns]
    with server.connect() as conn:
        probe = Session(conn)
        probe.send(text("still there"))
        assert probe.message() == b"still there"
    if not os.environ.get("BARKEEP_TEST_PRELOAD"):
        assert procs.rss_kb(server.pid) - before < 40_000
    for session in sessions:
        session.conn.close()


def test_deflate_bomb(null):
    server = null("ws_max_size=1M")
    bomb = deflate(b"\0" * (200 * MIB))
    assert len(bomb) < 300_000
    with server.connect() as conn:
        Session(conn, fields=DEFLATE, behind=frame(FIN | BINARY | RSV1, bomb)).closed(1009)
    if not os.environ.get("BARKEEP_TEST_PRELOAD"):
        assert procs.rss_kb(server.pid) < 50_000


def test_deflate(null):
    server = null()
    with server.connect() as conn:
        session = Session(conn, fields=DEFLATE)
        assert session.answer.get("Sec-WebSocket-Extensions") == "permessage-deflate; client_max_window_bits=12"
        for data in (b"Hello", b"", b"abc" * 50_000, b"\xc3\xa9" * 300):
            session.send(frame(FIN | TEXT | RSV1, deflate(data)))
            assert session.message() == data
        packed = deflate(b"in three pieces" * 9)
        session.send(frame(TEXT | RSV1, packed[:3]), frame(0, packed[3:4]), frame(FIN, packed[4:]))
        assert session.message() == b"in three pieces" * 9
        session.send(frame(FIN | TEXT | RSV1, deflate(b"\xff")))
        session.closed(1007)
    with server.connect() as conn:
        Session(conn, fields=DEFLATE, behind=frame(FIN | TEXT | RSV1, b"\xff\xff")).closed(1007)


def test_deflate_switched_off(null):
    server = null("ws_per_message_deflate=off")
    with server.connect() as conn:
        session = Session(conn, fields=DEFLATE)
        assert session.answer.get("Sec-WebSocket-Extensions") is None
        session.send(frame(FIN | TEXT | RSV1, deflate(b"x")))
        session.closed(1002)


# ---- back-pressure -------------------------------------------------------------------------------------------------

def test_slow_reader(null):
    """A flood to a client that does not read stops at the high-water mark, and the client is given up."""
    server = null("write_timeout=1", "write_buffer=64K")
    with server.connect(receive_buffer=4096) as conn:
        Session(conn, "/ws/flood?100000000")
        until(lambda: not server.leaked(), 20, "the slow reader to be given up")
        if not os.environ.get("BARKEEP_TEST_PRELOAD"):
            assert procs.rss_kb(server.pid) < 50_000


def test_reader_that_takes_its_time(null):
    """Progress is enough: the timeout is a stall, not a total."""
    server = null("write_timeout=2", "write_buffer=64K")
    with server.connect(receive_buffer=4096) as conn:
        session = Session(conn, "/ws/flood?3000")
        for number in range(3000):
            assert len(session.message()) == 1024
            if number % 300 == 0:
                time.sleep(0.3)
        session.send(close_frame())
        session.closed(1000)


def test_deaf_application(null):
    """What an application does not receive stays with the client: the server stops reading."""
    server = null("ws_max_queue=4")
    with server.connect(timeout=3) as conn:
        Session(conn, "/ws/deaf")
        conn.sock.settimeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200 * MIB:
                sent += conn.sock.send(frame(FIN | BINARY, b"x" * 65536))
        assert sent < 100 * MIB
        if not os.environ.get("BARKEEP_TEST_PRELOAD"):
            assert procs.rss_kb(server.pid) < 50_000
        conn.reset()  # a FIN would wait behind what is not read


def test_many_small_messages_in_order(null):
    """Far more than the queue holds in one segment: reading stops and goes on, nothing is lost or turned round."""
    server = null("ws_max_queue=2")
    with server.connect() as conn:
        session = Session(conn, fields=DEFLATE)
        sender = threading.Thread(target=session.send, args=[b"".join(text(str(number)) for number in range(20_000))])
        sender.start()
        assert [int(session.message()) for _ in range(20_000)] == list(range(20_000))
        sender.join()
        session.send(close_frame())
        session.closed(1000)


def test_echo_against_itself(null):
    """Both directions full at once do not lock each other up."""
    server = null("write_buffer=64K", "ws_max_queue=2")
    with server.connect(timeout=30) as conn:
        session = Session(conn)
        payload, count = os.urandom(100_000), 200
        sender = threading.Thread(target=lambda: [session.send(frame(FIN | BINARY, payload)) for _ in range(count)])
        sender.start()
        for _ in range(count):
            assert session.message() == payload
        sender.join()


def test_ping_flood(null):
    """A client that pings and does not read is not answered without bound."""
    server = null("write_timeout=1", "write_buffer=64K")
    with server.connect(receive_buffer=4096) as conn:
        Session(conn)
        conn.sock.settimeout(5)
        with pytest.raises(OSError):
            while True:
                conn.sock.sendall(frame(FIN | PING, b"x" * 125) * 100)
        if not os.environ.get("BARKEEP_TEST_PRELOAD"):
            assert procs.rss_kb(server.pid) < 50_000


# ---- time ----------------------------------------------------------------------------------------------------------

def test_pings(null):
    server = null("ws_ping_interval=0.2", "ws_ping_timeout=5")
    with server.connect() as conn:
        session = Session(conn)
        payloads = set()
        for _ in range(3):
            opcode, payload = session.frame()
            assert opcode == PING and len(payload) == 4
            payloads.add(payload)
            session.send(frame(FIN | PONG, payload))
        assert len(payloads) == 3
        session.send(text("alive"))
        assert session.message() == b"alive"


def test_no_pong(null):
    server = null("ws_ping_interval=0.2", "ws_ping_timeout=0.5")
    with server.connect() as conn:
        session = Session(conn)
        assert session.frame()[0] == PING
        session.send(frame(FIN | PONG, b"nope"), text("not the pong"))
        session.closed(1011)


def test_no_pings_when_off(null):
    server = null("ws_ping_interval=0")
    with server.connect() as conn:
        Session(conn)
        assert conn.silent(1)


def test_the_client_never_closes(null):
    """The closing handshake has an end: the close frame is not answered, the connection ends all the same."""
    server = null()
    with server.connect(timeout=20) as conn:
        session = Session(conn, "/ws/close?4000")
        opcode, payload = session.frame()
        assert opcode == CLOSE and payload == struct.pack("!H", 4000) + b"as you wish"
        started = time.monotonic()
        conn.expect_close(reset_allowed=True)
        assert time.monotonic() - started < 15 * procs.SLOW


def test_messages_after_our_close_are_ignored(null):
    server = null()
    with server.connect() as conn:
        session = Session(conn, "/ws/close?1000")
        session.send(text("late") * 1000)
        session.closed(1000)


def test_application_error(null):
    server = null()
    with server.connect() as conn:
        Session(conn, "/ws/fail").closed(1011)
    until(lambda: "Failure in the application" in server.err, 5, "the error in the log")


# ---- ends ----------------------------------------------------------------------------------------------------------

def test_half_close_and_reset(null):
    server = null()
    with server.connect() as conn:
        session = Session(conn)
        session.send(frame(TEXT, b"unfinished"))
        conn.half_close()
        conn.expect_close(reset_allowed=True)
    for action in ("reset", "close"):
        conn = server.connect()
        Session(conn, "/ws/flood?1000000")
        getattr(conn, action)()
    conn = server.connect()
    conn.send(handshake())
    conn.reset()
    assert server.connect().get("/").status == 200


@pytest.mark.parametrize("target", ["/", "/ws/deaf", "/ws/flood?100000000"])
def test_stop_while_open(null, target):
    server = null("graceful_timeout=10")
    with server.connect() as conn, server.connect() as second:
        session, silent = Session(conn, target), Session(second)
        server.order(signal.SIGTERM)
        session.closed(1001)
        silent.closed(1001)
        server.ended()
    assert server.process.returncode == 0


def test_stop_with_a_client_that_does_not_answer(null):
    server = null()
    with server.connect() as conn:
        Session(conn)
        server.order(signal.SIGTERM)
        server.ended(20)


def test_quick_stop(null):
    server = null()
    with server.connect() as conn:
        Session(conn)
        server.order(signal.SIGINT)
        server.ended(20)


# ---- threads, and a client that others wrote -------------------------------------------------------------------------

def test_a_thread_for_each_session(null):
    """Sessions under the baton: hosts with threads may wait inside the engine's calls."""
    server = null(threads=4)
    conns = [server.connect() for _ in range(3)]
    sessions = [Session(conn) for conn in conns]
    for number in range(200):
        for session in sessions:
            session.send(text(f"{number}"))
    for number in range(200):
        for session in sessions:
            assert session.message() == b"%d" % number
    assert server.connect().get("/").status == 200, "one thread is free for the rest"
    for session in sessions:
        session.send(close_frame())
        session.closed(1000)
        session.conn.close()


def test_websockets_client(null):
    """The `websockets` package, with and without compression, big and small, many at once."""
    websockets = pytest.importorskip("websockets")
    server = null()
    url = "ws://%s:%d/" % server.address

    async def talk(compression, number):
        async with websockets.connect(url, compression=compression, max_size=None, close_timeout=30 * procs.SLOW) as socket:
            for size in (0, 1, 200, 70_000):
                message = "é" * size if number % 2 else os.urandom(size)
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(("part " * 20 for _ in range(20)))
            assert await socket.recv() == "part " * 400
            pong = await socket.ping()
            await pong
            await socket.close(3333, "done")
            assert socket.close_code == 3333

    async def main():
        await asyncio.gather(*(talk(compression, number) for compression in (None, "deflate") for number in range(20)))

    asyncio.run(main())
