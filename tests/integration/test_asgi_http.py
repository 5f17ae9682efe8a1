"""ASGI 3 over HTTP, statement by statement (numbers as in the checklist of the issue): what an application is given, may
send, and cannot get away with. The same tests run against both loops, and against uvicorn where it conforms."""
import json
import re
import time

import pytest
from asgi_servers import SERVERS, Uvicorn, seen, settled
from harness import Malformed, request, until
from harness.server import APPS, PYPY

no_trailers = pytest.mark.skipif(PYPY, reason="the host for PyPy sends no trailers yet")


@pytest.fixture(scope="module")
def uvicorns():
    servers = {}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(params=SERVERS)
def server(request, uvicorns):
    if request.param == "uvicorn":
        if "cases" not in uvicorns:
            uvicorns["cases"] = Uvicorn("asgi_cases:application")
        return uvicorns["cases"]
    server = settled(request.getfixturevalue("shared")("asgi_cases:application", "--asgi-loop", request.param))
    server.name = request.param
    return server


def not_uvicorn(server, why):
    """The statement is one that uvicorn does not keep."""
    if server.name == "uvicorn":
        pytest.skip(f"uvicorn: {why}")


# ---- the scope: 1 to 8 -----------------------------------------------------------------------------------------------

def test_1_versions(server):
    scope = server.get("/scope").json()
    assert scope["type"] == "http" and scope["asgi"]["version"] == "3.0" and scope["asgi"]["spec_version"] >= "2.3"
    assert scope["http_version"] == "1.1"
    with server.connect() as conn:
        conn.send(request("/scope", version="1.0"))
        assert json.loads(conn.response().body)["http_version"] == "1.0"


def test_1_7_8_a_spoiled_scope_is_nobody_elses(server):
    with server.connect() as conn:
        first, *others = [conn.get("/spoil").json() for _ in range(4)]
    for other in others:
        other["state"].pop("shared", None), first["state"].pop("shared", None)
        assert other == first
    assert first["state"] == {"number": 1} and "spoiled" not in first["asgi"]


def test_2_method_and_scheme(server):
    scope = server.get("/scope", "PATCH").json()
    assert (scope["method"], scope["scheme"]) == ("PATCH", "http")
    assert server.get("/scope", fields=["X-Forwarded-Proto: https"]).json()["scheme"] == "https"


@pytest.mark.parametrize("target, path, raw, query", [
    ("/scope/a%20b?x=1&y=%20", "/scope/a b", "/scope/a%20b", "x=1&y=%20"),
    ("/scope/%C3%A9", "/scope/é", "/scope/%C3%A9", ""),
    ("/scope/%2F?", "/scope//", "/scope/%2F", ""),
    ("/scope/a+b;c=d", "/scope/a+b;c=d", "/scope/a+b;c=d", ""),
    ("/scope?a?b", "/scope", "/scope", "a?b"),
])
def test_3_paths(server, target, path, raw, query):
    scope = server.get(target).json()
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw, query)
    assert (scope["types"]["path"], scope["types"]["raw_path"], scope["types"]["query_string"]) == ("str", "bytes", "bytes")


def test_3_a_path_that_is_not_utf8(server):
    scope = server.get("/scope/%FF%C3").json()
    assert scope["path"].startswith("/scope/") and scope["raw_path"] == "/scope/%FF%C3"


def test_4_root_path_is_there(server):
    assert server.get("/scope").json()["root_path"] == ""


def test_5_headers(server):
    with server.connect() as conn:
        for _ in range(3):
            conn.send(request("/scope", fields=["X-Two: 1", "x-one: a, b", "X-TWO: 2", "Cookie: a=1", "X-Empty:", "Accept: \xe9"]))
            scope = conn.response().json()
            assert [pair for pair in scope["headers"] if pair[0] != "content-length"] == [
                ["host", "test"], ["x-two", "1"], ["x-one", "a, b"], ["x-two", "2"], ["cookie", "a=1"], ["x-empty", ""],
                ["accept", "\xe9"]]
            assert scope["pair"] == ["bytes", "bytes"]


def test_5_the_same_and_other_headers_on_one_connection(server):
    """Header blocks are remembered per connection: a change must show."""
    with server.connect() as conn:
        for fields in ([], [], [], ["X-A: 1"], ["X-A: 1"], ["X-A: 2"], ["X-B: 1"], []):
            conn.send(request("/scope?q", fields=fields))
            names = [pair for pair in conn.response().json()["headers"] if pair[0].startswith("x-")]
            assert names == [field.lower().split(": ") for field in fields]
        for target in ("/scope/a", "/scope/b?c", "/scope/b?c", "/scope/%C3%A9"):
            conn.send(request(target))
            assert conn.response().json()["raw_path"] + "?" == (target + "?").partition("?")[0] + "?"


def test_6_client_and_server(server):
    with server.connect() as conn:
        conn.send(request("/scope"))
        scope = conn.response().json()
        assert scope["client"] == list(conn.sock.getsockname()) and scope["server"] == list(conn.sock.getpeername())


def test_6_the_client_behind_a_trusted_proxy(server):
    client = server.get("/scope", fields=["X-Forwarded-For: 8.8.8.8, 203.0.113.9, 127.0.0.1"]).json()["client"]
    assert client == ["203.0.113.9", 0]


def test_8_extensions(server):
    not_uvicorn(server, "has none over HTTP/1.1")
    full = ["http.response.early_hint", "http.response.pathsend", "http.response.zerocopysend"]
    assert server.get("/hints").json() == full
    with server.connect() as conn:
        conn.send(request("/hints", version="1.0"))
        assert json.loads(conn.response().body) == full[1:]
    with server.connect() as conn:
        full += [] if PYPY else ["http.response.trailers"]
        assert conn.get("/hints", fields=["TE: trailers"]).json() == sorted(full)


def test_contexts_and_tasks(server):
    seen = [server.get("/context").json() for _ in range(3)]
    for each in seen:
        assert (each["before"], each["after"], each["task"], each["same"]) == ("clean", "mine", "Task", True)
        assert each["sniffio"] == "asyncio" and each["running"]
    if server.name != "uvicorn":
        assert ("uvloop" in seen[0]["module"]) == (server.name == "uvloop")


@pytest.mark.skipif(PYPY, reason="PyPy schedules its tasks")
def test_a_request_begins_at_once(server):
    """In select(), as a real task: what was due before it comes behind its first step."""
    not_uvicorn(server, "schedules its tasks")
    for _ in range(3):
        told = server.get("/begins").json()
        assert told["order"] == ["request", "callback", "child"] and told["loop"]
        assert told["task"] == "_asyncio.Task" and told["same"] and told["known"] and told["after"]
        assert told["coroutine"] == "application"


def test_a_task_factory_of_the_application_is_asked(server):
    not_uvicorn(server, "is not what this is about")
    assert server.get("/factory/on").json() == 0
    assert server.get("/factory/on").json() == 1
    assert server.get("/factory/off").json() == 2
    assert server.get("/factory/off").json() == 2


# ---- reading: 9, 10, 17, 19, 20, 23 ----------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [0, 1, 100, 65536, 65537, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_9_bodies(server, size, framing):
    data = (b"%08d" * (size // 8 + 1) % tuple(range(size // 8 + 1)))[:size] if size < 10_000 else bytes(range(256)) * (size // 256)
    with server.connect(timeout=30) as conn:
        if framing == "length":
            conn.send(request("/echo", "POST", body=data))
        else:
            conn.send(request("/echo", "POST", ["Transfer-Encoding: chunked"]))
            for at in range(0, len(data), 50_000):
                conn.send(b"%x\r\n%s\r\n" % (len(data[at:at + 50_000]), data[at:at + 50_000]))
            conn.send(b"0\r\n\r\n")
        assert conn.response().body == data
        assert conn.get("/hello").status == 200


def test_9_no_body_is_one_message(server):
    for method, extra in (("GET", None), ("POST", b"")):
        assert server.get("/messages", method, body=extra).json() == [{"type": "http.request", "body": "", "more_body": False}]
    assert server.get("/second").json() == "waited"


def test_9_a_small_body_is_one_message(server):
    assert server.get("/messages", "POST", body=b"abc").json() == [{"type": "http.request", "body": "abc", "more_body": False}]


def test_9_bytes_as_they_come(server):
    with server.connect() as conn:
        conn.send_bytewise(request("/cancelled", "POST", body=b"0123456789"))
        assert conn.response().json()["data"] == "0123456789"


def test_10_continue_comes_with_the_first_receive(server):
    with server.connect() as conn:
        conn.send(request("/pause", "POST", ["Expect: 100-continue", "Content-Length: 3"]))
        until(lambda: server.get("/seen/pause").json(), 10, "the application to run")
        assert conn.silent(0.1)
        assert conn.recv_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        conn.send(b"abc")
        assert conn.response().json() == "abc"


def test_10_no_continue_for_who_does_not_read(server):
    with server.connect() as conn:
        conn.send(request("/unread", "POST", ["Expect: 100-continue", "Content-Length: 3"]))
        answer = conn.response()
        assert answer.status == 401 and answer.interim == []


def test_19_a_cancelled_receive_loses_nothing(server):
    with server.connect() as conn:
        conn.send(request("/cancelled", "POST", ["Content-Length: 6"]) + b"ab")
        time.sleep(0.1)  # the application cancels meanwhile, that is what this is about
        conn.send(b"cd")
        time.sleep(0.05)
        conn.send(b"ef")
        told = conn.response().json()
        assert told["data"] == "abcdef" and told["cancelled"] >= 2


def test_receive_and_send_as_tasks(server):
    for name in ("plain", "bare"):
        assert server.get(f"/tasks/{name}", "POST", body=b"xyz").body == b"xyz"


def test_17_after_the_answer(server):
    server.get("/after")
    told = seen(server, "after")
    assert [message["type"] for message in told[0]] == ["http.disconnect"] * 2
    assert told[1] and told[2]


def test_17_18_the_client_leaves(server):
    name = f"leaves{time.monotonic_ns()}"
    conn = server.connect()
    conn.send(request(f"/leaves/{name}"))
    until(lambda: server.get(f"/seen/{name}").json() == "waiting", 10, "the application to wait")
    conn.reset()
    told = seen(server, name)
    assert (told["first"], told["again"]) == ("http.disconnect", "http.disconnect")
    not_uvicorn(server, "send() says nothing then")
    assert "OSError" in told["body"]


def test_18_20_a_stream_notices(server):
    not_uvicorn(server, "send() says nothing then")
    name = f"stream{time.monotonic_ns()}"
    conn = server.connect()
    conn.send(request(f"/stream/{name}"))
    conn.recv_exactly(100_000)
    conn.reset()
    told = until(lambda: (value := server.get(f"/seen/{name}").json()) and "error" in value and value, 10, "OSError in the stream")
    assert "OSError" in told["error"]


def test_20_events_notice(server):
    name = f"events{time.monotonic_ns()}"
    conn = server.connect()
    conn.send(request(f"/events/{name}"))
    conn.recv_until(b"data: 2\n\n")
    conn.close()
    assert seen(server, name)["listener"] == "http.disconnect"


def test_20_half_closed_clients_get_their_answer(server):
    not_uvicorn(server, "gives up the answer")
    with server.connect() as conn:
        conn.send(request("/half"))
        conn.half_close()
        assert conn.response().body == b"late but whole"


def test_21_pipelined_requests_in_order(server):
    with server.connect() as conn:
        conn.send(b"".join(request(target) for target in ("/sleep/0.1", "/hello", "/sleep/0.05", "/hello")))
        assert [conn.response().body for _ in range(4)] == [b'"slept"', b"Hello, world!\n"] * 2


def test_21_background_work_holds_up_nobody(server):
    with server.connect() as conn:
        assert conn.get("/background").json() == "now"
        assert conn.get("/seen/background").json() == "running"
    until(lambda: server.get("/seen/background").json() == "done", 10, "the background work")


def test_23_a_fast_client_has_to_wait(server):
    """An application that does not read leaves the bytes with the client."""
    with server.connect(timeout=30) as conn:
        total = 30_000_000
        conn.send(request("/slowread", "POST", [f"Content-Length: {total}"]))
        conn.sock.setblocking(False)
        sent, since = 0, time.monotonic()
        while time.monotonic() - since < 0.5 and sent < total:
            try:
                sent += conn.sock.send(b"x" * min(65536, total - sent))
                since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < 15_000_000, "the kernel's own buffers hold some megabytes"
        conn.sock.settimeout(30)
        server.get("/go")
        conn.send(b"x" * (total - sent))
        assert conn.response().json() == {"length": total, "last": "http.request"}


# ---- sending: 11 to 16, 22 -------------------------------------------------------------------------------------------

def test_11_the_head_waits_for_the_body(server):
    not_uvicorn(server, "sends it at once")
    answer = server.get("/held/raise")
    assert answer.status == 500 and answer.get("x-first") is None
    with server.connect() as conn:
        conn.send(request("/held/wait"))
        assert conn.silent(0.15)
        assert conn.response().body == b"ok"


def test_12_13_headers_of_answers(server):
    not_uvicorn(server, "lets the application say how its answer is framed")
    answer = server.get("/headers")
    assert answer.get("x-one") == "1" and answer.all("x-two") == ["2", "3"] and answer.get("x-list") == "4"
    assert answer.get("x-latin") == "\xe9"
    assert answer.body == b"ok" and answer.framing in ("length", "chunked")


def test_12_framing(server):
    not_uvicorn(server, "takes bytes only")
    answer = server.get("/parts")
    assert answer.body == b"one two three" and answer.framing == "chunked" and answer.get("x-generator") == "yes"
    with server.connect() as conn:
        conn.send(request("/parts", version="1.0"))
        answer = conn.response()
        assert answer.body == b"one two three" and answer.framing == "close"


def test_12_one_body_has_a_length(server):
    not_uvicorn(server, "sends chunks")
    assert server.get("/hello").framing == "length"


BAD = ["no_status", "str_status", "low_status", "interim_status", "high_status", "str_header", "one_header", "int_header", "newline",
       "nul", "name", "empty_name", "length", "two_lengths", "unknown", "no_type", "no_dict", "body_first", "type_int", "none"]


@pytest.mark.parametrize("name", BAD)
def test_13_14_wrong_messages_raise_and_change_nothing(server, name):
    not_uvicorn(server, "checks less")
    answer = server.get(f"/bad_start/{name}")
    assert answer.status == 200 and "Exception" in answer.json()
    assert answer.get("x-a") is None and answer.get("x-c") is None


@pytest.mark.parametrize("name", ["str", "int", "start", "unknown"])
def test_14_wrong_messages_later(server, name):
    not_uvicorn(server, "checks less")
    answer = server.get(f"/bad_body/{name}")
    assert answer.status == 200 and "Exception" in answer.json()


@pytest.mark.parametrize("status", [204, 304])
def test_15_answers_without_a_body(server, status):
    not_uvicorn(server, "sends what the application gives it")
    with server.connect() as conn:
        answer = conn.get(f"/status/{status}")
        assert answer.status == status and answer.body == b""
        assert conn.get("/hello").body == b"Hello, world!\n"


def test_15_head(server):
    with server.connect() as conn:
        answer = conn.get("/hello", "HEAD")
        assert answer.status == 200 and answer.body == b""
        assert conn.get("/hello").body == b"Hello, world!\n"
        assert conn.get("/big/30", "HEAD").status == 200
        assert conn.get("/hello").body == b"Hello, world!\n"


def test_15_more_than_the_length_raises(server):
    with server.connect() as conn:
        assert conn.get("/length_of/5-9").body == b"xxxxx"
        assert conn.get("/seen/length_of").json()


def test_15_less_than_the_length_is_cut(server):
    with server.connect() as conn:
        conn.send(request("/length_of/9-5"))
        with pytest.raises(Malformed):
            conn.response()
    assert server.get("/hello").status == 200


@pytest.mark.parametrize("name", ["now", "later", "started"])
def test_16_an_exception_before_the_head_is_a_500(server, name):
    not_uvicorn(server, "sends the head at once") if name == "started" else None
    said = server.log.count(f"raised {name}")
    assert server.get(f"/raise/{name}").status == 500
    until(lambda: server.log.count(f"raised {name}") == said + 1, 10, "one traceback in the log")


@pytest.mark.parametrize("path", ["/raise/cut", "/return/cut"])
def test_16_afterwards_the_answer_is_cut(server, path):
    not_uvicorn(server, "") if path == "/return/cut" else None
    with server.connect() as conn:
        conn.send(request(path))
        with pytest.raises(Malformed):
            conn.response()
    assert server.get("/hello").status == 200


@pytest.mark.parametrize("name", ["nothing", "started"])
def test_16_no_answer_is_a_500(server, name):
    not_uvicorn(server, "sends the head at once") if name == "started" else None
    assert server.get(f"/return/{name}").status == 500


@pytest.mark.parametrize("name", ["exit", "exit_later", "interrupt", "cancel"])
def test_nothing_a_request_raises_ends_the_worker(server, name):
    not_uvicorn(server, "ends")
    worker = server.worker()
    assert server.get(f"/raise/{name}").status == 500
    assert server.get("/hello").status == 200 and server.worker() == worker


def test_an_exception_after_the_answer_is_logged(server):
    not_uvicorn(server, "says it in other words")
    assert server.get("/raise/complete").json() == "complete"
    server.wait_log(r"RuntimeError in the application, after the answer, request GET /raise/complete \[app-raised\]")


def test_22_send_waits_for_a_slow_client(server):
    not_uvicorn(server, "this application would never learn that the client is gone")
    conn = server.connect(receive_buffer=4096)
    conn.send(request("/water"))
    conn.recv_exactly(1)
    last = -1
    while (now := server.get("/seen/water").json()) != last:  # until it stands still
        last = now
        time.sleep(0.2)
    assert 0 < last < 12_000_000
    conn.close()


def test_22_a_large_answer_arrives(server):
    body = server.get("/big/100", timeout=30).body
    assert body == b"".join(bytes([number]) * 100_000 for number in range(100))


# ---- extensions: 38 to 40 --------------------------------------------------------------------------------------------

def own_source():
    return (APPS / "asgi_cases.py").read_bytes()


@pytest.mark.parametrize("name", ["length", "plain"])
def test_38_pathsend(server, name):
    not_uvicorn(server, "has no pathsend")
    with server.connect() as conn:
        answer = conn.get(f"/path/{name}")
        assert answer.body == own_source() and answer.framing == "length"
        assert conn.get(f"/path/{name}", "HEAD").get("Content-Length") == str(len(own_source()))
        assert conn.get("/hello").status == 200
    raised = server.get("/no_path").json()
    assert all("OSError" in one for one in raised)


def test_39_zerocopysend(server):
    not_uvicorn(server, "has no zerocopysend")
    source = own_source()
    assert server.get("/zerocopy").body == b"<" + source[10:30] + source[:10] + b">"


def test_40_early_hints(server):
    not_uvicorn(server, "has no early hints over HTTP/1.1")
    with server.connect() as conn:
        answer = conn.get("/hints")
        assert [one.status for one in answer.interim] == [103, 103]
        assert answer.interim[0].all("Link") == ["</a.css>; rel=preload", "</b.js>; rel=preload"]


def test_messages_name_the_request(server):
    not_uvicorn(server, "words")
    server.get("/raise/now")
    found = server.wait_log(r"RuntimeError in the application, worker 1, request \w+ GET /raise/now, client 127.0.0.1 \[app-raised\]")
    assert found and not re.search(r"never retrieved|was destroyed", server.log)


# ---- trailers --------------------------------------------------------------------------------------------------------

def raw_answer(server, target, fields=(), **more):
    with server.connect() as conn:
        conn.send(request(target, fields=[*fields, "Connection: close"], **more))
        return conn.recv_all()


@no_trailers
def test_trailers(server):
    not_uvicorn(server, "has none over HTTP/1.1")
    with server.connect() as conn:
        answer = conn.get("/trailers/all", fields=["TE: trailers"])
        assert answer.framing == "chunked" and answer.body.startswith(b"one ")
        assert conn.trailers == [b"x-checksum: abc", b"x-two: 2", b"server-timing: app;dur=1"]
    early, too_soon = json.loads(answer.body[4:])
    assert early[0] == too_soon[0] == "RuntimeError"
    assert [raised and raised[0] for raised in seen(server, "trailers")] == ["ValueError", "ValueError", "ValueError", "TypeError", "RuntimeError"]
    assert seen(server, "late_trailers")[0] == "RuntimeError"


def test_trailers_only_for_those_who_take_them(server):
    not_uvicorn(server, "has none over HTTP/1.1")
    assert raw_answer(server, "/trailers/all").endswith(b"\r\n0\r\n\r\n")
    assert b"x-checksum" not in raw_answer(server, "/trailers/all", ["TE: trailers"], version="1.0")
    head = raw_answer(server, "/trailers/all", ["TE: trailers"], method="HEAD")
    assert head.endswith(b"\r\n\r\n") and b"x-checksum" not in head


def test_trailers_leave_the_connection_usable(server):
    not_uvicorn(server, "has none over HTTP/1.1")
    with server.connect() as conn:
        for _ in range(3):
            assert conn.get("/trailers/all", fields=["TE: trailers"]).body.startswith(b"one ")
        assert conn.get("/hello").status == 200


@no_trailers
def test_announced_trailers_that_do_not_come_cut_the_answer(serve):
    server = serve("asgi_cases:application")
    raw = raw_answer(server, "/trailers/none", ["TE: trailers"])
    assert b"two" in raw and not raw.endswith(b"0\r\n\r\n")
    server.wait_log(r"without completing its answer")


def test_trailers_that_were_not_announced(server):
    not_uvicorn(server, "has none over HTTP/1.1")
    assert b"RuntimeError" in server.get("/unannounced").body
