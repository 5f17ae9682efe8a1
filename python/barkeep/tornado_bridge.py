"""Between Tornado's HTTP interfaces (tornado.httputil.HTTPServerConnectionDelegate, HTTPConnection) and a request of the engine.
Used by tornado_worker.py.
"""
import asyncio
import time
from functools import lru_cache

from tornado import httputil, web
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPServerRequest, RequestStartLine
from tornado.iostream import StreamClosedError
from tornado.routing import Router

# What the engine writes itself when it accepts a WebSocket.
HANDSHAKE = {b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions",
             b"content-length", b"server", b"date"}


class Adapter:
    """An ASGI application in front of one of Tornado.

    Most requests have no body and go to a RequestHandler: their handler runs in the request's own task, which has begun before
    this returns to the loop. What else a HTTPServerConnectionDelegate may be goes through its public interface; a request without
    a body needs no task there: it returns the future of the answer (see start() in hosts/cpython/asgi_request.c)."""

    def __init__(self, app):
        self.app, self.begin = app, app.start_request
        self.settings = getattr(app, "settings", {})
        self.routes = isinstance(app, web.Application) and type(app).start_request is Router.start_request
        httputil.format_timestamp = Timestamps(httputil.format_timestamp)  # each handler makes a Date of its own

    def __call__(self, scope, receive, send):
        connection = Connection(scope, send)
        try:
            if self.routes and connection.direct and not connection.has_body:
                delegate = self.app.find_handler(request_of(connection))
                if self.is_plain(delegate):
                    send.on_leave(connection.leave)
                    return self.handle(connection, delegate)
            delegate = self.begin(connection, connection)
            ready = delegate.headers_received(connection.start_line, connection.headers)
        except HTTPInputError as error:
            return refuse(send, connection, error)
        if ready is not None or connection.has_body or connection.websocket:
            return self.run(connection, delegate, ready, receive)
        delegate.finish()
        return connection.outcome()

    def is_plain(self, delegate):
        """Does handle() do all that this delegate's execute() would? That also drops caches in debug mode."""
        return (type(delegate) is web._HandlerDelegate and not delegate.stream_request_body
                and self.settings.get("compiled_template_cache", True) and self.settings.get("static_hash_cache", True))

    async def handle(self, connection, delegate):
        request = delegate.request
        handler = delegate.handler = delegate.handler_class(self.app, request, **delegate.handler_kwargs)
        transforms = [transform(request) for transform in self.app.transforms]
        await handler._execute(transforms, *delegate.path_args, **delegate.path_kwargs)
        if not connection.done:  # finish() is to come from elsewhere
            await connection.outcome()

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
        self.send, self.receive, self.scope = send, None, scope
        self.websocket = scope["type"] == "websocket"
        self.direct = not self.websocket and hasattr(send, "answer")  # PyPy's takes messages only
        query = scope["query_string"]
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        self.start_line = RequestStartLine("GET" if self.websocket else scope["method"], target.decode("latin-1"),
                                           VERSIONS[scope["http_version"]])
        self.headers = headers = HTTPHeaders()
        self.has_body = False
        for name, value in scope["headers"]:
            if name == b"content-length" or name == b"transfer-encoding":
                self.has_body = True
            name = name_of(name)
            if name in headers:
                headers.add(name, value.decode("latin-1"))
            else:  # the engine has checked them
                headers[name] = value.decode("latin-1")
        if self.websocket:
            restore_handshake(headers)
        self.whole = False        # the body is complete with what write_headers() was given
        self.accepted = False     # as a WebSocket: the session goes on behind its handshake
        self.done = False
        self.future = None        # of the answer's end
        self.close_callback = None
        self.no_wait = None       # what send() gives when nothing has to be waited for

    @property
    def context(self):
        return Context(self.scope)

    # ---- HTTPConnection --------------------------------------------------------------------------------------------

    def write_headers(self, start_line, headers, chunk=None):
        if self.done:
            return closed_future()
        if not self.direct:
            return self.write_message(start_line, headers, chunk)
        self.whole = bool(chunk) and headers.get("Content-Length") == str(len(chunk))
        try:
            waiting = self.send.answer(start_line.code, list(headers.get_all()), chunk or None, not self.whole)
        except OSError:  # the client has left, which leave() is about to be told
            return closed_future()
        return done_future() if waiting is None else asyncio.ensure_future(wrapped(waiting))

    def write_message(self, start_line, headers, chunk):
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
        if not self.direct:
            waiting = self.send({"type": "websocket.http.response.body" if self.websocket else "http.response.body",
                                 "body": bytes(body), "more_body": more})
            return done_future() if waiting is self.no_wait else asyncio.ensure_future(wrapped(waiting))
        try:
            waiting = self.send.more(body, more)
        except OSError:
            return closed_future()
        return done_future() if waiting is None else asyncio.ensure_future(wrapped(waiting))

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
        if self.direct:
            self.send.abandon()
        if callback is not None:
            callback()


# ---- the request ---------------------------------------------------------------------------------------------------

VERSIONS = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1"}
DONE = None


@lru_cache(1000)
def name_of(name):
    """"Content-Type" for b"content-type"."""
    return "-".join(word.capitalize() for word in name.decode("latin-1").split("-"))


@lru_cache(1000)
def host_name_of(host):
    return httputil.split_host_and_port(host.lower())[0]


class Request(HTTPServerRequest):
    """What HTTPServerRequest makes of a request without a query, of which there is nothing to parse."""

    def __init__(self, connection):
        self.method, self.uri, self.version = connection.start_line
        self.path, self.query = self.uri, ""
        self.headers, self.body, self.files = connection.headers, b"", {}
        context = connection.context
        self.remote_ip, self.protocol = context.remote_ip, context.protocol
        self.host = connection.headers.get("Host", "127.0.0.1")
        self.host_name = host_name_of(self.host)
        self.connection = self.server_connection = connection
        self._start_time, self._finish_time = time.time(), None
        self.arguments, self.query_arguments, self.body_arguments = {}, {}, {}


def whole_request(connection):
    return HTTPServerRequest(connection=connection, server_connection=connection, start_line=connection.start_line,
                             headers=connection.headers)


def request_of(connection):
    if KNOWN and "?" not in connection.start_line.path and "," not in connection.headers.get("Host", ""):
        return Request(connection)
    return whole_request(connection)


class Sample:
    """A connection as far as a request looks at it."""
    context = type("Context", (), {"remote_ip": "192.0.2.1", "protocol": "http"})
    start_line, headers = RequestStartLine("GET", "/a", "HTTP/1.1"), HTTPHeaders({"Host": "a"})


def is_known():
    """Has this Tornado the attributes Request gives?"""
    own, theirs = vars(Request(Sample)), vars(whole_request(Sample))
    own.pop("_start_time"), theirs.pop("_start_time")
    return own == theirs


KNOWN = is_known()


class Timestamps:
    """tornado.httputil.format_timestamp, which knows the second it was asked for last."""

    def __init__(self, plain):
        self.plain, self.second, self.text = plain, -1, ""

    def __call__(self, timestamp):
        if type(timestamp) is not float or timestamp < 0:
            return self.plain(timestamp)
        second = int(timestamp)
        if second != self.second:
            self.second, self.text = second, self.plain(timestamp)
        return self.text


async def refuse(send, connection, error):
    """As Tornado's own server does with what it cannot parse."""
    web.gen_log.info("Malformed HTTP message from %s: %s", connection.context, error)
    if not connection.direct:
        raise error
    send.answer(400, [("Content-Length", "0"), ("Connection", "close")], None, False)


def restore_handshake(headers):
    """Handlers look at these; the engine has checked them."""
    headers.setdefault("Upgrade", "websocket")
    headers.setdefault("Connection", "Upgrade")
    headers.setdefault("Sec-Websocket-Version", "13")


def encoded(headers):
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.get_all()]


def done_future():
    """Tornado's handlers await what write() returns; one that is done serves them all."""
    global DONE
    if DONE is None:
        DONE = asyncio.get_running_loop().create_future()
        DONE.set_result(None)
    return DONE


def closed_future():
    """What Tornado's own connection gives when the client has left. A handler that does not look at it is not told off."""
    future = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future


async def wrapped(awaitable):
    return await awaitable
