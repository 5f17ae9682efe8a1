"""-k tornado: applications of tornado.web on the engine, word for word what they get under Tornado's own server."""
import json

import pytest
from harness import request
from harness.procs import until

pytest.importorskip("tornado")


@pytest.fixture
def server(shared):
    return shared("tornado_app:app")


def test_is_chosen_by_the_application(server):
    assert " serving tornado_app:app (tornado) on " in server.ready_line


def test_what_a_handler_sees(server):
    seen = server.get("/say/there?a=1&b=%20", fields=[("X-Two", "1"), ("X-Two", "2")]).json()
    assert (seen["method"], seen["uri"], seen["path"], seen["query"]) == ("GET", "/say/there?a=1&b=%20", "/say/there", "a=1&b=%20")
    assert (seen["version"], seen["remote_ip"], seen["protocol"]) == ("HTTP/1.1", "127.0.0.1", "http")
    assert seen["headers"]["X-Two"] == ["1", "2"]


def test_answer(server):
    found = server.get("/say")
    assert found.status == 200 and found.get("Content-Type").startswith("application/json") and found.framing == "length"
    assert found.get("Set-Cookie") == "a=b; Path=/" and found.get("Etag")
    again = server.get("/say", fields=[("If-None-Match", found.get("Etag"))])
    assert again.status in (200, 304)  # the body names the new header, so the tag differs


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_body(server, method):
    form = b"name=Grace&x=" + b"y" * 100000
    found = server.get("/say", method, [("Content-Type", "application/x-www-form-urlencoded")], form).json()
    assert found["name"] == "Grace" and len(found["body"]) == len(form)


def test_multipart(server):
    body = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\n" + b"z" * 200000 + b"\r\n--b--\r\n"
    found = server.get("/say", "POST", [("Content-Type", "multipart/form-data; boundary=b")], body).json()
    assert found["files"] == {"f": [["a.txt", 200000]]}


def test_head(server):
    found = server.get("/say", "HEAD")
    assert found.status == 200 and found.body == b"" and int(found.get("Content-Length")) > 100


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_statuses(server, status):
    assert server.get(f"/empty/{status}").status == status


def test_keep_alive_and_pipelining(server):
    with server.connect() as conn:
        conn.send(b"GET /say/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /slow/20 HTTP/1.1\r\nHost: a\r\n\r\nGET /say/3 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [conn.response().status for _ in range(3)] == [200, 200, 200]


def test_waiting_handlers_run_together(server):
    conns = [server.connect() for _ in range(20)]
    for conn in conns:
        conn.send(b"GET /slow/200 HTTP/1.1\r\nHost: a\r\n\r\n")
    for conn in conns:
        with conn:
            assert conn.response().body == b"slow"


def test_stream(server):
    found = server.get("/stream/2000")
    assert found.framing == "chunked" and found.body.endswith(b"end") and found.body.count(b"\n") == 2000 * 200


def test_stream_waits_for_a_slow_reader(server):
    with server.connect(receive_buffer=4096) as conn:
        conn.send(b"GET /stream/5000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.get("/say").status == 200  # the others go on meanwhile
        assert conn.response().body.endswith(b"end")


def test_streamed_upload(server):
    found = server.get("/upload", "PUT", body=b"u" * 3_000_000).json()
    assert found["total"] == 3_000_000 and found["pieces"] > 1


def test_early_refusal_of_an_upload(server):
    with server.connect() as conn:
        conn.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        assert conn.response().status == 403


def test_exceptions(serve):
    server = serve("tornado_app:app")
    assert server.get("/raise/early").status == 500
    server.wait_log("ValueError: on purpose")
    assert server.get("/raise/late").body == b"half"  # as under Tornado, which finishes what it has
    assert server.get("/say").status == 200


def test_the_loop_is_tornados(server):
    assert server.get("/loop").json() == {"callback": "called", "thread": 3, "task": True}


def test_client_leaves(serve):
    server = serve("tornado_app:app")
    with server.connect() as conn:
        conn.send(b"GET /slow/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: "begun" in server.get("/events").json()["events"], 10, "the handler's start")
    until(lambda: "closed" in server.get("/events").json()["events"], 10, "on_connection_close")


def test_answer_behind_the_method(server):
    assert server.get("/later").body == b"later"


def test_debug_mode(serve):
    """Its requests take the way of delegates in general."""
    server = serve("tornado_app:debugged")
    assert server.get("/say/x?a=1").json()["query"] == "a=1"
    assert server.get("/later").body == b"later"
    with server.connect() as conn:
        conn.send(b"GET /slow/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: "begun" in server.get("/events").json()["events"], 10, "the handler's start")
    until(lambda: "closed" in server.get("/events").json()["events"], 10, "on_connection_close")


def test_handler_that_cannot_be_made(serve):
    server = serve("tornado_app:app")
    assert server.get("/spoiled").status == 500
    server.wait_log("RuntimeError: in initialize")
    assert server.get("/say").status == 200


def test_fields(server):
    with server.connect() as conn:
        conn.send(request("/fields", host="Example.COM:81"))
        found = conn.response()
    assert found.all("X-Many") == ["1", "2"] and found.get("X-Number") == "3" and found.get("X-Text") == "caf\xe9"
    assert found.body == b"example.com"


def test_what_tornado_does_not_parse(server):
    with server.connect() as conn:
        conn.send(request("/say", host="a,b"))
        assert conn.response().status == 400
    assert server.get("/say").status == 200


def test_waiting_handler_is_cut_at_the_stop(serve):
    server = serve("tornado_app:app", "--graceful-timeout", "1")
    with server.connect() as conn:
        conn.send(b"GET /slow/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: "begun" in server.get("/events").json()["events"], 10, "the handler's start")
        server.signal(15)
        assert conn.response().status in (500, 503)
    assert server.wait_exit(20) == 0


def test_graceful_stop(serve):
    server = serve("tornado_app:app")
    with server.connect() as conn:
        conn.send(b"GET /slow/1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: "begun" in server.get("/events").json()["events"], 10, "the handler's start")
        server.signal(15)
        found = conn.response()
        assert found.body == b"slow" and found.closes
    assert server.wait_exit(20) == 0


# ---- WebSocketHandler ------------------------------------------------------------------------------------------------

@pytest.fixture
def talk(server):
    client = pytest.importorskip("websockets.sync.client")

    def connect(path="/talk/ada", **more):
        return client.connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=20, close_timeout=20, **more)
    return connect


def test_websocket(talk):
    with talk() as session:
        assert session.recv() == "hello ada"
        session.send("grüße")
        assert session.recv() == "grüße"
        session.send(b"\x00\xff" * 50000)
        assert session.recv() == b"\x00\xff" * 50000
        session.send("many")
        assert [json.loads(session.recv()) for _ in range(100)] == list(range(100))


def test_websocket_subprotocol(talk):
    with talk(subprotocols=["other", "chat"]) as session:
        assert session.subprotocol == "chat"
    with talk(subprotocols=["other"]) as session:
        assert session.subprotocol is None


def test_websocket_close_by_the_handler(talk, server):
    from websockets.exceptions import ConnectionClosed
    with talk() as session:
        session.recv()
        session.send("bye")
        with pytest.raises(ConnectionClosed):
            session.recv()
        assert (session.close_code, session.close_reason) == (4001, "as asked")


def test_websocket_close_by_the_client(talk, server):
    with talk() as session:
        session.recv()
        session.close(4002, "enough")
    until(lambda: "ws closed 4002 enough" in server.get("/events").json()["events"], 10, "on_close")


def test_websocket_handler_raises(talk, server):
    from websockets.exceptions import ConnectionClosed
    with talk() as session:
        session.recv()
        session.send("raise")
        with pytest.raises(ConnectionClosed):
            session.recv()
    assert server.get("/say").status == 200


def test_websocket_refused_by_origin(talk):
    from websockets.exceptions import InvalidStatus
    with pytest.raises(InvalidStatus) as caught:
        talk(origin="http://evil.example")
    assert caught.value.response.status_code == 403


def test_websocket_handler_without_upgrade(server):
    assert server.get("/talk").status == 400


def test_websocket_to_another_handler(talk):
    from websockets.exceptions import InvalidStatus
    with pytest.raises(InvalidStatus) as caught:
        talk("/say")
    assert caught.value.response.status_code == 200


# ---- WSGI ------------------------------------------------------------------------------------------------------------

def test_wsgi_beside_the_loop(serve):
    server = serve("tornado_app:wsgi", "-k", "tornado")
    assert server.get("/tick").body == b"0"
    until(lambda: server.get("/").body == b"1", 10, "a callback of the loop")
    assert len(server.get("/stream").body) == 3_000_000


def test_asgi_is_refused(serve):
    server = serve("forking:application", "-k", "asgi", wait=False)
    server.expected_exit = {2}
    assert server.ended() == 2
    server.wait_log(r"\[class-mismatch\]")
