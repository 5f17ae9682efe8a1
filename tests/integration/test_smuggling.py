"""The 58 known discrepancies of docs/conformance.md §2, one test or row each (numbers are that table's). In each, a request
hidden behind the odd one must never reach the application."""
import pytest
from harness.verdicts import ALIVE, head, judge, ok, rej, table

ZERO = b"0\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def server(shared):
    return shared("mirror:application")


def post(*fields, body=b"", line="POST / HTTP/1.1"):
    return head(line, *fields) + body


@table(
    rej("01-length-and-chunked", post("Content-Length: 5", "Transfer-Encoding: chunked", body=ZERO + HIDDEN)),
    rej("02-malformed-coding-then-length", post("Transfer-Encoding: nope", "Content-Length: 5", body=b"hello" + HIDDEN), 400, 501),
    rej("03-gzip-chunked", post("Transfer-Encoding: gzip, chunked", body=ZERO + HIDDEN), 501),
    rej("03-identity-chunked", post("Transfer-Encoding: identity, chunked", body=ZERO + HIDDEN), 400, 501),
    rej("04-two-chunked-lines", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=ZERO + HIDDEN)),
    rej("05-comma-chunked", post("Transfer-Encoding: ,chunked", body=ZERO + HIDDEN)),
    rej("06-vt-chunked", post("Transfer-Encoding: \x0bchunked", body=ZERO + HIDDEN)),
    rej("06-chunked-nbsp", post("Transfer-Encoding: chunked\xa0", body=ZERO + HIDDEN), 400, 501),
    rej("07-unknown-coding", post("Transfer-Encoding: x", body=ZERO + HIDDEN), 501),
    rej("08-chunkedfoo", post("Transfer-Encoding: chunkedfoo", body=ZERO + HIDDEN), 501),
    rej("08-xchunked", post("Transfer-Encoding: xchunked", body=ZERO + HIDDEN), 501),
    rej("09-coding-folded", post("Transfer-Encoding:", " chunked", body=ZERO + HIDDEN)),
    rej("09-name-split", post("Transfer-", "Encoding: chunked", body=ZERO + HIDDEN)),
    rej("10-coding-in-1.0", post("Transfer-Encoding: chunked", "Connection: keep-alive", body=ZERO + HIDDEN, line="POST / HTTP/1.0")),
    *(rej(f"11-length-{name}", post(f"Content-Length: {value}", body=b"hello" + HIDDEN))
      for name, value in (("plus", "+5"), ("minus-zero", "-0"), ("underscore", "0_5"), ("hex", "0x5"), ("arabic", "\xd9\xa5"))),
    ok("12-length-not-octal", post("Content-Length: 010", body=b"0123456789"), BODY="0123456789"),
    rej("13-two-lengths", post("Content-Length: 0", "Content-Length: 44", body=HIDDEN)),
    rej("13-two-lengths-in-a-list", post("Content-Length: 0, 44", body=HIDDEN)),
    rej("14-empty-length", post("Content-Length:", body=HIDDEN)),
    rej("14-empty-length-first", post("Content-Length:", "Content-Length: 5", body=b"hello" + HIDDEN)),
    rej("15-longest-valid-prefix", post("Content-Length: 5x", body=b"hello" + HIDDEN)),
    rej("16-overflow-to-zero", post("Content-Length: 18446744073709551616", body=HIDDEN), 400, 413),
    rej("16-overflow-32-bit", post("Content-Length: 4294967296", body=HIDDEN), 400, 413),
    rej("17-space-before-colon", post("Content-Length : 5", body=b"hello" + HIDDEN)),
    rej("18-space-before-first-line", b"POST / HTTP/1.1\r\n Content-Length: 40\r\nHost: a\r\n\r\n" + HIDDEN),
    rej("19-0x85-in-name", post("Content-Length\x85: 5", body=b"hello" + HIDDEN)),
    ok("20-content-underscore-length", post("Content_Length: 5"), BODY="", CONTENT_LENGTH=None),
    ok("20-transfer-underscore-encoding", post("Transfer_Encoding: chunked"), BODY=""),
    ok("20-x-forwarded-underscore-for", post("X_Forwarded_For: 6.6.6.6"), HTTP_X_FORWARDED_FOR=None),
    rej("21-cr-starts-a-field", post("X: a\rContent-Length: 44", body=HIDDEN)),
    rej("22-lf-ends-a-field", post("X: a\nContent-Length: 44", body=HIDDEN)),
    rej("23-nul-in-value", post("X: a\0b", body=HIDDEN)),
    rej("24-crlf-cr-x", b"POST / HTTP/1.1\r\nHost: a\r\n\rX" + HIDDEN),
    rej("25-empty-name", post(": x", body=HIDDEN)),
    rej("25-no-colon", post("GET /hidden HTTP/1.1", body=HIDDEN)),
    rej("25-colon-alone", post(":", body=HIDDEN)),
    rej("26-8-bit-name", post("\xffX: a", body=HIDDEN)),
    rej("26-control-in-name", post("X\x01: a", body=HIDDEN)),
    rej("27-lf-lf-after-colon", b"POST / HTTP/1.1\r\nHost:\n\n a\r\n\r\n" + HIDDEN),
    *(rej(f"28-size-{name}", post("Transfer-Encoding: chunked", body=size + b"\r\nhello\r\n" + ZERO + HIDDEN))
      for name, size in (("hex", b"0x5"), ("underscore", b"5_0"), ("plus", b"+5"), ("minus-zero", b"-0"), ("space", b" 5"))),
    rej("29-junk-after-size", post("Transfer-Encoding: chunked", body=b"5 x\r\nhello\r\n" + ZERO + HIDDEN)),
    rej("30-empty-size", post("Transfer-Encoding: chunked", body=b"\r\nhello\r\n" + ZERO + HIDDEN)),
    rej("30-extra-crlf-between-chunks", post("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n\r\n" + ZERO + HIDDEN)),
    rej("31-space-after-size", post("Transfer-Encoding: chunked", body=b"5 \r\nhello\r\n" + ZERO + HIDDEN)),
    rej("31-tab-after-last-size", post("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\t\r\n\r\n" + HIDDEN)),
    rej("32-lf-in-chunk-line", post("Transfer-Encoding: chunked", body=b"5;\nxx\r\nhello\r\n" + ZERO + HIDDEN)),
    rej("32-cr-in-chunk-line", post("Transfer-Encoding: chunked", body=b"5;\rxx\r\nhello\r\n" + ZERO + HIDDEN)),
    rej("32-lf-only", post("Transfer-Encoding: chunked", body=b"5\nhello\n0\n\n" + HIDDEN)),
    rej("33-any-two-bytes", post("Transfer-Encoding: chunked", body=b"5\r\nhelloAB0\r\n\r\n" + HIDDEN)),
    rej("34-0-crlf-xx", post("Transfer-Encoding: chunked", body=b"0\r\nXX" + HIDDEN)),
    rej("35-unbounded-extension", post("Transfer-Encoding: chunked", body=b"5;" + b"e" * 100_000 + b"\r\nhello\r\n" + ZERO), 400, 413),
    rej("38-request-line-as-trailer", post("Transfer-Encoding: chunked", body=b"0\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n")),
    rej("39-bad-chunk-then-request", post("Transfer-Encoding: chunked", body=b"zz\r\n\r\n" + HIDDEN)),
    ok("41-websocket-key1", head("GET / HTTP/1.1", "Sec-WebSocket-Key1: x"), BODY=""),
    rej("46-method-prefix", b"\x00GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    rej("46-quoted-method", head('"GET / HTTP/1.1')),
    rej("47-http-0.9", b"GET /hidden\n"),
    rej("48-version-prefix", head("GET / HTTP/1.1.hidden")),
    rej("48-version-wrapped", head("GET / HTTP/1.257"), 400, 505),
    rej("48-version-2", head("GET / HTTP/2.0"), 505),
    rej("55-kelvin-sign", post("Transfer-Encoding: chun\xe2\x84\xaaed", body=ZERO + HIDDEN), 400, 501),
    rej("56-two-hosts", head("GET / HTTP/1.1", "Host: b")),
    rej("56-two-content-types", post("Content-Type: a/b", "Content-Type: c/d")),
)
def test_discrepancy(server, row, how):
    judge(server, row, how)


def answers_until_close(conn):
    """Every whole response up to the end of the connection."""
    found = []
    while conn.buffer or conn.fill():
        found.append(conn.response())
    return found


def test_36_truncated_chunked_body(server):
    with server.connect() as conn:
        conn.send(post("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
        conn.half_close()
        assert all(answer.status >= 400 for answer in answers_until_close(conn))


def test_37_trailers_are_not_headers(server):
    with server.connect() as conn:
        conn.send(post("Transfer-Encoding: chunked", body=b"0\r\nX-Admin: yes\r\nCookie: a=b\r\n\r\n" + ALIVE))
        first = conn.response()
        if first.status == 200:
            assert "HTTP_X_ADMIN" not in first.json() and "HTTP_COOKIE" not in first.json()
            assert conn.response().json()["PATH_INFO"] == "/alive"


def test_40_length_zero_then_a_request(server):
    with server.connect() as conn:
        conn.send(post("Content-Length: 0") + ALIVE)
        assert conn.response().json()["BODY"] == ""
        assert conn.response().json()["PATH_INFO"] == "/alive"


@pytest.mark.parametrize("size", [44, 10_000, 200_000, 2_000_000])
def test_42_unread_body_is_drained_or_ends_the_connection(server, size):
    body = (HIDDEN * (size // len(HIDDEN) + 1))[:size]
    with server.connect() as conn:
        conn.send(post(f"Content-Length: {size}", body=body, line="POST /unread HTTP/1.1"))
        first = conn.response()
        assert first.status == 200
        conn.send(ALIVE)
        rest = [] if first.closes else [conn.response()]
        assert all(answer.json()["PATH_INFO"] == "/alive" for answer in rest)


def test_43_upgrade_with_a_body(server):
    with server.connect() as conn:
        conn.send(post("Connection: Upgrade", "Upgrade: websocket", f"Content-Length: {len(HIDDEN)}", body=HIDDEN) + ALIVE)
        first = conn.response()
        assert first.status in (200, 400)
        if first.status == 200:
            assert first.json()["BODY"] == HIDDEN.decode()
            assert conn.response().json()["PATH_INFO"] == "/alive"


@pytest.mark.parametrize("expectation", ["100-continue", "y 100-continue", "100-continuE", " 100-continue,"])
def test_44_expect_and_an_early_answer(server, expectation):
    """0.CL: whatever the expectation, the announced body is never taken for a request."""
    with server.connect() as conn:
        conn.send(post(f"Expect: {expectation}", f"Content-Length: {len(HIDDEN)}", line="POST /unread HTTP/1.1"))
        first = conn.response()
        conn.send(HIDDEN + ALIVE)
        rest = answers_until_close(conn) if first.closes else [conn.response()]
        assert all(answer.json()["PATH_INFO"] == "/alive" for answer in rest)


def test_45_evil_authorities(server):
    assert server.get("//evil/x").json()["PATH_INFO"] == "//evil/x"
    assert server.get("http://a/x").json()["HTTP_HOST"] == "a"
    assert server.get("/x#y").status == 400


def test_49_pipelined_answers_keep_their_order(server):
    with server.connect() as conn:
        conn.send(b"".join(head(f"GET /{number} HTTP/1.1") for number in range(50)))
        assert [conn.response().json()["PATH_INFO"] for _ in range(50)] == [f"/{number}" for number in range(50)]


def test_49_pipelined_with_expect_are_two_requests(server):
    with server.connect() as conn:
        conn.send(post("Expect: 100-continue", "Content-Length: 5", body=b"hello") + ALIVE)
        assert conn.response().json()["BODY"] == "hello"
        assert conn.response().json()["PATH_INFO"] == "/alive"


@pytest.mark.parametrize("value", ["\xff\xfe", "caf\xe9", "chat, \xe9"])
def test_51_odd_headers_never_hurt_the_worker(server, value):
    before = server.worker()
    with server.connect() as conn:
        conn.send(head("GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Protocol: {value}"))
        assert conn.response().status in (200, 400)
    assert server.worker() == before


def test_54_no_tls_upgrade(server):
    with server.connect() as conn:
        conn.send(head("OPTIONS * HTTP/1.1", "Connection: Upgrade", "Upgrade: TLS/1.0"))
        assert conn.response().status == 200


def test_57_the_log_escapes_what_peers_send(shared):
    server = shared("mirror:application", "--access-logfile", "-")
    server.get("/%0d%0aGET%20/forged%20200")
    server.get("/x", fields=["User-Agent: \x80\xff\"x"])
    with server.connect() as conn:
        conn.send(b"GET /\x1b[2J\r\n HTTP/1.1\r\n\r\n")
        conn.recv_all()
    server.wait_log(r"GET /x", stream="out")
    assert "\x1b" not in server.log + server.out
    assert "\nGET /forged" not in server.log + server.out
