"""Between Tornado's HTTP interfaces (tornado.httputil.HTTPServerConnectionDelegate, HTTPConnection) and a request of the engine.
Used by tornado_worker.py.
"""
import asyncio

from tornado.httputil import HTTPHeaders, RequestStartLine
from tornado.iostream import StreamClosedError

# What the engine writes itself when it accepts a WebSocket.
HANDSHAKE = {b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions",
             b"content-length", b"server", b"date"}


class Adapter:
    """An ASGI application in front of one of Tornado. Without a request body it needs no task: it returns the future of the
    answer (see start() in hosts/cpython/asgi_request.c)."""

    def __init__(self, app):
        self.begin = app.start_request

    def __call__(self, scope, receive, send):
        connection = Connection(scope, send)
        delegate = self.begin(connection, connection)
        ready = delegate.headers_received(connection.start_line, connection.headers)
        if ready is not None or connection.has_body or connection.websocket:
            return self.run(connection, delegate, ready, receive)
        delegate.finish()
        return connection.outcome()

    async def run(self, connection, delegate, ready, receive):
        if connection.websocket:
            connection.receive = receive
            await receive()  # websocket.connect
        if ready is not None:
            await ready
        if connection.has_body and not await self.pass_body(connection, delegate, receive):
            return
        if not connection.done:
            delegate.finish()
            await connection.outcome()

    async def pass_body(self, connection, delegate, receive):
        """False when the client left first."""
        more = True
        while more and not connection.done:
            message = await receive()
            if message["type"] == "http.disconnect":
                connection.leave()
                delegate.on_connection_close()
                return False
            if message["body"]:
                taken = delegate.data_received(message["body"])
                if taken is not None:
                    await taken
            more = message["more_body"]
        return True


class Context:
    """What HTTPServerRequest asks a connection for."""

    def __init__(self, scope):
        client = scope.get("client")
        self.address = client or ("", 0)
        self.remote_ip = client[0] if client else "0.0.0.0"  # as Tornado says for a unix socket
        self.protocol = "https" if scope["scheme"] in ("https", "wss") else "http"

    def __str__(self):
        return self.remote_ip


class Connection:
    """tornado.httputil.HTTPConnection over one request of the engine."""

    stream = None

    def __init__(self, scope, send):
        self.send, self.receive = send, None
        self.websocket = scope["type"] == "websocket"
        self.context = Context(scope)
        query = scope["query_string"]
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        self.start_line = RequestStartLine("GET" if self.websocket else scope["method"], target.decode("latin-1"),
                                           "HTTP/" + scope["http_version"])
        self.headers = headers = HTTPHeaders()
        self.has_body = False
        for name, value in scope["headers"]:
            if name == b"content-length" or name == b"transfer-encoding":
                self.has_body = True
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        if self.websocket:
            restore_handshake(headers)
        self.whole = False        # the body is complete with what write_headers() was given
        self.accepted = False     # as a WebSocket: the session goes on behind its handshake
        self.done = False
        self.future = None        # of the answer's end
        self.close_callback = None
        self.no_wait = None       # what send() gives when nothing has to be waited for

    # ---- HTTPConnection --------------------------------------------------------------------------------------------

    def write_headers(self, start_line, headers, chunk=None):
        if self.done:
            return closed_future()
        if self.websocket and start_line.code == 101:
            self.accepted = True
            self.send({"type": "websocket.accept", "subprotocol": headers.get("Sec-WebSocket-Protocol"),
                       "headers": [pair for pair in encoded(headers) if pair[0] not in HANDSHAKE]})
            return done_future()
        self.no_wait = self.send({"type": "websocket.http.response.start" if self.websocket else "http.response.start",
                                  "status": start_line.code, "headers": encoded(headers)})
        if not chunk:
            return done_future()
        self.whole = headers.get("Content-Length") == str(len(chunk))
        return self.push(chunk, not self.whole)

    def write(self, chunk):
        return closed_future() if self.done else self.push(chunk, True)

    def finish(self):
        if self.done or self.accepted:
            return
        if not self.whole:
            self.push(b"", False)
        self.end()

    def set_close_callback(self, callback):
        self.close_callback = callback

    # ---- for the adapter -------------------------------------------------------------------------------------------

    def push(self, body, more):
        waiting = self.send({"type": "websocket.http.response.body" if self.websocket else "http.response.body",
                             "body": bytes(body), "more_body": more})
        return done_future() if waiting is self.no_wait else asyncio.ensure_future(wrapped(waiting))

    def outcome(self):
        """A future that is done when the answer is complete or the client has left."""
        self.future = asyncio.get_running_loop().create_future()
        if self.done:
            self.future.set_result(None)
        elif not self.websocket:
            self.send.on_leave(self.leave)
        return self.future

    def end(self):
        self.done = True
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def leave(self):
        """The client has left before the answer was complete."""
        if self.done:
            return
        callback, self.close_callback = self.close_callback, None
        self.end()
        if callback is not None:
            callback()


def restore_handshake(headers):
    """Handlers look at these; the engine has checked them."""
    headers.setdefault("Upgrade", "websocket")
    headers.setdefault("Connection", "Upgrade")
    headers.setdefault("Sec-Websocket-Version", "13")


def encoded(headers):
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.get_all()]


def done_future():
    """Tornado's handlers await what write() returns."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def closed_future():
    """What Tornado's own connection gives when the client has left. A handler that does not look at it is not told off."""
    future = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future


async def wrapped(awaitable):
    return await awaitable
