"""WebSocket by hand: frames with any bit wrong, and a strict reading of the server's (RFC 6455 §5)."""
import base64
import hashlib
import os
import struct
import zlib

from .wire import Malformed, request

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN, RSV1 = 0x80, 0x40
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(first, payload=b"", mask=None, length=None):
    """A client's frame: its first byte, its payload; `mask` b"" leaves it unmasked, `length` lies about it."""
    mask = os.urandom(4) if mask is None else mask
    size, masked = len(payload) if length is None else length, 0x80 if mask else 0
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask and payload:
        repeated = (mask * (len(payload) // 4 + 1))[:len(payload)]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
    return head + mask + payload


def text(data):
    return frame(FIN | TEXT, data.encode() if isinstance(data, str) else data)


def close_frame(code=1000, reason=b""):
    return frame(FIN | CLOSE, struct.pack("!H", code) + reason)


def deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def handshake(target="/", key=None, version="13", fields=(), drop=(), http="1.1", method="GET"):
    """Bytes of an upgrade request; `drop` leaves fields out."""
    lines = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key or base64.b64encode(os.urandom(16)).decode(),
             "Sec-WebSocket-Version": version}
    return request(target, method, [*((name, value) for name, value in lines.items() if name not in drop), *fields], version=http)


class Session:
    """A client's end of a session that the server accepted."""

    def __init__(self, conn, target="/", fields=(), behind=b""):
        self.conn = conn
        key = base64.b64encode(os.urandom(16)).decode()
        conn.send(handshake(target, key, fields=fields) + behind)
        self.answer = answer = conn.response()
        assert answer.status == 101, answer
        assert answer.get("Upgrade").lower() == "websocket" and answer.get("Connection").lower() == "upgrade", answer
        expected = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert answer.get("Sec-WebSocket-Accept") == expected, answer
        self.inflater = zlib.decompressobj(wbits=-15) if answer.get("Sec-WebSocket-Extensions") else None

    def send(self, *frames):
        self.conn.send(b"".join(frames))

    def frame(self):
        """(opcode, payload) of the next frame, inflated."""
        first, second = self.conn.recv_exactly(2)
        opcode, size = first & 15, second & 127
        if second & 0x80:
            raise Malformed("a masked frame from the server")
        if size == 126:
            size = int.from_bytes(self.conn.recv_exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(self.conn.recv_exactly(8), "big")
        if not first & FIN or opcode not in (TEXT, BINARY, CLOSE, PING, PONG):
            raise Malformed(f"first byte {first:#x}")
        payload = self.conn.recv_exactly(size)
        if first & 0x70:
            if first & 0x70 != RSV1 or not self.inflater or opcode >= CLOSE:
                raise Malformed(f"reserved bits in {first:#x}")
            payload = self.inflater.decompress(payload + b"\0\0\xff\xff")
        if opcode == TEXT:
            payload.decode()
        return opcode, payload

    def message(self):
        """The next text or binary message's payload; pings are answered."""
        while True:
            opcode, payload = self.frame()
            if opcode == PING:
                self.send(frame(FIN | PONG, payload))
            elif opcode in (TEXT, BINARY):
                return payload
            else:
                raise Malformed(f"opcode {opcode} with {payload!r} in place of a message")

    def closed(self, code=None):
        """Reads up to the server's close frame, answers it, and sees the connection end. Its code, 1005 for none."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                break
        got = int.from_bytes(payload[:2], "big") if payload else 1005
        payload[2:].decode()
        assert code is None or got == code, f"close code {got} {payload[2:]!r}, not {code}"
        self.send(frame(FIN | CLOSE, payload))
        self.conn.expect_close(reset_allowed=True)
        return got
