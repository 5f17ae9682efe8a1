"""The WSGI application most integration tests talk to: the path chooses what happens. It keeps no framework between the
server and the test, so what a test sees is what the server did."""
import json
import os
import sys
import threading
import time
from urllib.parse import parse_qs

COUNTS = {"calls": 0, "closed": 0, "first_next": 0}


def application(environ, start_response):
    COUNTS["calls"] += 1
    name = environ["PATH_INFO"].strip("/").split("/")[0] or "hello"
    handler = globals().get(f"on_{name}")
    if handler is None:
        return reply(start_response, f"no {name!r} here", "404 Not Found")
    query = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()}
    return handler(environ, start_response, query)


def reply(start_response, text, status="200 OK", content_type="text/plain"):
    body = text if isinstance(text, bytes) else text.encode()
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def reply_json(start_response, value):
    return reply(start_response, json.dumps(value), content_type="application/json")


def on_hello(environ, start_response, query):
    return reply(start_response, "Hello, World!")


def on_pid(environ, start_response, query):
    return reply(start_response, str(os.getpid()))


def on_environ(environ, start_response, query):
    """The environ as text, plus the body, so that a test sees exactly what the application saw."""
    seen = {key: value if isinstance(value, (str, int, bool, tuple)) else type(value).__name__ for key, value in environ.items()}
    seen["BODY"] = environ["wsgi.input"].read().decode("latin-1")
    return reply_json(start_response, seen)


def on_echo(environ, start_response, query):
    """The body back, read by ?how=; ?length=no leaves the framing to the server."""
    stream, how = environ["wsgi.input"], query.get("how", "read")
    if how == "read":
        body = stream.read()
    elif how == "length":
        body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    elif how == "pieces":
        body = b"".join(iter(lambda: stream.read(int(query.get("size", 1000))), b""))
    elif how == "lines":
        body = b"".join(stream)
    elif how == "readline":
        body = b"".join(iter(lambda: stream.readline(int(query.get("size", -1))), b""))
    elif how == "readlines":
        body = b"".join(stream.readlines())
    else:
        return reply(start_response, "no such how", "400 Bad Request")
    if query.get("length") == "no":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return iter([body])
    return reply(start_response, body)


def on_digest(environ, start_response, query):
    """Length and SHA-256 of the body, read in pieces: for bodies too large to send back."""
    import hashlib
    total, length = hashlib.sha256(), 0
    for piece in iter(lambda: environ["wsgi.input"].read(65536), b""):
        total.update(piece)
        length += len(piece)
    return reply_json(start_response, {"length": length, "sha256": total.hexdigest()})


def on_unread(environ, start_response, query):
    """Answers without looking at the body."""
    return reply(start_response, "not read")


def on_input(environ, start_response, query):
    """Runs ?do=read:5,readline,tell,seek:0 … on wsgi.input and shows each result."""
    results = []
    for step in query["do"].split(","):
        verb, _, argument = step.partition(":")
        try:
            value = getattr(environ["wsgi.input"], verb)(*([int(part) for part in argument.split(":")] if argument else []))
        except Exception as error:
            value = f"{type(error).__name__}"
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        elif isinstance(value, list):
            value = [line.decode("latin-1") for line in value]
        results.append(value)
    return reply_json(start_response, results)


def on_size(environ, start_response, query):
    """?n= bytes in ?pieces= parts, with a length unless ?length=no."""
    size, pieces = int(query.get("n", 0)), int(query.get("pieces", 1))
    fields = [("Content-Type", "application/octet-stream")]
    if query.get("length") != "no":
        fields.append(("Content-Length", str(size)))
    start_response("200 OK", fields)
    part = b"x" * (size // pieces)
    rest = size - len(part) * pieces
    return (part + (b"x" * rest if at == 0 else b"") for at in range(pieces))


def on_sleep(environ, start_response, query):
    """Says so on standard output first, so that a test knows when the request runs."""
    print("sleeping", flush=True)
    time.sleep(float(query.get("s", 1)))
    return reply(start_response, "slept")


def on_counts(environ, start_response, query):
    return reply_json(start_response, COUNTS)


def on_status(environ, start_response, query):
    """?line=204 No Content, ?body=, ?field=Name:value (one)."""
    fields = [tuple(query["field"].split(":", 1))] if "field" in query else []
    start_response(query["line"], fields)
    return [query["body"].encode()] if "body" in query else []


def on_raise(environ, start_response, query):
    """Fails ?at=call, start, first (piece), later (piece), close."""
    at = query.get("at", "call")
    if at == "call":
        raise ValueError("asked to fail")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if at == "start":
        raise ValueError("asked to fail after start_response")
    return Tracked([b"one", b"two", b"three"], fail_at={"first": 0, "later": 1}.get(at), fail_in_close=at == "close")


class Tracked:
    """An iterable that counts its close() calls and can fail on the way."""

    def __init__(self, pieces, fail_at=None, fail_in_close=False):
        self.pieces, self.at, self.fail_at, self.fail_in_close = pieces, 0, fail_at, fail_in_close

    def __iter__(self):
        return self

    def __next__(self):
        if self.at == self.fail_at:
            raise ValueError("asked to fail in the body")
        if self.at == len(self.pieces):
            raise StopIteration
        self.at += 1
        return self.pieces[self.at - 1]

    def close(self):
        COUNTS["closed"] += 1
        if self.fail_in_close:
            raise ValueError("asked to fail in close")


def on_tracked(environ, start_response, query):
    """?n= pieces of ?size= bytes from an iterable with close(); ?length= declares a length."""
    fields = [("Content-Type", "text/plain")]
    if "length" in query:
        fields.append(("Content-Length", query["length"]))
    start_response(query.get("status", "200 OK"), fields)
    return Tracked([b"y" * int(query.get("size", 10))] * int(query.get("n", 3)))


def on_endless(environ, start_response, query):
    """Pieces until the client goes away."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Tracked([b"z" * int(query.get("size", 65536))] * int(query.get("n", 100000)))


def on_write(environ, start_response, query):
    """The write() callable of PEP 3333."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    for piece in query.get("pieces", "a,b").split(","):
        write(piece.encode())
    return [query["then"].encode()] if "then" in query else []


def on_generator(environ, start_response, query):
    """start_response called from inside the generator, as it may be."""
    def pieces():
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"lazy "
        yield b""
        yield b"answer"
    return pieces()


def on_trickle(environ, start_response, query):
    """?n= pieces, one each ?s= seconds, so that a client can see them come one by one."""
    start_response("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        for number in range(int(query.get("n", 3))):
            if number:
                time.sleep(float(query.get("s", 0.2)))
            yield f"piece {number}\n".encode()
    return pieces()


def on_file(environ, start_response, query):
    """?path= through wsgi.file_wrapper; ?length= declares it, ?from= seeks first."""
    file = open(query["path"], "rb")
    if "from" in query:
        file.seek(int(query["from"]))
    fields = [("Content-Type", "application/octet-stream")]
    if "length" in query:
        fields.append(("Content-Length", query["length"]))
    start_response("200 OK", fields)
    return environ["wsgi.file_wrapper"](file, int(query.get("block", 8192)))


def on_print(environ, start_response, query):
    print(query.get("text", "printed"))
    print(query.get("text", "printed"), file=environ["wsgi.errors"])
    return reply(start_response, "printed")


def on_threads(environ, start_response, query):
    current = threading.current_thread()
    return reply_json(start_response, {"class": type(current).__name__, "main": current is threading.main_thread()})


def on_process(environ, start_response, query):
    """What the worker looks like from inside."""
    main = sys.modules["__main__"]
    return reply_json(start_response, {
        "argv": sys.argv, "path0": sys.path[0], "cwd": os.getcwd(), "main_file": getattr(main, "__file__", None),
        "main_spec": repr(getattr(main, "__spec__", None)), "executable": sys.executable, "prefix": sys.prefix,
        "env": dict(os.environ), "pid": os.getpid(), "ppid": os.getppid()})


def on_stop(environ, start_response, query):
    """Ends the worker the hard way."""
    os._exit(int(query.get("code", 3)))
