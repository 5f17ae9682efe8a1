"""`import uwsgi` in an application whose settings came from uWSGI (or that was given --uwsgi-opt): a small module with what can be
true here. Nobody else gets it, because `try: import uwsgi` is how code asks whether it runs under uWSGI.

worker.py calls `install` before the application's import and `imported` after it. The module itself is uwsgi_module.py.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = {"uwsgi": "uwsgi_module.py", "uwsgidecorators": "uwsgi_decorators.py"}


class Facts:
    """What uwsgi_module.py says. `options` are texts NAME=VALUE, or NAME for a flag of a command line."""

    def __init__(self, options, number, workers, threads):
        self.options = {name: value.encode("utf-8", "surrogateescape") if equals else True
                        for name, equals, value in (text.partition("=") for text in options)}
        self.number, self.workers, self.threads = number, workers, threads


facts = None


def install(setting, number):
    """`setting(key)` gives the text of a setting."""
    global facts
    options = [text for text in setting("uwsgi_opt").split("\n") if text]
    if not options:
        return
    facts = Facts(options, number, *(int(text) if text.isdigit() else 1 for text in (setting("workers"), setting("threads"))))
    sys.meta_path.insert(0, Finder("uwsgi"))       # before a directory of that name, which may well be there
    sys.meta_path.append(Finder("uwsgidecorators"))  # the real one, when it is installed, works on top of our module
    arguments = facts.options.get("pyargv")
    sys.argv = [sys.argv[0] if sys.argv else "barkeep", *(os.fsdecode(arguments).split() if isinstance(arguments, bytes) else ())]


class Finder:
    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        from importlib.util import spec_from_file_location
        return spec_from_file_location(name, os.path.join(HERE, MODULES[name]))


def imported(loaded):
    """The application has been imported: what it left in the module for later."""
    module = sys.modules.get("uwsgi")
    if facts is None or module is None or getattr(module, "__file__", "") != os.path.join(HERE, MODULES["uwsgi"]):
        return
    module.applications = {"": loaded.app}
    if loaded.kind.interface == "WSGI":
        loaded.app = module._with_environ(loaded.app)
    hook = getattr(module, "post_fork_hook", None)
    if callable(hook):
        hook()
