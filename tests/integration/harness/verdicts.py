"""Rows of the conformance tables: raw bytes and the one right answer, judged whole and one byte at a time.

ok(id, raw, saw...)      the application answers 200, saw these environ values, and the connection can be used again
last(id, raw, saw...)    the same, and then the server closes (it says so)
rej(id, raw, status)     refused: status (or one of several), Connection: close, an orderly close, the application not called
"""
from dataclasses import dataclass, field

import pytest

from .wire import Malformed

ALIVE = b"GET /alive HTTP/1.1\r\nHost: alive\r\n\r\n"


@dataclass
class Row:
    name: str
    raw: bytes
    statuses: tuple = (200,)
    closes: bool = False
    saw: dict = field(default_factory=dict)
    nothing: bool = False  # closing without any answer is right as well
    before: int = 0        # good answers expected before the judged one (pipelining)


def ok(name, raw, **saw):
    return Row(name, raw, saw=saw)


def last(name, raw, **saw):
    return Row(name, raw, closes=True, saw=saw)


def rej(name, raw, *statuses, nothing=False, before=0):
    return Row(name, raw, statuses or (400,), closes=True, nothing=nothing, before=before)


def table(*rows):
    """A parametrisation over the rows and both ways of sending."""
    seen = set()
    for row in rows:
        assert row.name not in seen, f"two rows are called {row.name}"
        seen.add(row.name)
    return lambda function: pytest.mark.parametrize("row", rows, ids=lambda row: row.name)(
        pytest.mark.parametrize("how", ["whole", "bytewise"])(function))


def head(line="POST / HTTP/1.1", *fields, host="a"):
    """A request head: str or bytes, latin-1."""
    lines = [line, *([f"Host: {host}"] if host is not None else []), *fields]
    return b"\r\n".join(part if isinstance(part, bytes) else part.encode("latin-1") for part in lines) + b"\r\n\r\n"


def judge(server, row, how):
    with server.connect() as conn:
        conn.send(row.raw) if how == "whole" else conn.send_bytewise(row.raw)
        for _ in range(row.before):
            assert conn.response().status == 200
        method = row.raw.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")
        try:
            answer = conn.response(method)
        except Malformed:
            if row.nothing and conn.eof and not conn.buffer:
                return
            raise
        assert answer.status in row.statuses, answer
        if answer.status != 200:
            assert answer.get("X-App") is None, "the application was called"
        for key, value in row.saw.items():
            assert answer.json().get(key) == value, f"{key}: {answer.json().get(key)!r}, not {value!r}"
        if row.closes:
            assert answer.closes, f"will close but does not say so: {answer}"
            conn.expect_close()
        else:
            assert not answer.closes, answer
            conn.send(ALIVE)
            assert conn.response().json()["PATH_INFO"] == "/alive"
