"""Processes that the application makes inherit no descriptor of ours (pitfalls 24)."""
import os
import signal

import pytest
from harness import Conn, procs, request, until
from harness.server import PYPY


@pytest.fixture
def server(serve):
    return serve("forking:application")


def ours(targets):
    """Descriptors of the engine: sockets, epoll, timers, events, memory files."""
    return [target for target in targets if target.startswith(("socket:", "anon_inode:[event", "anon_inode:[timer", "anon_inode:[signal", "/memfd:"))]


def test_forked_child_has_none_of_ours(server):
    with server.connect() as idle:
        idle.get("/pid")
        assert ours(server.get("/fork").json()) == []


def test_subprocess_has_none_of_ours(server):
    """Even with close_fds=False."""
    with server.connect() as idle:
        idle.get("/pid")
        assert ours(server.get("/subprocess").json()) == []


@pytest.mark.skipif(PYPY, reason="a child forked on a thread that is not PyPy's main one may not set signals, as Pool's do at times")
def test_pool_by_fork(server):
    for _ in range(3):
        assert server.get("/pool", timeout=30).json() == [number * number for number in range(10)]
    assert server.get("/pid").status == 200


def test_pool_by_spawn(server):
    """The child finds the application's module again: __main__ is what it would be under Gunicorn."""
    server.check_fds = False  # Python keeps a pipe to its resource tracker
    assert server.get("/spawn", timeout=30).json() == [0, 1, 4, 9, 16]


def test_connections_go_on_while_the_application_forks(server):
    with server.connect() as conn:
        for _ in range(10):
            assert isinstance(conn.get("/pid").json(), int)
            assert ours(conn.get("/fork").json()) == []


@pytest.mark.parametrize("how", ["leave_child", "exec_child"])
def test_port_is_free_though_a_child_lives_on(serve, server, how):
    child = server.get(f"/{how}").json()
    try:
        assert procs.alive(child)
        until(lambda: ours(procs.fds(child).values()) == [], 10, "the child to have closed what is ours")
        assert server.stop_only() == 0
        assert not server.listening(server.address)
        again = serve("everything", bind=f"127.0.0.1:{server.port}")
        assert again.get("/hello").status == 200
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_clients_close_is_seen_though_a_child_lives_on(server):
    """The child must not keep the connection open: the client sees the end."""
    with server.connect() as conn:
        conn.send(request("/leave_child", fields=["Connection: close"]))
        child = conn.response().json()
        try:
            conn.expect_close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_child_that_exits_normally_touches_no_connection(serve):
    """A child that runs Python's whole exit (atexit, destructors) in the worker's copy."""
    server = serve("fork_exit:application")
    with Conn(server.address) as conn:
        for _ in range(5):
            assert conn.get("/").body == b"parent"
        with server.connect() as other:
            assert other.get("/").body == b"parent"
        assert conn.get("/").body == b"parent"
    until(lambda: not [pid for pid in procs.tree(server.pid) if procs.state(pid) == "Z"], 10, "children to be reaped")
