"""An ASGI application with a path for each thing the tests of ASGI look at. What is seen inside is told by /seen/NAME."""
import asyncio
import contextlib
import contextvars
import json
import os
import sys

SEEN = {}
STARTED = []
var = contextvars.ContextVar("var", default="clean")
HERE = os.path.abspath(__file__)


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    name = scope["path"].strip("/").split("/")[0] or "hello"
    await globals().get(f"do_{name}", do_missing)(scope, receive, send)


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            STARTED.append(os.getpid())
            if "state" in scope:
                scope["state"].update(number=1, shared=[])
            await send({"type": "lifespan.startup.complete"})
        else:
            print("lifespan.shutdown was received", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


# ---- answers ---------------------------------------------------------------------------------------------------------

def start(status=200, headers=(), **more):
    return {"type": "http.response.start", "status": status, "headers": [*headers], **more}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(send, thing, status=200):
    data = json.dumps(thing, default=shown).encode()
    await send(start(status, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]))
    await send(body(data))


def shown(thing):
    return thing.decode("latin-1") if isinstance(thing, bytes) else repr(thing)


async def whole_body(receive):
    parts, messages = [], []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts), messages


def name_of(scope):
    return scope["path"].rpartition("/")[2]


async def outcome(send, message):
    """What sending it raises: its class and its base classes."""
    try:
        await send(message)
    except Exception as error:
        return [each.__name__ for each in type(error).__mro__]
    return None


# ---- the scope -------------------------------------------------------------------------------------------------------

async def do_hello(scope, receive, send):
    await send(start(headers=[(b"content-type", b"text/plain")]))
    await send(body(b"Hello, world!\n"))


async def do_missing(scope, receive, send):
    await send(start(404))
    await send(body(b"missing"))


async def do_seen(scope, receive, send):
    await answer(send, SEEN.get(name_of(scope)))


async def do_scope(scope, receive, send):
    types = {key: type(value).__name__ for key, value in scope.items()}
    first = scope["headers"][0] if scope["headers"] else None
    await answer(send, {**scope, "types": types, "pair": [type(first[0]).__name__, type(first[1]).__name__]})


async def do_spoil(scope, receive, send):
    """Changes all of the scope that it can; the next request must not see it."""
    seen = {"asgi": dict(scope["asgi"]), "headers": len(scope["headers"]), "state": dict(scope.get("state", {})),
            "extensions": sorted(scope.get("extensions", {}))}
    scope["asgi"]["spoiled"] = scope["spoiled"] = True
    scope["headers"].append((b"x-spoiled", b"yes"))
    if "state" in scope:
        scope["state"]["number"] = 99
        scope["state"]["shared"].append(1)
    scope.setdefault("extensions", {})["spoiled"] = {}
    await answer(send, seen)


async def do_context(scope, receive, send):
    before = var.get()
    var.set("mine")
    task = asyncio.current_task()
    await asyncio.sleep(0)
    same = asyncio.current_task() is task
    import sniffio
    await answer(send, {"before": before, "after": var.get(), "task": type(task).__name__, "same": same,
                        "sniffio": sniffio.current_async_library(), "running": asyncio.get_running_loop() is not None,
                        "module": type(asyncio.get_running_loop()).__module__})


# ---- reading ---------------------------------------------------------------------------------------------------------

async def do_echo(scope, receive, send):
    data, _ = await whole_body(receive)
    await send(start(headers=[(b"content-length", b"%d" % len(data))]))
    await send(body(data))


async def do_messages(scope, receive, send):
    _, messages = await whole_body(receive)
    await answer(send, messages)


async def do_length(scope, receive, send):
    data, messages = await whole_body(receive)
    await answer(send, {"length": len(data), "messages": len(messages), "largest": max(len(m["body"]) for m in messages)})


async def do_second(scope, receive, send):
    """After the last part of the body receive() waits for the client to go."""
    await whole_body(receive)
    try:
        SEEN["second"] = await asyncio.wait_for(receive(), 0.1)
    except asyncio.TimeoutError:
        SEEN["second"] = "waited"
    await answer(send, SEEN["second"])


async def do_cancelled(scope, receive, send):
    """A receive() that is cancelled again and again loses no byte."""
    data, cancelled = b"", 0
    while True:
        try:
            message = await asyncio.wait_for(receive(), 0.01)
        except asyncio.TimeoutError:
            cancelled += 1
            continue
        data += message["body"]
        if not message["more_body"]:
            break
    await answer(send, {"data": data, "cancelled": cancelled})


async def do_tasks(scope, receive, send):
    """receive() and send() where only coroutines are taken."""
    message = await asyncio.create_task(coroutine(receive))
    results = [message["body"]]
    if name_of(scope) == "bare":
        await asyncio.create_task(send(start()))
        await asyncio.ensure_future(send(body(results[0])))
    else:
        await send(start())
        await send(body(results[0]))


async def coroutine(function, *arguments):
    return await function(*arguments)


async def do_unread(scope, receive, send):
    await send(start(401))
    await send(body(b"no"))


async def do_slowread(scope, receive, send):
    """Reads one part, then only when told to."""
    first = await receive()
    SEEN["slowread"] = len(first["body"])
    go = SEEN["go"] = asyncio.Event()
    await go.wait()
    rest, messages = await whole_body(receive)
    await answer(send, {"length": len(first["body"]) + len(rest), "last": messages[-1]["type"]})


async def do_go(scope, receive, send):
    SEEN.pop("go").set()
    await answer(send, True)


async def do_pause(scope, receive, send):
    """Announces itself and waits before it reads."""
    SEEN["pause"] = True
    await asyncio.sleep(0.3)
    data, _ = await whole_body(receive)
    await answer(send, data)


# ---- the client leaves -----------------------------------------------------------------------------------------------

async def do_leaves(scope, receive, send):
    """What receive() and send() say when the client goes away meanwhile."""
    name = name_of(scope)
    SEEN[name] = "waiting"
    await whole_body(receive)
    first = await receive()
    again = await receive()
    SEEN[name] = {"first": first["type"], "again": again["type"], "start": await outcome(send, start()),
                  "body": await outcome(send, body(b"x" * 100_000, True))}


async def do_stream(scope, receive, send):
    """Sends until it cannot."""
    name = name_of(scope)
    sent = 0
    await send(start())
    try:
        while True:
            await send(body(b"x" * 50_000, True))
            sent += 1
            SEEN[name] = {"sent": sent}
            await asyncio.sleep(0)
    except OSError as error:
        SEEN[name] = {"sent": sent, "error": [each.__name__ for each in type(error).__mro__]}
        raise


async def do_events(scope, receive, send):
    """Server-sent events until the client goes, which a task that listens finds out."""
    name = name_of(scope)
    await send(start(headers=[(b"content-type", b"text/event-stream")]))
    listener = asyncio.ensure_future(listen(receive))
    number = 0
    while not listener.done():
        number += 1
        await send(body(b"data: %d\n\n" % number, True))
        await asyncio.wait([listener], timeout=0.05)
    SEEN[name] = {"listener": listener.result(), "sent": number > 0}


async def listen(receive):
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message["type"]


async def do_half(scope, receive, send):
    await whole_body(receive)
    await asyncio.sleep(0.2)
    await send(start())
    await send(body(b"late", True))
    await asyncio.sleep(0.1)
    await send(body(b" but whole"))


async def do_after(scope, receive, send):
    """After the answer is complete."""
    await answer(send, True)
    SEEN["after"] = [await receive(), await receive()], await outcome(send, body(b"more")), await outcome(send, start())


async def do_background(scope, receive, send):
    await answer(send, "now")
    SEEN["background"] = "running"
    await asyncio.sleep(0.5)
    SEEN["background"] = "done"


async def do_sleep(scope, receive, send):
    SEEN["sleep"] = "sleeping"
    try:
        await asyncio.sleep(float(name_of(scope)))
        SEEN["sleep"] = "slept"
        await answer(send, "slept")
    except asyncio.CancelledError:
        print("CancelledError was seen", flush=True)
        raise


async def do_block(scope, receive, send):
    import time
    time.sleep(float(name_of(scope)))
    await answer(send, "blocked")


# ---- sending ---------------------------------------------------------------------------------------------------------

async def do_status(scope, receive, send):
    await send(start(int(name_of(scope))))
    await send(body(b"some text"))


async def do_headers(scope, receive, send):
    await send(start(headers=[(b"X-One", b"1"), (b"x-two", b"2"), (b"x-two", b"3"), [b"x-list", b"4"],
                              (b"transfer-encoding", b"gzip"), (b"connection", b"upgrade"), (b"x-latin", b"\xe9")]))
    await send(body(b"ok"))


async def do_parts(scope, receive, send):
    await send(start(headers=(pair for pair in [(b"x-generator", b"yes")])))
    for part in (b"one ", b"", bytearray(b"two "), memoryview(b"three")):
        await send({"type": "http.response.body", "body": part, "more_body": True, "unknown": 1})
    await send({"type": "http.response.body"})


async def do_big(scope, receive, send):
    count = int(name_of(scope))
    await send(start())
    for number in range(count):
        await send(body(bytes([number % 256]) * 100_000, True))
    await send(body())


async def do_water(scope, receive, send):
    """How much send() takes before it waits for a client that reads nothing."""
    await send(start())
    SEEN["water"] = 0
    while True:
        await send(body(b"x" * 65536, True))
        SEEN["water"] += 65536


async def do_held(scope, receive, send):
    await send(start(200, [(b"x-first", b"yes")]))
    if name_of(scope) == "raise":
        raise RuntimeError("between start and body")
    if name_of(scope) == "wait":
        await asyncio.sleep(0.3)
        await send(body(b"ok"))


async def do_length_of(scope, receive, send):
    said, sent = (int(part) for part in name_of(scope).split("-"))
    await send(start(headers=[(b"content-length", b"%d" % said)]))
    await send(body(b"x" * min(said, sent), True))
    SEEN["length_of"] = await outcome(send, body(b"x" * (sent - said), True)) if sent > said else None
    if sent >= said:
        await send(body())


BAD_STARTS = {
    "no_status": {"type": "http.response.start", "headers": []},
    "str_status": {"type": "http.response.start", "status": "200", "headers": []},
    "low_status": start(99), "interim_status": start(103), "high_status": start(1000),
    "str_header": start(headers=[("x-a", "b")]), "one_header": start(headers=[(b"x-a",)]), "int_header": start(headers=[1]),
    "newline": start(headers=[(b"x-a", b"b\r\nx-c: d")]), "nul": start(headers=[(b"x-a", b"\0")]),
    "name": start(headers=[(b"x a", b"b")]), "empty_name": start(headers=[(b"", b"b")]),
    "length": start(headers=[(b"content-length", b"x")]),
    "two_lengths": start(headers=[(b"content-length", b"1"), (b"content-length", b"2")]),
    "unknown": {"type": "http.response.nonsense"}, "no_type": {"status": 200}, "no_dict": "http.response.start",
    "body_first": body(b"early"), "type_int": {"type": 1}, "none": None,
}


async def do_bad_start(scope, receive, send):
    """A message that breaks a rule raises and changes nothing."""
    raised = await outcome(send, BAD_STARTS[name_of(scope)])
    await answer(send, raised)


async def do_bad_body(scope, receive, send):
    await send(start())
    kinds = {"str": body("text"), "int": body(1), "start": start(201), "unknown": {"type": "nonsense"}}
    raised = await outcome(send, kinds[name_of(scope)])
    await send(body(json.dumps(raised).encode()))


async def do_hints(scope, receive, send):
    if "http.response.early_hint" in scope["extensions"]:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
        await send({"type": "http.response.early_hint", "links": [b"</c.css>; rel=preload"]})
    await answer(send, sorted(scope["extensions"]))


async def do_trailers(scope, receive, send):
    """?pieces of the body and of the trailers; what is refused on the way comes in the last body."""
    early = await outcome(send, {"type": "http.response.trailers", "headers": []})
    await send(start(headers=[(b"x-app", b"trailers")], trailers=True))
    await send(body(b"one ", True))
    too_soon = await outcome(send, {"type": "http.response.trailers", "headers": [(b"x-early", b"1")]})
    if name_of(scope) == "none":
        await send(body(b"two"))
        return
    await send(body(json.dumps([early, too_soon]).encode()))
    raised = [await outcome(send, {"type": "http.response.trailers", "headers": [pair]})
              for pair in ((b"content-length", b"1"), (b"x y", b"1"), (b"x-a", b"1\r\nx-b: 2"), ("x-a", "b"))]
    raised.append(await outcome(send, body(b"more")))
    SEEN["trailers"] = raised
    await send({"type": "http.response.trailers", "headers": [(b"x-checksum", b"abc"), (b"x-two", b"2")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"server-timing", b"app;dur=1")]})
    SEEN["late_trailers"] = await outcome(send, {"type": "http.response.trailers", "headers": []})


async def do_unannounced(scope, receive, send):
    await send(start())
    await send(body(b"a", True))
    raised = await outcome(send, {"type": "http.response.trailers", "headers": []})
    await send(body(json.dumps(raised).encode()))


async def do_begins(scope, receive, send):
    """Has this request begun before a callback that was due already? It has where tasks begin at once."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    known = task in asyncio.all_tasks()
    order = []
    loop.call_soon(order.append, "callback")
    child = asyncio.create_task(coroutine(append, order, "child"))
    order.append("request")
    async with asyncio.timeout(10) if hasattr(asyncio, "timeout") else contextlib.nullcontext():
        await child
    await answer(send, {"order": order, "task": type(task).__module__ + "." + type(task).__name__, "known": known,
                        "same": asyncio.current_task() is task, "loop": isinstance(loop, asyncio.AbstractEventLoop),
                        "coroutine": task.get_coro().__qualname__, "after": task in asyncio.all_tasks()})


async def append(order, what):
    order.append(what)


async def do_factory(scope, receive, send):
    """Sets a task factory of the application's, or takes it away; says how many tasks it has made."""
    loop = asyncio.get_running_loop()
    made = SEEN.setdefault("factory", [])

    def factory(loop, coroutine, **more):
        made.append(1)
        return asyncio.Task(coroutine, loop=loop, **more)
    loop.set_task_factory(factory if name_of(scope) == "on" else None)
    await asyncio.sleep(0)
    await answer(send, len(made))


async def do_path(scope, receive, send):
    size = os.path.getsize(HERE)
    headers = [] if name_of(scope) == "plain" else [(b"content-length", b"%d" % size)]
    await send(start(headers=headers))
    await send({"type": "http.response.pathsend", "path": HERE})


async def do_no_path(scope, receive, send):
    await send(start())
    raised = [await outcome(send, {"type": "http.response.pathsend", "path": path}) for path in (HERE + "x", "/", "/dev/null")]
    await send(body(json.dumps(raised).encode()))


async def do_zerocopy(scope, receive, send):
    with open(HERE, "rb") as file:
        await send(start())
        await send(body(b"<", True))
        await send({"type": "http.response.zerocopysend", "file": file, "offset": 10, "count": 20, "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file, "count": 5, "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file, "count": 5, "more_body": True})
        await send(body(b">"))


# ---- failures --------------------------------------------------------------------------------------------------------

async def do_raise(scope, receive, send):
    name = name_of(scope)
    if name == "later":
        await asyncio.sleep(0.01)
    if name in ("started", "cut"):
        await send(start())
    if name == "cut":
        await send(body(b"part of it", True))
    if name == "complete":
        await answer(send, "complete")
    if name == "exit":
        sys.exit(3)
    if name == "exit_later":
        await asyncio.sleep(0.01)
        sys.exit(3)
    if name == "interrupt":
        raise KeyboardInterrupt
    if name == "cancel":
        raise asyncio.CancelledError
    raise RuntimeError(f"raised {name}")


async def do_return(scope, receive, send):
    name = name_of(scope)
    if name in ("started", "cut"):
        await send(start())
    if name == "cut":
        await send(body(b"part of it", True))


# ---- other shapes of applications ------------------------------------------------------------------------------------

class OldStyle:
    """ASGI 2: called with the scope, then with receive and send."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await application(self.scope, receive, send)




def returns_future(scope, receive, send):
    return asyncio.ensure_future(application(scope, receive, send))


async def no_lifespan(scope, receive, send):
    assert scope["type"] == "http", "no lifespan here"
    await answer(send, {"state": "state" in scope})


async def failing(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database\nat all"})


async def fails_at_the_end(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})
    else:
        await do_hello(scope, receive, send)


async def hangs_at_the_end(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(1000)
    else:
        await do_hello(scope, receive, send)


async def returns_early(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    await do_hello(scope, receive, send)


async def slow_start(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("starting", flush=True)
        await asyncio.sleep(0.5)
        print("started", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await do_hello(scope, receive, send)
