"""Runs an application through the CPython host over the scripted engine (hosts/cpython/fake_engine.c)."""
import gc
import os
import sys

sys.path.insert(0, os.environ["BARKEEP_FAKE"])
import _engine_fake as engine  # noqa: E402

OK = "200 OK"
PLAIN = [("Content-Type", "text/plain")]


def request(target="/", fields=(), body=None, method="GET", version="HTTP/1.1", **options):
    """One row of a script. `body` is bytes or a list of parts; keys of `options`: see load() in fake_engine.c."""
    lines = [f"{method} {target} {version}", *fields]
    parts = [body] if isinstance(body, bytes) else list(body or [])
    if parts and not any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in lines):
        lines.append(f"Content-Length: {sum(map(len, parts))}")
    if not any(line.lower().startswith("host:") for line in lines) and not options.pop("hostless", False):
        lines.insert(1, "Host: test")
    options.pop("hostless", None)
    return dict(options, head=("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body=parts)


def serve(app, *requests, **settings):
    """The results of all requests, in order."""
    engine.script(list(requests))
    worker = engine.Worker.alone(settings)
    try:
        worker.serve(app)
        assert not engine.said()[1], "the engine was turned with the GIL held"
        return engine.results()
    finally:
        del worker
        gc.collect()


def one(app, *arguments, **options):
    """The result of a single request."""
    return serve(app, request(*arguments, **options))[0]


def environ(*arguments, settings=None, **options):
    """The environ of a single request."""
    seen = {}
    serve(keep(seen), request(*arguments, **options), **(settings or {}))
    return seen


def keep(seen):
    def app(given, start_response):
        seen.update(given)
        start_response(OK, PLAIN)
        return []
    return app


def reading(function):
    """An application that answers with what function(wsgi.input) returns."""
    def app(given, start_response):
        answer = function(given["wsgi.input"])
        start_response(OK, PLAIN)
        return [answer if isinstance(answer, bytes) else repr(answer).encode()]
    return app
