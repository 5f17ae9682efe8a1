"""The hooks of a gunicorn.conf.py in a worker: post_fork, post_worker_init, pre_request, post_request, worker_int, worker_abort and
worker_exit. Imported only with --hooks, which the reader of that file sets when there is something in it for workers.

The objects they get carry what authors of hooks use; see hook_objects.py. The others are called by the master's companion,
see companion.py.
"""
import signal
import sys

from .config.execute import run
from .config.gunicorn_names import WORKER_HOOKS
from .config.gunicorn_values import Wrong, callable_of
from .config.problem import Problem
from .hook_objects import Config, Log, Server, Worker


class Hooks:
    """Problem of the loader when the file cannot be imported here, or a hook raises that comes before the application."""

    def __init__(self, engine):
        from .loader import Problem as Failed
        try:
            module = run(engine.setting("hooks"))
            self.functions = {name: callable_of(getattr(module, name)) for name in WORKER_HOOKS
                              if getattr(module, name, None) is not None}
        except Problem as problem:
            raise Failed(problem.word, problem.text, *problem.detail.splitlines()) from None
        except Wrong as wrong:
            raise Failed("hook-failed", f"{engine.setting('hooks')}: {wrong}") from None
        configure_logs(vars(module))
        cfg = Config(engine.setting, vars(module))
        self.server = Server(cfg, Log(cfg))
        self.worker = Worker(engine, cfg, self.server.log)
        self.engine, self.left = engine, False
        self.call_early("post_fork", self.server, self.worker)

    def call_early(self, name, *arguments):
        from .loader import Problem as Failed
        if name not in self.functions:
            return
        try:
            self.functions[name](*arguments)
        except SystemExit:
            raise
        except Exception as error:
            from .stack import exception_lines
            raise Failed("hook-failed", f"the hook {name} raised {type(error).__name__}", *exception_lines(error)) from None

    def call(self, name, *arguments):
        """One that comes too late to stop anything."""
        if name not in self.functions:
            return
        try:
            self.functions[name](*arguments)
        except Exception as error:
            self.complain(name, error)

    @staticmethod
    def complain(name, error):
        from ._engine import log
        from .stack import exception_lines
        from .words import for_log
        log("error", "hook-failed", f"the hook {name} raised {type(error).__name__}", for_log(*exception_lines(error)))

    # ---- in the order of a worker's life ----------------------------------------------------------------------------

    def loaded(self, loaded):
        """The application is there. With hooks around requests it is wrapped; without, nothing is in their way."""
        self.worker.app.callable = self.worker.wsgi = loaded.app
        self.worker.app.app_uri = loaded.name
        self.worker.booted = True
        before, after = self.functions.get("pre_request"), self.functions.get("post_request")
        if before or after:
            from . import hook_requests
            loaded.app = hook_requests.wrap(self, loaded, before, after)
        if "worker_abort" in self.functions:
            signal.signal(signal.SIGABRT, self.abort)
        self.call_early("post_worker_init", self.worker)

    def abort(self, number, frame):
        self.worker.alive = False
        self.call("worker_abort", self.worker)
        sys.exit(1)

    def leave(self):
        """Once, when nothing is served any more, or the worker could not start."""
        if self.left:
            return
        self.left = True
        if getattr(self.engine, "stopping", 0) == 2:
            self.call("worker_int", self.worker)
        self.worker.stopped = True
        self.call("worker_exit", self.server, self.worker)


def configure_logs(settings):
    """logconfig_dict, on top of what Gunicorn has: the loggers of these names with a handler each."""
    wanted = settings.get("logconfig_dict")
    if not wanted:
        return
    import logging  # noqa: F401  (first: its import attaches our handlers)

    from .loader import Problem as Failed
    from .logs import configure
    try:
        configure(wanted)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        why = error.__cause__ or error
        raise Failed("config-failed", f"logconfig_dict cannot be used: {error}", f"{type(why).__name__}: {why}") from None
