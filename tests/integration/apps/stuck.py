"""Applications that do not come back, each in its own way: for test_deadlines.py and test_recycling.py."""
import ctypes
import os
import threading
import time

KEEPS_THE_LOCK = ctypes.PyDLL(None)
hoard = []


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/spin":
        spin(float(query or 60))
    elif path == "/sleep":
        time.sleep(float(query or 60))
    elif path == "/naps":
        naps(float(query or 60))
    elif path == "/hold":
        hold(float(query or 60))
    elif path == "/swallow":
        swallow(float(query or 60))
    elif path == "/stream":
        return stream(start_response, float(query or 5))
    elif path == "/until":
        while not os.path.exists(query):
            time.sleep(0.02)
    elif path == "/eat":
        hoard.append(b"\1" * (int(query) << 20))
    elif path == "/background":
        threading.Thread(target=hold, args=(float(query),), daemon=True).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {threading.active_count()}".encode()]


def spin(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def naps(seconds):
    for _ in range(int(seconds * 100)):
        time.sleep(0.01)


def hold(seconds):
    """A call into C that keeps the GIL. In pieces, or glibc refuses; the next one begins at once."""
    nanoseconds = (ctypes.c_long * 2)(int(seconds), int(seconds % 1 * 1e9))
    KEEPS_THE_LOCK.nanosleep(nanoseconds, None)


def swallow(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            naps(0.05)
        except BaseException:
            pass


def stream(start_response, seconds):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"begun\n"
    time.sleep(seconds)
    yield b"done\n"


async def asgi(scope, receive, send):
    import asyncio
    assert scope["type"] in ("http", "websocket"), "no lifespan"
    path, query = scope["path"], scope["query_string"].decode()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await receive()
        await receive()
        return
    if path == "/wait":
        await wait_for_nothing(float(query or 60))
    elif path == "/spin":
        spin(float(query or 60))
    elif path == "/hold":
        hold(float(query or 60))
    elif path == "/later":
        asyncio.get_running_loop().call_later(0.1, hold, float(query or 60))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if path == "/stream":
        await send({"type": "http.response.body", "body": b"begun\n", "more_body": True})
        await asyncio.sleep(float(query))
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


async def wait_for_nothing(seconds):
    import asyncio
    await asyncio.wait_for(deeper(seconds), None)


async def deeper(seconds):
    import asyncio
    await asyncio.sleep(seconds)
