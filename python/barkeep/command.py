"""The `barkeep` command in this process: what __main__.py does instead of becoming the master when coverage, a debugger or a
profiler is at work. The native program reads the command line all the same (--print-config), so options and messages are the
same; then one worker serves here, through the same code as barkeep.run.
"""
import errno
import os
import sys
import time

from . import loader
from .serve import say, serve
from .worker import add_paths

BIND_KEYS = {errno.EADDRINUSE: "bind-in-use", errno.EACCES: "bind-permission", errno.EADDRNOTAVAIL: "bind-address"}
NOT_HERE = ("app", "chdir", "env", "python", "pythonpath", "startup_timeout", "venv", "workers", "name",
            "reload", "reload_engine", "reload_extra_file", "touch_reload", "uwsgi_opt")


def serve_here(native, arguments, tracer):
    """The exit code."""
    began = time.monotonic()
    code, settings = read_settings(native, arguments)
    if code:
        return code
    notes(settings, tracer)
    values = {key: value for key, value in settings.items() if key not in NOT_HERE and value not in ("", [])}
    try:
        enter(settings, arguments)
        serve(load(settings), values, began)
    except loader.Problem as problem:
        return complain(problem.key, problem.what, *problem.lines)
    except ValueError as error:
        return complain("option-value", str(error))
    except OSError as error:
        if hasattr(error, "key"):  # see address.py
            return complain(error.key, error.what, *error.lines)
        return complain(BIND_KEYS.get(error.errno, "bind-failed"), error.strerror or str(error))
    return 0


def read_settings(native, arguments):
    """(0, {key: value}) as the native program understands the command line, or (its exit code, {})."""
    import json
    import subprocess
    said = subprocess.run([*native, "--print-config", *arguments], stdout=subprocess.PIPE)
    if said.returncode:
        return said.returncode, {}
    settings, decoder = {}, json.JSONDecoder()
    for line in os.fsdecode(said.stdout).splitlines():
        key, equals, rest = line.partition(" = ")
        if equals and not key.startswith("#"):
            settings[key], _ = decoder.raw_decode(rest.lstrip())
    if not settings.get("app"):
        return complain("app-missing", "which application?"), {}
    settings["env"] = given_environment(arguments)
    return 0, settings


def given_environment(arguments):
    """The --env of the command line: --print-config does not show their values."""
    given, words = os.environ.get("BARKEEP_ENV", "").split("\n"), iter(arguments)
    for word in words:
        if word in ("-e", "--env"):
            given.append(next(words, ""))
        elif word.startswith("--env="):
            given.append(word[len("--env="):])
        elif word.startswith("-e") and len(word) > 2:
            given.append(word[2:].removeprefix("="))
    return [text for text in given if "=" in text]


def notes(settings, tracer):
    say(f"barkeep: info: {tracer} is at work, so one worker serves in this process, without a master")
    for key in ("python", "venv"):
        if settings.get(key):
            say(f"barkeep: warning: --{key} is not used: the interpreter is the one that {tracer} watches")
    if settings.get("reload") or settings.get("touch_reload"):
        say("barkeep: warning: --reload is not used: it needs a master, which starts each version in a process of its own")


def enter(settings, arguments):
    """The directory, environment, argv and path that the application expects."""
    if settings.get("chdir"):
        try:
            os.chdir(settings["chdir"])
        except OSError as error:
            raise loader.Problem("chdir-missing", f"--chdir '{settings['chdir']}': {error.strerror}") from None
    for text in settings["env"]:
        name, _, value = text.partition("=")
        os.environ[name] = value
    sys.argv = ["barkeep", *arguments]
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    add_paths("\n".join(settings.get("pythonpath") or ()))


def load(settings):
    if not settings.get("uwsgi_opt"):
        return loader.load(settings["app"])
    from . import uwsgi_shim
    told = {**settings, "uwsgi_opt": "\n".join(settings["uwsgi_opt"])}
    uwsgi_shim.install(lambda key: str(told.get(key, "")), 1)
    loaded = loader.load(settings["app"])
    uwsgi_shim.imported(loaded)
    return loaded


def complain(key, what, *lines):
    from ._engine import MESSAGES
    from .words import clean
    say("\n  ".join((f"barkeep: error: {clean(what)} [{key}]", *map(clean, lines))))
    return MESSAGES[key][0]
