"""The pages classes.py loads, for every interface: / says hello, /sleep200 waits 200 ms (time.sleep, asyncio.sleep or what gevent
makes of it), /cpu2 computes for about 2 ms; of ASGI also /echo, /chunks20, /events20, and /ws, where every socket gets what one of them sends."""
import asyncio
import time

HELLO = b"Hello, World!"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))]


def number(path, word):
    return int(path.removeprefix(word) or 1)


def compute(milliseconds):
    """Holds the GIL; counted work, so that a busy machine does not shorten it."""
    total = 0
    for i in range(12000 * milliseconds):
        total += i * i
    return total


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/sleep"):
        time.sleep(number(path, "/sleep") / 1000)
    elif path.startswith("/cpu"):
        compute(number(path, "/cpu"))
    start_response("200 OK", HEADERS)
    return [HELLO]


START = {"type": "http.response.start", "status": 200, "headers": [(name.lower().encode(), value.encode()) for name, value in HEADERS]}
BODY = {"type": "http.response.body", "body": HELLO}


EVENTS = START | {"headers": [(b"content-type", b"text/event-stream")]}
CHUNKED = START | {"headers": [(b"content-type", b"text/plain")]}
sockets = []


async def asgi(scope, receive, send):
    if scope["type"] == "websocket":
        return await everyone(receive, send)
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path.startswith("/sleep"):
        await asyncio.sleep(number(path, "/sleep") / 1000)
    elif path.startswith("/cpu"):
        compute(number(path, "/cpu"))
    elif path == "/echo":
        return await echo(receive, send)
    elif path.startswith("/chunks"):
        return await pieces(send, CHUNKED, b"x" * 100, number(path, "/chunks"))
    elif path.startswith("/events"):
        return await pieces(send, EVENTS, b"event: tick\ndata: 0123456789\n\n", number(path, "/events"))
    await send(START)
    await send(BODY)


async def echo(receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send(START | {"headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def pieces(send, start, piece, count):
    await send(start)
    for _ in range(count):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def everyone(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    sockets.append(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            item = {"type": "websocket.send", "text": message["text"]}
            for other in sockets:
                await other(item)
    finally:
        sockets.remove(send)


def make_tornado():
    import tornado.web

    class Hello(tornado.web.RequestHandler):
        async def get(self, milliseconds=None):
            if milliseconds:
                await asyncio.sleep(int(milliseconds) / 1000)
            self.set_header("Content-Type", "text/plain")
            self.finish(HELLO)
    return tornado.web.Application([("/", Hello), ("/sleep([0-9]+)", Hello)])


def __getattr__(name):
    if name == "tornado_app":
        globals()[name] = make_tornado()
        return globals()[name]
    raise AttributeError(name)
