"""Finds the application that the command line names and imports it.

  pkg.module:attr            attr may be dotted; without it `application`, then `app`
  path/to/file.py[:attr]     a file; its directory (of the outermost package it is in) goes on sys.path
  module:create_app('x', debug=False)   a factory, with literals only

`load` is called by worker.py and serve.py. Whatever goes wrong comes out as a Problem with the lines a user is to see;
diagnose.py words them.
"""
import os
import sys

from . import kind

USUAL = ("application", "app")


class Problem(Exception):
    """Why there is no application to serve: a key of the message table, what is wrong, further lines."""

    def __init__(self, key, what, *lines):
        super().__init__(key, what, *lines)
        self.key, self.what, self.lines = key, what, lines

    @property
    def code(self):
        """The exit code that belongs to the key."""
        from ._engine import MESSAGES
        return MESSAGES[self.key][0]

    @property
    def text(self):
        return "\n".join((self.what, *self.lines))

    def __str__(self):
        return "\n  ".join((f"{self.what} [{self.key}]", *self.lines))


class Loaded:
    """The application, the name it is shown by ("shop.wsgi:application"), its Kind."""
    __slots__ = ("app", "name", "kind")

    def __init__(self, app, name, its_kind):
        self.app, self.name, self.kind = app, name, its_kind


class Target:
    """What the user wrote, taken apart: `module` (dotted) or `path`; `expression`, '' when left out."""
    __slots__ = ("text", "module", "path", "expression")

    def __init__(self, text):
        self.text, self.module, self.path = text, None, None
        place, colon, expression = text.partition(":")
        if os.sep in place and ".py:" in text:  # the path may hold colons
            place, colon, expression = text.partition(".py:")
            place += ".py"
        self.expression = expression.strip()
        if os.sep in place or place.endswith(".py"):
            self.path = place
        else:
            self.module = place

    @property
    def place(self):
        return self.path or self.module


def load(text):
    """Imports and checks; a Loaded, or Problem."""
    target = Target(text)
    steps = parse(target) if target.expression else None
    module = import_target(target)
    if steps:
        app, name = follow(module, target, steps), target.expression
    else:
        app, name = usual_attribute(module, target)
    its_kind = kind.look(app)
    if its_kind.interface not in kind.SERVED:
        from . import diagnose
        raise diagnose.not_served(f"{target.place}:{name}", app, its_kind)
    return Loaded(app, f"{target.place}:{name}", its_kind)


# ---- importing ---------------------------------------------------------------------------------------------------

def import_target(target):
    try:
        return import_file(target.path) if target.path else import_name(target.module)
    except (Problem, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: a module that exits has not been imported
        from . import diagnose
        raise diagnose.import_failed(error, target) from error


def import_name(name):
    __import__(name)
    return sys.modules[name]


def import_file(path):
    """Imports a file by its place, under the name its neighbours would import it by."""
    full = os.path.abspath(path)
    if not os.path.isfile(full):
        from . import diagnose
        raise diagnose.no_file(path)
    root, name = os.path.dirname(full), os.path.basename(full)[:-3] if full.endswith(".py") else os.path.basename(full)
    in_package = False
    while os.path.isfile(os.path.join(root, "__init__.py")) and os.path.basename(root).isidentifier():
        root, name, in_package = os.path.dirname(root), f"{os.path.basename(root)}.{name}", True
    if root not in sys.path:
        sys.path.insert(0, root)
    if in_package:
        return import_name(name.removesuffix(".__init__"))
    return import_by_place(full, name)


def import_by_place(full, name):
    from importlib.util import module_from_spec, spec_from_file_location
    name = "".join(c if c.isalnum() else "_" for c in name)
    while name in sys.modules:  # queue.py must not take the place of the standard library's
        name += "_"
    spec = spec_from_file_location(name, full)
    if spec is None:  # not a .py file
        from importlib.machinery import SourceFileLoader
        spec = spec_from_file_location(name, full, loader=SourceFileLoader(name, full))
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return sys.modules.get(name, module)


# ---- from the module to the application --------------------------------------------------------------------------

def usual_attribute(module, target):
    for name in USUAL:
        if hasattr(module, name):
            return getattr(module, name), name
    from . import diagnose
    raise diagnose.no_attribute(module, target, "")


def parse(target):
    """The expression as steps: ("attribute", name) and ("call", args, kwargs). Read before anything is imported."""
    if all(part.isidentifier() for part in target.expression.split(".")):
        return [("attribute", name) for name in target.expression.split(".")]
    import ast
    try:
        node = ast.parse(target.expression, mode="eval").body
    except (SyntaxError, ValueError):
        node = None
    steps = []
    while node is not None:
        if isinstance(node, ast.Name):
            steps.append(("attribute", node.id))
            return steps[::-1]
        if isinstance(node, ast.Attribute):
            steps.append(("attribute", node.attr))
            node = node.value
        elif isinstance(node, ast.Call):
            steps.append(literals(node, target))
            node = node.func
        else:
            break
    raise Problem("app-attribute", f"'{target.expression}' is neither a name nor a call",
                  "after the colon: application, api.app or create_app('x', debug=False)")


def literals(node, target):
    import ast
    try:
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError
        return ("call", [ast.literal_eval(value) for value in node.args],
                {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords})
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise Problem("app-factory", f"'{target.text}': the arguments of a factory are literals only",
                      "text in quotes, numbers, True, False, None, and lists and dicts of these") from None


def follow(module, target, steps):
    thing, name = module, ""
    for step in steps:
        if step[0] == "call":
            thing = call_factory(thing, target, *step[1:])
            continue
        name = f"{name}.{step[1]}" if name else step[1]
        try:
            thing = getattr(thing, step[1])
        except AttributeError:
            from . import diagnose
            raise diagnose.no_attribute(module, target, name) from None
        except Exception as error:  # a module's __getattr__, a property
            from . import diagnose
            raise diagnose.import_failed(error, target) from error
    return thing


def call_factory(factory, target, args, kwargs):
    try:
        return factory(*args, **kwargs)
    except (Problem, KeyboardInterrupt):
        raise
    except BaseException as error:
        from . import diagnose
        raise diagnose.import_failed(error, target, "called") from error
