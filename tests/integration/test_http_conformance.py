"""RFC 9110 and 9112 as tables: request line, target, Host, field lines. Ids are those of docs/conformance.md."""
import pytest
from harness.verdicts import head, judge, last, ok, rej, table


@pytest.fixture
def server(shared):
    return shared("mirror:application")


def line(text, *fields, host="a"):
    return head(text, *fields, host=host)


@table(
    ok("RL1-plain", line("GET / HTTP/1.1"), REQUEST_METHOD="GET", PATH_INFO="/", SERVER_PROTOCOL="HTTP/1.1"),
    rej("RL1-two-spaces-before-target", line("GET  / HTTP/1.1")),
    rej("RL1-two-spaces-before-version", line("GET /  HTTP/1.1")),
    rej("RL1-leading-space", line(" GET / HTTP/1.1")),
    rej("RL1-trailing-space", line("GET / HTTP/1.1 ")),
    rej("RL1-tab", line("GET\t/\tHTTP/1.1")),
    rej("RL1-vertical-tab", line("GET\x0b/ HTTP/1.1")),
    rej("RL1-form-feed", line("GET /\x0cHTTP/1.1")),
    rej("RL1-carriage-return", line("GET /\rHTTP/1.1")),
    rej("RL1-no-target", line("GET HTTP/1.1")),
    rej("RL1-four-words", line("GET / x HTTP/1.1")),
    ok("RL2-one-empty-line", b"\r\n" + line("GET / HTTP/1.1"), PATH_INFO="/"),
    ok("RL2-eight-empty-lines", b"\r\n" * 8 + line("GET / HTTP/1.1"), PATH_INFO="/"),
    rej("RL2-nine-empty-lines", b"\r\n" * 9 + line("GET / HTTP/1.1")),
    rej("RL2-empty-line-of-lf", b"\n" + line("GET / HTTP/1.1")),
    rej("RL2-lone-cr", b"\r" + line("GET / HTTP/1.1")),
    ok("RL3-unknown-method", line("FROBNICATE / HTTP/1.1"), REQUEST_METHOD="FROBNICATE"),
    ok("RL3-lower-case-is-another", line("get / HTTP/1.1"), REQUEST_METHOD="get"),
    ok("RL3-all-token-bytes", line("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"), REQUEST_METHOD="!#$%&'*+-.^_`|~09azAZ"),
    rej("RL4-colon", line("GE:T / HTTP/1.1")),
    rej("RL4-at", line("G@T / HTTP/1.1")),
    rej("RL4-quote", line('"GET" / HTTP/1.1')),
    rej("RL4-nul", line("GE\0T / HTTP/1.1")),
    rej("RL4-8-bit", line("G\xc9T / HTTP/1.1")),
    rej("RL4-bom", b"\xef\xbb\xbf" + line("GET / HTTP/1.1")),
    rej("RL4-empty-method", line(" / HTTP/1.1")),
    rej("RL4-bracket", line("[GET] / HTTP/1.1")),
    rej("RL4-del", line("GET\x7f / HTTP/1.1")),
    ok("RL5-long-method", line("M" * 64 + " / HTTP/1.1"), REQUEST_METHOD="M" * 64),
    rej("RL5-too-long-method", line("M" * 65 + " / HTTP/1.1"), 501),
    ok("RL6-8000-octets", line("GET /" + "a" * (8000 - 14) + " HTTP/1.1"), PATH_INFO="/" + "a" * (8000 - 14)),
    ok("RL7-at-the-limit", line("GET /" + "a" * (8190 - 14) + " HTTP/1.1")),
    rej("RL7-one-over-the-limit", line("GET /" + "a" * (8191 - 14) + " HTTP/1.1"), 414),
    rej("RL7-far-over-the-limit", line("GET /" + "a" * 20000 + " HTTP/1.1"), 414),
    rej("RL7-no-end-in-sight", b"GET /" + b"a" * 9000, 414),
    last("RL8-1.0", line("GET / HTTP/1.0"), SERVER_PROTOCOL="HTTP/1.0"),
    ok("RL8-1.2", line("GET / HTTP/1.2"), SERVER_PROTOCOL="HTTP/1.1"),
    ok("RL8-1.9", line("GET / HTTP/1.9"), SERVER_PROTOCOL="HTTP/1.1"),
    rej("RL9-0.9", line("GET / HTTP/0.9"), 505),
    rej("RL9-2.0", line("GET / HTTP/2.0"), 505),
    rej("RL9-3.0", line("GET / HTTP/3.0"), 505),
    rej("RL9-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 400),
    *(rej(f"RL10-{text}", line(f"GET / {text}")) for text in (
        "HTTP/1.10", "HTTP/01.1", "HTTP/1", "HTTP/1.", "HTTP/.1", "http/1.1", "HTTP/1.1x", "HTTP/11", "HTTP 1.1", "HTTP/1,1",
        "HTTP/-1.1", "HTTP/1.1.1", "XTTP/1.1", "HTTP/a.b", "HTTP//1.1", "HTTPS/1.1")),
    rej("RL11-no-version", b"GET /\r\n\r\n"),
    rej("RL11-no-version-trailing-space", b"GET / \r\n\r\n"),
    rej("RL12-tls-hello", bytes.fromhex("16030100c8010000c40303") + bytes(100), nothing=True),
    rej("RL12-ssh", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    rej("RL12-proxy-v1", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + line("GET / HTTP/1.1")),
    rej("RL12-proxy-v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)),
    rej("RL12-uwsgi-packet", b"\0\x10\0\0\x0e\0REQUEST_METHOD\x03\0GET", nothing=True),
    rej("RL12-http-response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
)
def test_request_line(server, row, how):
    judge(server, row, how)


@table(
    rej("TG1-no-slash", line("GET foo HTTP/1.1")),
    rej("TG1-backslash", line("GET \\foo HTTP/1.1")),
    ok("TG2-absolute", line("GET http://a/x?y=1 HTTP/1.1"), PATH_INFO="/x", QUERY_STRING="y=1"),
    ok("TG2-absolute-without-path", line("GET http://a HTTP/1.1"), PATH_INFO="/", QUERY_STRING=""),
    ok("TG2-absolute-query-only", line("GET http://a?q HTTP/1.1"), PATH_INFO="/", QUERY_STRING="q"),
    ok("TG2-absolute-scheme-in-any-case", line("GET HTTP://a/x HTTP/1.1"), PATH_INFO="/x"),
    ok("TG2-absolute-with-port", line("GET http://a:81/x HTTP/1.1", host="a:81"), PATH_INFO="/x", HTTP_HOST="a:81"),
    ok("TG3-authority-replaces-host", line("GET http://inside/x HTTP/1.1", host="outside"), HTTP_HOST="inside"),
    rej("TG4-empty-host", line("GET http:///x HTTP/1.1")),
    rej("TG4-only-a-port", line("GET http://:80/x HTTP/1.1")),
    rej("TG5-other-scheme", line("GET ftp://a/x HTTP/1.1"), 400, 421),
    rej("TG5-userinfo", line("GET http://me@a/x HTTP/1.1")),
    rej("TG6-authority-with-get", line("GET a:80 HTTP/1.1")),
    rej("TG6-connect", line("CONNECT a:80 HTTP/1.1"), 405, 501),
    rej("TG6-connect-origin-form", line("CONNECT / HTTP/1.1"), 400, 405, 501),
    ok("TG7-star-with-options", line("OPTIONS * HTTP/1.1"), REQUEST_METHOD="OPTIONS"),
    rej("TG7-star-with-get", line("GET * HTTP/1.1")),
    rej("TG7-star-and-more", line("OPTIONS *x HTTP/1.1")),
    rej("TG7-dot", line("GET . HTTP/1.1")),
    rej("TG7-query-only", line("GET ?q HTTP/1.1")),
    rej("TG8-nul", line("GET /a\0b HTTP/1.1")),
    rej("TG8-control", line("GET /a\x01b HTTP/1.1")),
    rej("TG8-tab", line("GET /a\tb HTTP/1.1")),
    rej("TG8-del", line("GET /a\x7fb HTTP/1.1")),
    rej("TG8-fragment", line("GET /a#b HTTP/1.1")),
    rej("TG8-fragment-in-query", line("GET /a?b#c HTTP/1.1")),
    ok("TG9-browser-bytes", line('GET /a?"<>^`{|}\\ HTTP/1.1'), QUERY_STRING='"<>^`{|}\\'),
    ok("TG9-8-bit", line("GET /caf\xe9?q=\xe9 HTTP/1.1"), PATH_INFO="/caf\xe9", QUERY_STRING="q=\xe9"),
    ok("TG10-decoded-once", line("GET /a%2520b HTTP/1.1"), PATH_INFO="/a%20b", RAW_URI="/a%2520b"),
    ok("TG10-space", line("GET /a%20b HTTP/1.1"), PATH_INFO="/a b"),
    ok("TG10-slash", line("GET /a%2Fb HTTP/1.1"), PATH_INFO="/a/b", RAW_URI="/a%2Fb"),
    ok("TG10-utf8-as-latin1", line("GET /%C3%A9 HTTP/1.1"), PATH_INFO="/\xc3\xa9"),
    ok("TG10-query-not-decoded", line("GET /a?b=%20&c=%2F HTTP/1.1"), QUERY_STRING="b=%20&c=%2F"),
    ok("TG11-two-slashes", line("GET //evil/x HTTP/1.1"), PATH_INFO="//evil/x", HTTP_HOST="a"),
    ok("TG11-dot-segments-kept", line("GET /a/../b/./c HTTP/1.1"), PATH_INFO="/a/../b/./c"),
    ok("TG12-question-mark-in-query", line("GET /a?b?c HTTP/1.1"), PATH_INFO="/a", QUERY_STRING="b?c"),
    ok("TG12-empty-query", line("GET /a? HTTP/1.1"), PATH_INFO="/a", QUERY_STRING=""),
)
def test_target(server, row, how):
    judge(server, row, how)


@pytest.mark.parametrize("target", ["/%zz", "/%4", "/%", "/%0g"])
def test_bad_percent_is_literal_or_refused(server, target):
    """TG10: never half decoded."""
    answer = server.get(target)
    assert answer.status == 400 or answer.json()["PATH_INFO"] == target


def test_percent_nul_never_truncates(server):
    answer = server.get("/a%00b")
    assert answer.status == 400 or answer.json()["PATH_INFO"] == "/a\0b"


@table(
    rej("HO1-none", line("GET / HTTP/1.1", host=None)),
    rej("HO1-none-with-absolute-form", line("GET http://a/ HTTP/1.1", host=None)),
    last("HO1-none-in-1.0", line("GET / HTTP/1.0", host=None), PATH_INFO="/"),
    rej("HO2-two", line("GET / HTTP/1.1", "Host: b")),
    rej("HO2-two-equal", line("GET / HTTP/1.1", "Host: a")),
    rej("HO2-two-other-case", line("GET / HTTP/1.1", "hOST: a")),
    rej("HO2-two-in-1.0", line("GET / HTTP/1.0", "Host: b")),
    *(rej(f"HO3-{name}", line("GET / HTTP/1.1", host=value)) for name, value in (
        ("space", "a b"), ("slash", "a/b"), ("question", "a?b"), ("hash", "a#b"), ("at", "me@a"), ("backslash", "a\\b"),
        ("quote", 'a"b'), ("less", "a<b"), ("brace", "a{b"), ("bar", "a|b"), ("tab", "a\tb"), ("8-bit", "caf\xe9"),
        ("bad-percent", "a%zz"), ("bad-port", "a:8x"), ("two-ports", "a:80:80"), ("unclosed", "[::1"), ("comma", "a, b"),
        ("bracket-junk", "[::1]x"))),
    *(ok(f"HO4-{name}", line("GET / HTTP/1.1", host=value), HTTP_HOST=value.strip()) for name, value in (
        ("name", "example.com"), ("port", "a:8000"), ("empty-port", "a:"), ("v6", "[::1]"), ("v6-port", "[2001:db8::1]:8000"),
        ("underscore", "a_b"), ("trailing-dot", "a.example."), ("percent", "a%20b"), ("address", "192.0.2.1"))),
    ok("HO4-empty", line("GET / HTTP/1.1", host="")),
)
def test_host(server, row, how):
    judge(server, row, how)


def get(*fields):
    return line("GET / HTTP/1.1", *fields)


@table(
    rej("HD1-space-before-colon", get("X-A : b")),
    rej("HD1-tab-before-colon", get("X-A\t: b")),
    rej("HD2-empty-name", get(": b")),
    rej("HD2-no-colon", get("X-A")),
    rej("HD2-colon-alone", get(":")),
    rej("HD2-nul-in-name", get("X\0A: b")),
    rej("HD2-8-bit-in-name", get("X\xe9: b")),
    rej("HD2-0x85-in-name", get("X-A\x85: b")),
    rej("HD2-quote-in-name", get('"X": b')),
    rej("HD2-parenthesis-in-name", get("X(A): b")),
    rej("HD2-slash-in-name", get("X/A: b")),
    ok("HD2-odd-but-valid-name", get("!#$%&'*+.^`|~: b")),
    ok("HD3-ows-trimmed", get("X-A: \t b \t "), HTTP_X_A="b"),
    ok("HD3-no-ows", get("X-A:b"), HTTP_X_A="b"),
    ok("HD3-inner-space-kept", get("X-A: b  c"), HTTP_X_A="b  c"),
    ok("HD3-0x85-kept", get("X-A: \x85b\xa0"), HTTP_X_A="\x85b\xa0"),
    ok("HD3-empty-value", get("X-A:"), HTTP_X_A=""),
    rej("HD3-vertical-tab", get("X-A: \x0bb")),
    rej("HD4-nul", get("X-A: b\0c")),
    rej("HD4-cr", get("X-A: b\rc")),
    rej("HD4-cr-then-field", get("X-A: b\rX-B: c")),
    rej("HD4-lf", get("X-A: b\nX-B: c")),
    rej("HD5-control", get("X-A: b\x01c")),
    rej("HD5-escape", get("X-A: b\x1b[0m")),
    rej("HD5-del", get("X-A: b\x7fc")),
    ok("HD6-latin1", get("X-A: caf\xe9"), HTTP_X_A="caf\xe9"),
    ok("HD6-utf8-bytes", get(b"X-A: \xc3\xa9"), HTTP_X_A="\xc3\xa9"),
    rej("HD7-fold", get("X-A: b", " c")),
    rej("HD7-fold-tab", get("X-A: b", "\tc")),
    rej("HD7-fold-of-nothing", get("X-A: b", " ")),
    rej("HD8-space-before-first-field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    rej("HD8-tab-before-first-field", b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n"),
    rej("HD9-lf-everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
    rej("HD9-lf-after-request-line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    rej("HD9-lf-after-field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    rej("HD9-lf-at-the-end", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    rej("HD9-cr-cr-lf", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    rej("HD9-cr-alone-ends-nothing", b"GET / HTTP/1.1\rHost: a\r\r"),
    rej("HD9-lf-cr", b"GET / HTTP/1.1\r\nHost: a\n\r\n\r"),
    rej("HD9-cr-x-at-the-end", b"GET / HTTP/1.1\r\nHost: a\r\n\rX"),
    ok("HD10-repeated-joined", get("X-A: b", "X-A: c"), HTTP_X_A="b, c"),
    ok("HD10-repeated-other-case", get("X-A: b", "x-a: c", "X-a: d"), HTTP_X_A="b, c, d"),
    ok("HD10-cookie-joined", get("Cookie: a=1", "Cookie: b=2"), HTTP_COOKIE="a=1; b=2"),
    rej("HD10-two-content-types", line("POST / HTTP/1.1", "Content-Type: a/b", "Content-Type: c/d", "Content-Length: 0")),
    ok("HD11-underscore-dropped", get("X_A: evil"), HTTP_X_A=None),
    ok("HD11-underscore-never-overwrites", get("X-A: good", "X_A: evil"), HTTP_X_A="good"),
    ok("HD11-underscore-first", get("X_A: evil", "X-A: good"), HTTP_X_A="good"),
    ok("HD11-forwarded-for", get("X_Forwarded_For: 6.6.6.6"), HTTP_X_FORWARDED_FOR=None),
    ok("HD11-content-length", get("Content_Length: 5"), CONTENT_LENGTH=None, HTTP_CONTENT_LENGTH=None),
    ok("HD11-transfer-encoding", get("Transfer_Encoding: chunked"), HTTP_TRANSFER_ENCODING=None),
    ok("HD12-100-fields", get(*(f"X-{n}: {n}" for n in range(99))), HTTP_X_98="98"),
    rej("HD12-101-fields", get(*(f"X-{n}: {n}" for n in range(100))), 431),
    ok("HD12-8-kib-value", get("X-A: " + "v" * 8192), HTTP_X_A="v" * 8192),
    ok("HD12-longest-field", get("X-A: " + "v" * (32768 - 5)), HTTP_X_A="v" * (32768 - 5)),
    rej("HD12-field-too-long", get("X-A: " + "v" * 32769), 431),
    rej("HD12-head-too-long", get(*(f"X-{n}: " + "v" * 16000 for n in range(5))), 431),
    rej("HD12-name-too-long", get("X" * 40000 + ": v"), 431),
    rej("HD12-no-end-in-sight", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 70000, 431),
    ok("HD13-httpoxy", get("Proxy: http://evil"), HTTP_PROXY=None),
)
def test_fields(server, row, how):
    judge(server, row, how)
