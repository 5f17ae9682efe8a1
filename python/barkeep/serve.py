"""`barkeep.run(app)`: serves from a script or a notebook, in this process, until Ctrl-C. No master and no other process: for
trying things out, for tests, for embedding; production wants the `barkeep` command.
"""
import os
import signal
import sys
import threading
import time

from . import classes, insight, kind, loader
from .hook import when_imported
from .words import environment, is_venv, python

# Settings that are about processes, or about an application that is yet to be found.
COMMAND_ONLY = ("chdir", "check_config", "env", "log_format", "log_syslog_facility", "log_syslog_prefix", "log_syslog_to",
                "print_config", "python", "pythonpath", "reload", "reload_engine", "reload_extra_file", "startup_timeout",
                "touch_reload", "uwsgi_opt", "venv")


class Server:
    """What `ready` is called with: where it listens, and how to stop it from another thread."""

    def __init__(self, worker):
        self._worker = worker
        self.address = worker.address

    def stop(self, quick=False):
        """Finishes what runs and lets run() return; `quick`: does not wait for requests. May be called at any time."""
        if self._worker is not None:
            self._worker.stop(quick=quick)

    def __repr__(self):
        return f"<barkeep server on {self.address}>"


def run(app, bind=None, *, ready=None, **settings):
    """Serves `app`, a WSGI application or the name of one ("shop.wsgi:application"), and returns when it was stopped.

    `bind` is an address or a list of them, 127.0.0.1:8000 by default. `settings` are the options of the command by their long
    names: run(app, bind=":8080", keep_alive=5, access_logfile="-"). In the main thread Ctrl-C and SIGTERM stop it. In another
    one nothing is done about signals: pass `ready`, a function that is called with a Server once it serves; its stop() makes
    run() return.
    """
    began = time.monotonic()
    values = checked(settings)
    if bind is not None:
        values["bind"] = bind
    if isinstance(app, str):
        if os.getcwd() not in map(os.path.abspath, sys.path):
            sys.path.insert(0, os.getcwd())
        loaded = loader.load(app)
    else:
        loaded = adopt(app)
    serve(loaded, values, began, ready)


def checked(settings):
    values = {}
    for name, value in settings.items():
        key = name.replace("-", "_")
        if key in COMMAND_ONLY:
            raise ValueError(f"{key} is for the barkeep command: barkeep.run serves an application of this process")
        if key == "workers" and value not in (1, "1", None):
            raise ValueError("barkeep.run serves in this process, with one worker: use the barkeep command for more")
        if value is not None:
            values[key] = setting_value(value)
    return values


def setting_value(value):
    """What the engine's settings take: text, numbers, booleans, lists of these."""
    if isinstance(value, dict):
        return [f"{name}={text}" for name, text in value.items()]
    if isinstance(value, (set, frozenset)):
        return sorted(map(os.fspath, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def adopt(app):
    """A Loaded for an object that is here already."""
    its_kind = kind.look(app)
    if not callable(app):
        raise TypeError(f"barkeep.run serves an application or the name of one, not {type(app).__name__}")
    name = name_of(app)
    if its_kind.interface not in kind.SERVED:
        from . import diagnose
        raise diagnose.not_served(name, app, its_kind)
    return loader.Loaded(app, name, its_kind)


def name_of(app):
    """module:name as far as it can be known; the module of a script is its file."""
    named = app if hasattr(app, "__qualname__") else type(app)
    module = getattr(app, "import_name", None) or getattr(named, "__module__", None) or "?"
    if module == "__main__":
        module = os.path.basename(getattr(sys.modules["__main__"], "__file__", None) or "__main__")
    attribute = named.__qualname__
    if named is not app:
        names = vars(sys.modules.get(getattr(app, "import_name", ""), sys.modules["__main__"]))
        attribute = next((name for name, value in list(names.items()) if value is app), attribute)
    return f"{module}:{attribute}"


# ---- serving -------------------------------------------------------------------------------------------------------

def serve(loaded, settings, began, ready=None):
    """Until stopped. Also what command.py does when a tracer keeps the command in this process."""
    from ._engine import Worker
    if not settings.get("access_logfile") and at_terminal():
        settings = {"access_logfile": "-", "access_logformat": "short", **settings}
    try:
        worker = Worker.alone(settings)
    except (OSError, ValueError) as error:
        if "bind '" not in str(error):
            raise
        from .address import explained
        raise explained(error, settings, loaded.name) from None
    insight.begin(worker)
    setting = worker.setting("worker_class")
    classes.prepare(setting)
    run_class, _ = classes.start(worker, loaded, classes.choose(setting, loaded), usual_threads=1)
    logs = Logs(worker.setting("log_level"))
    server = Server(worker)
    with Signals(worker), logs:
        worker.ready({"app": loaded.name, "kind": loaded.kind.interface, "framework": loaded.kind.framework,
                      "python": python().removeprefix("python ")})
        say_start(loaded, server, began)
        try:
            if ready is not None:
                ready(server)
            run_class()
        except KeyboardInterrupt:  # a second Ctrl-C, while the application was busy
            pass
        finally:
            server._worker = None
            requests, errors = worker.counts
            if hasattr(worker, "close"):  # PyPy counts no references
                worker.close()
            say(f"stopped: {requests} {'request' if requests == 1 else 'requests'}, {errors} {'error' if errors == 1 else 'errors'}")


def say_start(loaded, server, began):
    place = f" in {environment()}" if is_venv() else ""
    how = "; Ctrl-C stops" if is_main_thread() else ""
    say(f"barkeep {version()} serving {loaded.name} ({loaded.kind.interface}) on {server.address}")
    say(f"  {python()}{place}, in this process, ready in {(time.monotonic() - began) * 1000:.0f} ms{how}")


def say(text):
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def at_terminal():
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # none, or closed
        return False


def version():
    from ._engine import VERSION
    return VERSION


def is_main_thread():
    return threading.current_thread() is threading.main_thread()


class Signals:
    """Ctrl-C and SIGTERM stop the worker while it serves in the main thread; what was there before is put back. The second
    Ctrl-C breaks off what the application is doing."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, worker):
        self.worker, self.before, self.seen = worker, {}, 0

    def __enter__(self):
        if is_main_thread():
            for number in self.NUMBERS:
                self.before[number] = signal.signal(number, self.stop)
        return self

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.worker = None

    def stop(self, number, frame):
        self.seen += 1
        self.worker.stop(quick=number == signal.SIGINT or self.seen > 1)
        if self.seen > 1:
            raise KeyboardInterrupt


class Logs:
    """The loggers of logs.py for as long as this serves."""

    def __init__(self, level):
        self.level, self.handler, self.over = level, None, False

    def __enter__(self):
        when_imported("logging", self.attach)
        return self

    def attach(self):
        if not self.over:
            from .logs import attach
            self.handler = attach(self.level)

    def __exit__(self, *error):
        self.over = True
        if self.handler is not None:
            from .logs import detach
            detach(self.handler)
