"""Worker classes: what each serves, and which one an application gets when none is named.

`prepare` runs before the application is imported, `choose` and `start` after; what `start` returns serves. Used by worker.py and
serve.py. sync and gthread are the engine's own pull loop; the others are modules with a prepare() and a start(worker, loaded) of
their own, imported only where they are used.
"""
from importlib import import_module

from . import kind

SERVES = {
    "sync": (kind.WSGI,),
    "gthread": (kind.WSGI,),
    "gevent": (kind.WSGI,),
    "asgi": (kind.ASGI,),
    "tornado": (kind.TORNADO, kind.WSGI),
}
BY_INTERFACE = {kind.WSGI: "gthread", kind.ASGI: "asgi", kind.TORNADO: "tornado"}
THREADS = 4  # development servers have threads, applications are used to them
HOSTED = ("gevent", "asgi", "tornado")  # a loop of Python waits


def prepare(setting):
    """Before the application's import. Problem [class-package] when the class cannot be had in this environment."""
    if setting in HOSTED:
        module = import_module(f".{setting}_worker", __package__)
        module.prepare()


def choose(setting, loaded):
    """The name of the class that serves `loaded`, or Problem [class-mismatch]."""
    interface = loaded.kind.interface
    if setting == "auto":
        name = BY_INTERFACE[interface]
        prepare(name)
        return name
    if interface not in SERVES[setting]:
        from . import diagnose
        raise diagnose.wrong_class(loaded, setting, SERVES[setting])
    return setting


def start(worker, loaded, name, usual_threads=THREADS):
    """What comes before the doors open (the lifespan of an ASGI application). Returns the function that serves until the engine
    is drained, which raises what ends the process, and what the start line says of the class: {"threads": ...}."""
    if name not in HOSTED:
        count = threads(worker.setting("threads"), name, usual_threads)
        worker.threads(count)
        return lambda: worker.serve(loaded.app), {"threads": str(count)}
    serve, loop = import_module(f".{name}_worker", __package__).start(worker, loaded)
    return serve, {"loop": loop}


def threads(setting, name, usual):
    """How many threads run a WSGI application. As under Gunicorn -k sync with --threads above 1 is gthread."""
    if setting != "auto":
        return int(setting)
    return 1 if name == "sync" else usual
