"""loader.py: what can stand behind `barkeep`."""
import sys

import pytest

WSGI = "def {0}(environ, start_response):\n    return [b'{0}']\n"


@pytest.fixture(autouse=True)
def path(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))


def load(text):
    from barkeep import loader
    return loader.load(text)


def problem(text):
    from barkeep import loader
    with pytest.raises(loader.Problem) as caught:
        loader.load(text)
    return caught.value


@pytest.mark.parametrize("target, shown, answer", [
    ("app", "app:application", b"application"),
    ("app:application", "app:application", b"application"),
    ("app:other", "app:other", b"other"),
    ("app:box.inner", "app:box.inner", b"inner"),
    ("app.py", "app.py:application", b"application"),
    ("./app.py", "./app.py:application", b"application"),
    ("./app.py:other", "./app.py:other", b"other"),
    ("app.py:application", "app.py:application", b"application"),
    ("shop.wsgi", "shop.wsgi:application", b"shop"),
    ("shop/wsgi.py", "shop/wsgi.py:application", b"shop"),
    ("sub/api.py", "sub/api.py:app", b"app"),
    ("app:create_app()", "app:create_app()", b"a/False"),
    ("app:create_app('x', debug=True)", "app:create_app('x', debug=True)", b"x/True"),
    ("app:create_app(name={'a': [1, (2, None)]})", "app:create_app(name={'a': [1, (2, None)]})", b"{'a': [1, (2, None)]}/False"),
    ("app:create_app('a:b.py:c')", "app:create_app('a:b.py:c')", b"a:b.py:c/False"),
    ("app:box.make('y')", "app:box.make('y')", b"y/False"),
    ("app:holder('z').app", "app:holder('z').app", b"z/False"),
    ("app:Old", "app:Old", b"old"),
])
def test_targets(write, target, shown, answer):
    write("app.py", WSGI.format("application") + WSGI.format("other") + WSGI.format("inner") + """
def create_app(name='a', debug=False):
    return lambda environ, start_response: [f'{name}/{debug}'.encode()]
class box:
    inner, make = inner, create_app
class holder:
    def __init__(self, name):
        self.app = create_app(name)
class Old:
    def __init__(self, environ, start_response): pass
    def __iter__(self): return iter([b'old'])
""")
    write("shop/__init__.py")
    write("shop/wsgi.py", "from .views import application\n")
    write("shop/views.py", "def application(environ, start_response): return [b'shop']")
    write("sub/api.py", "import neighbour\n" + WSGI.format("app"))
    write("sub/neighbour.py")
    loaded = load(target)
    assert (loaded.name, loaded.kind.interface) == (shown, "WSGI")
    assert list(loaded.app({}, None)) == [answer]


def test_file_with_a_name_of_the_standard_library(write):
    import queue
    write("queue.py", WSGI.format("application"))
    write("my-app.py", WSGI.format("application"))
    write("noend", WSGI.format("application"))
    assert list(load("./queue.py").app({}, None)) == [b"application"]
    assert sys.modules["queue"] is queue
    assert load("my-app.py").app.__module__ == "my_app"
    assert list(load("./noend").app({}, None)) == [b"application"]


def test_a_file_is_not_imported_twice(write):
    write("sub/main.py", "import other_of_main\n" + WSGI.format("application"))
    write("sub/other_of_main.py", "import main\nassert main.__name__ == 'main'\n")
    load("sub/main.py")


def test_failed_import_leaves_no_half_module(write):
    write("half.py", "1 / 0")
    assert problem("half.py").key == "app-import"
    assert "half" not in sys.modules


@pytest.mark.parametrize("target, key, what", [
    ("app:create_app(x)", "app-factory", "'app:create_app(x)': the arguments of a factory are literals only"),
    ("app:create_app(*[1])", "app-factory", "'app:create_app(*[1])': the arguments of a factory are literals only"),
    ("app:create_app(**{'a': 1})", "app-factory", "'app:create_app(**{'a': 1})': the arguments of a factory are literals only"),
    ("app:create_app(__import__('os'))", "app-factory", "'app:create_app(__import__('os'))': the arguments of a factory are literals only"),
    ("app:create_app(", "app-attribute", "'create_app(' is neither a name nor a call"),
    ("app:a-b", "app-attribute", "'a-b' is neither a name nor a call"),
    ("app:1", "app-attribute", "'1' is neither a name nor a call"),
    ("app:a[0]", "app-attribute", "'a[0]' is neither a name nor a call"),
])
def test_expressions_that_are_refused_before_the_import(write, target, key, what):
    write("app.py", "raise SystemExit('imported')")
    found = problem(target)
    assert (found.key, found.what) == (key, what)


def test_keyboard_interrupt_is_nobodys_mistake(write):
    write("app.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("app")


def test_codes_come_from_the_table():
    from barkeep.loader import Problem
    assert Problem("app-module", "").code == 4
    assert Problem("class-mismatch", "").code == 2
