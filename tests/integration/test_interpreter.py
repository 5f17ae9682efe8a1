"""What the application finds in a worker, and the ways to start one from Python: python -m barkeep, barkeep.run, a bootstrap
that made sys.path, a tracer."""
import json
import os
import shutil
import re
import signal
import socket
import subprocess
import textwrap
import urllib.request
from pathlib import Path

import pytest
from harness.server import PYTHON, Server
from harness.terminal import Terminal

APP = """
    import json, os, signal, sys, threading
    main = sys.modules["__main__"]
    def application(environ, start_response):
        facts = {"argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "flags": repr(sys.flags), "executable": sys.executable,
                 "main": [main.__name__, main.__spec__, hasattr(main, "__file__")], "modules": sorted(sys.modules),
                 "threads": [type(thread).__name__ for thread in threading.enumerate()], "pid": os.getpid(),
                 "environ": dict(os.environ), "stdin": os.readlink("/proc/self/fd/0")}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(facts, default=str).encode()]
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


# ---- in a worker ---------------------------------------------------------------------------------------------------

def test_facts(serve, place):
    server = serve("app", cwd=place)
    facts = server.get("/").json()
    assert facts["argv"] == ["barkeep", "--bind", "127.0.0.1:0", "app"]
    assert facts["path"][0] == facts["cwd"] == str(place)
    assert not [entry for entry in facts["path"] if entry.endswith("/_boot")]
    assert facts["main"] == ["__main__", None, False]
    assert facts["threads"][0] == "_MainThread" and set(facts["threads"][1:]) == {"Thread"}  # real ones; four, as they come up
    assert Path(facts["executable"]).parent == Path(PYTHON).parent  # not resolved: the virtualenv would be lost
    assert facts["stdin"] == "/dev/null"
    assert serve("app", "-k", "sync", cwd=place).get("/").json()["threads"] == ["_MainThread"]
    assert not [name for name in facts["environ"] if name.startswith(("BARKEEP_", "LISTEN_", "NOTIFY_")) and name not in ("BARKEEP_TEST_ID", "BARKEEP_USER")]


def test_interpreter_flags_reach_the_worker(serve, place):
    server = serve("app", cwd=place, command=[PYTHON, "-O", "-X", "dev", "-W", "error::UserWarning", "-m", "barkeep"])
    flags = server.get("/").json()["flags"]
    assert "optimize=1" in flags and "dev_mode=True" in flags


def test_sitecustomize_reaches_the_worker(serve, place):
    """How opentelemetry-instrument and ddtrace-run get into a process."""
    write(place / "hooks/sitecustomize.py", "import sys\nsys.modules['instrumented'] = sys\n")
    server = serve("app", cwd=place, env={"PYTHONPATH": str(place / "hooks")})
    assert "instrumented" in server.get("/").json()["modules"]


@pytest.mark.parametrize("others", ([], ["elsewhere"]), ids=("alone", "with others"))
def test_sitecustomize_that_hides_itself_reaches_the_worker(serve, place, others):
    """opentelemetry-instrument takes its directory out of PYTHONPATH in the first process that it is in."""
    hooks = place / "hooks"
    write(hooks / "sitecustomize.py", """
        import os, sys
        sys.modules['instrumented'] = sys
        here = os.path.dirname(os.path.abspath(__file__))
        os.environ["PYTHONPATH"] = os.pathsep.join(d for d in os.environ["PYTHONPATH"].split(os.pathsep) if d != here)
    """)
    server = serve("app", cwd=place, env={"PYTHONPATH": os.pathsep.join([str(hooks), *others])})
    facts = server.get("/").json()
    assert "instrumented" in facts["modules"]
    assert facts["environ"]["PYTHONPATH"] == os.pathsep.join(others)  # and hides itself from the worker's children again


def test_wrapper_that_execs_the_command(serve, place):
    write(place / "hooks/sitecustomize.py", "import sys\nsys.modules['instrumented'] = sys\n")
    wrapper = write(place / "instrument.py", """
        import os, sys
        os.environ["PYTHONPATH"] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hooks")
        os.execv(sys.argv[1], sys.argv[1:])
    """)
    server = serve("app", cwd=place, command=[PYTHON, wrapper, Path(PYTHON).parent / "barkeep"])
    assert "instrumented" in server.get("/").json()["modules"]


def test_path_of_a_bootstrap_reaches_the_worker(serve, place):
    """PEX, Bazel, buildout: the package is where only the start script knows."""
    package = subprocess.run([PYTHON, "-c", "import barkeep; print(barkeep.__path__[0])"], capture_output=True, text=True, check=True)
    shutil.copytree(package.stdout.strip(), place / "vendored/barkeep")
    write(place / "vendored/only_here.py", "")
    start = write(place / "start.py", """
        import os, sys
        sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "vendored"))
        from barkeep.__main__ import main
        sys.exit(main())
    """)
    write(place / "needy.py", "import only_here\nfrom app import application\n")
    server = serve("needy", cwd=place, command=[PYTHON, start])
    assert str(place / "vendored") in server.get("/").json()["path"]


def test_symlinked_directory_of_a_deployment(serve, place):
    """Late imports come from the release that was started, also after the symlink has moved on."""
    (place / "current").symlink_to(place)
    server = serve("app", "--chdir", "current", cwd=place)
    assert server.get("/").json()["path"][0] == str(place)


def test_pythonpath_option(serve, place):
    write(place / "one/lib.py", "")
    server = serve("app", "--pythonpath", "one,two", cwd=place)
    assert server.get("/").json()["path"][:3] == [str(place / "one"), str(place / "two"), str(place)]


def test_files_named_like_ours_and_the_librarys(serve, place):
    for name in ("barkeep", "signal", "worker", "loader", "queue"):
        write(place / f"{name}.py", "raise SystemExit('imported by mistake')")
    server = serve("app", cwd=place, env={"PYTHONPATH": None})
    assert server.get("/").status == 200


def test_loggers(serve, place):
    write(place / "logs.py", """
        import logging
        from app import application
        borrowed = logging.getLogger("gunicorn.error")
        logging.getLogger("shop").handlers = borrowed.handlers
        logging.getLogger("shop").warning("said by the shop")
        logging.getLogger("uvicorn.error").error("said to uvicorn")
        logging.getLogger("barkeep.error").info("said to barkeep")
        logging.getLogger("barkeep.error").debug("too low")
    """)
    server = serve("logs", cwd=place)
    for line in ("warning: said by the shop", "error: said to uvicorn", "info: said to barkeep"):
        server.wait_log(line)
        assert server.log.count(line) == 1
    assert "too low" not in server.log


def test_end_of_a_worker_is_that_of_any_program(serve, place):
    write(place / "ends.py", """
        import atexit, threading, time
        from app import application
        atexit.register(lambda: print("atexit", flush=True))
        over = threading.Event()
        def late():
            threading.main_thread().join()
            print("thread", flush=True)
        threading.Thread(target=late).start()
    """)
    server = serve("ends", cwd=place)
    assert server.stop() == 0
    assert server.out == "thread\natexit\n"


def test_group_signals_during_a_view_that_uses_asyncio(serve, place):
    write(place / "loops.py", """
        import asyncio, os, signal
        async def view():
            await asyncio.sleep(0)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
            await asyncio.sleep(0.05)
            return b"whole"
        def application(environ, start_response):
            body = asyncio.run(view())
            start_response("200 OK", [])
            return [body]
    """)
    server = serve("loops", cwd=place)
    pid = server.worker()
    for _ in range(3):
        assert server.get("/").body == b"whole"
    assert server.worker() == pid


# ---- barkeep.run ---------------------------------------------------------------------------------------------------

def script(place, text, *words, **more):
    write(place / "script.py", "import barkeep\nfrom app import application\n" + textwrap.dedent(text))
    return subprocess.run([PYTHON, "script.py", *words], cwd=place, capture_output=True, text=True, timeout=60,
                          env=Server(None, bind=None, workers=None).env, **more)


def test_run_again_and_again_leaves_nothing(place):
    said = script(place, """
        import os, threading, time, urllib.request
        def threads_when_joined():  # join() returns a moment before the kernel's thread is gone
            deadline = time.monotonic() + 10
            while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            return len(os.listdir("/proc/self/task"))
        def ready(server):
            def ask():
                urllib.request.urlopen(server.address).read()
                server.stop()
            asking.append(threading.Thread(target=ask))
            asking[-1].start()
        counts, asking = [], []
        for _ in range(5):
            barkeep.run(application, bind="127.0.0.1:0", ready=ready)
            asking[-1].join()
            counts.append((len(os.listdir("/proc/self/fd")), threads_when_joined()))
        print(counts[0] == counts[-1] or counts)
    """)
    assert said.stdout == "True\n", said.stderr
    assert said.stderr.count("stopped: 1 request, 0 errors") == 5


def test_run_in_another_thread(place):
    said = script(place, """
        import queue, threading, urllib.request
        servers = queue.Queue()
        thread = threading.Thread(target=barkeep.run, args=[application], kwargs={"bind": "127.0.0.1:0", "ready": servers.put})
        thread.start()
        server = servers.get(timeout=20)
        print(urllib.request.urlopen(server.address).status)
        server.stop()
        thread.join(20)
        print(thread.is_alive())
    """)
    assert said.stdout == "200\nFalse\n", said.stderr


def test_run_stops_at_ctrl_c(place):
    write(place / "script.py", "import barkeep\nfrom app import application\nbarkeep.run(application, bind='127.0.0.1:0')\nprint('goes on')\n")
    with Terminal("script.py", cwd=place, command=PYTHON) as terminal:
        address = terminal.wait_text(r"serving app:application \(WSGI\) on (http://\S+)\n  python \S+ .*Ctrl-C stops\n")[1]
        assert json.load(urllib.request.urlopen(address))["argv"] == ["script.py"]
        terminal.wait_text(r"\n200 GET / \d+ B \d+\.\d ms\n")
        terminal.type("\x03")
        assert terminal.ended() == 0
    assert terminal.text.endswith("stopped: 1 request, 0 errors\ngoes on\n")


def test_log_files_of_run(place):
    said = script(place, """
        def raising(environ, start_response):
            raise LookupError("of the view")

        def ready(server):
            def visit():
                with contextlib.suppress(urllib.error.HTTPError):
                    urllib.request.urlopen(server.address)
                server.stop()
            threading.Thread(target=visit).start()

        import contextlib, threading, urllib.request
        barkeep.run(raising, bind="127.0.0.1:0", ready=ready, access_logfile="access.log", error_logfile="error.log")
        for name in ("nowhere/access.log", "syslog"):
            try:
                barkeep.run(raising, bind="127.0.0.1:0", access_logfile=name)
            except OSError as error:
                print(error)
    """)
    assert said.stdout.splitlines() == ["[Errno 2] cannot log to 'nowhere/access.log': ENOENT",
                                        "[Errno 95] cannot log to 'syslog': only files and - in this process"], said.stderr
    assert '"GET / HTTP/1.1" 500 ' in (place / "access.log").read_text()
    assert "LookupError: of the view" in (place / "error.log").read_text() and "LookupError" not in said.stderr


def test_run_reports_what_is_wrong(place):
    said = script(place, """
        import socket
        taken = socket.create_server(("127.0.0.1", 0))
        for settings in ({"bind": "127.0.0.1:%d" % taken.getsockname()[1]}, {"wokers": 2}, {"keep_alive": "soon"}, {"log_format": "json"}):
            try:
                barkeep.run(application, **settings)
            except Exception as error:
                print(type(error).__name__)
    """)
    assert said.stdout == "OSError\nValueError\nValueError\nValueError\n", said.stderr


def run_at(place, **settings):
    write(place / "at.py", f"import barkeep\nfrom app import application\nbarkeep.run(application, **{settings!r})\n")
    done = subprocess.run([PYTHON, "at.py"], cwd=place, env=Server(None, bind=None, workers=None).env,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


def test_run_says_about_addresses_what_the_command_says(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lines = run_at(place, bind=f"127.0.0.1:{port}").splitlines()[-3:]
        assert lines[0] == f"OSError: [Errno 98] http://127.0.0.1:{port} is taken [bind-in-use]"
        assert re.fullmatch(rf"  by: \S+ \(pid {os.getpid()}, user \S+\), for .*", lines[1])
        assert re.fullmatch(r'  try: bind="127\.0\.0\.1:\d+"', lines[2])
    said = run_at(place, bind=["127.0.0.1:0", "unix:nowhere/web.sock"])
    assert said.endswith("FileNotFoundError: [Errno 2] cannot create unix:nowhere/web.sock: there is no directory 'nowhere' [bind-failed]\n"
                         "  try: mkdir -p nowhere\n")
    assert "OSError: [Errno 88] cannot use fd://1: it is no socket [bind-failed]" in run_at(place, bind="fd://1").splitlines()
    assert run_at(place, bind="127.0.0.1:99999").endswith("ValueError: bind '127.0.0.1:99999': a port is 0 to 65535\n")


def test_fork_in_a_script_that_serves(place):
    """The child of a view is not a second server."""
    said = script(place, """
        import os, threading, urllib.request
        def forking(environ, start_response):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            return application(environ, start_response)
        def ready(server):
            def ask():
                for _ in range(3):
                    print(urllib.request.urlopen(server.address).status)
                server.stop()
            threading.Thread(target=ask).start()
        barkeep.run(forking, bind="127.0.0.1:0", ready=ready)
    """)
    assert said.stdout == "200\n200\n200\n", said.stderr


# ---- tracers -------------------------------------------------------------------------------------------------------

def test_a_tracer_sees_the_application(place):
    write(place / "trace_it.py", """
        import json, runpy, sys
        seen = set()
        def trace(frame, event, argument):
            seen.add((frame.f_code.co_filename.rpartition("/")[2], frame.f_code.co_name))
        sys.argv = ["barkeep", *sys.argv[1:]]
        sys.settrace(trace)
        try:
            runpy.run_module("barkeep", run_name="__main__")
        finally:
            sys.settrace(None)
            print(("app.py", "application") in seen)
    """)
    server = Server(None, bind=None, workers=None)
    with subprocess.Popen([PYTHON, "trace_it.py", "app", "--bind", "127.0.0.1:0", "--workers", "3"], cwd=place, env=server.env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stderr.readline() for _ in range(3)]
        assert "is at work, so one worker serves in this process" in lines[0], lines
        address = lines[1].split()[-1]
        facts = json.load(urllib.request.urlopen(address))
        assert (facts["pid"], facts["argv"]) == (process.pid, ["barkeep", "app", "--bind", "127.0.0.1:0", "--workers", "3"])
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "True\n"), err


def test_startup_error_under_a_tracer_is_the_same(place):
    code = "import sys; sys.settrace(lambda *_: None); sys.argv[0] = 'barkeep'; from barkeep.__main__ import main; sys.exit(main())"
    said = subprocess.run([PYTHON, "-c", code, "ap:application"], cwd=place, capture_output=True, text=True, timeout=60,
                          env=Server(None, bind=None, workers=None).env)
    assert said.returncode == 4
    assert "barkeep: error: no module named 'ap' [app-module]\n" in said.stderr and "  near: app.py has 'application'" in said.stderr


def test_taken_address_under_a_tracer_is_the_same(place):
    code = "import sys; sys.settrace(lambda *_: None); sys.argv[0] = 'barkeep'; from barkeep.__main__ import main; sys.exit(main())"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = subprocess.run([PYTHON, "-c", code, "app", "--bind", f"127.0.0.1:{taken.getsockname()[1]}"], cwd=place, timeout=60,
                              capture_output=True, text=True, env=Server(None, bind=None, workers=None).env)
    assert said.returncode == 1
    assert re.search(r"is taken \[bind-in-use\]\n  by: .*\n  try: barkeep app:application --bind 127\.0\.0\.1:\d+\n$", said.stderr)
