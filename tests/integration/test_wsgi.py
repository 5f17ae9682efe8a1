"""PEP 3333 to the letter: what an application may do, must be given, and cannot get away with."""
import pytest
from apps.wsgi_cases import FIELDS, STATUSES
from harness import until


@pytest.fixture
def server(shared):
    return shared("wsgi_cases:mount")


def closed(server):
    return server.get("/closed").json()


def test_one_item_gets_a_length(server):
    for name, body in (("list_of_one", b"one item"), ("tuple_of_one", b"a tuple")):
        answer = server.get(f"/{name}")
        assert (answer.body, answer.framing) == (body, "length")


@pytest.mark.parametrize("name, body", [("list_of_two", b"two items"), ("generator", b"generated"), ("empty_strings", b"ab"),
                                        ("write_then_list", b"written returned"), ("write_only", b"written"),
                                        ("bytearray_body", b"array")])
def test_bodies(server, name, body):
    answer = server.get(f"/{name}")
    if name == "bytearray_body" and answer.status == 500:
        return  # bytes proper are all that PEP 3333 allows
    assert answer.status == 200 and answer.body == body


def test_generators_are_chunked_to_1_1(server):
    assert server.get("/generator").framing == "chunked"


def test_generators_end_by_close_to_1_0(server):
    with server.connect() as conn:
        conn.send(b"GET /generator HTTP/1.0\r\n\r\n")
        answer = conn.response()
        assert answer.framing == "close" and answer.body == b"generated" and answer.get("Transfer-Encoding") is None


def test_empty_list(server):
    answer = server.get("/empty_list")
    assert (answer.status, answer.body, answer.framing) == (200, b"", "length")


@pytest.mark.parametrize("name", ["str_body", "none_body", "no_start", "no_start_empty", "start_twice", "write_str", "raise_in_call",
                                  "raise_after_start", "raise_first", "raise_system_exit", "raise_keyboard_interrupt", "bytes_body"])
def test_failures_before_the_head_are_500(server, name):
    worker = server.worker()
    said = server.log.count("[app-")
    answer = server.get(f"/{name}")
    assert answer.status == 500
    assert "RuntimeError" not in answer.text and "Traceback" not in answer.text
    until(lambda: server.log.count("[app-") > said, 10, "a line about it in the log")
    assert server.get("/list_of_one").status == 200
    assert server.worker() == worker


def test_the_500_page_names_the_request(server):
    answer = server.get("/raise_in_call")
    identity = answer.get("X-Request-ID")
    assert identity and identity in answer.text
    assert answer.get("Content-Type").startswith("text/plain")
    line = server.wait_log(rf"error: .*RuntimeError.*request {identity} GET /raise_in_call.*\[app-raised\]")
    assert "\x1b" not in server.log, line
    server.wait_log(r'wsgi_cases.py", line \d+, in raise_in_call')


def test_the_traceback_comes_once(serve):
    server = serve("wsgi_cases:mount")
    server.get("/raise_in_call")
    server.wait_log(r"in raise_in_call")
    server.stop()
    assert server.log.count("in raise_in_call") == 1


@pytest.mark.parametrize("name", ["raise_midway", "raise_midway_with_length"])
def test_failure_midway_cuts_the_answer(server, name):
    with server.connect() as conn:
        conn.send(f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        raw = conn.recv_all()
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert not raw.endswith(b"0\r\n\r\n"), "a clean end would hide the failure"
    until(lambda: name in closed(server), 10, "close()")
    assert closed(server).count(name) == 1 or name == "raise_midway"


def test_failure_midway_is_logged(server):
    with server.connect() as conn:
        conn.send(b"GET /raise_midway HTTP/1.1\r\nHost: a\r\n\r\n")
        conn.recv_all()
    server.wait_log(r"RuntimeError.*GET /raise_midway.*\[app-raised\]")


def test_failure_in_close_comes_after_the_answer(server):
    answer = server.get("/raise_in_close")
    assert answer.body == b"whole"
    server.wait_log(r"RuntimeError.*GET /raise_in_close.*\[app-raised\]")


def test_exc_info_replaces_what_was_not_sent(server):
    answer = server.get("/exc_info_before_body")
    assert (answer.status, answer.body) == (503, b"replaced")
    assert answer.get("X-Second") == "yes" and answer.get("X-First") is None


def test_exc_info_after_an_empty_piece(server):
    answer = server.get("/exc_info_after_empty")
    assert (answer.status, answer.body) == (503, b"replaced")


def test_exc_info_after_the_head_raises_again(server):
    with server.connect() as conn:
        conn.send(b"GET /exc_info_after_body HTTP/1.1\r\nHost: a\r\n\r\n")
        raw = conn.recv_all()
    assert raw.startswith(b"HTTP/1.1 200 ") and b"never sent" not in raw and not raw.endswith(b"0\r\n\r\n")
    server.wait_log(r"ValueError.*GET /exc_info_after_body.*\[app-raised\]")


@pytest.mark.parametrize("name", ["close_noted", "close_noted_length", "close_noted_too_long"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_exactly_once(server, name, method):
    mark = f"{name}-{method}"
    server.get(f"/{name}/{mark}", method)
    until(lambda: mark in closed(server), 10, "close()")
    assert closed(server).count(mark) == 1


def test_close_is_called_when_the_client_leaves(server):
    with server.connect() as conn:
        conn.send(b"GET /close_noted_endless/left HTTP/1.1\r\nHost: a\r\n\r\n")
        conn.recv_exactly(100_000)
        conn.reset()
    until(lambda: "left" in closed(server), 20, "close() after the client left")
    assert closed(server).count("left") == 1


def test_too_long_is_cut_and_warned(server):
    with server.connect() as conn:
        answer = conn.get("/too_long")
        assert answer.body == b"hello"
        if not answer.closes:
            assert conn.get("/list_of_one").body == b"one item"
    server.wait_log(r"warning: .*GET /too_long")


def test_too_short_is_no_clean_end(server):
    with server.connect() as conn:
        conn.send(b"GET /too_short HTTP/1.1\r\nHost: a\r\n\r\n")
        raw = conn.recv_all()
        assert raw.endswith(b"\r\n\r\nhello")
    server.wait_log(r"warning: .*GET /too_short")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_bodiless_statuses_stay_bodiless(server, status):
    with server.connect() as conn:
        answer = conn.get("/status_from_query?" + status.replace(" ", "+"))
        assert answer.status == int(status[:3]) and answer.get("Transfer-Encoding") is None
        if status.startswith("204"):
            assert answer.get("Content-Length") is None
        assert conn.get("/list_of_one").body == b"one item"


def test_304_keeps_its_length(server):
    with server.connect() as conn:
        answer = conn.get("/no_body_with_length")
        assert answer.get("Content-Length") == "1234"
        assert conn.get("/list_of_one").body == b"one item"


@pytest.mark.parametrize("name", ["list_of_one", "generator", "list_of_two", "write_only", "too_long"])
def test_head_has_no_body(server, name):
    with server.connect() as conn:
        assert conn.get(f"/{name}", "HEAD").body == b""
        assert conn.get("/list_of_one").body == b"one item"


def test_head_has_the_length_of_get(server):
    assert server.get("/list_of_one", "HEAD").get("Content-Length") == "8"


@pytest.mark.parametrize("status", ["200 OK", "299 Odd but fine", "404 Not Found", "418 I'm a teapot", "599 Last"])
def test_statuses_pass(server, status):
    answer = server.get("/status_from_query?" + status.replace(" ", "+"))
    assert f"{answer.status} {answer.reason}" == status


@pytest.mark.parametrize("name", FIELDS)
def test_bad_fields_are_500(server, name):
    worker = server.worker()
    answer = server.get(f"/bad_fields/{name}")
    if name in ("not-a-list", "del-in-value"):
        assert answer.status in (200, 500)  # a tuple does no harm
    else:
        assert answer.status == 500
        assert answer.get("X-A") is None and answer.get("X-B") is None and answer.get("Set-Cookie") is None
    assert server.worker() == worker


@pytest.mark.parametrize("name", STATUSES)
def test_bad_statuses_are_500(server, name):
    worker = server.worker()
    answer = server.get(f"/bad_status/{name}")
    assert answer.get("X") is None
    allowed = (200, 500) if name in ("no-reason", "only-space") else (500, 600) if name == "six-hundred" else (500,)
    assert answer.status in allowed
    assert server.worker() == worker


@pytest.mark.parametrize("name, value", [("Connection", "close"), ("Connection", "keep-alive"), ("Keep-Alive", "timeout=5"),
                                         ("Transfer-Encoding", "chunked"), ("Upgrade", "h2c"), ("TE", "x"),
                                         ("Trailer", "X-A"), ("transfer-encoding", "gzip")])
def test_hop_by_hop_fields_of_the_application(server, name, value):
    """RS4: refused or ignored, never obeyed."""
    with server.connect() as conn:
        answer = conn.get(f"/hop_by_hop/{name}?{value}")
        assert answer.status in (200, 500)
        if answer.status == 200:
            assert answer.body == b"x" and answer.framing == "length"
            assert value not in answer.all(name) or name == "Connection"
        if not answer.closes:
            assert conn.get("/list_of_one").body == b"one item"


def test_repeated_fields_stay_apart(server):
    answer = server.get("/many_fields")
    assert answer.all("Set-Cookie") == [f"c{n}=v" for n in range(50)]
    assert answer.get("X-Latin") == "caf\xe9"


def test_large_field(server):
    assert server.get("/large_field").get("X-Large") == "v" * 100_000


def test_each_request_has_its_own_environ(server):
    with server.connect() as conn:
        assert [conn.get("/keeps_environ").body for _ in range(3)] == [b"False"] * 3
        assert conn.get("/exact_types").json()["SERVER_NAME"] == "str"


def test_environ_is_of_plain_types(server):
    types = server.get("/exact_types", fields=["X-A: b"]).json()
    assert types["environ"] == "dict"
    assert all(kind == "str" for key, kind in types.items() if key.isupper())
    assert types["wsgi.multithread"] == types["wsgi.multiprocess"] == types["wsgi.run_once"] == "bool"
    assert types["wsgi.version"] == "tuple"


def test_write_larger_than_any_buffer(server):
    assert server.get("/write_large", timeout=30).body == b"w" * 10_000_000


def test_file_wrapper_takes_any_file(server):
    assert server.get("/file_like_without_fileno").body == b"f" * 100_000


@pytest.mark.parametrize("body", [None, b"", b"one line\nand more\nlines", b"x" * 100_000])
def test_validator_finds_nothing(server, body):
    answer = server.get("/validated", "GET" if body is None else "POST", body=body,
                        fields=[] if body is None else ["Content-Type: text/plain"])
    assert answer.status == 200 and answer.body == (body or b"nothing")


def test_validator_finds_nothing_chunked(server):
    with server.connect() as conn:
        conn.send(b"POST /validated HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na\nbcd\r\n0\r\n\r\n")
        assert conn.response().body == b"a\nbcd"


@pytest.mark.parametrize("name, body", [("validated_write", b"writtenreturned"), ("validated_generator", b"ab")])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_validator_on_answers(server, name, body, method):
    answer = server.get(f"/{name}", method)
    assert answer.status == 200 and answer.body == (body if method == "GET" else b"")
