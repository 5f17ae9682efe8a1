"""Real ASGI frameworks with real clients: Starlette, FastAPI, Quart, Django; httpx and websockets."""
import asyncio
import json

import pytest
from asgi_servers import LOOPS, has, settled
from harness import Malformed, request, until
from harness.server import PYPY

NUMBERS = "".join(f"{number}," for number in range(50)).encode()
FORM = "Content-Type: application/x-www-form-urlencoded"


def framework(shared, app, module, *options):
    if not has(module):
        pytest.skip(f"no {module} for this interpreter")
    return shared(app, *options)


def talk(server, path, *texts, **more):
    """What a websocket answers to each text."""
    client = pytest.importorskip("websockets.sync.client")
    with client.connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, open_timeout=20, **more) as ws:
        said = []
        for text in texts:
            ws.send(text)
            said.append(ws.recv(timeout=30))
        return said


# ---- Starlette -------------------------------------------------------------------------------------------------------

@pytest.fixture(params=LOOPS)
def starlette(request, shared):
    server = framework(shared, "starlette_app:app", "starlette", "--asgi-loop", request.param)
    return settled(server)


def test_starlette_pages(starlette):
    told = starlette.get("/?a=1").json()
    assert told == {"open": True, "query": {"a": "1"}, "client": "127.0.0.1", "url": "http://test/?a=1"}
    assert starlette.get("/counted").body == NUMBERS
    assert starlette.get("/thread").body == b"from a thread"
    assert starlette.get("/group").json() == {"sum": 10, "cancelled": True}
    assert starlette.get("/fail?http").status == 418 and starlette.get("/nothing").status == 404


def test_starlette_files_go_by_path(starlette):
    answer = starlette.get("/file")
    assert b"starlette says goodbye" in answer.body and answer.get("ETag")
    answer = starlette.get("/file", fields=["Range: bytes=3-8"])
    assert answer.status == 206 and len(answer.body) == 6


def test_starlette_upload(starlette):
    if not has("multipart"):
        pytest.skip("no python-multipart for this interpreter")
    starlette.check_fds = not PYPY  # there the upload's file is closed when the collector finds it
    data = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + b"u" * 2_000_000 + b"\r\n--b--\r\n"
    answer = starlette.get("/upload", "POST", ["Content-Type: multipart/form-data; boundary=b"], data, timeout=30)
    assert answer.json() == {"name": "f", "size": 2_000_000}


def test_starlette_background_tasks(starlette):
    assert starlette.get("/background").body == b"begun"
    until(lambda: starlette.get("/seen/background").json() == "done", 10, "the background task")


@pytest.mark.skipif(PYPY, reason="PyPy closes an abandoned generator when the collector finds it")
def test_starlette_streams_end_with_the_client(starlette):
    conn = starlette.connect()
    conn.send(request("/stream"))
    conn.recv_exactly(50_000)
    conn.reset()
    until(lambda: starlette.get("/seen/stream").json() == "closed", 10, "the generator to be closed")


def test_starlette_clients_that_leave_are_no_error(starlette):
    conn = starlette.connect()
    conn.send(request("/drip", "POST", ["Content-Length: 1000"]) + b"abc")
    until(lambda: starlette.get("/seen/drip").json() == "reading", 10, "the body")
    conn.close()
    until(lambda: starlette.get("/seen/drip").json() == "disconnected", 10, "ClientDisconnect")
    assert starlette.get("/").status == 200 and "ClientDisconnect" not in starlette.log


def test_starlette_errors(starlette):
    assert starlette.get("/fail").status == 500
    starlette.wait_log("RuntimeError: starlette fails")


def test_starlette_sockets(starlette):
    assert [json.loads(said) for said in talk(starlette, "/socket", "a", "b", subprotocols=["x"])] == [
        {"heard": "a", "open": True}, {"heard": "b", "open": True}]
    fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    with starlette.connect() as conn:
        conn.send(request("/denied", fields=fields))
        answer = conn.response()
    assert (answer.status, answer.body) == (401, b"no entry")


def test_starlette_middleware_that_wraps_receive_and_send(shared):
    server = framework(shared, "starlette_app:marked", "starlette")
    for path in ("/", "/counted", "/file"):
        answer = server.get(path)
        assert answer.status == 200 and answer.get("x-marked") == "yes"
    with server.connect() as conn:
        conn.send(request("/stream"))
        conn.recv_exactly(50_000)
    until(lambda: server.get("/seen/stream").json() == "closed", 10, "the generator to be closed")


def test_starlette_says_goodbye(serve):
    if not has("starlette"):
        pytest.skip("no starlette for this interpreter")
    server = serve("starlette_app:app")
    server.stop()
    assert "starlette says goodbye" in server.out


# ---- FastAPI ---------------------------------------------------------------------------------------------------------

def test_fastapi(shared):
    server = framework(shared, "fastapi_app:app", "fastapi")
    answer = server.get("/items/7", "POST", ["Content-Type: application/json"], b'{"name": "tea", "price": 1.5}')
    assert answer.json() == {"number": 7, "name": "tea", "session": "a session"}
    assert server.get("/items/x", "POST", ["Content-Type: application/json"], b"{}").status == 422
    until(lambda: server.get("/events").json()[:3] == ["startup", "session opened", "session closed"], 10, "the session's end")
    assert server.get("/sync").json() == {"main": False}
    with server.connect() as conn:
        for name in ("ann", "bob"):
            assert conn.get(f"/user/{name}").json() == {"before": "nobody", "now": name}
    assert server.get("/openapi.json").json()["info"]["title"] == "FastAPI"
    assert talk(server, "/ws", "shout") == ["SHOUT"]


# ---- Quart -----------------------------------------------------------------------------------------------------------

def test_quart(shared):
    server = framework(shared, "quart_app:app", "quart")
    assert server.get("/?name=x").json() == {"began": True, "path": "/", "name": "x"}
    assert server.get("/form", "POST", [FORM], b"a=1&b=2").json() == {"a": "1", "b": "2"}
    answer = server.get("/stream")
    assert answer.body == "".join(f"{n}," for n in range(20)).encode() and answer.get("x-stream") == "yes"
    assert server.get("/fail").status == 500
    assert talk(server, "/ws", "a", "b") == ["quart heard a", "quart heard b"]


# ---- Django ----------------------------------------------------------------------------------------------------------

def test_django(shared):
    server = framework(shared, "django_asgi:application", "django")
    assert server.get("/?a=b").json() == {"method": "GET", "query": {"a": "b"}, "scheme": "http"}
    assert server.get("/plain").body == b"from a thread"
    assert server.get("/echo", "POST", body=b"x" * 300_000).body == b"x" * 300_000
    assert server.get("/stream").body == "".join(f"{n}," for n in range(20)).encode()
    assert server.get("/fail").status == 500
    before = server.get("/finished").json()["count"]
    server.get("/")
    until(lambda: server.get("/finished").json()["count"] >= before + 2, 10, "the end of requests")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", ["Content-Length: 1000"]) + b"abc")
    assert server.get("/").status == 200


# ---- clients ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("loop", LOOPS)
def test_httpx(shared, loop):
    httpx = pytest.importorskip("httpx")
    server = framework(shared, "starlette_app:app", "starlette", "--asgi-loop", loop)

    async def many():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=30) as client:
            answers = await asyncio.gather(*[client.get("/counted") for _ in range(30)], *[client.get("/thread") for _ in range(5)])
            async with client.stream("GET", "/stream") as answer:
                async for part in answer.aiter_bytes():
                    assert part
                    break
            return answers
    assert [answer.status_code for answer in asyncio.run(many())] == [200] * 35


def test_a_cut_stream_is_seen_by_the_client(shared):
    server = framework(shared, "asgi_cases:application", "json")
    with server.connect() as conn:
        conn.send(request("/raise/cut"))
        with pytest.raises(Malformed):
            conn.response()
