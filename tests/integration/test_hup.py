"""SIGHUP: new workers in the place of the old ones, the first of them alone and ready before anyone leaves. Some tests play
the workers (harness.master) to choose their pace, others serve a real application under load."""
import os
import re
import signal
import threading

import pytest
from harness import until
from harness.master import DRAIN, QUIT, master  # noqa: F401  (a fixture)
from harness.wire import Conn

HUP, TTIN, TTOU, KILL = signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGKILL

VERSION = """
import os, time
{extra}
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.5)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{version} %d" % os.getpid()]
"""


# Each text has a length of its own: a cached .pyc is valid while its file's size and second of change are the same.
def write_app(directory, version, extra="", name="versioned.py"):
    file = directory / name
    beside = directory / (name + ".new")
    beside.write_text(VERSION.format(version=version, extra=extra))
    beside.replace(file)
    return file


@pytest.fixture
def place(tmp_path):
    write_app(tmp_path, "one")
    return tmp_path


def reloaded(server, count=1, cause="SIGHUP"):
    server.wait_log(rf"{cause}: reloaded in \d", 30, count=count)
    until(lambda: len(server.workers()) == server.workers_wanted, 30, "the old workers to leave")


# ---- with workers that are played ----------------------------------------------------------------------------------

def test_the_first_new_worker_starts_alone(master):
    master.start(workers=3)
    old = master.workers()
    master.script(all={"ready_after": 0.3})
    master.send(HUP)
    master.await_log(r"SIGHUP: reloaded in ")
    boots = master.events("boot")[3:]
    ready = boots[0]["time"] + 0.3  # not its own note, which it writes after it has said so
    assert sorted(event["worker"] for event in boots) == [1, 2, 3]
    assert boots[1]["time"] > ready, "the second one waits for the first"
    drains = [event for event in master.orders(DRAIN)]
    assert len(drains) >= 1 and all(event["time"] > ready for event in drains)
    until(lambda: len(master.workers()) == 3 and not set(master.workers()) & set(old), 10, "three new workers")
    assert master.stop() == 0


def test_code_that_does_not_import_changes_nothing(master):
    master.start(workers=2)
    old = master.workers()
    master.script(all={"fail": "'fake' raised KeyError while being imported\nFile \"fake.py\", line 1\nKeyError: 'x'"})
    master.send(HUP)
    said = master.await_log(r"error: SIGHUP: (.*); still serving the version of \d\d:\d\d:\d\d \[reload-refused\]\n(?:  .*\n)+")
    assert said[1] == "'fake' raised KeyError while being imported" and "KeyError: 'x'" in said[0]
    assert len(master.await_event("boot", 3)) == 3
    until(lambda: master.workers() == old, 10, "the end of the one that failed")
    assert not master.orders(DRAIN) and not master.orders(QUIT)
    master.script()
    master.send(HUP)
    master.await_log(r"SIGHUP: reloaded in ")
    assert len(master.events("boot")) == 5
    assert master.stop() == 0


@pytest.mark.parametrize("how", [{"exit": 9}, {"kill": 11}])
def test_a_new_worker_that_dies_without_a_word_changes_nothing(master, how):
    master.start(workers=2)
    old = master.workers()
    master.script(all=how)
    master.send(HUP)
    said = master.await_log(r"error: SIGHUP: the new worker ended before it was ready: (.*); still serving .*\[reload-refused\]")
    assert said[1] == ("exit code 9" if "exit" in how else "signal 11 (SIGSEGV)")
    assert master.workers() == old and "worker-died" not in master.err
    assert master.stop() == 0


def test_a_new_worker_that_is_never_ready_changes_nothing(master):
    master.start("--startup-timeout", "2", workers=1)
    old = master.workers()
    master.script(all={"ready_after": 600})
    master.send(HUP)
    master.await_log(r"SIGHUP: the new worker was not ready within --startup-timeout 2.0 s; still serving .*\[reload-refused\]")
    until(lambda: master.workers() == old, 10, "the late one to be killed")
    assert master.stop() == 0


def test_a_storm_of_hangups_is_two_reloads(master):
    master.start(workers=2)
    master.script(all={"ready_after": 0.3})
    master.send(HUP)
    master.await_event("boot", 3)
    for _ in range(100):
        master.send(HUP)
    master.await_log(r"SIGHUP: reloaded in ", count=2)
    master.script()
    master.send(TTIN)
    master.await_event("ready", 7)
    assert len(master.events("boot")) == 7, "two reloads of two workers, and one more worker"
    assert master.stop() == 0


def test_before_the_first_worker_is_ready_a_hangup_waits(master):
    master.script(all={"ready_after": 0.7})
    master.launch()
    master.await_event("boot")
    master.send(HUP)
    master.await_log(r"serving fake:")
    master.await_log(r"SIGHUP: reloaded in ")
    assert len(master.events("boot")) == 2
    assert master.stop() == 0


def test_one_more_and_one_fewer_during_a_reload(master):
    master.start(workers=2)
    master.script(all={"ready_after": 0.5})
    master.send(HUP)
    master.await_event("boot", 3)
    master.send(TTIN)
    master.await_log(r"SIGHUP: reloaded in ")
    until(lambda: len(master.workers()) == 3, 10, "three workers")
    assert master.stop() == 0
    numbers = [event["worker"] for event in master.events("ready")]
    assert sorted(numbers[2:]) == [1, 2, 3]


def test_one_fewer_while_its_successor_boots(master):
    master.start(workers=2)
    master.script(w1={}, w2={"ready_after": 5})
    master.send(HUP)
    until(lambda: [e["worker"] for e in master.events("boot")][2:] == [1, 2], 10, "the second successor")
    master.send(TTOU)
    master.await_log(r"SIGHUP: reloaded in ")
    until(lambda: len(master.workers()) == 1, 10, "one worker")
    assert master.stop() == 0


def test_an_old_worker_that_dies_meanwhile_is_replaced_once(master):
    master.start(workers=1)
    [old] = master.workers()
    master.script(all={"ready_after": 0.7})
    master.send(HUP)
    master.await_event("boot", 2)
    os.kill(old, KILL)
    master.await_log(r"SIGHUP: reloaded in ")
    master.await_log("worker-died")
    assert len(master.workers()) == 1 and len(master.events("boot")) == 2
    assert master.stop() == 0


def test_a_later_successor_that_fails_is_tried_again(master):
    master.start(workers=2)
    master.script(w2={"fail": "not today"})
    master.send(HUP)
    master.await_log(r"worker 2 could not start: not today")
    assert "reloaded" not in master.err
    master.script()
    master.await_log(r"SIGHUP: reloaded in ")
    assert master.stop() == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_a_reload_wins(master, sig):
    master.start(workers=2)
    master.script(all={"ready_after": 30})
    master.send(HUP)
    master.await_event("boot", 3)
    assert master.stop(sig) == 0
    assert not master.workers()


def test_a_link_that_moved_on_is_followed(master):
    releases = [master.directory / name for name in ("one", "two")]
    for release in releases:
        release.mkdir()
    link = master.directory / "current"
    link.symlink_to(releases[0])
    master.start("--chdir", str(link))
    other = master.directory / "other"
    other.symlink_to(releases[1])
    other.replace(link)
    master.send(HUP)
    master.await_log(r"SIGHUP: reloaded in ")
    assert [event["cwd"] for event in master.events("boot")] == [str(release) for release in releases]
    assert {event["pwd"] for event in master.events("boot")} == {str(link)}
    assert master.stop() == 0


# ---- with an application and its clients ---------------------------------------------------------------------------

class Client(threading.Thread):
    """Asks as fast as it is answered, on kept connections, and notes what was not an answer."""

    def __init__(self, address, target="/"):
        super().__init__()
        self.address, self.target = address, target
        self.over, self.answers, self.failures = threading.Event(), [], []
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                self.one_connection()
            except (OSError, AssertionError, ValueError, EOFError) as error:
                self.failures.append(repr(error))

    def one_connection(self):
        with Conn(self.address) as conn:
            while not self.over.is_set():
                conn.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % self.target.encode())
                response = conn.response()
                self.answers.append(response.body.split()[0] if response.status == 200 else response.status)
                if response.status != 200:
                    self.failures.append(str(response.status))
                if (response.get("connection") or "").lower() == "close":
                    return

    def finish(self):
        self.over.set()
        self.join()


@pytest.mark.parametrize("workers", [1, 3])
def test_no_request_fails(serve, place, workers):
    server = serve("versioned", workers=workers, cwd=place)
    clients = [Client(server.address) for _ in range(4)] + [Client(server.address, "/slow")]
    try:
        for turn, version in enumerate(("second", "third", "the-fourth"), 1):
            write_app(place, version)
            server.signal(HUP)
            reloaded(server, turn)
            seen = [len(client.answers) for client in clients]
            until(lambda: all(len(client.answers) > before for client, before in zip(clients, seen)), 10, "answers")
    finally:
        for client in clients:
            client.finish()
    assert [client.failures for client in clients] == [[]] * 5
    assert {answer for client in clients for answer in client.answers} == {b"one", b"second", b"third", b"the-fourth"}
    assert all(client.answers[-1] == b"the-fourth" for client in clients)
    server.note_baseline()


def test_a_connection_that_is_idle_may_ask_once_more(serve, place):
    server = serve("versioned", cwd=place)
    with server.connect() as conn:
        conn.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert conn.response().body.startswith(b"one ")
        write_app(place, "second")
        server.signal(HUP)
        server.wait_log(r"SIGHUP: reloaded in \d", 30)
        # The order to leave is on its way; until it is there, answers are as before.
        while (response := conn.get("/")).get("connection") != "close":
            assert response.body.startswith(b"one ")
        assert response.body.startswith(b"one ")
        conn.expect_close()
    assert server.get("/").body.startswith(b"second ")
    until(lambda: len(server.workers()) == 1, 10, "the old worker to leave")
    server.note_baseline()


def test_descriptors_of_the_master_do_not_grow(serve, place):
    from harness import procs
    server = serve("versioned", workers=2, cwd=place)
    before = server.baseline[server.pid]
    for turn in range(1, 8):
        server.signal(HUP)
        reloaded(server, turn)
    until(lambda: procs.fd_kinds(server.pid) == before, 5, f"{procs.fd_kinds(server.pid)} to be {before}")
    numbers = sorted(re.match(r"barkeep: worker (\d+)", procs.title(pid))[1] for pid in server.workers())
    assert numbers == ["1", "2"]
    server.note_baseline()
