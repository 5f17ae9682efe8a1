"""-k tornado: a tornado.web.Application served through the engine, on the loop of the ASGI class.

Tornado's own server parses bytes and hands them to an HTTPServerConnectionDelegate; here a request that the engine has parsed
goes to the same delegate, and what the handler writes goes to an HTTPConnection that is the engine's (tornado_bridge.py). Handlers,
routing, coroutines, streaming request bodies, on_connection_close and WebSocketHandler work as under Tornado's server; sizes,
timeouts, pings, compression and TLS are the engine's settings. An application of WSGI runs in the loop's thread, one request at
a time, as under WSGIContainer.
"""
import sys

from . import kind, loader

OLDEST = (6, 4)


def prepare():
    try:
        import tornado
    except ImportError:
        tornado = None
    if tornado is None or tornado.version_info[:2] < OLDEST:
        from . import diagnose
        raise diagnose.class_package("tornado", "tornado", ".".join(map(str, OLDEST)), tornado.version if tornado else "")


def start(worker, loaded):
    from . import asgi_worker
    if loaded.kind.interface == kind.WSGI:
        if sys.implementation.name == "pypy":
            raise loader.Problem("class-mismatch", "-k tornado serves no WSGI application under PyPy", "try: leave -k out, which means threads")
        return asgi_worker.start(worker, loaded, lifespan="off", wsgi=True)
    from .tornado_bridge import Adapter
    if "tornado.websocket" in sys.modules:  # else no handler of the application can be one
        from .tornado_sockets import use_engine
        use_engine()
    return asgi_worker.start(worker, loader.Loaded(Adapter(loaded.app), loaded.name, loaded.kind), lifespan="off")
