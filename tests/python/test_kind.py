"""kind.py: WSGI, ASGI, a factory, or nothing of the kind."""
import functools
import types

import pytest


def wsgi(environ, start_response): pass
def wsgi_short(e, s): pass
def wsgi_more(environ, start_response, extra=None): pass
def anything(*args, **kwargs): pass
def wsgi_defaults(environ=None, start_response=None): pass
async def asgi(scope, receive, send): pass
def asgi_plain(scope, receive, send): pass
def asgi_2(scope): pass
async def asgi_wrapper(*args): pass
async def coroutine(a): pass
def factory(): pass
def factory_config(config=None, debug=False): pass
def factory_keyword(environ, start_response, *, needed): pass
def helper(a, b, c, d): pass


@functools.wraps(asgi)
def wraps_asgi(*args, **kwargs): return asgi(*args, **kwargs)


@functools.wraps(factory)
def wraps_factory(*args, **kwargs): return factory(*args, **kwargs)


class Callable:
    def __call__(self, environ, start_response): pass


class AsyncCallable:
    async def __call__(self, scope, receive, send): pass


class Response:
    def __init__(self, environ, start_response): pass


class Double:
    def __init__(self, scope): pass


class Bare:
    pass


class Proxy:
    """Like werkzeug's LocalProxy outside of a request."""
    def __getattr__(self, name): raise RuntimeError(name)
    __call__ = property(lambda self: self.nothing)


def framework(module, name, *bases):
    return type(name, bases, {"__module__": module, "__call__": wsgi})()


@pytest.mark.parametrize("thing, interface", [
    (wsgi, "WSGI"), (wsgi_short, "WSGI"), (wsgi_more, "WSGI"), (anything, "WSGI"), (wsgi_defaults, "WSGI"),
    (Callable(), "WSGI"), (Callable().__call__, "WSGI"), (Response, "WSGI"), (functools.partial(wsgi_more, extra=1), "WSGI"),
    (functools.partial(helper, 1, 2), "WSGI"), (lambda e, s: [], "WSGI"), (staticmethod(wsgi), "WSGI"),
    (asgi, "ASGI"), (asgi_plain, "ASGI"), (asgi_2, "ASGI"), (asgi_wrapper, "ASGI"), (AsyncCallable(), "ASGI"), (Double, "ASGI"),
    (wraps_asgi, "ASGI"), (functools.partial(asgi), "ASGI"),
    (factory, "factory"), (factory_config, "factory"), (wraps_factory, "factory"), (Bare, "factory"), (helper, "factory"),
    (factory_keyword, "factory"), (AsyncCallable, "factory"),
    (coroutine, None), (Bare(), None), ({}, None), (None, None), (3, None), (types, None),
])
def test_by_parameters(thing, interface):
    from barkeep import kind
    assert kind.look(thing).interface == interface


def test_proxy_that_raises():
    from barkeep import kind
    assert kind.look(Proxy()).interface == "WSGI"


@pytest.mark.parametrize("module, name, interface, shown", [
    ("flask.app", "Flask", "WSGI", "Flask"), ("fastapi.applications", "FastAPI", "ASGI", "FastAPI"),
    ("django.core.handlers.wsgi", "WSGIHandler", "WSGI", "Django"), ("aiohttp.web_app", "Application", None, "aiohttp"),
])
def test_by_framework(module, name, interface, shown):
    from barkeep import kind
    parent = framework(module, name)
    child = framework("shop", "Mine", type(parent))
    for thing in (parent, child):
        assert (kind.look(thing).interface, str(kind.look(thing))) == (interface, shown)


def test_falcon_asgi_is_a_child_of_falcon_wsgi():
    from barkeep import kind
    parent = framework("falcon.app", "App")
    assert kind.look(framework("falcon.asgi.app", "App", type(parent))).interface == "ASGI"


def test_offers_names_the_useful_ones():
    from barkeep import kind
    module = types.ModuleType("app")
    source = """
from functools import wraps
import sys
config = {}
def helper(a, b): pass
def hello(environ, start_response): pass
def create_app(config=None): pass
async def app(scope, receive, send): pass
class Thing: pass
application = hello
class Odd:
    def __getattr__(self, name): raise RuntimeError(name)
    @property
    def __class__(self): raise RuntimeError
odd = Odd()
"""
    exec(source, vars(module))
    module.wsgi_of_another = wsgi
    assert [(name, str(each)) for name, each in kind.offers(module)] == [
        ("application", "WSGI"), ("hello", "WSGI"), ("app", "ASGI"), ("create_app", "factory")]
