"""Hooks of a gunicorn.conf.py: called in Gunicorn's order, with what their authors use; unable to hurt the server."""
import signal
import textwrap

import pytest
from harness import until

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


@pytest.mark.parametrize("options", [["-k", "gthread", "--threads", "3"], ["-k", "gevent"]], ids=lambda words: words[1])
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
