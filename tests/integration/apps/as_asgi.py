"""The test applications with an ASGI face, for BARKEEP_TEST_CLASS=asgi: `application` runs the WSGI application that TEST_APPLICATION
names, in a thread of its own, and hands it the messages of the request as they come. What the application does and what a test
sees of it is the same; everything in between is the ASGI host's."""
import asyncio
import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

THREADS = ThreadPoolExecutor(64)


def find(name):
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute or "application")


WSGI = find(os.environ["TEST_APPLICATION"])


async def application(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    loop = asyncio.get_running_loop()
    exchange = Exchange(lambda: wait(loop, receive), lambda message: wait(loop, send, message))
    await loop.run_in_executor(THREADS, exchange.run, environ_of(scope, Input(exchange.receive)))


def wait(loop, function, *arguments):
    """In a thread of the application: what the function, called in the loop's, comes to."""
    async def result():
        return await function(*arguments)
    return asyncio.run_coroutine_threadsafe(result(), loop).result()


def environ_of(scope, stream):
    path = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
    environ = {
        "REQUEST_METHOD": scope["method"], "SCRIPT_NAME": scope["root_path"], "PATH_INFO": path.removeprefix(scope["root_path"]),
        "QUERY_STRING": scope["query_string"].decode("latin-1"), "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": scope["server"][0], "SERVER_PORT": str(scope["server"][1] or ""), "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"], "wsgi.input": stream, "wsgi.errors": sys.stderr, "wsgi.multithread": True,
        "wsgi.multiprocess": False, "wsgi.run_once": False, "wsgi.input_terminated": True, "wsgi.file_wrapper": FileWrapper}
    if scope["client"]:
        environ.update(REMOTE_ADDR=scope["client"][0], REMOTE_PORT=str(scope["client"][1]))
    environ["RAW_URI"] = scope["raw_path"].decode("latin-1") + ("?" if scope["query_string"] else "") + environ["QUERY_STRING"]
    for name, value in scope["headers"]:
        if name == b"proxy":  # HTTP_PROXY is no header
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{text}" if key in environ else text
    return environ


class Exchange:
    """One request in its thread; receive() and send() wait for the loop."""

    def __init__(self, receive, send):
        self.receive, self.send, self.head = receive, send, None

    def run(self, environ):
        pieces = WSGI(environ, self.start_response)
        try:
            for piece in pieces:
                if piece:
                    self.write(piece)
            self.write(b"", more=False)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    def start_response(self, status, headers, exc_info=None):
        self.head = {"type": "http.response.start", "status": int(status[:3]),
                     "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]}
        return self.write

    def write(self, data, more=True):
        if self.head:
            head, self.head = self.head, None
            self.send(head)
        self.send({"type": "http.response.body", "body": data, "more_body": more})


class ClientDisconnect(Exception):
    """Also a broken body ends like this, and is answered by the server. No OSError, which applications of WSGI expect and handle."""


class Input:
    """wsgi.input over http.request messages, each asked for when its bytes are."""

    def __init__(self, receive):
        self.receive, self.buffer, self.more = receive, b"", True

    def fill(self):
        """One more message; False at the end of the body."""
        if not self.more:
            return False
        message = self.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self.buffer += message["body"]
        self.more = message["more_body"]
        return True

    def take(self, size):
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read(self, size=-1):
        if size is None or size < 0:
            parts = [self.take(len(self.buffer))]
            while self.fill():
                parts.append(self.take(len(self.buffer)))
            return b"".join(parts)
        while len(self.buffer) < size and self.fill():
            pass
        return self.take(size)

    def readline(self, size=-1):
        at = self.buffer.find(b"\n")
        while at < 0 and (size is None or size < 0 or len(self.buffer) < size) and self.fill():
            at = self.buffer.find(b"\n")
        end = len(self.buffer) if at < 0 else at + 1
        return self.take(end if size is None or size < 0 else min(size, end))

    def readlines(self, hint=-1):
        return list(self)

    def __iter__(self):
        return iter(self.readline, b"")


class FileWrapper:
    def __init__(self, file, block=8192):
        self.file, self.block = file, block

    def __iter__(self):
        return iter(lambda: self.file.read(self.block), b"")

    def close(self):
        self.file.close()
