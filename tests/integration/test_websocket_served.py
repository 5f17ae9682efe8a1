"""WebSocket sessions of a whole server: what the log says of them, and what they hear when their worker goes. The application
is ASGI's echo; the protocol itself is in test_websocket.py."""
import signal
import subprocess

import pytest
from harness import Server, procs, until
from harness.sockets import Session, close_frame, handshake, text

ECHO = "asgi_sockets:application"


def test_the_log_has_a_line_when_a_session_ends(serve):
    server = serve(ECHO, "--access-logfile", "-", "--access-logformat", "%(m)s %(U)s %(s)s %(B)s", "--slow-request", "0.1")
    with server.connect() as conn:
        session = Session(conn, "/echo?a=b")
        for word in ("hello", "you"):
            session.send(text(word))
            assert session.message() == word.encode()
        assert conn.silent(0.5)
        assert "/echo" not in server.out, "nothing while it is open"
        session.send(close_frame())
        session.closed(1000)
    server.wait_log(r"GET /echo 101 8\n", stream="out")
    with server.connect() as conn:
        conn.send(handshake("/echo", version="8"))
        assert conn.response().status == 426
    server.wait_log(r"GET /echo 426 \d+\n", stream="out")
    assert "request-slow" not in server.log, "a session is no slow request"


@pytest.mark.parametrize("sig, code", [(signal.SIGHUP, 1012), (signal.SIGTERM, 1001)])
def test_a_session_hears_that_its_worker_goes(serve, sig, code):
    server = serve(ECHO)
    old = server.worker()
    with server.connect() as conn:
        session = Session(conn, "/echo")
        session.send(text("here"))
        assert session.message() == b"here"
        server.process.send_signal(sig)
        session.closed(code)
    if sig == signal.SIGTERM:
        server.ended()
        return
    until(lambda: not procs.alive(old), 20, "the old worker to leave")
    with server.connect() as conn:
        session = Session(conn, "/echo")
        session.send(text("there"))
        assert session.message() == b"there"


def test_without_an_interface_for_it(serve):
    """A WSGI application sees a plain request, as HTTP has it: it ignores the upgrade."""
    server = serve("everything:application")
    with server.connect() as conn:
        conn.send(handshake("/hello"))
        answer = conn.response()
        assert answer.status == 200 and answer.body == b"Hello, World!" and not answer.all("Upgrade")


@pytest.mark.parametrize("option", [["--ws-max-size", "10"], ["--ws-max-size", "2G"], ["--ws-max-queue", "0"],
                                    ["--ws-ping-interval", "-1"], ["--ws-per-message-deflate=maybe"]])
def test_options_are_bounded(option):
    server = Server("everything:application")
    done = subprocess.run([server.command[0], "--check-config", *option, "everything:application"], cwd=server.cwd, env=server.env,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and option[0].partition("=")[0] in done.stderr, done
