"""pre_request and post_request: a wrapper around the application, there only when one of them is defined.

For WSGI the second comes after the answer was handed over and closed: the engine calls `_barkeep_after` then.
"""
from .kind import ASGI

KEY = "barkeep.hooks.answer"


def wrap(hooks, loaded, before, after):
    if loaded.kind.interface == ASGI:
        return for_asgi(hooks, loaded.app, before, arguments_of(after))
    return Wrapped(hooks, loaded.app, before, arguments_of(after))


def arguments_of(after):
    """post_request may take 2, 3 or 4 arguments."""
    if after is None:
        return None
    import inspect
    count = sum(1 for one in inspect.signature(after).parameters.values() if one.kind == one.POSITIONAL_OR_KEYWORD)
    return lambda *given: after(*given[:count])


class Wrapped:
    def __init__(self, hooks, app, before, after):
        self.hooks, self.app, self.before, self.after = hooks, app, before, after
        if after is not None:
            self._barkeep_after = self.answered

    def __call__(self, environ, start_response):
        request = Request(environ)
        if self.before is not None:
            self.before(self.hooks.worker, request)
        if self.after is None:
            return self.app(environ, start_response)
        answer = environ[KEY] = Answer(request)

        def begin(status, headers, exc_info=None):
            answer.status, answer.headers = status, headers
            return start_response(status, headers, exc_info) if exc_info is not None else start_response(status, headers)
        return self.app(environ, begin)

    def answered(self, environ):
        answer = environ.pop(KEY, None) or Answer(Request(environ))
        try:
            self.after(self.hooks.worker, answer.req, environ, answer)
        except Exception as error:
            self.hooks.complain("post_request", error)


def for_asgi(hooks, app, before, after):
    async def application(scope, receive, send):
        if scope["type"] != "http":
            return await app(scope, receive, send)
        request = ScopeRequest(scope)
        if before is not None:
            before(hooks.worker, request)
        if after is None:
            return await app(scope, receive, send)
        answer = Answer(request)

        async def sending(message):
            if message["type"] == "http.response.start":
                answer.status = str(message["status"])
                answer.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
            elif message["type"] == "http.response.body":
                answer.sent += len(message.get("body", b""))
            await send(message)
        try:
            return await app(scope, receive, sending)
        finally:
            try:
                after(hooks.worker, request, {}, answer)
            except Exception as error:
                hooks.complain("post_request", error)
    return application


class Request:
    """Of a WSGI environ; read from it when asked."""

    def __init__(self, environ):
        self.environ = environ

    @property
    def method(self):
        return self.environ["REQUEST_METHOD"]

    @property
    def uri(self):
        return self.environ.get("RAW_URI") or self.path + ("?" + self.query if self.query else "")

    @property
    def path(self):
        """As it was sent, percent signs and all."""
        raw = self.environ.get("RAW_URI", "")
        return raw.partition("?")[0] if raw.startswith("/") else self.environ.get("PATH_INFO", "")

    @property
    def query(self):
        return self.environ.get("QUERY_STRING", "")

    @property
    def fragment(self):
        return ""

    @property
    def version(self):
        return tuple(map(int, self.environ["SERVER_PROTOCOL"].partition("/")[2].split(".")))

    @property
    def scheme(self):
        return self.environ["wsgi.url_scheme"]

    @property
    def headers(self):
        found = [(name[5:].replace("_", "-"), value) for name, value in self.environ.items() if name.startswith("HTTP_")]
        return found + [(name.replace("_", "-"), self.environ[name]) for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
                        if self.environ.get(name)]

    @property
    def remote_addr(self):
        return self.peer_addr

    @property
    def peer_addr(self):
        address, port = self.environ.get("REMOTE_ADDR", ""), self.environ.get("REMOTE_PORT", "")
        return (address, int(port)) if port.isdigit() else address

    @property
    def body(self):
        return self.environ["wsgi.input"]

    def should_close(self):
        return self.environ.get("HTTP_CONNECTION", "").lower() == "close"


class ScopeRequest:
    """The same of an ASGI scope."""

    def __init__(self, scope):
        self.scope = scope
        self.method, self.scheme = scope["method"], scope["scheme"]
        self.query, self.fragment = scope["query_string"].decode("latin-1"), ""
        raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        self.path = raw
        self.uri = raw + ("?" + self.query if self.query else "")
        self.version = tuple(map(int, scope["http_version"].split(".")))
        self.peer_addr = self.remote_addr = tuple(scope["client"]) if scope.get("client") else ""

    @property
    def headers(self):
        return [(name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in self.scope["headers"]]


class Answer:
    """resp: what the application has said. `sent` is the length it promised, or for ASGI what it sent."""

    def __init__(self, req):
        self.req, self.status, self.headers, self.sent = req, None, [], 0

    @property
    def status_code(self):
        return int(self.status.split()[0]) if self.status else None

    @property
    def response_length(self):
        return next((int(value) for name, value in self.headers if name.lower() == "content-length" and value.isdigit()), None)

    @property
    def headers_sent(self):
        return self.status is not None
