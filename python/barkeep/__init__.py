"""Barkeep serves WSGI applications. Programs use `barkeep.run(app)`; everybody else the command `barkeep module:callable`.

Importing this package is cheap and has no effect: the engine is loaded when a server is started.
"""
__all__ = ["RequestTimeout", "__version__", "run"]


def __getattr__(name):
    if name == "run":
        from .serve import run
        globals()["run"] = run
        return run
    if name == "RequestTimeout":
        from ._engine import RequestTimeout
        globals()["RequestTimeout"] = RequestTimeout
        return RequestTimeout
    if name == "__version__":
        from ._engine import VERSION
        globals()["__version__"] = VERSION
        return VERSION
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
