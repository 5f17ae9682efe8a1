"""The life of an ASGI worker: lifespan, stopping, cancellation, forks, mounts, the loop it runs on."""
import re
import signal
import time

import pytest
from asgi_servers import LOOPS, seen
from harness import ServerFailed, procs, request, until

loops = pytest.mark.parametrize("loop", LOOPS)


def serving(serve, name="application", *options, **more):
    server = serve(f"asgi_cases:{name}", *options, **more)
    if more.get("wait", True) and "uvloop" in options:
        server.check_fds = False  # see asgi_servers.settled
    return server


# ---- lifespan: 7, 25 to 28 -------------------------------------------------------------------------------------------

@loops
def test_25_startup_comes_before_the_doors_open(serve, loop):
    server = serving(serve, "slow_start", "--asgi-loop", loop)
    server.wait_log(r"starting\nstarted\n", stream="out")
    assert server.get("/").status == 200


def test_25_a_failed_startup_ends_everything(serve):
    server = serving(serve, "failing", wait=False)
    assert server.ended() == 3
    server.expected_exit = {3}
    assert re.search(r"the application's startup failed: no database", server.log) and "[lifespan-failed]" in server.log
    assert "at all" in server.log


def test_26_without_lifespan_in_auto(serve):
    server = serving(serve, "no_lifespan")
    assert server.get("/").json() == {"state": False}
    assert "[lifespan" not in server.log


def test_26_without_lifespan_when_it_must_be_on(serve):
    server = serving(serve, "no_lifespan", "--asgi-lifespan", "on", wait=False)
    assert server.ended() == 3
    server.expected_exit = {3}
    assert "AssertionError: no lifespan here" in server.log and "[lifespan-failed]" in server.log


def test_26_off(serve):
    server = serving(serve, "failing", "--asgi-lifespan", "off")
    assert server.get("/").status == 500
    server.stop()


@loops
def test_27_one_lifespan_each_and_its_end(serve, loop):
    server = serving(serve, "application", "--asgi-loop", loop, workers=2)
    for _ in range(4):
        assert server.get("/hello").status == 200
    server.stop()
    assert server.out.count("lifespan.shutdown was received") == 2
    assert "[lifespan" not in server.log


def test_27_a_failing_shutdown_is_told(serve):
    server = serving(serve, "fails_at_the_end")
    server.stop()
    assert re.search(r"the application's shutdown failed: still busy \[lifespan-shutdown\]", server.log)


def test_27_a_hanging_shutdown_is_bounded(serve):
    server = serving(serve, "hangs_at_the_end", "--graceful-timeout", "1")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 15
    assert "[lifespan-shutdown]" in server.log or "[worker-stuck]" in server.log


def test_28_lifespan_may_return_early(serve):
    server = serving(serve, "returns_early")
    assert server.get("/").status == 200
    server.stop()
    assert "[lifespan" not in server.log


# ---- stopping: 19 ----------------------------------------------------------------------------------------------------

@loops
def test_requests_finish_before_the_end(serve, loop):
    server = serving(serve, "application", "--asgi-loop", loop)
    with server.connect() as conn:
        conn.send(request("/sleep/1"))
        until(lambda: server.get("/seen/sleep").json() == "sleeping", 10, "the request")
        server.process.send_signal(signal.SIGTERM)
        assert conn.response().body == b'"slept"'
    server.ended()
    assert server.out.count("lifespan.shutdown was received") == 1


@loops
def test_background_work_finishes_before_the_end(serve, loop):
    server = serving(serve, "application", "--asgi-loop", loop)
    assert server.get("/background").json() == "now"
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began > 0.2
    assert "[worker" not in server.log and "lifespan.shutdown was received" in server.out


@loops
def test_19_the_rest_is_cancelled(serve, loop):
    server = serving(serve, "application", "--asgi-loop", loop, "--graceful-timeout", "1")
    with server.connect() as conn:
        conn.send(request("/sleep/1000"))
        until(lambda: server.get("/seen/sleep").json() == "sleeping", 10, "the request")
        server.stop()
        assert "CancelledError was seen" in server.out and "lifespan.shutdown was received" in server.out
        assert "[requests-cancelled]" in server.log and "[worker-stuck]" not in server.log
        conn.recv_all()


def test_a_quick_stop_waits_for_nobody(serve):
    server = serving(serve, "application")
    with server.connect() as conn:
        conn.send(request("/sleep/1000"))
        until(lambda: server.get("/seen/sleep").json() == "sleeping", 10, "the request")
        server.process.send_signal(signal.SIGINT)
        server.ended(15)


def test_an_idle_worker_sleeps(serve):
    """Neither the loop nor the engine wakes up without a reason."""
    server = serving(serve, "application")
    server.get("/hello")
    pid = server.worker()
    time.sleep(0.3)
    before = procs.read(f"/proc/{pid}/status")
    time.sleep(1.5)
    after = procs.read(f"/proc/{pid}/status")
    switches = [int(re.search(rb"\nvoluntary_ctxt_switches:\s+(\d+)", text)[1]) for text in (before, after)]
    assert switches[1] - switches[0] <= 6


# ---- mounts, clients, listeners --------------------------------------------------------------------------------------

def test_4_root_path_of_a_proxy_that_strips_it(serve):
    server = serving(serve, "application", "--root-path", "/scope/é/")
    for _ in range(3):
        scope = server.get("/a%20b?c").json()
        assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/scope/é", "/scope/é/a b", "/scope/%C3%A9/a%20b")


def test_4_script_name_of_a_proxy_that_leaves_it(serve):
    server = serving(serve, "application", env={"SCRIPT_NAME": "/scope"})
    scope = server.get("/scope/a%20b").json()
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/scope", "/scope/a b", "/scope/a%20b")
    with server.connect() as conn:
        for _ in range(3):
            assert conn.get("/scope").json()["path"] == "/scope"
            assert conn.get("/scopes").status == 404 and conn.get("/hello").status == 404


def test_4_script_name_in_a_header_of_a_trusted_peer(serve):
    server = serving(serve, "application")
    scope = server.get("/scope/x", fields=["SCRIPT_NAME: /scope"]).json()
    assert scope["root_path"] == "/scope" and scope["path"] == "/scope/x"
    assert "script_name" not in [name for name, _ in scope["headers"]]


def test_6_unix_sockets(serve, tmp_path):
    path = tmp_path / "web.sock"
    server = serving(serve, "application", bind=f"unix:{path}")
    with server.connect() as conn:
        conn.send(request("/scope"))
        scope = conn.response().json()
    assert scope["client"] is None and scope["server"] == [str(path), None]


def test_6_an_untrusted_peer_is_itself(serve):
    server = serving(serve, "application", "--forwarded-allow-ips", "10.0.0.1")
    scope = server.get("/scope", fields=["X-Forwarded-For: 8.8.8.8", "X-Forwarded-Proto: https"]).json()
    assert scope["client"][0] == "127.0.0.1" and scope["scheme"] == "http"


@pytest.mark.parametrize("name", ["OldStyle", "returns_future"])
def test_other_shapes_of_applications(serve, name):
    server = serving(serve, name, "-k", "asgi", "--asgi-lifespan", "off")
    assert server.get("/hello").body == b"Hello, world!\n"
    assert server.get("/raise/now").status == 500


# ---- the loop --------------------------------------------------------------------------------------------------------

def test_a_blocked_loop_is_told(serve):
    server = serving(serve, "application", "--slow-callback", "200ms")
    assert server.get("/block/0.5").status == 200
    server.wait_log(r"held up the event loop for 0\.\d s.*\[loop-blocked\]")


@loops
def test_many_clients_at_once(serve, loop):
    server = serving(serve, "application", "--asgi-loop", loop)
    conns = [server.connect(timeout=30) for _ in range(200)]
    for number, conn in enumerate(conns):
        conn.send(request(("/sleep/0.05", "/hello", "/big/3")[number % 3]))
    for number, conn in enumerate(conns):
        answer = conn.response()
        assert answer.status == 200 and len(answer.body) == (7, 14, 300_000)[number % 3]
        conn.close()


def test_the_slow_client_of_a_body_gets_its_time_only(serve):
    server = serving(serve, "application", "--body-timeout", "300ms")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", ["Content-Length: 10"]) + b"abc")
        assert conn.response().status == 408
    with server.connect() as conn:
        conn.send(request("/echo", "POST", ["Transfer-Encoding: chunked"]) + b"zzz\r\n")
        assert conn.response().status == 400
    assert server.get("/hello").status == 200


def test_a_body_over_the_limit(serve):
    server = serving(serve, "application", "--limit-request-body", "1000")
    with server.connect() as conn:
        conn.send(request("/echo", "POST", ["Transfer-Encoding: chunked"]) + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n")
        assert conn.response().status == 413


def test_uvloop_that_is_not_there(serve, tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('not for this test')")
    server = serving(serve, "application", "--asgi-loop", "uvloop", "--pythonpath", tmp_path, wait=False)
    assert server.ended() == 2
    server.expected_exit = {2}
    assert "[class-package]" in server.log and "pip install uvloop" in server.log


def test_wsgi_class_for_an_asgi_application(serve):
    server = serving(serve, "application", "-k", "sync", wait=False)
    assert server.ended() == 2
    server.expected_exit = {2}
    assert "is an ASGI application" in server.log and "[class-mismatch]" in server.log


def test_seen_is_shared_by_the_requests_of_a_worker(serve):
    server = serving(serve, "application")
    server.get("/second")
    assert seen(server, "second") == "waited"
