"""RFC 9112 §6 and §7 as tables: where a request body ends. What is wrong here is how requests get smuggled."""
import pytest
from harness import request
from harness.verdicts import ALIVE, head, judge, last, ok, rej, table


@pytest.fixture
def server(shared):
    return shared("mirror:application")


def post(*fields, body=b"", line="POST / HTTP/1.1"):
    return head(line, *fields) + body


def length(value, body=b"hello"):
    return post(f"Content-Length:{value}", body=body)


def coded(value, body=b"5\r\nhello\r\n0\r\n\r\n"):
    return post(f"Transfer-Encoding:{value}", body=body)


def chunked(body, *fields):
    return post("Transfer-Encoding: chunked", *fields, body=body)


ZERO = b"0\r\n\r\n"


@table(
    *(ok(f"FR1-no-body-{method}", post(line=f"{method} / HTTP/1.1"), BODY="") for method in ("GET", "POST", "DELETE", "OPTIONS")),
    *(ok(f"FR1-length-{method}", post("Content-Length: 5", body=b"hello", line=f"{method} / HTTP/1.1"), BODY="hello", CONTENT_LENGTH="5")
      for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "FROB")),
    *(ok(f"FR1-chunked-{method}", post("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n" + ZERO, line=f"{method} / HTTP/1.1"),
         BODY="hello") for method in ("GET", "POST", "DELETE", "OPTIONS")),
    ok("FR2-ows", length(" \t5 \t"), BODY="hello"),
    ok("FR2-no-ows", length("5"), BODY="hello"),
    *(rej(f"FR2-{name}", length(" " + value)) for name, value in (
        ("plus", "+5"), ("minus", "-5"), ("minus-zero", "-0"), ("underscore", "0_5"), ("hex", "0x5"), ("float", "5.0"),
        ("exponent", "5e0"), ("comma", "5,"), ("leading-comma", ",5"), ("semicolon", "5;"), ("quoted", '"5"'), ("inner-space", "5 5"),
        ("empty", ""), ("word", "five"), ("suffix", "5x"), ("prefix", "x5"), ("arabic-digit", "\xd9\xa5"), ("superscript", "\xb2"),
        ("nul", "5\0"), ("vertical-tab", "\x0b5"), ("nbsp", "\xa05"), ("0x85", "5\x85"))),
    rej("FR3-2-to-the-63", length(" 9223372036854775808"), 400, 413),
    rej("FR3-2-to-the-64", length(" 18446744073709551616"), 400, 413),
    rej("FR3-2-to-the-64-and-5", length(" 18446744073709551621"), 400, 413),
    rej("FR3-forty-digits", length(" " + "9" * 40), 400, 413),
    rej("FR3-over-the-limit", length(f" {1 << 31}"), 413),
    rej("FR4-differing", post("Content-Length: 5", "Content-Length: 6", body=b"hello!")),
    rej("FR4-equal-lines", post("Content-Length: 5", "Content-Length: 5", body=b"hello")),
    rej("FR4-equal-list", length(" 5, 5")),
    rej("FR4-equal-list-no-space", length(" 5,5")),
    rej("FR4-other-case", post("Content-Length: 5", "cOnTeNt-LeNgTh: 5", body=b"hello")),
    rej("FR4-empty-second", post("Content-Length: 5", "Content-Length:", body=b"hello")),
    ok("FR5-leading-zeros", length(" 0005"), BODY="hello"),
    ok("FR5-decimal-not-octal", length(" 010", b"0123456789"), BODY="0123456789"),
    ok("FR5-many-zeros", length(" " + "0" * 30 + "5"), BODY="hello"),
    rej("FR6-length-then-coding", post("Content-Length: 5", "Transfer-Encoding: chunked", body=ZERO)),
    rej("FR6-coding-then-length", post("Transfer-Encoding: chunked", "Content-Length: 5", body=ZERO)),
    rej("FR6-length-zero", post("Content-Length: 0", "Transfer-Encoding: chunked", body=ZERO)),
    rej("FR6-bad-length-and-coding", post("Content-Length: x", "Transfer-Encoding: chunked", body=ZERO)),
    rej("FR6-length-and-unknown-coding", post("Content-Length: 5", "Transfer-Encoding: x", body=b"hello"), 400, 501),
    rej("FR7-1.0", post("Transfer-Encoding: chunked", body=ZERO, line="POST / HTTP/1.0")),
    rej("FR7-1.0-keep-alive", post("Transfer-Encoding: chunked", "Connection: keep-alive", body=ZERO, line="POST / HTTP/1.0")),
    ok("FR8-any-case", coded(" cHuNkEd"), BODY="hello"),
    ok("FR8-ows", coded("\t chunked \t"), BODY="hello"),
    *(rej(f"FR8-{name}", coded(" " + value), 400, 501) for name, value in (
        ("gzip-then-chunked", "gzip, chunked"), ("identity-then-chunked", "identity, chunked"), ("gzip", "gzip"),
        ("identity", "identity"), ("deflate", "deflate"), ("compress", "compress, chunked"), ("unknown", "foo"))),
    *(rej(f"FR8-{name}", coded(" " + value), 400) for name, value in (
        ("chunked-not-last", "chunked, gzip"), ("chunked-twice", "chunked, chunked"), ("parameter", "chunked;q=1"),
        ("quoted", '"chunked"'), ("empty", ""), ("vertical-tab", "\x0bchunked"), ("nbsp", "chunked\xa0"), ("nul", "chunked\0"))),
    *(rej(f"FR8-{name}", coded(" " + value), 400, 501) for name, value in (
        ("suffix", "chunkedfoo"), ("prefix", "xchunked"), ("kelvin", "chun\xe2\x84\xaaed"), ("space-inside", "chun ked"),
        ("leading-comma", ",chunked"), ("trailing-comma", "chunked,"), ("slash", "chunked/1.0"))),
    rej("FR8-two-lines", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=ZERO)),
    rej("FR8-two-lines-identity", post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=ZERO), 400, 501),
    rej("FR8-two-lines-empty", post("Transfer-Encoding: chunked", "Transfer-Encoding:", body=ZERO)),
)
def test_framing(server, row, how):
    judge(server, row, how)


@table(
    ok("CH1-empty-body", chunked(ZERO), BODY=""),
    ok("CH1-one", chunked(b"5\r\nhello\r\n" + ZERO), BODY="hello"),
    ok("CH1-several", chunked(b"1\r\nh\r\n4\r\nello\r\n" + ZERO), BODY="hello"),
    ok("CH1-upper-case-hex", chunked(b"A\r\n0123456789\r\n" + ZERO), BODY="0123456789"),
    ok("CH1-lower-case-hex", chunked(b"a\r\n0123456789\r\n" + ZERO), BODY="0123456789"),
    ok("CH1-leading-zeros", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), BODY="hello"),
    ok("CH1-crlf-inside-data", chunked(b"9\r\n0\r\n\r\nGET \r\n" + ZERO), BODY="0\r\n\r\nGET "),
    ok("CH1-sixteen-digits", chunked(b"0000000000000005\r\nhello\r\n" + ZERO), BODY="hello"),
    *(rej(f"CH1-{name}", chunked(size + b"\r\nhello\r\n" + ZERO)) for name, size in (
        ("0x", b"0x5"), ("underscore", b"0_5"), ("plus", b"+5"), ("minus", b"-5"), ("space-before", b" 5"), ("space-after", b"5 "),
        ("tab-after", b"5\t"), ("tab-before", b"\t5"), ("empty", b""), ("only-semicolon", b";"), ("not-hex", b"5g"), ("word", b"five"),
        ("quote", b'"5"'), ("nul", b"5\0"), ("8-bit", b"5\xa0"), ("dot", b"5.0"), ("comma", b"5,5"))),
    rej("CH1-seventeen-digits", chunked(b"00000000000000005\r\nhello\r\n" + ZERO), 400, 413),
    rej("CH1-overflow", chunked(b"FFFFFFFFFFFFFFFF\r\nhello\r\n" + ZERO), 400, 413),
    rej("CH1-overflow-wraps-to-5", chunked(b"10000000000000005\r\nhello\r\n" + ZERO), 400, 413),
    rej("CH1-negative-as-unsigned", chunked(b"8000000000000000\r\n"), 400, 413),
    rej("CH2-lf-after-size", chunked(b"5\nhello\r\n" + ZERO)),
    rej("CH2-cr-after-size", chunked(b"5\rhello\r\n" + ZERO)),
    rej("CH2-cr-x-after-size", chunked(b"5\rX\nhello\r\n" + ZERO)),
    rej("CH2-cr-cr-lf", chunked(b"5\r\r\nhello\r\n" + ZERO)),
    rej("CH2-lf-after-data", chunked(b"5\r\nhello\n" + ZERO)),
    rej("CH2-lf-after-last", chunked(b"5\r\nhello\r\n0\n\r\n")),
    rej("CH2-lf-in-extension", chunked(b"5;a\nb\r\nhello\r\n" + ZERO)),
    rej("CH2-cr-in-extension", chunked(b"5;a\rb\r\nhello\r\n" + ZERO)),
    rej("CH2-lf-at-the-end", chunked(b"0\r\n\n")),
    rej("CH3-two-other-bytes-after-data", chunked(b"5\r\nhelloXX" + ZERO)),
    rej("CH3-one-byte-too-many", chunked(b"5\r\nhello!\r\n" + ZERO)),
    rej("CH3-one-byte-too-few", chunked(b"5\r\nhell\r\n" + ZERO)),
    rej("CH3-nothing-after-data", chunked(b"5\r\nhello" + ZERO)),
    rej("CH3-junk-instead-of-final-crlf", chunked(b"0\r\nXX\r\n")),
    ok("CH4-extension", chunked(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), BODY="hello"),
    ok("CH4-quoted-extension", chunked(b'5;a="b; c"\r\nhello\r\n' + ZERO), BODY="hello"),
    rej("CH4-long-extension", chunked(b"5;a=" + b"b" * 5000 + b"\r\nhello\r\n" + ZERO), 400, 413),
    rej("CH4-extensions-in-sum", chunked((b"1;a=" + b"b" * 200 + b"\r\nx\r\n") * 40 + ZERO), 400, 413),
    rej("CH5-nul-in-extension", chunked(b"5;a\0\r\nhello\r\n" + ZERO)),
    rej("CH5-control-in-extension", chunked(b"5;a\x01\r\nhello\r\n" + ZERO)),
    rej("CH5-del-in-extension", chunked(b"5;a\x7f\r\nhello\r\n" + ZERO)),
    ok("CH6-trailer-dropped", chunked(b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"), BODY="hello", HTTP_X_A=None),
    ok("CH6-trailer-never-merged", chunked(b"0\r\nX-A: evil\r\n\r\n", "X-A: good"), HTTP_X_A="good"),
    rej("CH6-trailer-is-a-request-line", chunked(b"0\r\nGET / HTTP/1.1\r\n\r\n")),
    rej("CH6-trailer-with-nul", chunked(b"0\r\nX-A: b\0\r\n\r\n")),
    rej("CH6-trailer-with-space-before-colon", chunked(b"0\r\nX-A : b\r\n\r\n")),
    rej("CH6-trailer-without-colon", chunked(b"0\r\nX-A\r\n\r\n")),
    rej("CH6-trailer-with-lf", chunked(b"0\r\nX-A: b\n\r\n")),
    rej("CH6-trailer-folded", chunked(b"0\r\nX-A: b\r\n c\r\n\r\n")),
    rej("CH6-endless-trailers", chunked(b"0\r\n" + b"X-A: bbbbbbbbbbbbbbbb\r\n" * 5000), 400, 413, 431),
)
def test_chunked(server, row, how):
    judge(server, row, how)


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Host", "Authorization"])
def test_framing_names_in_trailers_do_nothing(server, name):
    """CH6: dropped or refused; in no case do they change this request or the next."""
    with server.connect() as conn:
        conn.send(chunked(f"5\r\nhello\r\n0\r\n{name}: 7\r\n\r\n".encode()) + ALIVE)
        answer = conn.response()
        if answer.status == 400:
            assert answer.closes
            conn.expect_close()
        else:
            assert answer.json()["BODY"] == "hello" and answer.json()["HTTP_HOST"] == "a"
            assert "HTTP_AUTHORIZATION" not in answer.json()
            assert conn.response().json()["PATH_INFO"] == "/alive"


def test_many_tiny_chunks_are_refused(server):
    """CH9: the overhead of one-byte chunks is bounded."""
    with server.connect() as conn:
        conn.send(chunked(b"1\r\nx\r\n" * 200_000 + ZERO))
        answer = conn.response()
        assert answer.status in (200, 413)
        if answer.status == 200:
            assert len(answer.json()["BODY"]) == 200_000
        else:
            assert answer.closes


@pytest.mark.parametrize("body", [b"hell", b""], ids=["part", "nothing"])
def test_short_body_is_never_a_success(server, body):
    """FR10: the client half-closes before the announced length."""
    with server.connect() as conn:
        conn.send(length(" 5", body))
        conn.half_close()
        raw = conn.recv_all()
        assert raw == b"" or raw.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ")), raw[:100]


@pytest.mark.parametrize("body", [b"5\r\nhello\r\n", b"5\r\nhel", b"5\r\nhello\r\n0\r\n", b"", b"5", b"5\r\nhello\r"],
                         ids=["no-last-chunk", "in-data", "no-final-crlf", "nothing", "in-size", "in-crlf"])
def test_truncated_chunked_body_is_never_a_success(server, body):
    """CH7."""
    with server.connect() as conn:
        conn.send(chunked(body))
        conn.half_close()
        raw = conn.recv_all()
        assert raw == b"" or raw.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ")), raw[:100]


def test_unread_body_is_not_the_next_request(server):
    """FR11: an answer that ignores a small body; its bytes are drained or the connection closes."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect() as conn:
        conn.send(request("/unread", "POST", body=smuggled) + ALIVE)
        answer = conn.response()
        assert answer.status == 200
        if answer.closes:
            conn.expect_close()
        else:
            assert conn.response().json()["PATH_INFO"] == "/alive"


@table(
    last("CN1-close", head("GET / HTTP/1.1", "Connection: close")),
    last("CN1-close-any-case", head("GET / HTTP/1.1", "Connection: ClOsE")),
    last("CN1-close-in-a-list", head("GET / HTTP/1.1", "Connection: keep-alive, close")),
    last("CN1-close-first-in-a-list", head("GET / HTTP/1.1", "Connection: close, TE")),
    last("CN1-close-on-another-line", head("GET / HTTP/1.1", "Connection: keep-alive", "Connection: close")),
    ok("CN1-not-a-member", head("GET / HTTP/1.1", "Connection: closed, not-close")),
    ok("CN1-keep-alive", head("GET / HTTP/1.1", "Connection: keep-alive")),
    ok("CN1-odd-names", head("GET / HTTP/1.1", "Connection: x, y, z", "X: 1")),
    last("CN2-1.0", head("GET / HTTP/1.0")),
    last("CN2-1.0-close", head("GET / HTTP/1.0", "Connection: close")),
    ok("CN4-names-content-length", post("Connection: Content-Length", "Content-Length: 5", body=b"hello"), BODY="hello", CONTENT_LENGTH="5"),
    ok("CN4-names-transfer-encoding", post("Connection: Transfer-Encoding", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n" + ZERO),
       BODY="hello"),
    ok("CN4-names-host", head("GET / HTTP/1.1", "Connection: Host"), HTTP_HOST="a"),
    ok("UP1-unknown-protocol", head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: nonsense")),
    ok("UP1-without-connection", head("GET / HTTP/1.1", "Upgrade: websocket")),
    ok("UP4-h2c", head("GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")),
    ok("UP4-h2c-with-body", post("Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5", body=b"hello"), BODY="hello"),
)
def test_connection(server, row, how):
    judge(server, row, how)


def test_1_0_keep_alive_is_granted_aloud(server):
    """CN2."""
    with server.connect() as conn:
        for _ in range(2):
            conn.send(head("GET / HTTP/1.0", "Connection: keep-alive"))
            answer = conn.response()
            assert answer.status == 200 and answer.get("Connection").lower() == "keep-alive"


@table(
    rej("EX4-unknown", post("Expect: 200-maybe", "Content-Length: 5", body=b"hello"), 417),
    rej("EX4-unknown-and-known", post("Expect: 100-continue, x", "Content-Length: 5", body=b"hello"), 417),
    ok("EX2-no-body", head("GET / HTTP/1.1", "Expect: 100-continue"), BODY=""),
)
def test_expect(server, row, how):
    judge(server, row, how)


def test_no_100_for_1_0(server):
    """EX2: the expectation of an HTTP/1.0 client is ignored."""
    with server.connect() as conn:
        conn.send(post("Expect: 100-continue", "Content-Length: 5", line="POST / HTTP/1.0"))
        conn.send(b"hello")
        answer = conn.response()
        assert answer.status == 200 and answer.interim == [] and answer.json()["BODY"] == "hello"


def test_no_100_when_the_body_is_there(server):
    """EX2: it came with the head."""
    with server.connect() as conn:
        conn.send(post("Expect: 100-continue", "Content-Length: 5", body=b"hello"))
        answer = conn.response()
        assert answer.status == 200 and answer.interim == [] and answer.json()["BODY"] == "hello"


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", "\t100-CONTINUE "])
def test_100_then_the_body(server, value):
    """EX1."""
    with server.connect() as conn:
        conn.send(post(f"Expect: {value}", "Content-Length: 5"))
        assert conn.response_head().status == 100
        conn.send(b"hello")
        answer = conn.response()
        assert answer.status == 200 and answer.interim == [] and answer.json()["BODY"] == "hello"


def test_no_100_after_a_framing_error(server):
    with server.connect() as conn:
        conn.send(post("Expect: 100-continue", "Content-Length: 5", "Transfer-Encoding: chunked"))
        answer = conn.response()
        assert answer.status == 400 and answer.interim == [] and answer.closes
