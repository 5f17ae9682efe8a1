"""serve.py: barkeep.run in a script, with the fake engine."""
import os
import signal
import subprocess
import sys
import threading
import time

import pytest


def application(environ, start_response):
    return []


@pytest.fixture
def engine():
    from barkeep import _engine
    del _engine.workers[:], _engine.on_serve[:], _engine.records[:]
    return _engine


def run(*given, **more):
    import barkeep
    return barkeep.run(*given, **more)


def test_start_and_stop_lines(engine, capsys):
    assert run(application) is None
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "barkeep 0.0.test serving test_serve:application (WSGI) on http://127.0.0.1:8000"
    assert second.startswith(f"  python {sys.version.split()[0]}") and second.endswith(" ms; Ctrl-C stops")
    assert last == "stopped: 3 requests, 1 error"


def test_settings_become_text_of_the_engine(engine, tmp_path):
    run(application, bind=["127.0.0.1:0", "unix:x"], keep_alive=2.5, sendfile=False, access_logfile=tmp_path, spill_dir=None,
        secure_scheme_headers={"X-Https": "on"}, workers=1, **{"header-timeout": "5s"})
    assert engine.workers[0].told["settings"] == {
        "bind": ["127.0.0.1:0", "unix:x"], "keep_alive": 2.5, "sendfile": False, "access_logfile": str(tmp_path),
        "secure_scheme_headers": ["X-Https=on"], "workers": 1, "header_timeout": "5s"}


@pytest.mark.parametrize("settings, said", [
    ({"wokers": 4}, "wokers '4': no such setting"),
    ({"workers": 4}, "barkeep.run serves in this process, with one worker: use the barkeep command for more"),
    ({"venv": ".venv"}, "venv is for the barkeep command: barkeep.run serves an application of this process"),
    ({"chdir": "/"}, "chdir is for the barkeep command: barkeep.run serves an application of this process"),
])
def test_wrong_settings(engine, settings, said):
    with pytest.raises(ValueError) as caught:
        run(application, **settings)
    assert str(caught.value) == said


def test_wrong_applications(engine, write):
    from barkeep.loader import Problem
    with pytest.raises(TypeError, match="^barkeep.run serves an application or the name of one, not dict$"):
        run({})
    async def app(scope, receive, send): pass
    with pytest.raises(Problem, match="is an ASGI application, worker class 'sync' serves WSGI"):
        run(app, worker_class="sync")
    with pytest.raises(Problem, match="no module named 'nowhere'"):
        run("nowhere:app")


def test_by_name(engine, write, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    write("by_name.py", "def app(environ, start_response): pass\n")
    run("by_name")
    assert "serving by_name:app (WSGI)" in capsys.readouterr().err


def test_signals_stop_and_are_put_back(engine):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    engine.on_serve.append(lambda worker, app: os.kill(os.getpid(), signal.SIGINT))
    run(application)
    assert engine.workers[0].stopped == [True]
    engine.on_serve[0] = lambda worker, app: os.kill(os.getpid(), signal.SIGTERM)
    run(application)
    assert engine.workers[1].stopped == [False]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_second_interrupt_breaks_off_the_application(engine):
    reached = []

    def busy(worker, app):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        reached.append("too far")
    engine.on_serve.append(busy)
    run(application)
    assert (engine.workers[0].stopped, reached) == ([True, True], [])


def test_other_exceptions_pass(engine):
    def leave(worker, app): raise SystemExit(3)
    engine.on_serve.append(leave)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        run(application)
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread(engine, capsys):
    servers, before = [], signal.getsignal(signal.SIGINT)

    def serving(worker, app):
        assert signal.getsignal(signal.SIGINT) is before
        servers[0].stop()
    engine.on_serve.append(serving)
    thread = threading.Thread(target=run, args=[application], kwargs={"ready": servers.append})
    thread.start()
    thread.join(20)
    assert not thread.is_alive() and engine.workers[0].stopped == [False]
    assert servers[0].address == "http://127.0.0.1:8000"
    assert "Ctrl-C" not in capsys.readouterr().err
    servers[0].stop()  # long over: nothing to stop
    assert engine.workers[0].stopped == [False]


def test_loggers_while_it_serves(engine):
    import logging
    engine.on_serve.append(lambda worker, app: logging.getLogger("gunicorn.error").warning("now"))
    run(application, log_level="warning")
    assert engine.records == [("warning", None, "now", "")]
    logger = logging.getLogger("gunicorn.error")
    assert (logger.handlers, logger.propagate) == ([], True)


def test_name_of_a_script(package, write):
    write("script.py", """
import barkeep
class Flask:
    import_name = "__main__"
    def __call__(self, environ, start_response): pass
site = Flask()
def plain(environ, start_response): pass
barkeep.run(site), barkeep.run(plain), barkeep.run(lambda e, s: [])
""")
    said = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(package)})
    assert [line.split()[3] for line in said.stderr.splitlines() if "serving" in line] == [
        "script.py:site", "script.py:plain", "script.py:<lambda>"]


def test_importing_the_package_loads_nothing(package):
    code = "import sys, barkeep; print('barkeep._engine' in sys.modules, barkeep.__version__, 'run' in dir(barkeep)); barkeep.run"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(package)})
    assert said.stdout == "False 0.0.test True\n", said.stderr
    import barkeep
    with pytest.raises(AttributeError, match="module 'barkeep' has no attribute 'nothing'"):
        barkeep.nothing
