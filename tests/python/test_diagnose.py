"""diagnose.py: the twelve mistakes that concern the application, word for word. The first line is shown with the key
behind it, the others indented by two; that is done by whoever prints."""
import os
import sys

import pytest

PYTHON = f"python {sys.version.split()[0]}"
APP = "def application(environ, start_response): pass\n"


@pytest.fixture(autouse=True)
def path(monkeypatch, tmp_path):
    """Only the current directory and the interpreter's own; the environment is called .venv."""
    own = [entry for entry in sys.path if "site-packages" in entry or entry.startswith(sys.base_prefix) or "/site" in entry]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *own])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))


@pytest.fixture
def explain(package):
    def do(target):
        from barkeep import loader
        with pytest.raises(loader.Problem) as caught:
            loader.load(target)
        home = os.path.join(str(package), "")
        return caught.value.key, caught.value.text.replace(f"., {home[:-1]}", ".").splitlines()
    return do


# ---- (1) the module ------------------------------------------------------------------------------------------------

def test_app_module(explain, write):
    write("app.py", APP)
    assert explain("ap:application") == ("app-module", [
        "no module named 'ap'",
        f"looked in: . and .venv ({PYTHON})",
        "near: app.py has 'application'",
        "try: barkeep app:application"])


def test_app_module_with_nothing_near(explain, write):
    write("app.py", APP)
    assert explain("zebra")[1][2:] == ["found here: app.py has 'application' (WSGI)", "try: barkeep app:application"]


def test_app_module_with_nothing_at_all(explain):
    assert explain("zebra") == ("app-module", ["no module named 'zebra'", f"looked in: . and .venv ({PYTHON})"])


def test_app_module_in_a_package(explain, write):
    write("shop/__init__.py")
    write("shop/wsgi.py", APP)
    assert explain("shop.wsgy:application") == ("app-module", [
        "no module named 'shop.wsgy'",
        f"looked in: . and .venv ({PYTHON})",
        "near: shop/wsgi.py has 'application'",
        "try: barkeep shop.wsgi:application"])


def test_app_module_below_a_module(explain, write):
    write("app.py", APP)
    assert explain("app.application")[1][:2] == ["no module named 'app.application'", "'app' is a module, not a package: app.py"]


def test_app_module_file(explain, write):
    write("app.py", APP)
    assert explain("./ap.py") == ("app-module", [
        "no file './ap.py'", "near: app.py has 'application'", "try: barkeep app:application"])
    assert explain("./")[1][0] == "'./' is a directory, not an application"


def test_a_virtualenv_that_is_not_in_use(explain, write):
    write("env/pyvenv.cfg")
    os.mkdir(".venv")
    assert explain("ap")[1][-1] == "there is a env here that is not in use: try barkeep --venv env ap"


def test_app_dependency(explain, write):
    write("shop/__init__.py")
    write("shop/wsgi.py", "from shop.settings import X\n" + APP)
    write("shop/settings.py", "\n" * 11 + "import psycopg_not_there\n")
    assert explain("shop.wsgi") == ("app-dependency", [
        "'shop.wsgi' needs the module 'psycopg_not_there', which .venv does not have",
        'File "shop/settings.py", line 12, in <module>',
        "  import psycopg_not_there",
        "try: install it into .venv, or choose another environment with --venv DIR"])


def test_app_dependency_without_a_virtualenv(explain, write, monkeypatch):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    write("app.py", "import psycopg_not_there\n" + APP)
    found = explain("app.py")[1]
    assert found[0] == f"'app.py' needs the module 'psycopg_not_there', which {sys.base_prefix} does not have"
    assert found[-1] == f"try: install it for {sys.executable}, or choose an environment with --venv DIR"


def test_missing_part_of_the_standard_library(explain, write, monkeypatch):
    write("app.py", "import _sqlite3_not_built as s\n")
    monkeypatch.setattr(sys, "stdlib_module_names", {"_sqlite3_not_built"})
    assert explain("app")[1][-1].startswith("try: another interpreter with --python PATH")


def test_the_module_uwsgi_is_not_to_be_installed(explain, write):
    write("shop.py", "import uwsgi\n")
    assert "--uwsgi-opt" in explain("shop")[-1][-1]


def test_missing_module_of_the_application_itself_is_no_dependency(explain, write):
    write("shop/__init__.py")
    write("shop/wsgi.py", "import shop.viewz\n")
    key, lines = explain("shop.wsgi")
    assert (key, lines[0]) == ("app-import", "'shop.wsgi' raised ModuleNotFoundError while being imported")
    assert lines[-1] == "ModuleNotFoundError: No module named 'shop.viewz'"


def test_module_that_imports_its_own_name(explain, write):
    """The target is there; what it asks for is not."""
    write("shop.py", "import shop.wsgi\n")
    assert explain("shop")[0] == "app-import"


# ---- (2) the attribute ---------------------------------------------------------------------------------------------

BOTH = APP + "def create_app(): pass\nconfig = {}\n"


def test_app_attribute(explain, write):
    write("app.py", BOTH)
    assert explain("app:aplication") == ("app-attribute", [
        "module 'app' has no 'aplication'",
        "it has: application (WSGI), create_app (factory)",
        "try: barkeep app:application"])
    assert explain("app:creat_app")[1][-1] == "try: barkeep 'app:create_app()'"
    assert explain("./app.py:aplication")[1] == [
        "'./app.py' has no 'aplication'", "it has: application (WSGI), create_app (factory)", "try: barkeep ./app.py:application"]


def test_app_attribute_left_out(explain, write):
    write("api.py", "def create_app(): pass\n")
    assert explain("api") == ("app-attribute", [
        "module 'api' has no 'application' or 'app'", "it has: create_app (factory)", "try: barkeep 'api:create_app()'"])


def test_app_attribute_with_nothing_to_offer(explain, write):
    write("empty.py")
    write("app.py", APP)
    assert explain("empty") == ("app-attribute", [
        "module 'empty' has no 'application' or 'app'", "it has nothing that looks like an application",
        "found here: app.py has 'application' (WSGI)", "try: barkeep app:application"])
    assert explain("app:application.deeper.still")[1][0] == "module 'app' has no 'application.deeper'"


def test_app_not_callable(explain, write):
    write("app.py", BOTH + "number = 3\nimport os\nnone = None\ndef make(): return None\nasync def job(): pass\n")
    assert explain("app:config") == ("app-not-callable", ["'app:config' is a dict, not an application"])
    assert explain("app:number") == ("app-not-callable", ["'app:number' is an int, not an application"])
    assert explain("app:os") == ("app-not-callable", ["'app:os' is a module, not an application"])
    assert explain("app:make()") == ("app-not-callable", ["'app:make()' is None, not an application"])
    assert explain("app:job") == ("app-not-callable", ["'app:job' is an async function that takes no (scope, receive, send)"])


def test_app_factory(explain, write):
    write("app.py", BOTH + "def twice(): return create_app\n")
    assert explain("app:create_app") == ("app-factory", [
        "'app:create_app' takes no (environ, start_response): a factory? try: barkeep 'app:create_app()'"])
    assert explain("app:twice()") == ("app-not-callable", ["what 'app:twice()' returned takes no (environ, start_response)"])


@pytest.mark.parametrize("setting, name, said", [
    ("sync", "api:app", "'api:app' is an ASGI application, worker class 'sync' serves WSGI"),
    ("gevent", "api:fast", "'api:fast' is an ASGI application (FastAPI), worker class 'gevent' serves WSGI"),
    ("asgi", "api:old", "'api:old' is a WSGI application, worker class 'asgi' serves ASGI"),
    ("asgi", "api:web", "'api:web' is a tornado application, worker class 'asgi' serves ASGI"),
    ("tornado", "api:app", "'api:app' is an ASGI application, worker class 'tornado' serves tornado and WSGI"),
])
def test_class_mismatch(package, write, setting, name, said):
    from barkeep import classes, loader
    write("api.py", "async def app(scope, receive, send): pass\ndef old(environ, start_response): pass\n"
                    "class FastAPI:\n    __module__ = 'fastapi.applications'\nfast = FastAPI()\n"
                    "class Application:\n    __module__ = 'tornado.web'\nweb = Application()\n")
    with pytest.raises(loader.Problem) as caught:
        classes.choose(setting, loader.load(name))
    assert caught.value.key == "class-mismatch" and caught.value.what == said
    assert caught.value.lines[0].startswith(f"try: barkeep {name} ")


def test_class_package(package, monkeypatch, tmp_path):
    from barkeep import diagnose
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    missing, old = diagnose.class_package("gevent", "gevent", "24.10"), diagnose.class_package("gevent", "gevent", "24.10", "21.1")
    assert missing.key == "class-package" and missing.code == 2
    assert missing.text.splitlines() == [
        "worker class 'gevent' needs the package gevent (24.10 or newer), which .venv does not have",
        "try: .venv/bin/python -m pip install gevent"]
    assert old.text.splitlines() == ["worker class 'gevent' needs the package gevent (24.10 or newer), .venv has 21.1",
                                     "try: .venv/bin/python -m pip install -U gevent"]


# ---- (5) the import ------------------------------------------------------------------------------------------------

def test_app_import(explain, write):
    write("shop/__init__.py")
    write("shop/wsgi.py", "\n\nfrom shop.settings import DATABASE\n")
    write("shop/settings.py", "import os\n" * 8 + 'DATABASE = os.environ["DATABASE_URL"]\n')
    assert explain("shop.wsgi") == ("app-import", [
        "'shop.wsgi' raised KeyError while being imported",
        'File "shop/wsgi.py", line 3, in <module>',
        "  from shop.settings import DATABASE",
        'File "shop/settings.py", line 9, in <module>',
        '  DATABASE = os.environ["DATABASE_URL"]',
        "KeyError: 'DATABASE_URL'"])


def test_syntax_error(explain, write):
    write("app.py", "def application(environ, start_response)\n    pass\n")
    key, lines = explain("app")
    assert (key, lines[:3]) == ("app-import", ["'app' raised SyntaxError while being imported", 'File "app.py", line 1',
                                               "  def application(environ, start_response)"])
    assert lines[-1] == "SyntaxError: expected ':'"


def test_chained_exceptions(explain, write):
    write("app.py", "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e\n")
    assert explain("app")[1] == [
        "'app' raised ValueError while being imported",
        'File "app.py", line 2, in <module>', "  {}['a']", "KeyError: 'a'",
        "", "The above exception was the direct cause of the following exception:", "",
        'File "app.py", line 4, in <module>', "  raise ValueError('b') from e", "ValueError: b"]


def test_system_exit(explain, write):
    write("app.py", "import sys\nsys.exit('no settings')\n")
    assert explain("app") == ("app-import", ["'app' raised SystemExit while being imported", 'File "app.py", line 2, in <module>',
                                             "  sys.exit('no settings')", "SystemExit: no settings"])


def test_factory_that_raises(explain, write):
    write("app.py", "def create_app(size): raise ValueError(size)\n")
    assert explain("app:create_app(3)")[1][0] == "'app:create_app(3)' raised ValueError while being called"
    assert explain("app:create_app()")[1] == [
        "'app:create_app()' raised TypeError while being called", "TypeError: create_app() missing 1 required positional argument: 'size'"]


def test_endless_recursion_is_shortened(explain, write):
    write("app.py", "def f(): f()\nf()\n")
    lines = explain("app")[1]
    assert len(lines) < 100 and any(line.startswith("... ") and line.endswith(" frames ...") for line in lines)


def test_strange_text_stays_printable(explain, write):
    write("app.py", r"""raise ValueError("a\x1b[2J\nb\udcff" + "c" * 5000)""")
    lines = explain("app")[1]
    assert lines[-2] == r"ValueError: a\x1b[2J"
    assert lines[-1].startswith(r"b\udcffccc") and lines[-1].endswith("c...") and len(lines[-1]) < 600


def test_exception_that_cannot_say_what_it_is(explain, write):
    write("app.py", "class E(Exception):\n    def __str__(self): raise OSError\nraise E\n")
    assert explain("app")[1][0] == "'app' raised E while being imported"
