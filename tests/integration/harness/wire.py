"""Exact bytes to a server and a strict reading of what it answers: every response of every test is parsed by this one
parser, so a malformed answer fails whichever test meets it first."""
import os
import re
import select
import socket
import ssl
import struct
import time

from .procs import SLOW
from .tls import trusting

OVER_TLS = os.environ.get("BARKEEP_TEST_TLS")  # runs a suite over TLS
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9]\d\d) ([\t \x21-\x7e\x80-\xff]*)\Z")
FIELD_VALUE = re.compile(rb"[\t \x21-\x7e\x80-\xff]*\Z")


class Malformed(AssertionError):
    """The server's bytes are not a response."""


class Response:
    def __init__(self, status, reason, fields):
        self.status, self.reason, self.fields = status, reason, fields
        self.body, self.framing, self.interim, self.complete = b"", "none", [], True

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        found = self.all(name)
        if len(found) > 1:
            raise Malformed(f"{name} more than once: {found}")
        return found[0] if found else default

    @property
    def closes(self):
        return "close" in [word.strip().lower() for value in self.all("Connection") for word in value.split(",")]

    @property
    def text(self):
        return self.body.decode("latin-1")

    def json(self):
        import json
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.reason} {self.fields} {self.framing} {self.body[:200]!r}>"


class Conn:
    """One client connection. `address` is (host, port) or the path of a unix socket ('@name' for an abstract one)."""

    def __init__(self, address, timeout=10.0, receive_buffer=None, tls=None, server_name="localhost"):
        self.timeout = timeout * SLOW
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            target = "\0" + address[1:] if address.startswith("@") else address
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            target = address
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(self.timeout)
        self.sock.connect(target)
        if not isinstance(address, str):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is None and OVER_TLS:
                tls = trusting()
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
        self.buffer = bytearray()
        self.eof = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- sending -----------------------------------------------------------------------------------------------

    def send(self, data):
        """All of it; a peer that has closed meanwhile is no error here, the answer will tell."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass

    def send_bytewise(self, data):
        for at in range(len(data)):
            self.send(data[at:at + 1])

    def half_close(self):
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)  # ssl's own forgets that there is TLS
        except OSError:
            pass

    def reset(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    # ---- receiving ---------------------------------------------------------------------------------------------

    def fill(self, deadline=None):
        """Receives once into the buffer; False at the end. A reset counts as an end and is remembered in `was_reset`."""
        if self.eof:
            return False
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not self.readable(left):
                raise TimeoutError(f"nothing came; so far {self.buffer[-300:]!r}")
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            self.was_reset = True
            data = b""
        if not data:
            self.eof = True
            return False
        self.buffer += data
        return True

    was_reset = False

    def recv_until(self, delimiter):
        """Up to and with the delimiter."""
        deadline = time.monotonic() + self.timeout
        while delimiter not in self.buffer:
            if not self.fill(deadline):
                raise Malformed(f"closed before {delimiter!r}: {self.buffer[-500:]!r}")
        return self.take(self.buffer.index(delimiter) + len(delimiter))

    def recv_exactly(self, count):
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < count:
            if not self.fill(deadline):
                raise Malformed(f"closed after {len(self.buffer)} of {count} bytes: {self.buffer[-300:]!r}")
        return self.take(count)

    def recv_all(self):
        """Everything up to the end of the connection."""
        deadline = time.monotonic() + self.timeout
        while self.fill(deadline):
            pass
        return self.take(len(self.buffer))

    def take(self, count):
        """The next bytes out of the buffer; a bytearray drops its head without copying the rest."""
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def expect_close(self, reset_allowed=False):
        """The server has closed (or closes soon) and has sent nothing more."""
        rest = self.recv_all()
        assert rest == b"", f"unexpected bytes before the close: {rest[:300]!r}"
        assert reset_allowed or not self.was_reset, "reset instead of an orderly close"

    def silent(self, seconds=0.2):
        """True when nothing arrives for a while (an absence can only be waited for)."""
        if self.buffer:
            return False
        if not isinstance(self.sock, ssl.SSLSocket):
            return not self.readable(seconds)
        self.sock.settimeout(seconds)  # tickets make it readable too
        try:
            self.buffer += self.sock.recv(65536)
            return False
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(self.timeout)

    def readable(self, seconds):
        """Waits for bytes or the end; by poll, because the tests open more descriptors than select takes."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(max(0, seconds) * 1000))

    def response(self, method="GET"):
        """The next final response; interim ones are kept in its `interim` list."""
        interim = []
        while True:
            found = self.response_head()
            if found.status >= 200 or found.status == 101:
                break
            interim.append(found)
        found.interim = interim
        self.response_body(found, method)
        return found

    def response_head(self):
        lines = self.recv_until(b"\r\n\r\n")[:-4].split(b"\r\n")
        match = STATUS_LINE.match(lines[0])
        if not match:
            raise Malformed(f"status line {lines[0]!r}")
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.match(name) or not FIELD_VALUE.match(value):
                raise Malformed(f"field line {line!r}")
            fields.append((name.decode(), value.strip(b" \t").decode("latin-1")))
        return Response(int(match[1]), match[2].decode("latin-1"), fields)

    def response_body(self, found, method):
        length, coding = found.get("Content-Length"), found.get("Transfer-Encoding")
        if length is not None and not re.fullmatch(r"\d+", length):
            raise Malformed(f"Content-Length {length!r}")
        if length is not None and coding is not None:
            raise Malformed("Content-Length and Transfer-Encoding together")
        if found.status in (101, 204) and (length or coding):
            raise Malformed(f"{found.status} with a body's framing: {found.fields}")
        if method == "HEAD" or found.status in (101, 204, 304):
            found.framing = "none"
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Malformed(f"Transfer-Encoding {coding!r}")
            found.framing, found.body = "chunked", self.chunked_body()
        elif length is not None:
            found.framing, found.body = "length", self.recv_exactly(int(length))
        else:
            found.framing, found.body = "close", self.recv_all()

    def chunked_body(self):
        parts = []
        while True:
            line = self.recv_until(b"\r\n")[:-2]
            if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", line):
                raise Malformed(f"chunk size line {line!r}")
            size = int(line, 16)
            if not size:
                self.trailers = list(iter(lambda: self.recv_until(b"\r\n")[:-2], b""))
                return b"".join(parts)
            parts.append(self.recv_exactly(size))
            if self.recv_exactly(2) != b"\r\n":
                raise Malformed("no CRLF after a chunk")

    def get(self, target="/", method="GET", fields=(), body=None):
        """One whole request on this connection and its response."""
        self.send(request(target, method, fields, body))
        return self.response(method)


def request(target="/", method="GET", fields=(), body=None, host="test", version="1.1"):
    """Bytes of a plain request. `fields` is a list of pairs or of ready lines; a body gets its Content-Length."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [field if isinstance(field, str) else f"{field[0]}: {field[1]}" for field in fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def get(address, target="/", method="GET", fields=(), body=None, timeout=10.0):
    """One request on a connection of its own."""
    with Conn(address, timeout) as conn:
        conn.send(request(target, method, [*fields, "Connection: close"], body))
        found = conn.response(method)
        conn.expect_close()
        return found
