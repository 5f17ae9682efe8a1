"""Words for what goes wrong between the command line and the first request, see docs/messages.md. Every function returns a
loader.Problem; what is said follows the rules of one error for everybody: WHAT [key], evidence, something to paste.

Imported only when something went wrong.
"""
import os
import sys

from . import discover, kind
from .loader import Problem
from .stack import exception_lines, raised_in
from .words import environment, is_venv, python, relative

# ---- the module ----------------------------------------------------------------------------------------------------


def import_failed(error, target, doing="imported"):
    """The import (or the factory call) raised `error`."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        if target.module and doing == "imported" and not raised_in(error) and is_or_holds(error.name, target.module):
            return no_module(target, error)
        if not is_local(error.name):
            return no_dependency(target, error)
    lines = exception_lines(error)
    return Problem("app-import", f"'{shown(target, doing)}' raised {type(error).__name__} while being {doing}", *lines)


def shown(target, doing):
    return target.text if doing == "called" else target.place


def is_or_holds(name, module):
    return module == name or module.startswith(name + ".")


def is_local(name):
    """Is the first part of the module's name something of the application, so that installing would not help?"""
    first = name.split(".")[0]
    return any(os.path.exists(os.path.join(directory, first + end)) for directory in own_directories() for end in ("", ".py"))


def own_directories():
    """Directories of sys.path that are neither the standard library's nor a site-packages."""
    library = os.path.dirname(os.__file__)
    for directory in map(os.path.abspath, sys.path):
        packages = "site-packages" in directory or "dist-packages" in directory
        if not packages and os.path.isdir(directory) and not os.path.join(directory, "").startswith(os.path.join(library, "")):
            yield directory


def no_module(target, error):
    name = target.module
    lines = []
    parent = error.name.rpartition(".")[0]
    if parent and parent in sys.modules and not hasattr(sys.modules[parent], "__path__"):
        lines.append(f"'{parent}' is a module, not a package: {relative(getattr(sys.modules[parent], '__file__', None) or '?')}")
    lines.append("looked in: " + looked_in())
    lines += nearby(name)
    return Problem("app-module", f"no module named '{name}'", *lines, *unused_venv(target))


def no_file(path):
    what = f"'{path}' is a directory, not an application" if os.path.isdir(path) else f"no file '{path}'"
    stem = os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
    return Problem("app-module", what, *nearby(stem))


def nearby(name):
    """What the current directory has instead, and what to type for the best of it."""
    found = discover.applications(os.getcwd(), seconds=1.0)
    if not found:
        return []
    near = discover.nearest(name, found)
    if near:
        return ["near: " + ", ".join(f"{one.path} has '{one.name}'" for one in near[:3]), f"try: barkeep {near[0].target}"]
    return ["found here: " + ", ".join(map(str, found[:4])), f"try: barkeep {found[0].target}"]


def no_dependency(target, error):
    place = environment()
    name = error.name
    lines = exception_lines(error, last_only=True)
    if name.split(".")[0] in getattr(sys, "stdlib_module_names", sys.builtin_module_names):  # 3.9 knows less
        remedy = "another interpreter with --python PATH; this one was built without that part of the standard library"
    elif name == "uwsgi":  # pip's package of that name holds no such module
        remedy = "--uwsgi-opt NAME=VALUE, or the uwsgi.ini itself with --ini: then there is such a module, with the part of it that Barkeep has"
    elif is_venv():
        remedy = f"install it into {place}, or choose another environment with --venv DIR"
    else:
        remedy = f"install it for {sys.executable}, or choose an environment with --venv DIR"
    return Problem("app-dependency", f"'{target.place}' needs the module '{name}', which {place} does not have", *lines,
                   "try: " + remedy, *unused_venv(target))


# ---- the attribute -------------------------------------------------------------------------------------------------

def no_attribute(module, target, name):
    """`name` is what was looked for, '' for the usual ones."""
    offers = kind.offers(module)
    lines = []
    if offers:
        lines.append("it has: " + ", ".join(f"{each} ({its_kind})" for each, its_kind in offers[:6]))
        best = best_offer(name, offers)
        lines.append("try: barkeep " + command(target.place, *best))
    else:
        lines.append("it has nothing that looks like an application")
        elsewhere = [one for one in discover.applications(os.getcwd(), seconds=1.0)
                     if os.path.abspath(one.path) != getattr(module, "__file__", None)]
        if elsewhere:
            lines += ["found here: " + ", ".join(map(str, elsewhere[:4])), f"try: barkeep {elsewhere[0].target}"]
    what = f"'{name}'" if name else "'application' or 'app'"
    subject = f"'{target.path}'" if target.path else f"module '{target.module}'"
    return Problem("app-attribute", f"{subject} has no {what}", *lines)


def best_offer(name, offers):
    close = discover.close_names(name, [each for each, _ in offers]) if name else []
    for each, its_kind in offers:
        if close and each == close[0]:
            return each, its_kind
    return offers[0]


def command(place, name, its_kind):
    return f"'{place}:{name}()'" if its_kind.interface == kind.FACTORY else f"{place}:{name}"


def not_served(shown_as, app, its_kind):
    """The object is there and cannot be served."""
    if its_kind.framework:
        return Problem("app-not-callable", f"'{shown_as}' is an application of {its_kind.framework}, which has a server of its own")
    if its_kind.is_async:
        return Problem("app-not-callable", f"'{shown_as}' is an async function that takes no (scope, receive, send)")
    if its_kind.interface == kind.FACTORY and not shown_as.endswith(")"):
        return Problem("app-factory", f"'{shown_as}' takes no (environ, start_response): a factory? "
                                      f"try: barkeep '{shown_as}()'")
    if its_kind.interface == kind.FACTORY:
        return Problem("app-not-callable", f"what '{shown_as}' returned takes no (environ, start_response)")
    return Problem("app-not-callable", f"'{shown_as}' is {described(app)}, not an application")


def wrong_class(loaded, setting, serves):
    """The application speaks another interface than the worker class that was asked for."""
    its_kind = loaded.kind
    article = "an" if its_kind.interface == kind.ASGI else "a"
    framework = f" ({its_kind.framework})" if its_kind.framework.lower() not in ("", its_kind.interface) else ""
    return Problem("class-mismatch", f"'{loaded.name}' is {article} {its_kind.interface} application{framework}, "
                                     f"worker class '{setting}' serves {' and '.join(serves)}",
                   f"try: barkeep {loaded.name}                           (without -k the class is chosen by the application)")


def class_package(setting, package, oldest, found=""):
    """The worker class needs a package that is not there, or (`found`: its version) is too old."""
    has = f"{environment()} has {found}" if found else f"which {environment()} does not have"
    return Problem("class-package", f"worker class '{setting}' needs the package {package} ({oldest} or newer), {has}",
                   f"try: {relative(sys.executable)} -m pip install {'-U ' if found else ''}{package}")


def described(thing):
    if thing is None:
        return "None"
    name = "module" if isinstance(thing, type(sys)) else type(thing).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


# ---- the surroundings ----------------------------------------------------------------------------------------------

def looked_in():
    places = []
    for directory in own_directories():
        place = "." if directory == os.getcwd() else relative(directory)
        if place not in places:
            places.append(place)
    places.sort(key=lambda place: place != ".")
    return ", ".join(places[:5]) + (" and " if places else "") + f"{environment()} ({python()})"


def unused_venv(target):
    """A hint when there is a virtual environment beside the application and this is not it."""
    for name in (".venv", "venv", "env"):
        if os.path.isfile(os.path.join(name, "pyvenv.cfg")) and not os.path.samefile(name, sys.prefix):
            return [f"there is a {name} here that is not in use: try barkeep --venv {name} {target.text}"]
    return []
