"""What a WSGI application finds in its environ and on wsgi.input."""
import pytest
from harness import Conn, request
from harness.server import CLASS


@pytest.fixture
def server(shared):
    return shared()


def environ(server, *arguments, **more):
    answer = server.get(*arguments, **more)
    assert answer.status == 200, answer
    return answer.json()


def test_the_required_keys(server):
    seen = environ(server, "/environ/x?a=b", fields=["User-Agent: test", "Content-Type: text/x"])
    assert seen["REQUEST_METHOD"] == "GET" and seen["SCRIPT_NAME"] == "" and seen["PATH_INFO"] == "/environ/x"
    assert seen["QUERY_STRING"] == "a=b" and seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen["RAW_URI"] == seen["REQUEST_URI"] == "/environ/x?a=b"
    assert seen["SERVER_NAME"] == "127.0.0.1" and seen["SERVER_PORT"] == str(server.port)
    assert seen["REMOTE_ADDR"] == "127.0.0.1" and 0 < int(seen["REMOTE_PORT"]) < 65536
    assert seen["HTTP_USER_AGENT"] == "test" and seen["HTTP_HOST"] == "test" and seen["CONTENT_TYPE"] == "text/x"
    assert "HTTP_CONTENT_TYPE" not in seen and "CONTENT_LENGTH" not in seen
    assert seen["SERVER_SOFTWARE"].startswith("barkeep/")
    assert seen["wsgi.version"] == [1, 0] and seen["wsgi.url_scheme"] == "http"
    assert seen["wsgi.input_terminated"] is True and seen["wsgi.run_once"] is False
    assert seen["wsgi.multithread"] is (CLASS not in ("sync", "tornado")) and seen["wsgi.multiprocess"] is False


def test_remote_port_is_the_clients(server):
    with server.connect() as conn:
        assert conn.get("/environ").json()["REMOTE_PORT"] == str(conn.sock.getsockname()[1])


def test_multiprocess_with_two_workers(serve):
    assert environ(serve("everything", workers=2), "/environ")["wsgi.multiprocess"] is True


def test_content_length_and_type(server):
    seen = environ(server, "/environ", method="POST", body=b"abc", fields=["Content-Type: a/b; c=d"])
    assert (seen["CONTENT_LENGTH"], seen["CONTENT_TYPE"], seen["BODY"]) == ("3", "a/b; c=d", "abc")


def test_chunked_has_no_length_or_the_true_one(server):
    with server.connect() as conn:
        conn.send(b"POST /environ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        seen = conn.response().json()
    assert seen["BODY"] == "abc" and seen.get("CONTENT_LENGTH", "3") == "3"


def test_keep_alive_requests_do_not_mix(server):
    """The header memo: what one request says, the next must not inherit."""
    with server.connect() as conn:
        first = conn.get("/environ/a?x=1", fields=["X-A: 1", "Cookie: c=1"]).json()
        same = conn.get("/environ/b", fields=["X-A: 1", "Cookie: c=1"]).json()
        other = conn.get("/environ/c?z", "POST", fields=["X-B: 2"], body=b"body").json()
        bare = conn.get("/environ/d").json()
    assert (first["HTTP_X_A"], first["QUERY_STRING"], first["PATH_INFO"]) == ("1", "x=1", "/environ/a")
    assert (same["HTTP_X_A"], same["QUERY_STRING"], same["PATH_INFO"], same["HTTP_COOKIE"]) == ("1", "", "/environ/b", "c=1")
    assert "HTTP_X_A" not in other and "HTTP_COOKIE" not in other and other["REQUEST_METHOD"] == "POST" and other["BODY"] == "body"
    assert "HTTP_X_B" not in bare and "CONTENT_LENGTH" not in bare and bare["REQUEST_METHOD"] == "GET" and bare["BODY"] == ""


def test_memo_on_and_off_give_the_same(serve):
    on, off = serve("everything"), serve("everything", "--header-memo", "off")
    requests = [("/environ?1", "GET", ["A: 1", "B: 2"], None), ("/environ?2", "GET", ["A: 1", "B: 2"], None),
                ("/environ?3", "POST", ["A: 1", "B: 2"], b"x"), ("/environ?4", "GET", ["A: 1", "A: 2", "a: 3"], None),
                ("/environ?5", "GET", ["A: 1", "A: 2", "a: 3"], None), ("/environ%20/x?6", "HEAD", [], None), ("/environ", "GET", [], None)]
    results = []
    for server in (on, off):
        with server.connect() as conn:
            answers = [conn.get(target, method, fields, body) for target, method, fields, body in requests]
        results.append([{key: value for key, value in answer.json().items() if key not in ("REMOTE_PORT", "SERVER_PORT", "barkeep.request_id")}
                        for answer in answers if answer.body])
    assert results[0] == results[1]


@pytest.mark.parametrize("how", ["read", "length", "pieces", "lines", "readline", "readlines", "pieces&size=1", "readline&size=3"])
@pytest.mark.parametrize("length", [0, 1, 3000])
def test_ways_of_reading(server, how, length):
    body = (b"line %d\n" * 1000 % tuple(range(1000)))[:length]
    assert server.get(f"/echo?how={how}", "POST", body=body).body == body


@pytest.mark.parametrize("steps, expected", [
    ("read", ["one\ntwo\nthree"]), ("read:3,read", ["one", "\ntwo\nthree"]), ("read:-1,read", ["one\ntwo\nthree", ""]), ("read:0,read:100", ["", "one\ntwo\nthree"]),
    ("readline,readline,readline,readline", ["one\n", "two\n", "three", ""]), ("readline:2,readline:2,readline:2", ["on", "e\n", "tw"]),
    ("readlines", [["one\n", "two\n", "three"]]), ("readlines:4", [["one\n"]]), ("readline,readlines", ["one\n", ["two\n", "three"]]),
    ("readline:0,readline:-1", ["", "one\n"]), ("read:4,tell,seek:0,read", ["one\n", 4, 0, "one\ntwo\nthree"]),
    ("seek:-5:2,read", [8, "three"]), ("seek:4,read:3", [4, "two"]), ("read:2,seek:2:1,read:3", ["on", 4, "two"]),
    ("__next__,__next__,read", ["one\n", "two\n", "three"]),
])
def test_wsgi_input_like_a_file(server, steps, expected):
    got = server.get(f"/input?do={steps}", "POST", body=b"one\ntwo\nthree").json()
    if steps == "readlines:4":
        assert got[0][0] == "one\n"  # the hint may be ignored
    else:
        assert got == expected


def test_absolute_form_and_host(server):
    seen = environ(server, "http://other/environ?q")
    assert (seen["HTTP_HOST"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("other", "/environ", "q")


def test_unix_socket_peer(serve, tmp_path):
    server = serve("everything", bind=f"unix:{tmp_path}/s.sock")
    seen = environ(server, "/environ")
    assert seen["REMOTE_ADDR"] == "" or seen["REMOTE_ADDR"].startswith("unix")
    assert seen["SERVER_NAME"] and isinstance(seen["SERVER_PORT"], str)


def test_ipv6_peer(serve):
    try:
        server = serve("everything", bind="[::1]:0")
    except AssertionError:
        pytest.skip("no IPv6 here")
    assert environ(server, "/environ")["REMOTE_ADDR"] == "::1"


def test_the_request_id_is_made_or_trusted(serve):
    trusting = serve("everything")
    with trusting.connect() as conn:
        conn.send(request("/raise", fields=["X-Request-ID: from-the-proxy"]))
        assert conn.response().get("X-Request-ID") == "from-the-proxy"
    distrusting = serve("everything", "--forwarded-allow-ips", "192.0.2.1")
    with Conn(distrusting.address) as conn:
        conn.send(request("/raise", fields=["X-Request-ID: from-anybody"]))
        made = conn.response().get("X-Request-ID")
        assert made != "from-anybody" and len(made) == 16
