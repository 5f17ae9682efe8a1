"""WebSockets of ASGI applications, statements 29 to 37 of the checklist. The protocol itself has tests of its own."""
import json
import time

import pytest
from asgi_servers import LOOPS, has, seen, settled
from harness import request, until

pytestmark = pytest.mark.skipif(not has("websockets"), reason="no websockets for this interpreter")
websockets = pytest.importorskip("websockets")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

HANDSHAKE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


@pytest.fixture(params=LOOPS)
def server(request, shared):
    return settled(shared("asgi_sockets:application", "--asgi-loop", request.param))


def opened(server, path, **more):
    return connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, open_timeout=20, close_timeout=20, **more)


def test_37_scope(server):
    with opened(server, "/scope/a%20b?q=1", subprotocols=["one", "two"], additional_headers={"X-A": "b"}) as ws:
        scope = json.loads(ws.recv())
    assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/scope/a b", "/scope/a%20b", "q=1")
    assert scope["subprotocols"] == ["one", "two"] and "method" not in scope
    assert scope["extensions"] == {"websocket.http.response": {}} and ["x-a", "b"] in scope["headers"]


def test_33_messages(server):
    with opened(server, "/echo", max_size=None) as ws:
        for message in ("text é", b"\x00bytes\xff", "", b"", "x" * 200_000, b"y" * 200_000):
            ws.send(message)
            got = ws.recv()
            assert got == message and type(got) is type(message)
    assert seen(server, "echo")["code"] == 1000


def test_29_30_35_wrong_messages_raise(server):
    with opened(server, "/wrong") as ws:
        assert ws.recv() == "still fine"
        with pytest.raises(ConnectionClosed):
            ws.recv()
    told = seen(server, "wrong")
    assert all("Exception" in (raised or ()) for raised in told.values()), told
    assert "OSError" in told["closed"]


def test_29_a_task_that_receives_before_the_accept(server):
    with opened(server, "/eager") as ws:
        ws.send("heard after all")
        assert ws.recv(timeout=20) == "heard after all"


def test_30_34_accept_and_close(server):
    with opened(server, "/choose", subprotocols=["first", "second"]) as ws:
        assert ws.subprotocol == "second" and ws.response.headers.get_all("x-extra") == ["yes", "too"]
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3456, "chosen é")


@pytest.mark.parametrize("path, status", [("/refuse", 403), ("/return/early", 403), ("/raise/early", 500)])
def test_31_36_refused(server, path, status):
    with pytest.raises(InvalidStatus) as refused:
        opened(server, path)
    assert refused.value.response.status_code == status


def test_32_denied(server):
    with server.connect() as conn:
        conn.send(request("/deny", fields=HANDSHAKE))
        answer = conn.response()
    assert (answer.status, answer.body, answer.get("x-why")) == (402, b"pay first", "money")


@pytest.mark.parametrize("path, code", [("/return/open", 1000), ("/raise/open", 1011)])
def test_36_the_end_is_a_closing_frame(server, path, code):
    with opened(server, path) as ws, pytest.raises(ConnectionClosed) as closed:
        ws.recv()
    assert closed.value.rcvd.code == code


def test_34_35_the_client_leaves(server):
    ws = opened(server, "/leave")
    ws.close(4001, "bye")
    told = seen(server, "leave")
    assert told["first"] == told["again"] == {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
    assert "OSError" in told["send"]


def test_34_without_a_word(server):
    with server.connect() as conn:
        conn.send(request("/echo", fields=HANDSHAKE))
        assert conn.recv_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    until(lambda: (server.get("/seen/echo").json() or {}).get("code") == 1006, 10, "the disconnect")


def test_22_send_waits(server):
    with server.connect(receive_buffer=4096) as conn:
        conn.send(request("/flood", fields=HANDSHAKE))
        assert conn.recv_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        last = -1
        while (now := server.get("/seen/flood").json()) != last:
            last = now
            time.sleep(0.2)
        assert 0 < last < 12_000_000


def test_both_directions_at_once(server):
    with opened(server, "/talk") as ws:
        assert [ws.recv() for _ in range(3)] == ["0", "1", "2"]
        ws.send("stop")
        while not (got := ws.recv()).startswith("heard"):
            pass
        assert got == "heard stop"


@pytest.mark.parametrize("loop", LOOPS)
def test_34_a_stopping_server_says_so(serve, loop):
    server = serve("asgi_sockets:application", "--asgi-loop", loop)
    with opened(server, "/echo") as ws:
        ws.send("a")
        assert ws.recv() == "a"
        server.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv()
        assert closed.value.rcvd.code in (1001, 1012)
    server.ended()
    assert "[worker-stuck]" not in server.log and "[requests-cancelled]" not in server.log
