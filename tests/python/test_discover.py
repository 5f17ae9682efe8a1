"""discover.py: finds applications by reading."""
import os

import pytest

WSGI = "def application(environ, start_response): pass\n"


def find(directory="."):
    from barkeep import discover
    return list(map(str, discover.applications(directory)))


@pytest.mark.parametrize("text, found", [
    ("def application(environ, start_response): pass", "'application' (WSGI)"),
    ("import flask\napp = flask.Flask(__name__)", "'app' (Flask)"),
    ("from flask import Flask as F\nsite = F(__name__)\nsite = Proxy(site)", None),
    ("from flask import Flask\napp = Flask(__name__)\napp = ProxyFix(app)", "'app' (Flask)"),
    ("from fastapi import FastAPI\napp: FastAPI = FastAPI()", "'app' (FastAPI)"),
    ("from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()", "'application' (Django)"),
    ("import bottle\napplication = app = bottle.default_app()", "'application' (Bottle)"),
    ("def create_app(config=None): pass", "'create_app' (factory)"),
    ("def create_app(): pass\ndef app(environ, start_response): pass", "'app' (WSGI)"),
    ("async def app(scope, receive, send): pass", "'app' (ASGI)"),
    ("class App:\n  def __call__(self, environ, start_response): pass\napp = App()", "'app' (WSGI)"),
    ("from flask import Flask\nclass Mine(Flask): pass\napp = Mine(__name__)", "'app' (Flask)"),
    ("from pyramid.config import Configurator\napp = Configurator().make_wsgi_app()", "'app' (Pyramid)"),
    ("try:\n  from flask import Flask\nexcept ImportError: pass\nif True:\n  app = Flask(__name__)", "'app' (Flask)"),
    ("def helper(a, b): pass\nx = 3", None),
    ("app = {}", None),
    ("def broken(:", None),
    ("\0", None),
])
def test_one_file(write, text, found):
    write("app.py", text)
    assert find() == ([f"app.py has {found}"] if found else [])


def test_order_and_places(write):
    for name in ("app.py", "zeta.py", "shop/wsgi.py", "shop/views.py", "tests/app.py", ".venv/lib/app.py", "test_x.py",
                 "my-app.py", "other/pyvenv.cfg", "other/app.py"):
        write(name, WSGI)
    write("api.py", "from fastapi import FastAPI\napp = FastAPI()\n")
    write("pack/__init__.py", "def create_app(): pass\n")
    assert find() == ["app.py has 'application' (WSGI)", "zeta.py has 'application' (WSGI)", "shop/wsgi.py has 'application' (WSGI)",
                      "pack/__init__.py has 'create_app' (factory)", "api.py has 'app' (FastAPI)"]


def test_strange_files(write, tmp_path):
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "directory.py").mkdir()
    (tmp_path / "loop.py").symlink_to("loop.py")
    write("big.py", WSGI + "#" * 300000)
    write("deep.py", "x = " + "(" * 5000 + ")" * 5000)
    write("app.py", WSGI)
    assert find() == ["app.py has 'application' (WSGI)"]
    assert find("nowhere") == []


def test_factory_is_quoted(write):
    from barkeep import discover
    write("shop/__init__.py", "def create_app(): pass\n")
    [one] = discover.applications(".")
    assert one.target == "'shop:create_app()'"
