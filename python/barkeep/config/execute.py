"""Runs a settings file that is a program, gunicorn.conf.py: in the config process for its settings, in workers and in the
companion of the master for its hooks. As Gunicorn does: a path, file:PATH or python:MODULE; the module's name is __config__.
"""
import os
import sys

from .problem import Problem

MODULE = "__config__"


def run(name):
    """The module. Problem when it cannot be read, raises, or ends the process."""
    target = name.removeprefix("file:")
    try:
        if name.startswith("python:"):
            from importlib import import_module
            return import_module(name.removeprefix("python:"))
        return run_file(target)
    except SystemExit as end:
        raise Problem(f"{target} ended its process with {end.code!r} as exit code", "config-failed", place_of(end)) from None
    except Exception as error:
        raise failed(name, target, error) from None


def run_file(path):
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_file_location
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror.lower()}", "config-file") from None
    spec = spec_from_file_location(MODULE, path, loader=SourceFileLoader(MODULE, path))
    module = module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    return module


def failed(name, target, error):
    from ..stack import exception_lines, in_short
    if isinstance(error, Problem):
        return error
    if isinstance(error, SyntaxError) and error.filename:
        return Problem(f"{in_short(error)[0]}", "config-file", "\n".join(exception_lines(error)))
    if isinstance(error, ModuleNotFoundError) and error.name == name.removeprefix("python:"):
        return Problem(f"no module named '{error.name}' for --config {name}", "config-file")
    lines = exception_lines(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] == "gunicorn":
        lines.append(f"try: {sys.executable} -m pip install gunicorn, as long as the file imports it")
    return Problem(f"{target} raised {type(error).__name__}", "config-failed", "\n".join(lines))


def place_of(error):
    from ..stack import error_frames, frame_lines
    return "\n".join(frame_lines(error_frames(error)[-1:]))


def absolute(name):
    """The name by which a process in another directory finds the same file."""
    return name if name.startswith("python:") else os.path.abspath(name.removeprefix("file:"))
