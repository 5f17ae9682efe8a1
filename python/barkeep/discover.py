"""Reads the Python files around, imports none, and finds applications in them: app.py has 'application' (WSGI).

Used by diagnose.py for the `near:` and `found here:` lines. For [app-missing], where no Python is to be started, the master
looks around by itself (src/master/cli_found.c), less thoroughly.
"""
import os
import time

FILES_MAX = 200
FILE_BYTES = 256 * 1024
SUBMODULES = ("wsgi.py", "app.py", "application.py", "main.py", "api.py", "server.py", "asgi.py", "__init__.py")
FIRST_FILES = ("app.py", "application.py", "wsgi.py", "main.py")
NOT_MODULES = ("setup.py", "conftest.py", "manage.py", "gunicorn.conf.py", "noxfile.py", "tasks.py")
NOT_PACKAGES = ("tests", "test", "node_modules", "docs", "build", "dist", "env", "venv")
NAMES = ("application", "app")

# What a call gives, by the called thing's full name: interface, label.
CALLS = {
    "flask.Flask": ("WSGI", "Flask"),
    "bottle.Bottle": ("WSGI", "Bottle"),
    "bottle.default_app": ("WSGI", "Bottle"),
    "falcon.App": ("WSGI", "Falcon"),
    "falcon.API": ("WSGI", "Falcon"),
    "falcon.asgi.App": ("ASGI", "Falcon"),
    "django.core.wsgi.get_wsgi_application": ("WSGI", "Django"),
    "django.core.asgi.get_asgi_application": ("ASGI", "Django"),
    "cherrypy.Application": ("WSGI", "CherryPy"),
    "fastapi.FastAPI": ("ASGI", "FastAPI"),
    "starlette.applications.Starlette": ("ASGI", "Starlette"),
    "quart.Quart": ("ASGI", "Quart"),
    "litestar.Litestar": ("ASGI", "Litestar"),
    "sanic.Sanic": ("ASGI", "Sanic"),
    "channels.routing.ProtocolTypeRouter": ("ASGI", "Django"),
}
METHODS = {"make_wsgi_app": ("WSGI", "Pyramid"), "wsgifunc": ("WSGI", "WSGI")}
FACTORIES = ("create_app", "make_app", "build_app", "get_app", "app_factory", "create_application", "make_application")
ENVIRON_NAMES = ("environ", "env", "e", "environment")


class Found:
    """One application: the file it is in, its name there, its interface (WSGI, ASGI, factory), what to show for it."""
    __slots__ = ("path", "name", "interface", "label")

    def __init__(self, path, name, interface, label):
        self.path, self.name, self.interface, self.label = path, name, interface, label

    @property
    def module(self):
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def target(self):
        """What to write behind `barkeep`."""
        if self.interface == "factory":
            return f"'{self.module}:{self.name}()'"
        return f"{self.module}:{self.name}"

    def __str__(self):
        return f"{self.path} has '{self.name}' ({self.label})"


def applications(directory, seconds=1.5):
    """The best application of each file in `directory` and of the usual files one level below; the most likely first."""
    deadline = time.monotonic() + seconds
    found = []
    for path in files(directory):
        if time.monotonic() > deadline:
            break
        best = look_into(directory, path)
        if best is not None:
            found.append(best)
    found.sort(key=likelihood)
    return found


def likelihood(one):
    rank = {"WSGI": 0, "factory": 1, "ASGI": 2}[one.interface]
    first = FIRST_FILES.index(one.path) if one.path in FIRST_FILES else len(FIRST_FILES)
    return rank, one.path.count("/"), first, one.path


def nearest(name, found):
    """Those whose module is called nearly like `name`."""
    modules = {}
    for one in found:
        modules.setdefault(one.module, one)
        modules.setdefault(one.module.rpartition(".")[2], one)
    near = []
    for module in close_names(name, modules):
        if modules[module] not in near:
            near.append(modules[module])
    return near


def close_names(name, names):
    """The names that `name` may have been meant to be, nearest first."""
    import difflib
    by_lower = {}
    for one in names:
        by_lower.setdefault(one.lower(), one)
    return [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]


# ---- which files ---------------------------------------------------------------------------------------------------

def files(directory):
    """Paths relative to `directory`, at most FILES_MAX."""
    top = listing(directory)
    paths = [name for name in top if is_module(name)]
    for name in top:
        below = os.path.join(directory, name)
        if name.isidentifier() and name not in NOT_PACKAGES and os.path.isdir(below):
            if not os.path.exists(os.path.join(below, "pyvenv.cfg")):
                paths += [f"{name}/{usual}" for usual in SUBMODULES if os.path.isfile(os.path.join(below, usual))]
    return paths[:FILES_MAX]


def listing(directory):
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def is_module(name):
    return (name.endswith(".py") and name[:-3].isidentifier() and name not in NOT_MODULES
            and not name.startswith("test_") and not name.endswith("_test.py"))


# ---- one file ------------------------------------------------------------------------------------------------------

def look_into(directory, path):
    """The best Found of a file, or None."""
    import ast
    try:
        with open(os.path.join(directory, path), "rb", opener=open_at_once) as file:
            text = file.read(FILE_BYTES + 1)
        tree = ast.parse(text) if len(text) <= FILE_BYTES else None
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if tree is None:
        return None
    reader = Reader(ast)
    for statement in tree.body:
        reader.read(statement)
    found = [Found(path, name, *what) for name, what in reader.names.items()]
    rank = {"WSGI": 0, "ASGI": 0, "factory": 1}
    return min(found, key=lambda one: (rank[one.interface], NAMES.index(one.name) if one.name in NAMES else 2), default=None)


def open_at_once(path, flags):
    """Does not wait for the other end of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


class Reader:
    """Follows the top-level statements of a module: what each name was imported as and what it may be."""

    def __init__(self, ast):
        self.ast = ast
        self.imported = {}  # local name -> full name
        self.names = {}     # local name -> (interface, label)
        self.classes = {}   # class -> what its instances are

    def read(self, node):
        ast = self.ast
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self.imported[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.read_function(node)
        elif isinstance(node, ast.ClassDef):
            self.read_class(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self.read_assignment(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.read_assignment(node.target, node.value)
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            for part in node.body:
                self.read(part)

    def read_function(self, node):
        what = self.signature(node, 0)
        if what:
            self.names[node.name] = what
        elif node.name in FACTORIES and isinstance(node, self.ast.FunctionDef):
            self.names[node.name] = ("factory", "factory")

    def signature(self, node, skip):
        """What a function is by its parameters."""
        names = [one.arg.lstrip("_") for one in (node.args.posonlyargs + node.args.args)[skip:]]
        if isinstance(node, self.ast.AsyncFunctionDef):
            return ("ASGI", "ASGI") if len(names) == 3 and names[0] == "scope" else None
        if len(names) == 2 and (names[0] in ENVIRON_NAMES and "start" in names[1] or names[1] == "start_response"):
            return ("WSGI", "WSGI")
        return None

    def read_class(self, node):
        for part in node.body:
            if isinstance(part, (self.ast.FunctionDef, self.ast.AsyncFunctionDef)) and part.name == "__call__":
                what = self.signature(part, 1)
                if what:
                    self.classes[node.name] = what
        for base in node.bases:
            if self.full_name(base) in CALLS:
                self.classes.setdefault(node.name, CALLS[self.full_name(base)])

    def read_assignment(self, target, value):
        if not isinstance(target, self.ast.Name):
            return
        what = self.value(value)
        if what:
            self.names[target.id] = what
        elif target.id in self.names:
            if not (isinstance(value, self.ast.Call) and target.id in NAMES):  # app = Middleware(app) stays what it was
                del self.names[target.id]

    def value(self, node):
        ast = self.ast
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if not isinstance(node, ast.Call):
            return None
        full = self.full_name(node.func)
        if full in CALLS:
            return CALLS[full]
        if full in self.classes:
            return self.classes[full]
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            return METHODS[node.func.attr]
        return None

    def full_name(self, node):
        """flask.Flask for Flask after `from flask import Flask`."""
        parts = []
        while isinstance(node, self.ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, self.ast.Name):
            return ""
        parts.append(self.imported.get(node.id, node.id))
        return ".".join(reversed(parts))
