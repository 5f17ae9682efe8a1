"""Peers that mean no good, or do not get far: every handshake step left undone, records cut and mangled, random bytes.
After each the server must serve the next client, with nothing leaked (the harness looks)."""
import contextlib
import os
import random
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import until
from harness.tls import OPENSSL, Authority, trusting

pytestmark = pytest.mark.skipif(not OPENSSL, reason="no openssl program here")


@pytest.fixture(scope="session")
def pair():
    return Authority().pair("attacked")


@pytest.fixture
def server(shared, pair):
    return shared("everything", "--certfile", pair[0], "--keyfile", pair[1], "--tls-handshake-timeout", "2")


def raw(server):
    return socket.create_connection(server.address, 20)


def still_serves(server):
    with server.connect(tls=trusting()) as conn:
        assert conn.get("/hello").body == b"Hello, World!"


class Client:
    """A TLS client whose bytes can be held back and changed."""

    def __init__(self, server, version=None):
        context = trusting()
        if version:
            context.minimum_version = context.maximum_version = version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.sock = raw(server)

    def flight(self):
        """What the client wants to send next in the handshake; None when it is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self.outgoing.read()
        self.last = self.outgoing.read()
        return None

    def receive(self):
        data = self.sock.recv(65536)
        self.incoming.write(data)
        return data

    def connect(self, send=None):
        send = send or self.sock.sendall
        while (data := self.flight()) is not None:
            if data:
                send(data)
            assert self.receive(), "closed in the handshake"
        send(self.last)
        return self

    def encrypted(self, data):
        self.tls.write(data)
        return self.outgoing.read()

    def answer(self):
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                if not self.receive():
                    return b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
HELLO = b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n"


def say(sock, data):
    """Sends the last bytes; a server that has had enough before is no error."""
    with contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


def ends(sock):
    """The server closes, orderly or not."""
    sock.settimeout(20)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("version", VERSIONS)
def test_one_byte_at_a_time(server, version):
    with Client(server, version) as client:
        def dribble(data):
            for at in range(len(data)):
                client.sock.sendall(data[at:at + 1])
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect(dribble)
        dribble(client.encrypted(HELLO))
        assert b"Hello, World!" in client.answer()


@pytest.mark.parametrize("version", VERSIONS)
def test_closed_after_each_flight(server, version):
    for flights in range(3):
        for way in ("close", "reset", "half"):
            with Client(server, version) as client:
                for _ in range(flights):
                    data = client.flight()
                    if data is None:
                        break
                    client.sock.sendall(data)
                    client.receive()
                if way == "half":
                    client.sock.shutdown(socket.SHUT_WR)
                    assert ends(client.sock)
                elif way == "reset":
                    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    still_serves(server)


def test_a_hello_cut_anywhere(server):
    with Client(server) as client:
        hello = client.flight()
    for cut in range(0, len(hello), 7):
        with raw(server) as sock:
            say(sock, hello[:cut])
            assert ends(sock)
    still_serves(server)


def test_a_handshake_has_its_time(server):
    """Silence, a half hello, and a byte now and then: all end with the one deadline."""
    with Client(server) as client:
        hello = client.flight()
        socks = [raw(server) for _ in range(20)]
        begun = time.monotonic()
        for number, sock in enumerate(socks):
            sock.sendall(hello[:number * 5])
        at = 0
        while time.monotonic() - begun < 10 and at < len(hello) - 1:
            try:
                client.sock.sendall(hello[at:at + 1])
            except OSError:
                break
            at += 1
            client.sock.settimeout(0.05)
            try:
                if client.sock.recv(1) == b"":
                    break
            except ConnectionResetError:
                break
            except TimeoutError:
                pass
        assert time.monotonic() - begun > 1.5
        assert all(ends(sock) for sock in socks)
        for sock in socks:
            sock.close()
    still_serves(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_mangled_records(server, version):
    dice = random.Random(3)
    for _ in range(30):
        with Client(server, version) as client:
            client.connect()
            record = bytearray(client.encrypted(HELLO))
            what = dice.randrange(4)
            if what == 0:
                record[dice.randrange(5, len(record))] ^= 1 << dice.randrange(8)
            elif what == 1:
                record[3:5] = dice.randrange(65536).to_bytes(2, "big")
            elif what == 2:
                record[0] = dice.randrange(256)
            else:
                del record[dice.randrange(1, len(record)):]
            say(client.sock, record)
            assert ends(client.sock)
    still_serves(server)


def test_a_truncated_request_gets_no_answer(server):
    with Client(server) as client:
        client.connect()
        say(client.sock, client.encrypted(b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nhalf"))  # a FIN in place of close_notify
        assert b"HTTP/1.1 200" not in client.answer()
    still_serves(server)


def test_random_bytes(server):
    dice = random.Random(7)
    starts = [b"", b"\x16\x03\x01", b"\x16\x03\x03\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x80\x2e\x01", b"\x15\x03\x03\x00\x02\x02\x28",
              b"\x17\x03\x03\x40\x00", b"\x14\x03\x03\x00\x01\x01", b"SSH-2.0-x\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x23\x00\x00"]

    def one(seed):
        mine = random.Random(seed)
        with raw(server) as sock:
            say(sock, starts[seed % len(starts)] + mine.randbytes(mine.choice([0, 1, 5, 600, 20000])))
            return ends(sock)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, [dice.randrange(1 << 30) // 10 * 10 + number % 10 for number in range(300)]))
    still_serves(server)


def test_mutated_hellos(server):
    dice = random.Random(11)
    with Client(server) as client:
        hello = client.flight()
    for _ in range(300):
        bent = bytearray(hello)
        for _ in range(dice.randrange(1, 6)):
            bent[dice.randrange(5, len(bent))] = dice.randrange(256)
        with raw(server) as sock:
            say(sock, bent)
            assert ends(sock)
    still_serves(server)


def test_a_hello_without_end(server):
    """Fragments of a hello that announces 16 MB: refused long before that."""
    with raw(server) as sock:
        sent = 0
        body = b"\x01\xff\xff\xff\x03\x03" + bytes(16378)
        try:
            while sent < 4_000_000:
                sock.sendall(b"\x16\x03\x01\x40\x00" + body)
                body, sent = bytes(16384), sent + 16384
        except OSError:
            pass
        assert sent < 4_000_000 and ends(sock)
    still_serves(server)


def test_a_crowd_of_handshakes_lets_others_through(server):
    """Hundreds of hellos at once, while one client goes on with its keep-alive requests."""
    with server.connect(tls=trusting()) as conn:
        clients = [Client(server) for _ in range(200)]
        for client in clients:
            client.sock.sendall(client.flight())
        for _ in range(20):
            assert conn.get("/hello").status == 200
        for client in clients:
            client.sock.close()
    still_serves(server)


def test_many_key_updates_and_empty_records(server):
    """Records that carry nothing end the connection or are taken, but nobody else waits."""
    with Client(server, ssl.TLSVersion.TLSv1_2) as client:
        client.connect()
        client.sock.sendall(client.encrypted(HELLO))
        assert b"Hello, World!" in client.answer()
        try:
            client.sock.sendall((b"\x15\x03\x03\x00\x02\x01\x5a") * 100)  # alerts in clear: no valid records
        except OSError:
            pass
        assert ends(client.sock)
    still_serves(server)


def test_wrong_http_over_tls(server):
    for bad in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"G" * 20000):
        with Client(server) as client:
            client.connect()
            client.sock.sendall(client.encrypted(bad))
            assert client.answer()[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")


def test_nothing_is_left(server):
    """After all that: no connection, no descriptor (the harness compares), and the counters of failures moved."""
    still_serves(server)
    until(lambda: len(os.listdir(f"/proc/{server.worker()}/fd")) < 100, 10, "descriptors to be closed")
