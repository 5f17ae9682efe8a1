"""-k gevent: a greenlet per request. What is the same for all classes is tested by running the other files with
BARKEEP_TEST_CLASS=gevent; here is what gevent's users rely on."""
import subprocess
import threading

import pytest
from harness import request
from harness.server import PYTHON, with_greenlets

# A greenlet's stack is copied away and back under another one's: to the address sanitizer that is an underflow.
pytestmark = with_greenlets
CASES = "gevent_cases:application"


@pytest.fixture
def server(shared):
    return shared(CASES, "-k", "gevent")


def together(server, targets):
    """The answers to requests that are all under way at once, each on a connection of its own."""
    conns = [server.connect(timeout=60) for _ in targets]
    try:
        for conn, target in zip(conns, targets):
            conn.send(request(target))
        return [conn.response() for conn in conns]
    finally:
        for conn in conns:
            conn.close()


# ---- patching and identity -----------------------------------------------------------------------------------------

def test_everything_is_patched_before_the_application(serve):
    server = serve(CASES, "-k", "gevent", env={"PYTHONWARNINGS": "always"})
    facts = server.get("/facts").json()
    assert set(facts["patched"].values()) == {True}, facts
    assert facts["lock"].startswith("gevent")
    assert "MonkeyPatchWarning" not in server.log


@pytest.mark.parametrize("setting, name", [("raw", "greenlet"), ("gevent", "Greenlet")])
def test_kinds_of_greenlets(shared, setting, name):
    server = shared(CASES, "-k", "gevent", "--gevent-greenlets", setting)
    facts = server.get("/facts").json()
    assert facts["greenlet"] == name and facts["under hub"] and facts["multithread"] is True
    assert [answer.json() for answer in together(server, ["/meet?count=20"] * 20)] == ["met"] * 20
    assert server.get("/fail?how=GreenletExit").status == 500


def test_requests_share_no_locals_and_no_context(server):
    for _ in range(2):
        answers = together(server, [f"/isolated?count=10&name={number}" for number in range(10)])
        assert [answer.json() for answer in answers] == [["from import", False, False, True]] * 10


def test_without_the_package(serve, tmp_path):
    (tmp_path / "app.py").write_text("application = print\n")
    package = tmp_path / "gevent"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'gevent'\", name='gevent')\n")
    server = refused(serve, tmp_path)
    assert "worker class 'gevent' needs the package gevent (24.10 or newer), which " in server.log
    assert " does not have [class-package]" in server.log and "-m pip install gevent" in server.log
    (package / "__init__.py").write_text("__version__ = '23.9.1'\n")
    (package / "monkey.py").write_text("")
    assert "has 23.9.1 [class-package]" in refused(serve, tmp_path).log
    (package / "__init__.py").write_text("import no_such_greenlet\n")
    assert "No module named 'no_such_greenlet'" in refused(serve, tmp_path).log


def refused(serve, directory):
    server = serve("app:application", "-k", "gevent", cwd=directory, wait=False, env={"PYTHONDONTWRITEBYTECODE": "1"})
    server.expected_exit = {2}
    assert server.ended() == 2
    return server


# ---- many at once --------------------------------------------------------------------------------------------------

def test_many_requests_at_once(server):
    assert [answer.json() for answer in together(server, ["/meet?count=512"] * 512)] == ["met"] * 512


def test_upstream_calls_within_requests(serve, server):
    """The application asks another server in every request; that one answers when all 512 questions are there."""
    upstream = serve(CASES, "-k", "gevent")
    answers = together(server, [f"/upstream?count=512&port={upstream.port}"] * 512)
    assert [answer.json() for answer in answers] == ["met"] * 512


def test_worker_connections_bound_the_requests(serve, tmp_path):
    """Also those whose clients are gone: they hold no connection any more."""
    go_on = tmp_path / "go-on"
    server = serve(CASES, "-k", "gevent", "--worker-connections", "3", "--access-logfile", "-")
    held = [server.connect() for _ in range(3)]
    for conn in held:
        conn.send(request(f"/hold?file={go_on}"))
    server.wait_log("begun", stream="out", count=3)
    for conn in held:
        conn.reset()
    with server.connect(timeout=30) as other:
        other.send(request(f"/hold?file={go_on}"))
        assert other.silent(0.5)
        go_on.touch()
        assert other.response().json() <= 3


def test_no_greenlet_stays(server):
    with server.connect() as conn:
        before = conn.get("/greenlets").json()
        for _ in range(300):
            assert conn.get("/resolve").status == 200
        for how in ("ValueError", "GreenletExit", "Timeout") * 5:
            assert server.get(f"/fail?how={how}").status == 500
        assert conn.get("/greenlets").json() <= before + 2


# ---- failures ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["ValueError", "GreenletExit", "SystemExit", "KeyboardInterrupt", "Timeout"])
def test_failures_end_the_request_only(server, how):
    before = server.log.count(f"{how} in the application")
    with server.connect() as waiting:
        waiting.send(request("/sleep?seconds=0.3"))
        assert server.get(f"/fail?how={how}").status == 500
        assert waiting.response().json() == "slept"
    server.wait_log(f"{how} in the application", count=before + 1)
    assert server.log.count(f"{how} in the application") == before + 1


def test_failure_after_the_first_bytes_is_a_cut(server):
    with server.connect() as conn:
        conn.send(request("/fail?how=late"))
        assert conn.recv_all().endswith(b"\r\n\r\nfirst")


def test_exit_in_a_greenlet_of_the_application(server):
    assert server.get("/spawn_exit").json() == "still here"
    assert server.get("/spawn_exit").json() == "still here"
    server.wait_log(r"SystemExit in a greenlet of the application, outside of a request \[app-raised\]")


# ---- waiting for the client ----------------------------------------------------------------------------------------

def test_bodies_are_read_while_others_are_served(shared):
    server = shared(CASES, "-k", "gevent", "--request-buffering", "off")
    with server.connect() as slow:
        slow.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n1234")
        server.wait_log("reading", stream="out")
        assert server.get("/facts").status == 200
        slow.send(b"5678")
        assert slow.response().json() == 8
    with server.connect() as lines:
        lines.send(b"POST /lines HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\n\r\n")
        assert server.get("/facts").status == 200
        lines.send(b"2\r\nc\n\r\n0\r\n\r\n")
        assert lines.response().json() == ["ab\n", "c\n"]


def test_client_that_leaves_its_body_unfinished(serve):
    server = serve(CASES, "-k", "gevent", "--request-buffering", "off")
    with server.connect() as conn:
        conn.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n1234")
        server.wait_log("reading", stream="out")
    server.wait_log("read raised ConnectionResetError", stream="out")
    assert server.get("/facts").status == 200


def test_request_ends_while_another_greenlet_reads_its_body(serve):
    server = serve(CASES, "-k", "gevent", "--request-buffering", "off")
    with server.connect() as conn:
        conn.send(b"POST /forsaken HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n1234")
        assert conn.response().json() == "left"
        server.wait_log("forsaken reader: RuntimeError: the request this object belongs to is over", stream="out")
    assert server.get("/facts").status == 200


@pytest.mark.parametrize("view", ["stream", "write"])
def test_slow_readers_hold_up_nobody(serve, view):
    server = serve(CASES, "-k", "gevent", "--write-buffer", "64K")
    readers = [server.connect(receive_buffer=4096, timeout=60) for _ in range(10)]
    for conn in readers:
        conn.send(request(f"/{view}?pieces=500&size=20000"))
    assert server.get("/facts").status == 200
    if view == "stream":
        server.wait_log("piece 0", stream="out", count=10)
        assert "piece 450" not in server.out
    for conn in readers:
        assert len(conn.response().body) == 500 * 20000 + (3 if view == "write" else 0)
        conn.close()


def test_pieces_go_out_as_they_are_made(server):
    with server.connect() as conn:
        conn.send(request("/stream?pieces=3&size=10&pause=0.05"))
        assert b"xxxxxxxxxx" in conn.recv_until(b"xxxxxxxxxx")
        assert len(conn.recv_until(b"0\r\n\r\n")) > 20


# ---- what gevent patches -------------------------------------------------------------------------------------------

def test_children_and_threads(server):
    assert server.get("/subprocess").json() == "done"
    assert server.get("/thread").json() == [True, True]
    assert server.get("/resolve").json() == "127.0.0.1"
    assert server.get("/fork?exit=1").json() == 7


def test_forked_child_that_comes_back(serve):
    server = serve(CASES, "-k", "gevent")
    assert server.get("/fork", timeout=30).json() == 0
    assert server.get("/facts").status == 200


# ---- the end -------------------------------------------------------------------------------------------------------

def test_stop_waits_for_requests(serve):
    server = serve(CASES, "-k", "gevent")
    found = []
    with server.connect() as conn:
        conn.send(request("/sleep?seconds=0.5"))
        server.wait_log("begun", stream="out")
        thread = threading.Thread(target=lambda: found.append(conn.response().json()))
        thread.start()
        assert server.stop() == 0
        thread.join()
    assert found == ["slept"]


def test_requests_that_outlast_the_stop_clean_up(serve):
    server = serve(CASES, "-k", "gevent", "--graceful-timeout", "3")
    gone = server.connect()
    gone.send(request("/sleep?seconds=60"))
    with server.connect() as conn:
        conn.send(request("/sleep?seconds=60"))
        server.wait_log("begun", stream="out", count=2)
        gone.reset()
        assert server.stop() == 0
        assert conn.response().status == 503
    assert server.out.count("woken by GreenletExit") == 2 == server.out.count("cleaned up")
    assert server.log.count("[request-cut]") == 2 and "worker-stuck" not in server.log and "Traceback" not in server.log


def test_barkeep_run(tmp_path):
    """In a process that patches by itself."""
    (tmp_path / "alone.py").write_text(
        "import gevent.monkey; gevent.monkey.patch_all()\n"
        "import barkeep, http.client, threading\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', []); return [type(gevent.getcurrent()).__name__.encode()]\n"
        "def ask(server):\n"
        "    def run():\n"
        "        conn = http.client.HTTPConnection(*server.address.removeprefix('http://').split(':'))\n"
        "        conn.request('GET', '/'); print(conn.getresponse().read().decode()); conn.close(); server.stop()\n"
        "    threading.Thread(target=run).start()\n"
        "barkeep.run(application, bind='127.0.0.1:0', worker_class='gevent', ready=ask)\n"
        "print('over')\n")
    done = subprocess.run([PYTHON, tmp_path / "alone.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.split() == ["greenlet", "over"], done
