"""Hooks of a gunicorn.conf.py: called in Gunicorn's order, with what their authors use; unable to hurt the server."""
import signal
import textwrap

import pytest
from harness import until
from harness.server import with_greenlets

APP = """
    import logging
    from os import environ as variables

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/raise":
            raise ValueError("raised")
        logging.getLogger("gunicorn.error").info("the application says hello")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"] if environ["PATH_INFO"] != "/slow" else iter([b"o", b"k"])

    async def asgi(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-one", b"two")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.fixture
def site(tmp_path):
    def make(conf):
        (tmp_path / "app.py").write_text(textwrap.dedent(APP))
        (tmp_path / "gunicorn.conf.py").write_text(textwrap.dedent(conf))
        return tmp_path
    return make


WORKER_HOOKS = """
    import os

    def post_fork(server, worker):
        server.log.info("H post_fork %s %s %s", server.pid == os.getppid(), worker.pid == os.getpid(), worker.age)
    def post_worker_init(worker):
        worker.log.info("H post_worker_init %s %s", callable(worker.wsgi), worker.cfg.graceful_timeout)
    def pre_request(worker, req):
        worker.log.info("H pre_request %s %s %s %s", req.method, req.path, req.uri, dict(req.headers).get("X-TEST"))
    def post_request(worker, req, environ, resp):
        worker.log.info("H post_request %s %s %s", req.path, resp.status, worker.nr >= 0)
    def worker_int(worker):
        worker.log.info("H worker_int")
    def worker_exit(server, worker):
        worker.log.info("H worker_exit %s", worker.alive)
"""


def hooks_called(server):
    return [line.split(" H ")[1] for line in server.log.splitlines() if " H " in line]


def test_hooks_of_workers_in_order(serve, site):
    server = serve("app", cwd=site(WORKER_HOOKS))
    assert server.get("/a/b?c=d", fields=["X-Test: yes"]).body == b"ok"
    assert server.get("/slow").body == b"ok"
    assert server.get("/raise").status == 500
    server.stop(signal.SIGINT)
    assert hooks_called(server) == [
        "post_fork True True 1", "post_worker_init True 25",
        "pre_request GET /a/b /a/b?c=d yes", "post_request /a/b 200 OK True",
        "pre_request GET /slow /slow None", "post_request /slow 200 OK True",
        "pre_request GET /raise /raise None", "post_request /raise None True",
        "worker_int", "worker_exit False"]
    assert server.log.count("the application says hello") == 2


def test_a_graceful_stop_is_no_interrupt(serve, site):
    server = serve("app", cwd=site(WORKER_HOOKS))
    server.stop(signal.SIGTERM)
    assert hooks_called(server)[-1] == "worker_exit False" and "worker_int" not in hooks_called(server)


@pytest.mark.parametrize("options", [["-k", "gthread", "--threads", "3"],
                                     pytest.param(["-k", "gevent"], marks=with_greenlets)], ids=lambda words: words[1])
def test_hooks_under_other_classes(options, serve, site):
    server = serve("app", *options, cwd=site(WORKER_HOOKS))
    for _ in range(5):
        assert server.get("/").status == 200
    server.stop()
    assert hooks_called(server).count("post_request / 200 OK True") == 5
    assert hooks_called(server)[-1] == "worker_exit False"


def test_hooks_around_asgi_requests(serve, site):
    server = serve("app:asgi", cwd=site(WORKER_HOOKS))
    assert server.get("/x?y=1").body == b"ok"
    server.wait_log("H post_request /x 200 True")
    assert "H pre_request GET /x /x?y=1 None" in server.log


def test_post_request_with_fewer_arguments(serve, site):
    server = serve("app", cwd=site("def post_request(worker, req):\n    worker.log.info('H %s', req.path)\n"))
    server.get("/short")
    server.wait_log(" H /short")


def test_a_hook_that_raises_before_the_application(serve, site):
    server = serve("app", cwd=site("def post_fork(server, worker):\n    raise RuntimeError('no')\n"), wait=False)
    assert server.ended() == 3
    assert "error: the hook post_fork raised RuntimeError [hook-failed]" in server.log and "RuntimeError: no" in server.log
    server.expected_exit = {3}


def test_hooks_that_raise_later(serve, site):
    server = serve("app", cwd=site("""
        def pre_request(worker, req):
            if req.path == "/no":
                raise RuntimeError("not that")
        def post_request(worker, req):
            raise RuntimeError("afterwards")
        def worker_exit(server, worker):
            raise RuntimeError("at the end")
    """))
    assert server.get("/no").status == 500
    assert server.get("/yes").status == 200
    server.wait_log(r"the hook post_request raised RuntimeError \[hook-failed\]", count=2)
    server.stop()
    assert "the hook worker_exit raised RuntimeError [hook-failed]" in server.log


def test_a_worker_that_says_it_is_not_alive_is_replaced(serve, site):
    server = serve("app", cwd=site("""
        def post_request(worker, req):
            if req.path == "/last":
                worker.alive = False
    """))
    first = server.worker()
    assert server.get("/last").status == 200
    until(lambda: server.workers() and server.workers() != [first], 20, "another worker")
    assert server.get("/").status == 200


def test_what_a_file_does_to_the_environment_and_the_path_reaches_workers(serve, site):
    cwd = site("""
        import os, sys
        os.environ["FROM_CONF"] = "yes"
        sys.path.insert(0, "below")
        raw_env = ["RAW=1"]
        wsgi_app = "inner:application"
    """)
    (cwd / "below").mkdir()
    (cwd / "below/inner.py").write_text(textwrap.dedent("""
        import os
        def application(environ, start_response):
            start_response("200 OK", [])
            return [f"{os.environ.get('FROM_CONF')} {os.environ.get('RAW')} {os.environ.get('OUTER')}".encode()]
    """))
    assert serve(None, "--env", "OUTER=2", cwd=cwd).get("/").body == b"yes 1 2"


def test_logconfig_dict(serve, site, tmp_path):
    server = serve("app", cwd=site(f"""
        logconfig_dict = {{
            "version": 1,
            "formatters": {{"mine": {{"format": "MINE %(message)s"}}}},
            "handlers": {{"file": {{"class": "logging.FileHandler", "filename": "{tmp_path}/app.log", "formatter": "mine"}}}},
            "loggers": {{"gunicorn.error": {{"level": "INFO", "handlers": ["file"], "propagate": False}}}},
        }}
    """))
    server.get("/")
    until(lambda: "MINE the application says hello" in (tmp_path / "app.log").read_text(), 10, "the line in the file")
    assert "the application says hello" not in server.log


def test_without_hooks_the_application_is_not_wrapped(serve, site):
    cwd = site("workers = 1\n")
    (cwd / "app.py").write_text("import sys\ndef application(environ, start_response):\n    start_response('200 OK', [])\n"
                                "    return [str('barkeep.hooks' in sys.modules).encode()]\n")
    assert serve("app", cwd=cwd).get("/").body == b"False"


# ---- the master's ---------------------------------------------------------------------------------------------------------

MASTER_HOOKS = """
    import os
    def note(text):
        with open("called", "a") as file:
            file.write(text + "\\n")
    def on_starting(server): note(f"on_starting {server.pid == os.getppid()} {server.cfg.workers}")
    def when_ready(server): note("when_ready")
    def pre_fork(server, worker): note(f"pre_fork {worker.age}")
    def nworkers_changed(server, new, old): note(f"nworkers_changed {new} {old}")
    def on_reload(server): note("on_reload"); server.log.info("the hook on_reload says so")
    def child_exit(server, worker): note(f"child_exit {worker.age} {worker.pid}")
    def on_exit(server): note("on_exit")
"""


def called(cwd):
    return (cwd / "called").read_text().splitlines() if (cwd / "called").exists() else []


def test_hooks_of_the_master_in_order(serve, site):
    cwd = site(MASTER_HOOKS)
    server = serve("app", workers=2, cwd=cwd)
    until(lambda: len(called(cwd)) >= 5, 20, "the first hooks")
    assert called(cwd) == ["nworkers_changed 2 None", "on_starting True 2", "when_ready", "pre_fork 1", "pre_fork 2"]
    first = server.workers()
    server.signal(signal.SIGTTIN)
    until(lambda: "pre_fork 3" in called(cwd), 20, "a third worker")
    assert "nworkers_changed 3 2" in called(cwd)
    until(lambda: len(server.workers()) == 3, 20, "three workers")
    server.note_baseline()
    server.signal(signal.SIGHUP)
    server.wait_log("SIGHUP: reloaded", 30)
    until(lambda: {f"child_exit {age} {pid}" for age, pid in zip((1, 2), first)} <= set(called(cwd)), 20, "child_exit")
    assert "on_reload" in called(cwd) and "info: the hook on_reload says so" in server.log
    server.note_baseline()
    server.stop()
    assert called(cwd)[-1] == "on_exit"
    assert len([line for line in called(cwd) if line.startswith("child_exit")]) == 6


def test_without_such_hooks_there_is_no_companion(serve, site):
    from harness import procs
    server = serve("app", cwd=site("def post_fork(server, worker):\n    pass\n"))
    assert len(procs.children(server.pid)) == 1


def test_on_starting_that_raises_ends_the_program(serve, site):
    server = serve("app", cwd=site("def on_starting(server):\n    raise RuntimeError('not like this')\n"), wait=False)
    assert server.ended() == 3
    assert "barkeep: error: the hook on_starting raised RuntimeError [hook-failed]" in server.log
    assert "RuntimeError: not like this" in server.log
    server.expected_exit = {3}


def test_on_starting_is_waited_for(serve, site):
    cwd = site("import time, os\ndef on_starting(server):\n    time.sleep(1)\n    os.mkdir('made')\n")
    (cwd / "app.py").write_text("import os\nassert os.path.isdir('made')\n\n\ndef application(environ, start_response):\n"
                                "    start_response('200 OK', [])\n    return [b'ok']\n")
    assert serve("app", cwd=cwd).get("/").body == b"ok"


def test_a_hook_that_hangs_holds_up_nobody(serve, site):
    server = serve("app", cwd=site("import time\ndef when_ready(server):\n    time.sleep(600)\ndef child_exit(server, worker):\n"
                                   "    pass\n"))
    assert server.get("/").status == 200
    import os
    first = server.worker()
    os.kill(first, signal.SIGKILL)
    until(lambda: server.workers() and server.workers() != [first], 20, "another worker")
    assert server.get("/").status == 200
    server.note_baseline()
    server.stop()
    assert "hooks were not over within 5 s [hook-dropped]" in server.log


def test_a_companion_that_dies_is_replaced(serve, site):
    cwd = site("import os\ndef nworkers_changed(server, new, old):\n    open('companion', 'w').write(str(os.getpid()))\n"
               "def child_exit(server, worker):\n    open('exited', 'a').write('x')\n")
    server = serve("app", cwd=cwd)
    import os
    until(lambda: (cwd / "companion").exists() and (cwd / "companion").read_text(), 10, "the companion")
    os.kill(int((cwd / "companion").read_text()), signal.SIGKILL)
    server.wait_log(r"the process for hooks \(pid \d+\) ended: signal 9 \(SIGKILL\); the next one starts in")
    assert server.get("/").status == 200

    def again():
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        until(lambda: server.workers() and server.workers() != before, 30, "another worker")
        return (cwd / "exited").exists()
    until(again, 30, "child_exit to be called by the new one")
    server.note_baseline()


def test_prometheus_marks_dead_workers(serve, site):
    """The hook of every multi-process setup of prometheus_client, with a stand-in for the package."""
    cwd = site("from prometheus_client import multiprocess\n\n\ndef child_exit(server, worker):\n"
               "    multiprocess.mark_process_dead(worker.pid)\n")
    (cwd / "prometheus_client").mkdir()
    (cwd / "prometheus_client/__init__.py").write_text("")
    (cwd / "prometheus_client/multiprocess.py").write_text("def mark_process_dead(pid):\n    open(f'dead_{pid}', 'w').close()\n")
    server = serve("app", cwd=cwd)
    pid = server.worker()
    server.stop()
    assert (cwd / f"dead_{pid}").exists()
