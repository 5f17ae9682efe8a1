"""The Python side of a worker's life: take over from the master, make the interpreter look as the application expects it,
import the application, say ready, serve, leave. Called once by _boot/boot.py.

The engine does the rest: orders from the master come on a channel that its own thread reads, never as signals.
"""
import errno
import faulthandler
import os
import signal
import sys
import time
from _thread import allocate_lock, get_ident, start_new_thread  # as they are before gevent patches them
from time import sleep

from . import classes, insight
from .hook import when_imported

IGNORED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LEAVING_SECONDS = 2.0   # until a worker that cannot end says what it waits for
LEAST_PATIENCE = 0.5    # for the end of the interpreter, also with --graceful-timeout 0

leaving = []  # what is to be called when this worker ends
alive = []  # the Worker; lives until the interpreter ends, so that atexit handlers can still log


def main(heritage_fd):
    began = time.monotonic()
    worker = inherit(heritage_fd)
    alive.append(worker)
    prepare(worker)
    loaded, (serve, described) = load(worker)
    ignore_signals()
    show_title(worker, loaded)
    try:
        worker.ready(facts(loaded, began) | described)
    except OSError as error:
        fail(worker, "worker-boot", f"cannot begin to serve: {error}")
    serve()
    leave(worker, 0)


def inherit(heritage_fd):
    """The Worker. Before there is one nobody can be told but standard error and the exit code."""
    try:
        from ._engine import Worker
    except ImportError as error:
        die(3, "worker-boot", f"the engine of this barkeep does not load in {sys.executable}: {error}")
    try:
        return Worker.inherit(heritage_fd)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            die(2, "version-skew", error.strerror)
        die(3, "worker-boot", f"cannot take over from the master: {error.strerror}")


def die(code, key, text):
    from .words import clean
    os.write(2, f"barkeep: error: {clean(text)} [{key}]\n".encode())
    sys.exit(code)


# ---- before the application ----------------------------------------------------------------------------------------

def prepare(worker):
    """What the application finds: streams, argv, path, signals, hooks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    if sys.stderr is not None:
        faulthandler.enable()
    insight.begin(worker)
    sys.argv = worker.arguments() or ["barkeep"]
    ignore_signals()
    watch_forks()
    ignore_fork_warning()
    if sys.breakpointhook is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT"):
        sys.breakpointhook = on_breakpoint
    level = worker.setting("log_level")
    when_imported("logging", lambda: attach_logs(level))
    try:
        set_path(worker)
    except OSError as error:
        fail(worker, "worker-boot", f"the current directory cannot be used: {error.strerror}")
    install_uwsgi(worker)


def attach_logs(level):
    from .logs import attach
    attach(level)


def set_path(worker):
    """What a bootstrap had made of sys.path comes along. Before it the current directory, as under Gunicorn, and before that
    the directories of --pythonpath. The name of the directory is the real one: after `current -> releases/42` moved on, late
    imports still come from the same release."""
    sys.path[:] = dict.fromkeys([*worker.path(), *sys.path])
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    add_paths(worker.setting("pythonpath"))


def install_uwsgi(worker):
    """The module `uwsgi`, when the settings came from uWSGI."""
    if worker.setting("uwsgi_opt"):
        from .uwsgi_shim import install
        install(worker.setting, worker.number)


def add_paths(setting):
    given = [os.path.abspath(directory) for directory in setting.split("\n") if directory]
    sys.path[:0] = [directory for directory in dict.fromkeys(given) if directory not in sys.path]


def ignore_signals():
    """The master decides when a worker ends; a supervisor may signal the whole process group. Handlers, not SIG_IGN, because
    children would inherit that; Python's, because asyncio and others put back what Python had. Those that the application
    has set for itself stay."""
    for number in IGNORED_SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, None):
            signal.signal(number, ignore_signal)


def ignore_signal(number, frame):
    pass


def watch_forks():
    """In a process that the application forks signals mean again what they do in any Python program: Pool.terminate() sends
    SIGTERM and waits. They are blocked meanwhile, or one that comes too early would meet our handler and be lost."""
    masks = {}

    def before():
        masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)

    def in_parent():
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(get_ident()))

    def in_child():
        for number in IGNORED_SIGNALS:
            if signal.getsignal(number) is ignore_signal:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def ignore_fork_warning():
    """From 3.12 on os.fork() warns when the process has threads. Ours hold no locks of Python and are not in the child. Shown
    only when warnings were asked for, so only then is there something to filter."""
    if sys.warnoptions and sys.version_info >= (3, 12):
        import warnings
        warnings.filterwarnings("ignore", r"This process \(pid=\d+\) is multi-threaded, use of \w+\(\)", DeprecationWarning)


def on_breakpoint(*args, header=None, **more):
    """breakpoint(): pdb on the terminal the server was started on. Without one, a line in the log instead of a BdbQuit."""
    frame = sys._getframe(1)
    if sys.stdin is None or not sys.stdin.isatty():
        from ._engine import log
        from .words import clean, relative
        place = f"{relative(frame.f_code.co_filename)} line {frame.f_lineno}"
        log("warning", None, clean(f"breakpoint() in {place} was passed over: it needs a terminal and --workers 1"))
        return
    from .debugging import Debugger
    debugger = Debugger(alive[0] if alive else None)
    if header is not None:
        debugger.message(header)
    debugger.set_trace(frame, *args, **more)


# ---- the application -----------------------------------------------------------------------------------------------

def load(worker):
    """The Loaded application and the function that serves it. A failure is told to the master, in full, and ends the process."""
    from . import loader
    setting = worker.setting("worker_class")
    imported = begin_imports(worker)
    try:
        classes.prepare(setting)
        hooks = begin_hooks(worker)
        loaded = loader.load(worker.setting("app"))
        if "uwsgi" in sys.modules:
            from .uwsgi_shim import imported as uwsgi_imported
            uwsgi_imported(loaded)
        if hooks:
            hooks.loaded(loaded)
        started = classes.start(worker, loaded, classes.choose(setting, loaded))
        if imported:
            imported.tell()
            imported.watch()
        return loaded, started
    except loader.Problem as problem:
        from .stack import in_short
        from .words import clean, fitting, for_log
        if imported:
            imported.tell_failed(problem, loader.Target(worker.setting("app")).path)
        brief, whole = in_short(problem.__cause__) if problem.__cause__ else (problem.what, False)
        worker.failed(problem.code, problem.key, fitting(for_log(problem.what, *problem.lines)), clean(brief), whole)
        failure = problem.code
    leave(worker, failure)


def begin_imports(worker):
    """With --reload: who tells the master what is imported."""
    if worker.setting("reload") != "on":
        return None
    from .imported import Imported, cache_less
    cache_less()
    return Imported(worker)


def begin_hooks(worker):
    """What a gunicorn.conf.py has for workers: hooks, loggers. After gevent has patched, before the application."""
    if not worker.setting("hooks"):
        return None
    from .hooks import Hooks
    hooks = Hooks(worker)
    leaving.append(hooks.leave)
    return hooks


def fail(worker, key, text):
    from ._engine import MESSAGES
    worker.failed(MESSAGES[key][0], key, text)
    leave(worker, MESSAGES[key][0])


def show_title(worker, loaded):
    from ._engine import set_title
    from .words import clean
    set_title(f"barkeep: worker {worker.number} [{clean(worker.setting('name') or loaded.name)}] idle")


def facts(loaded, began):
    """What the master puts into the start line."""
    from .words import environment, is_venv, python
    return {
        "app": loaded.name,
        "kind": loaded.kind.interface,
        "framework": loaded.kind.framework,
        "python": python().removeprefix("python "),
        "environment": environment() if is_venv() else "",
        "ready_ms": str(round((time.monotonic() - began) * 1000)),
    }


# ---- the end -------------------------------------------------------------------------------------------------------

def leave(worker, code):
    """Ends as any Python program does: waits for threads, runs atexit handlers; but not longer than --graceful-timeout."""
    if "barkeep.imported" in sys.modules:
        sys.modules["barkeep.imported"].Imported.over = True
    start_thread(hurry, code, max(seconds(worker.setting("graceful_timeout")), LEAST_PATIENCE))
    while leaving:
        leaving.pop()()
    sys.exit(code)


def start_thread(function, *arguments):
    """A bare thread that runs when this returns: 3.10 crashes when one begins while the interpreter ends."""
    running = allocate_lock()
    running.acquire()

    def run():
        running.release()
        function(*arguments)
    start_new_thread(run, ())
    running.acquire()


def hurry(code, patience):
    from ._engine import log
    if patience > LEAVING_SECONDS:
        sleep(LEAVING_SECONDS)
        log("warning", None, f"a worker that has nothing left to serve waits for {unfinished()}")
        patience -= LEAVING_SECONDS
    sleep(patience)
    log("warning", None, f"a worker ends without waiting longer for {unfinished()}")
    os._exit(code)


def unfinished():
    """What an interpreter that is told to end still waits for."""
    if "threading" in sys.modules:
        import threading
        names = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
        if names:
            from .words import clean
            return clean(f"threads of the application: {', '.join(names[:5])}")
    return "atexit handlers of the application"


def seconds(text):
    """A TIME setting as the engine prints it."""
    units = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))
    for unit, factor in units:
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text) if text and text != "off" else 0.0
