"""Start, stop, death and everything that may be sent to master and workers in between (fault model of docs/conformance.md §4)."""
import os
import signal
import time

import pytest
from harness import Conn, procs, request, until

TERM, INT, QUIT, HUP, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGKILL


def running(server, count=1):
    """Waits until the application sleeps in a request."""
    server.wait_log(r"sleeping", stream="out", count=count)


# ---- stopping ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sig", [TERM, INT, QUIT])
@pytest.mark.parametrize("workers", [1, 3])
def test_stops_with_exit_code_0(serve, sig, workers):
    server = serve("everything", workers=workers)
    assert server.get("/hello").status == 200
    assert server.stop(sig) == 0


def test_quick_to_start_and_stop(serve):
    server = serve("everything")
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 2 * procs.SLOW


def test_term_lets_the_running_request_finish(serve):
    server = serve("everything")
    with server.connect() as conn:
        conn.send(request("/sleep?s=1"))
        running(server)
        server.process.send_signal(TERM)
        answer = conn.response()
        assert answer.body == b"slept" and answer.closes
        conn.expect_close()
    assert server.ended() == 0


def test_term_closes_idle_connections(serve):
    server = serve("everything")
    with server.connect() as conn:
        conn.get("/hello")
        started = time.monotonic()
        server.process.send_signal(TERM)
        conn.expect_close()
        assert server.ended() == 0
        assert time.monotonic() - started < 3 * procs.SLOW


def test_term_delivers_a_large_answer(serve):
    server = serve("everything")
    with server.connect(receive_buffer=4096) as conn:
        conn.send(request("/size?n=5000000"))
        conn.recv_until(b"\r\n\r\n")
        server.process.send_signal(TERM)
        assert len(conn.recv_all()) == 5_000_000
    assert server.ended() == 0


def test_term_waits_for_an_upload(serve):
    server = serve("everything")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", fields=["Content-Length: 10"]) + b"12345")
        until(lambda: procs.taken(server.port), 5, "the server to read the first half")
        server.process.send_signal(TERM)
        until(lambda: not server.listening(server.address), 5, "the listener to be closed")
        conn.send(b"67890")
        answer = conn.response()
        assert answer.body == b"1234567890" and answer.closes
    assert server.ended() == 0


def test_graceful_timeout_bounds_the_wait(serve):
    server = serve("everything", "--graceful-timeout", "1")
    with server.connect() as conn:
        conn.send(request("/sleep?s=30"))
        running(server)
        started = time.monotonic()
        server.process.send_signal(TERM)
        server.expected_exit = {0, 1}
        server.ended()
        assert time.monotonic() - started < 6 * procs.SLOW


@pytest.mark.parametrize("first, second", [(TERM, TERM), (TERM, INT), (TERM, QUIT)])
def test_second_signal_is_now(serve, first, second):
    server = serve("everything")
    server.expected_exit = {0, 1}
    with server.connect() as conn:
        conn.send(request("/sleep?s=30"))
        running(server)
        server.signal(first)
        time.sleep(0.2)  # within 50 ms it counts as the same wish, sent to the process and then to its group
        started = time.monotonic()
        server.process.send_signal(second)
        server.ended()
        assert time.monotonic() - started < 4 * procs.SLOW


@pytest.mark.parametrize("sig", [INT, QUIT])
def test_quick_stop_does_not_wait(serve, sig):
    server = serve("everything")
    server.expected_exit = {0, 1}
    with server.connect() as conn:
        conn.send(request("/sleep?s=30"))
        running(server)
        started = time.monotonic()
        server.stop(sig)
        assert time.monotonic() - started < 8 * procs.SLOW


def test_the_backlog_is_served_at_stop(serve):
    """Connections established before TERM are all answered: workers stopped, 100 queued, TERM, workers go on."""
    server = serve("everything", workers=2)
    workers = server.workers()
    for pid in workers:
        procs.freeze(pid)
    conns = []
    for _ in range(100):
        conn = server.connect(timeout=20)
        conn.send(request("/hello"))
        conns.append(conn)
    server.signal(TERM)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert [conn.response().status for conn in conns] == [200] * 100
    for conn in conns:  # those answered before the order was read did not say close, but are closed as well
        conn.expect_close()
        conn.close()
    assert server.ended() == 0


def test_keep_alive_race_at_stop(serve):
    """CN/fault 19: a request that is on its way when the worker stops is answered or cleanly refused, never reset."""
    server = serve("everything")
    conns = [server.connect() for _ in range(30)]
    for conn in conns:
        conn.get("/hello")
    server.process.send_signal(TERM)
    answered = 0
    for conn in conns:
        conn.send(request("/hello"))
        raw = conn.recv_all()
        assert raw == b"" or raw.startswith(b"HTTP/1.1 200 ")
        answered += bool(raw)
        conn.close()
    assert server.ended() == 0


# ---- signals that are not for them -----------------------------------------------------------------------------------

@pytest.mark.parametrize("sig", [TERM, INT, HUP, QUIT])
def test_workers_take_no_signals(serve, sig):
    server = serve("everything")
    worker = server.worker()
    with server.connect() as conn:
        conn.send(request("/sleep?s=0.5"))
        running(server)
        for _ in range(3):
            os.kill(worker, sig)
        assert conn.response().body == b"slept"
    assert server.worker() == worker
    assert server.get("/hello").status == 200


def test_group_term_is_one_graceful_stop(serve):
    """Heroku, systemd's KillMode=control-group: every process gets it, the master decides."""
    server = serve("everything", workers=2)
    with server.connect() as conn:
        conn.send(request("/sleep?s=0.7"))
        running(server)
        os.killpg(server.pid, TERM)
        assert conn.response().body == b"slept"
    assert server.ended() == 0


def test_app_children_get_default_signals(serve):
    """Handlers, not SIG_IGN, so a child of the application is not deaf."""
    server = serve("forking:application")
    assert server.get("/signals").json() == {"TERM": "default", "INT": "default", "HUP": "default", "QUIT": "default", "PIPE": "default"}


@pytest.mark.parametrize("sig", [signal.SIGPIPE, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD, signal.SIGCONT])
def test_master_outlives_stray_signals(serve, sig):
    server = serve("everything")
    os.kill(server.pid, sig)
    assert server.get("/hello").status == 200
    assert procs.alive(server.pid)
    if sig == signal.SIGUSR2:
        server.expected_exit = {0}


def test_ttin_and_ttou(serve):
    server = serve("everything", workers=2)
    os.kill(server.pid, signal.SIGTTIN)
    until(lambda: len(server.workers()) == 3, 10, "a third worker")
    for _ in range(2):
        before = len(server.workers())
        os.kill(server.pid, signal.SIGTTOU)
        until(lambda: len(server.workers()) == before - 1, 10, "one worker less")
    os.kill(server.pid, signal.SIGTTOU)
    time.sleep(0.3)
    assert len(server.workers()) == 1, "the last one stays"
    assert server.get("/hello").status == 200


def test_ttou_loses_no_request(serve):
    server = serve("everything", workers=3)
    conns = [server.connect() for _ in range(30)]
    for conn in conns:
        conn.send(request("/sleep?s=0.05"))
    os.kill(server.pid, signal.SIGTTOU)
    for conn in conns:
        assert conn.response().body == b"slept"
        conn.close()
    until(lambda: len(server.workers()) == 2, 10, "one worker less")


# ---- deaths ----------------------------------------------------------------------------------------------------------

def test_killed_worker_is_replaced(serve):
    server = serve("everything")
    worker = server.worker()
    os.kill(worker, KILL)
    until(lambda: server.workers() not in ([], [worker]), 10, "a new worker")
    assert server.get("/hello").status == 200
    server.wait_log(rf"worker 1 \(pid {worker}\).*(SIGKILL|signal 9|[Kk]illed)")


def test_kill_hurts_only_its_own_requests(serve):
    server = serve("everything", workers=2)
    with server.connect() as conn:
        victim = int(conn.get("/pid").body)
        conn.send(request("/sleep?s=5"))
        running(server)
        os.kill(victim, KILL)
        assert conn.recv_all() == b""
    for _ in range(20):
        assert server.get("/hello").status == 200
    server.wait_log(r"GET /sleep")


def test_death_names_the_request(serve):
    server = serve("everything")
    with server.connect() as conn:
        conn.send(request("/stop?code=7"))
        conn.recv_all()
    line = server.wait_log(r"worker 1 \(pid \d+\).*")[0]
    assert "7" in line
    until(lambda: server.workers(), 10, "a new worker")


def test_crash_loop_backs_off(serve):
    """A worker that dies again and again is restarted with growing pauses, never in a busy loop."""
    server = serve("everything")
    deaths, started = 0, time.monotonic()
    while time.monotonic() - started < 3:
        found = server.workers()
        if found:
            os.kill(found[0], KILL)
            deaths += 1
        time.sleep(0.02)
    assert deaths < 30
    assert procs.cpu_seconds([server.pid]) < 1.5 * procs.SLOW
    until(lambda: server.workers(), 60, "a worker in the end")
    assert server.get("/hello", timeout=30).status == 200


def test_killed_master_takes_its_workers_along(serve):
    """EOF on the channel: orphans close the listeners at once, finish, and go."""
    server = serve("everything", workers=2)
    server.expected_exit = {-KILL}
    workers = server.workers()
    with server.connect() as conn:
        conn.send(request("/sleep?s=0.5"))
        running(server)
        os.kill(server.pid, KILL)
        assert conn.response().body == b"slept", "the running request is finished"
    until(lambda: not any(procs.alive(pid) for pid in workers), 15, "the workers' end")
    server.ended()


def test_port_is_free_after_the_master_was_killed(serve):
    server = serve("everything", workers=2)
    server.expected_exit = {-KILL}
    os.kill(server.pid, KILL)
    until(lambda: not server.listening(server.address), 10, "the port to be closed")
    server.ended()
    again = serve("everything", bind=f"127.0.0.1:{server.port}")
    assert again.get("/hello").status == 200


def test_stopped_worker_does_not_stop_service(serve):
    server = serve("everything", workers=2)
    frozen = server.workers()[0]
    procs.freeze(frozen)
    try:
        for _ in range(20):
            assert server.get("/hello", timeout=5).status == 200
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert frozen in server.workers()


# ---- starting --------------------------------------------------------------------------------------------------------

def test_fds_0_to_2_closed(serve):
    """Started with no standard descriptors at all, as some supervisors do."""
    def close_stdin():
        os.close(0)
    server = serve("everything", preexec=close_stdin)
    assert server.get("/hello").status == 200
    assert 0 in procs.fds(server.pid)


def test_everything_is_cloexec_or_ours(serve):
    """A worker inherits what its heritage names and nothing of the starter's."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    server = serve("everything", close_fds=False)
    assert f"pipe:[{os.fstat(write).st_ino}]" not in procs.fds(server.worker()).values()
    os.close(read)
    os.close(write)


def test_pid_1_reaps_orphans(serve):
    """In a pid namespace of its own the master is PID 1: orphans of the application are reaped."""
    if os.system("unshare --pid --fork --mount-proc true 2>/dev/null") != 0:
        pytest.skip("cannot make a pid namespace here")
    from harness.server import PYTHON
    server = serve("forking:application", command=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
                                                   os.path.join(os.path.dirname(PYTHON), "barkeep")], wait=False)
    found = server.wait_log(r"on http://127\.0\.0\.1:(\d+)", 20)
    address = ("127.0.0.1", int(found[1]))
    with Conn(address) as conn:
        orphan = conn.get("/orphan").json()
        assert orphan["started"]
    [master] = procs.children(server.pid)
    until(lambda: not any(procs.state(pid) == "Z" for pid in procs.tree(master)), 10, "no zombie under PID 1")
    os.kill(master, TERM)
    assert server.ended() == 0


@pytest.mark.parametrize("workers", ["1", "3", "auto"])
def test_worker_counts(serve, workers):
    server = serve("everything", "--workers", workers, workers=None, wait=False)
    server.wait_log(r"serving")
    wanted = min(8, len(os.sched_getaffinity(0))) if workers == "auto" else int(workers)
    until(lambda: 1 <= len(server.workers()) <= wanted and (workers == "auto" or len(server.workers()) == wanted), 15, "the workers")


def test_web_concurrency_and_port(serve):
    server = serve("everything", workers=None, env={"WEB_CONCURRENCY": "2"}, wait=False)
    server.wait_log(r"serving")
    until(lambda: len(server.workers()) == 2, 15, "two workers")


def test_titles(serve):
    server = serve("everything", workers=2)
    assert procs.title(server.pid).startswith("barkeep: master [everything")
    for number, pid in enumerate(server.workers(), 1):
        assert procs.title(pid).startswith(f"barkeep: worker {number} [everything")


def test_several_addresses(serve, tmp_path):
    server = serve("everything", bind=["127.0.0.1:0", f"unix:{tmp_path}/s.sock", "127.0.0.2:0"])
    assert len(server.addresses) == 3
    for address in server.addresses:
        with Conn(address) as conn:
            assert conn.get("/hello").status == 200


def test_unix_socket_comes_and_goes(serve, tmp_path):
    path = tmp_path / "s.sock"
    server = serve("everything", bind=f"unix:{path}")
    assert oct(path.stat().st_mode & 0o777) == "0o660"
    assert server.get("/hello").status == 200
    server.stop()
    assert not path.exists()


def test_stale_unix_socket_is_replaced(serve, tmp_path):
    path = tmp_path / "s.sock"
    server = serve("everything", bind=f"unix:{path}")
    server.expected_exit = {-KILL}
    os.kill(server.pid, KILL)
    server.ended()
    until(lambda: not server.members(), 15, "the workers' end")
    assert path.exists()
    again = serve("everything", bind=f"unix:{path}")
    assert again.get("/hello").status == 200


def test_living_unix_socket_is_not_stolen(serve, tmp_path):
    path = tmp_path / "s.sock"
    server = serve("everything", bind=f"unix:{path}")
    second = serve("everything", bind=f"unix:{path}", wait=False)
    second.expected_exit = {1}
    assert second.ended() == 1
    assert "[bind-in-use]" in second.log
    assert server.get("/hello").status == 200


def test_abstract_socket(serve):
    name = f"@barkeep-test-{os.getpid()}"
    server = serve("everything", bind=f"unix:{name}")
    with Conn(name) as conn:
        assert conn.get("/hello").status == 200
    assert server.stop() == 0


def test_inherited_descriptor(serve):
    import socket
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        fd = os.dup2(listener.fileno(), 77)
        os.set_inheritable(fd, True)
        server = serve("everything", bind="fd://77", close_fds=False, wait=False)
        server.wait_log(r"serving")
        with Conn(listener.getsockname()) as conn:
            assert conn.get("/hello").status == 200
        server.stop()
        os.close(77)


def test_taken_port(serve):
    server = serve("everything")
    second = serve("everything", bind=f"127.0.0.1:{server.port}", wait=False)
    second.expected_exit = {1}
    started = time.monotonic()
    assert second.ended() == 1
    assert time.monotonic() - started < 2 * procs.SLOW
    assert "[bind-in-use]" in second.log
