"""What an object is to a server: a WSGI or an ASGI application, a factory of one, or neither. Nothing is called: known
framework classes are recognised by name, the rest by the parameters it takes.

Used by loader.py for the application and by diagnose.py to list what else a module has. Works without `inspect` in the
common cases, because importing that costs a worker two megabytes.
"""
from types import FunctionType, MethodType, ModuleType

WSGI, ASGI, TORNADO = "WSGI", "ASGI", "tornado"
SERVED = (WSGI, ASGI, TORNADO)
FACTORY = "factory"

# Class (as module.qualname, looked up along the method resolution order) -> interface, framework.
FRAMEWORKS = {
    "flask.app.Flask": (WSGI, "Flask"),
    "django.core.handlers.wsgi.WSGIHandler": (WSGI, "Django"),
    "django.core.handlers.asgi.ASGIHandler": (ASGI, "Django"),
    "bottle.Bottle": (WSGI, "Bottle"),
    "falcon.asgi.app.App": (ASGI, "Falcon"),
    "falcon.app.App": (WSGI, "Falcon"),
    "pyramid.router.Router": (WSGI, "Pyramid"),
    "cherrypy._cptree.Tree": (WSGI, "CherryPy"),
    "cherrypy._cptree.Application": (WSGI, "CherryPy"),
    "fastapi.applications.FastAPI": (ASGI, "FastAPI"),
    "starlette.applications.Starlette": (ASGI, "Starlette"),
    "quart.app.Quart": (ASGI, "Quart"),
    "litestar.app.Litestar": (ASGI, "Litestar"),
    "sanic.app.Sanic": (ASGI, "Sanic"),
    "blacksheep.server.application.Application": (ASGI, "BlackSheep"),
    "aiohttp.web_app.Application": (None, "aiohttp"),
    "tornado.web.Application": (TORNADO, "tornado"),
}
FACTORY_NAMES = ("create_app", "make_app", "build_app", "get_app", "app_factory", "create_application", "make_application",
                 "get_application", "get_wsgi_application", "get_asgi_application")
ENVIRON_NAMES = ("environ", "env", "e", "environment")
COROUTINE_FLAGS = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR


class Kind:
    """interface: WSGI, ASGI, TORNADO, FACTORY (to be called first) or None; framework: its name, or ''."""
    __slots__ = ("interface", "framework", "is_async")

    def __init__(self, interface, framework="", is_async=False):
        self.interface, self.framework, self.is_async = interface, framework, is_async

    def __str__(self):
        return self.framework or self.interface or "no application"


class Parameters:
    """The positional parameters a call takes. `names` without self; `needed` of them have no default."""
    __slots__ = ("names", "needed", "any_number", "is_async")

    def __init__(self, names, needed, any_number, is_async):
        self.names, self.needed, self.any_number, self.is_async = names, needed, any_number, is_async

    def take(self, count):
        return self.needed <= count and (count <= len(self.names) or self.any_number)


def look(thing):
    """The Kind of an object."""
    for base in type(thing).__mro__:
        known = FRAMEWORKS.get(f"{base.__module__}.{base.__qualname__}")
        if known:
            return Kind(*known)
    if not callable(thing):
        return Kind(None)
    takes = parameters(thing)
    return Kind(WSGI) if takes is None else judge(takes)


def judge(takes):
    names = [name.lstrip("_") for name in takes.names]
    if takes.is_async:
        return Kind(ASGI if takes.take(3) else None, is_async=True)
    if names[:3] == ["scope", "receive", "send"] or names == ["scope"]:
        return Kind(ASGI)
    if takes.take(2):
        made_for_it = takes.needed or takes.any_number or names[0] in ENVIRON_NAMES
        return Kind(WSGI if made_for_it else FACTORY)
    return Kind(FACTORY)


def parameters(thing):
    """What `thing` takes when called, or None when that cannot be known (some builtin and compiled callables)."""
    if type(thing) is staticmethod:
        thing = thing.__func__
    function, bound = thing, 0
    if isinstance(thing, type):
        function, bound = thing.__init__, 1
        if type(thing).__call__ is not type.__call__ or thing.__new__ is not object.__new__:
            return by_signature(thing)
    elif type(thing) is not FunctionType:  # asked of the type only: a proxy may raise anything
        function, bound = (thing.__func__ if type(thing) is MethodType else type(thing).__call__), 1
    if type(function) is not FunctionType:
        return by_signature(thing)
    inner = getattr(function, "__wrapped__", None)
    taken = by_code(function, bound)
    if taken.any_number and not taken.names and inner is not None:  # a decorator that passes everything on
        return parameters(inner) if not isinstance(thing, type) else taken
    return taken


def by_code(function, bound):
    code = function.__code__
    count, defaults = code.co_argcount, len(function.__defaults__ or ())
    keywords = code.co_varnames[count:count + code.co_kwonlyargcount]
    needed = max(count - defaults - bound, 0)
    if set(keywords) - set(function.__kwdefaults__ or ()):
        needed = 1 << 16  # no positional call can satisfy it
    is_async = bool(code.co_flags & COROUTINE_FLAGS) or marked_async(function)
    return Parameters(list(code.co_varnames[bound:count]), needed, bool(code.co_flags & 0x04), is_async)


def marked_async(function):
    """asyncio and asgiref mark plain functions that return coroutines."""
    marker = getattr(function, "_is_coroutine", None) or getattr(function, "_is_coroutine_mark", None)
    return marker is not None and marker is not False


def by_signature(thing):
    import inspect
    try:
        signature = inspect.signature(thing)
    except Exception:  # ValueError and TypeError, or what a proxy raises
        return None
    kinds = inspect.Parameter
    positional = [p for p in signature.parameters.values() if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is kinds.empty for p in positional)
    if any(p.kind is kinds.KEYWORD_ONLY and p.default is kinds.empty for p in signature.parameters.values()):
        needed = 1 << 16
    any_number = any(p.kind is kinds.VAR_POSITIONAL for p in signature.parameters.values())
    call = getattr(thing, "func", thing)  # functools.partial
    is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(type(call), "__call__", None))
    return Parameters([p.name for p in positional], needed, any_number, is_async)


def offers(module):
    """[(name, Kind)] of what a module has that looks like an application or a factory of one, best first."""
    found = []
    for name, thing in list(vars(module).items()):
        if name.startswith("__"):
            continue
        try:
            kind = offered(module, name, thing)
        except Exception:  # a strange object must not hide the mistake that is being explained
            kind = None
        if kind is not None:
            found.append((name, kind))
    rank = {WSGI: 0, ASGI: 1, FACTORY: 2}
    usual = ("application", "app")
    found.sort(key=lambda row: (rank[row[1].interface], usual.index(row[0]) if row[0] in usual else 2))
    return found


def offered(module, name, thing):
    """Kind of one of a module's names, None when nobody would want to serve it."""
    if isinstance(thing, ModuleType):
        return None
    imported = isinstance(thing, (type, FunctionType)) and getattr(thing, "__module__", None) != module.__name__
    kind = look(thing)
    takes = parameters(thing) if callable(thing) and not kind.framework else None
    if kind.framework and kind.interface:
        return kind
    if kind.interface == FACTORY:
        plausible = name in FACTORY_NAMES and not isinstance(thing, type) and takes is not None and takes.needed < 1 << 16
        return kind if plausible else None
    if kind.interface is None or imported and name not in ("app", "application"):
        return None
    named_so = name in ("app", "application") or takes is not None and takes.names[:1] and (
        takes.names[0] in ENVIRON_NAMES and len(takes.names) > 1 or takes.names[0] == "scope")
    return kind if named_so else None
