"""What a user sees in the first minutes, word for word: the good way and the usual mistakes with applications, addresses and
environments, on a terminal (mistakes in options: test_cli_golden.py).
<...> stands for what varies; every other character counts. A changed word must show up here, to be read by somebody."""
import os
import socket
import subprocess
import time

import pytest
from harness import Conn, procs
from harness.server import PYTHON
from harness.terminal import Terminal, matches, run

APP = '''
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hi\\n"] if environ["PATH_INFO"] == "/" else [b"not here\\n"]
def create_app():
    return application
config = {"a": 1}
'''


@pytest.fixture
def place(tmp_path):
    """A directory as a beginner has it."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check(expected, code, result):
    assert not (difference := matches(expected, result[1])), difference
    assert result[0] == code, result[1]


# ---- the way that works ------------------------------------------------------------------------------------------------

def test_the_good_way(place):
    port = free_port()
    with Terminal("app:application", "--bind", f"127.0.0.1:{port}", cwd=place) as terminal:
        terminal.wait_text(r"Ctrl-C stops\n")
        with Conn(("127.0.0.1", port)) as conn:
            assert conn.get("/").body == b"hi\n"
            terminal.wait_text(r"200 GET /")
        with Conn(("127.0.0.1", port)) as conn:
            conn.send(b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            conn.response()
            terminal.wait_text(r"favicon")
        terminal.type("\x03")
        assert terminal.ended() == 0
    assert not (difference := matches(f"""
barkeep <0.1.0> serving app:application (WSGI) on http://127.0.0.1:{port}
  python <3.13.1> in <.venv>, 1 worker x 4 threads, ready in <64> ms; Ctrl-C stops
200 GET / 3 B <0.2> ms
200 GET /favicon.ico 9 B <0.1> ms
^Cstopped: 2 requests, 0 errors
""", terminal.text)), difference


def test_hang_up_stops(place):
    """A closed laptop lid must not leave a server on the port."""
    port = free_port()
    with Terminal("app:application", "--bind", f"127.0.0.1:{port}", cwd=place) as terminal:
        terminal.wait_text(r"Ctrl-C stops\n")
        os.close(terminal.leader)
        terminal.leader = os.open("/dev/null", os.O_RDWR)
        terminal.process.wait(20 * procs.SLOW)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_check_config(place):
    check("""
ok: app:application (WSGI) imports in <1.8 s> with python <3.13.1> in <.venv>
  bind http://127.0.0.1:8000 (default), workers 8 (command line), threads 4 (default)
""", 0, run("app", "--workers", "8", "--check-config", cwd=place))


@pytest.mark.parametrize("target", ["app", "app:application", "./app.py", "app.py", "app.py:application", "app:create_app()"])
def test_ways_to_name_it(place, target):
    code, text = run(target, "--check-config", cwd=place)
    assert code == 0 and text.startswith("ok: "), text


# ---- the twelve mistakes, as far as this version has them ---------------------------------------------------------------

def test_1_wrong_module(place):
    check("""
barkeep: error: no module named 'ap' [app-module]
  looked in: . and <.venv> (python <3.13.1>)
  near: app.py has 'application'
  try: barkeep app:application
""", 4, run("ap:application", cwd=place))


def test_1_missing_dependency(place):
    (place / "shop").mkdir()
    (place / "shop/__init__.py").touch()
    (place / "shop/wsgi.py").write_text("from shop.settings import x\n")
    (place / "shop/settings.py").write_text("\n" * 11 + "import psycopg_not_there\n")
    code, text = run("shop.wsgi", cwd=place)
    assert code == 4
    assert text.startswith("barkeep: error: 'shop.wsgi' needs the module 'psycopg_not_there', which "), text
    assert "[app-dependency]" in text and 'File "shop/settings.py", line 12, in <module>' in text and "  try: install it into" in text


def test_2_wrong_attribute(place):
    check("""
barkeep: error: module 'app' has no 'aplication' [app-attribute]
  it has: application (WSGI), create_app (factory)
  try: barkeep app:application
""", 4, run("app:aplication", cwd=place))


def test_2_not_callable(place):
    code, text = run("app:config", cwd=place)
    assert code == 4 and text.startswith("barkeep: error: 'app:config' is a dict, not an application [app-not-callable]"), text


def test_2_a_factory(place):
    code, text = run("app:create_app", cwd=place)
    assert code == 4 and "[app-factory]" in text and "try: barkeep 'app:create_app()'" in text, text


def test_3_taken_port(place, serve):
    server = serve("everything")
    started = time.monotonic()
    code, text = run("app:application", "--bind", f"127.0.0.1:{server.port}", cwd=place)
    assert time.monotonic() - started < 2 * procs.SLOW
    check(f"""
barkeep: error: http://127.0.0.1:{server.port} is taken [bind-in-use]
  by: <barkeep> (pid {server.pid}, user <root>), for <3 h>
  try: barkeep app:application --bind 127.0.0.1:<8001>
""", 1, (code, text))


def test_4_no_such_virtualenv(place):
    code, text = run("--venv", "env", "app:application", cwd=place)
    assert code == 2 and text.startswith("barkeep: error: --venv 'env': no such directory [venv-missing]"), text


def test_4_virtualenv_without_barkeep(place):
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", place / "bare"], check=True)
    code, text = run("--venv", "bare", "app:application", cwd=place)
    assert code == 2 and text.startswith("barkeep: error: bare (python ") and "[venv-without-barkeep]" in text, text
    assert "  try: bare/bin/python -m pip install 'barkeep==" in text


def test_5_raises_at_import(place):
    (place / "settings.py").write_text("import os\n\nDATABASE = os.environ['DATABASE_URL_NOT_SET']\n")
    (place / "shop.py").write_text("from settings import DATABASE\n")
    check("""
barkeep: error: 'shop' raised KeyError while being imported [app-import]
  File "shop.py", line 1, in <module>
    from settings import DATABASE
  File "settings.py", line 3, in <module>
    DATABASE = os.environ['DATABASE_URL_NOT_SET']
  KeyError: 'DATABASE_URL_NOT_SET'
""", 4, run("shop", "--workers", "4", cwd=place))


def test_5_syntax_error(place):
    (place / "broken.py").write_text("def application(:\n    pass\n")
    code, text = run("broken", cwd=place)
    assert code == 4 and "[app-import]" in text and "SyntaxError" in text and "broken.py" in text, text
    assert "importlib" not in text


@pytest.mark.root
def test_6_no_permission_for_the_socket(place):
    (place / "run").mkdir(mode=0o755)
    code, text = run_as_nobody("app", "--bind", "unix:run/web.sock", cwd=place)
    assert code == 1 and text.startswith("barkeep: error: cannot create unix:run/web.sock: permission denied [bind-permission]"), text
    assert "directory run is root:root 0755" in text


def run_as_nobody(*words, cwd):
    for folder in (cwd, *cwd.parents):
        if folder.stat().st_mode & 0o5 != 0o5 and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o5)
    probe = "import os, sys; sys.exit(not os.access(os.path.realpath(sys.executable), os.X_OK))"
    if subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PYTHON, "-c", probe], capture_output=True).returncode:
        pytest.skip("this interpreter cannot be read by another user")
    with Terminal("--reuid=65534", "--regid=65534", "--clear-groups", os.path.join(os.path.dirname(PYTHON), "barkeep"), *words, cwd=cwd,
                  env={"BARKEEP_USER": None}, command="setpriv") as terminal:
        code = terminal.ended()
        return code, terminal.text


def test_8_tls_to_a_plain_port(serve):
    server = serve("everything")
    with server.connect() as conn:
        conn.send(bytes.fromhex("16030100c8010000c40303") + bytes(100))
        conn.recv_all()
    server.wait_log(rf"warning: a TLS handshake arrived on http://127\.0\.0\.1:{server.port} from 127\.0\.0\.1: use http://, "
                    r"or give --certfile .*\[wrong-protocol\]")


def test_9_asgi_for_a_wsgi_class(place):
    (place / "api.py").write_text("async def app(scope, receive, send):\n    pass\n")
    code, text = run("-k", "sync", "api:app", cwd=place)
    assert code == 2 and "is an ASGI application" in text and "[class-mismatch]" in text, text


def test_9_unknown_class(place):
    code, text = run("-k", "gevemt", "app", cwd=place)
    assert code == 2 and text.startswith("barkeep: error: no worker class 'gevemt'") and "[class-unknown]" in text, text


def test_daemon_is_refused_with_a_hint(place):
    code, text = run("-D", "app", cwd=place)
    assert code == 2 and "try:" in text, text


# ---- rules -------------------------------------------------------------------------------------------------------------


def test_breakpoint_works_with_one_worker(place):
    (place / "debugged.py").write_text(
        "def application(environ, start_response):\n    number = 41\n    breakpoint()\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [str(number).encode()]\n")
    port = free_port()
    with Terminal("debugged", "--bind", f"127.0.0.1:{port}", cwd=place) as terminal:
        terminal.wait_text(r"Ctrl-C stops\n")
        with Conn(("127.0.0.1", port)) as conn:
            conn.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            terminal.wait_text(r"\(Pdb\) ")
            terminal.type("number = 42\n")
            terminal.wait_text(r"number = 42\n(?s:.*)\(Pdb\) ")
            terminal.type("c\n")
            assert conn.response().body == b"42"
        terminal.type("\x03")
        assert terminal.ended() == 0
