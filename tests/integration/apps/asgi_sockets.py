"""WebSockets of ASGI: a path for each thing the tests look at."""
import asyncio
import json

from asgi_cases import outcome

SEEN = {}


async def application(scope, receive, send):
    if scope["type"] == "http":
        data = json.dumps(SEEN.get(scope["path"].rpartition("/")[2])).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": data})
    elif scope["type"] == "websocket":
        await globals()["do_" + scope["path"].split("/")[1]](scope, receive, send)
    else:
        raise NotImplementedError


def shown(thing):
    return thing.decode("latin-1") if isinstance(thing, bytes) else repr(thing)


async def accept(receive, send, **more):
    message = await receive()
    assert message == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def do_scope(scope, receive, send):
    await accept(receive, send)
    await send({"type": "websocket.send", "text": json.dumps(scope, default=shown)})


async def do_echo(scope, receive, send):
    await accept(receive, send)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            SEEN["echo"] = message
            return
        assert (message["text"] is None) != (message["bytes"] is None)
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


async def do_choose(scope, receive, send):
    await accept(receive, send, subprotocol="second", headers=[(b"x-extra", b"yes"), (b"x-extra", b"too")])
    await send({"type": "websocket.close", "code": 3456, "reason": "chosen é"})


async def do_wrong(scope, receive, send):
    await receive()
    SEEN["wrong"] = {
        "early": await outcome(send, {"type": "websocket.send", "text": "early"}),
        "offer": await outcome(send, {"type": "websocket.accept", "subprotocol": "never offered"}),
        "header": await outcome(send, {"type": "websocket.accept", "headers": [(b"sec-websocket-protocol", b"x")]}),
        "unknown": await outcome(send, {"type": "websocket.nonsense"}),
    }
    await send({"type": "websocket.accept"})
    SEEN["wrong"].update(
        again=await outcome(send, {"type": "websocket.accept"}),
        both=await outcome(send, {"type": "websocket.send", "text": "a", "bytes": b"b"}),
        neither=await outcome(send, {"type": "websocket.send"}),
        kind=await outcome(send, {"type": "websocket.send", "text": b"a"}),
        surrogate=await outcome(send, {"type": "websocket.send", "text": "\ud800"}),
        code=await outcome(send, {"type": "websocket.close", "code": 1005}),
        late=await outcome(send, {"type": "websocket.http.response.start", "status": 200, "headers": []}))
    await send({"type": "websocket.send", "text": "still fine"})
    await send({"type": "websocket.close"})
    SEEN["wrong"]["closed"] = await outcome(send, {"type": "websocket.send", "text": "closed"})


async def do_refuse(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


async def do_deny(scope, receive, send):
    await receive()
    await send({"type": "websocket.http.response.start", "status": 402, "headers": [(b"x-why", b"money")]})
    await send({"type": "websocket.http.response.body", "body": b"pay ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"first"})


async def do_return(scope, receive, send):
    if scope["path"].endswith("open"):
        await accept(receive, send)


async def do_raise(scope, receive, send):
    if scope["path"].endswith("open"):
        await accept(receive, send)
    raise RuntimeError("raised in a socket")


async def do_leave(scope, receive, send):
    await accept(receive, send)
    first, again = await receive(), await receive()
    SEEN["leave"] = {"first": first, "again": again, "send": await outcome(send, {"type": "websocket.send", "text": "x"})}


async def do_flood(scope, receive, send):
    """How much send() takes before it waits for a client that reads nothing."""
    await accept(receive, send)
    SEEN["flood"] = 0
    while True:
        await send({"type": "websocket.send", "bytes": b"x" * 65536})
        SEEN["flood"] += 65536


async def do_talk(scope, receive, send):
    """Sends by itself while it listens."""
    await accept(receive, send)

    async def talk():
        for number in range(1000):
            await send({"type": "websocket.send", "text": str(number)})
            await asyncio.sleep(0.005)
    talking = asyncio.ensure_future(talk())
    message = await receive()
    talking.cancel()
    await send({"type": "websocket.send", "text": f"heard {message['text']}"})


async def do_eager(scope, receive, send):
    """One task reads from the beginning, another accepts later."""
    assert (await receive())["type"] == "websocket.connect"
    reading = asyncio.ensure_future(read_one(receive))
    await asyncio.sleep(0.05)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": await reading})


async def read_one(receive):
    return (await receive())["text"]
