"""Several threads per worker, and one thread that is busy: the loop goes on in any case."""
import threading
import time
from pathlib import Path

import pytest
from harness import procs, request, until

SLOW = procs.SLOW


def in_parallel(server, targets, timeout=30):
    """Asks for all targets at once; the responses in order."""
    answers = [None] * len(targets)

    def ask(number, target):
        answers[number] = server.get(target, timeout=timeout)

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


# ---- several threads ---------------------------------------------------------------------------------------------

def test_sleeping_requests_run_side_by_side(serve):
    server = serve("threaded:application", "--threads", 16)
    server.get("/sleep")
    started = time.monotonic()
    answers = in_parallel(server, ["/sleep?s=0.5"] * 16)
    assert [answer.text for answer in answers] == ["slept"] * 16
    assert time.monotonic() - started < 4 * SLOW, "one after the other it would be eight seconds"
    assert int(server.get("/running").text.split()[1]) >= 8


def test_never_more_than_asked_for(serve):
    server = serve("threaded:application", "--threads", 3)
    in_parallel(server, ["/sleep?s=0.05"] * 20)
    assert server.get("/running").text.split()[1] in ("2", "3")


def test_many_short_sleeps(serve):
    """10 ms each on 64 threads: a lenient part of the 6,400 a second that would be possible."""
    server = serve("threaded:application", "--threads", 64)
    done, end = [0] * 64, time.monotonic() + 2

    def client(number):
        with server.connect(timeout=20) as conn:
            while time.monotonic() < end:
                assert conn.get("/sleep").text == "slept"
                done[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(done) > 0, "nobody starves"
    assert sum(done) / 2 > 400 / SLOW, "one thread could do a hundred a second"


def test_slow_page_does_not_delay_a_fast_one(serve):
    server = serve("threaded:application", "--threads", 4)
    with server.connect(timeout=20) as fast, server.connect(timeout=20) as slow:
        for _ in range(5):
            slow.send(request("/sleep?s=0.4"))
            started = time.monotonic()
            for _ in range(20):
                assert fast.get("/hello").status == 200
            assert time.monotonic() - started < 0.35 * SLOW
            assert slow.response().text == "slept"


def test_threads_are_pythons_own(serve):
    server = serve("threaded:application", "--threads", 3)
    name, main, several, _ = server.get("/thread").text.split()
    assert name in ("barkeep-1", "barkeep-2", "barkeep-3") and main == "False" and several == "True"
    # The first one serves while the others still begin.
    until(lambda: server.get("/thread").text.split()[3] == "barkeep-1,barkeep-2,barkeep-3", 10, "all three threads")


def test_one_thread_is_the_main_one(serve):
    server = serve("threaded:application", "--threads", 1)
    assert server.get("/thread").text.split()[:3] == ["MainThread", "True", "False"]


def test_values_of_one_thread_stay_there(serve):
    server = serve("threaded:application", "--threads", 8)
    answers = in_parallel(server, [f"/local?id={number}" for number in range(40)])
    assert [answer.text for answer in answers] == [f"{number} True" for number in range(40)]


def test_a_failing_request_is_one_request(serve):
    server = serve("threaded:application", "--threads", 4)
    answers = in_parallel(server, ["/raise", "/hello", "/exit", "/raise", "/sleep", "/hello"])
    assert [answer.status for answer in answers] == [500, 200, 500, 500, 200, 200]
    server.wait_log(r"SystemExit in the application")
    server.wait_log("ValueError in the application", count=2)


@pytest.mark.parametrize("threads", [1, 4])
def test_fork_in_a_request(serve, threads):
    server = serve("threaded:application", "--threads", threads)
    with server.connect(timeout=20) as conn:
        for _ in range(5):
            assert [answer.text for answer in in_parallel(server, ["/fork", "/sleep", "/fork"])] == ["5", "slept", "5"]
            assert conn.get("/hello").status == 200
    assert server.get("/return", timeout=20).text == "0", "a child that comes back ends like a program"


# ---- bodies and answers ------------------------------------------------------------------------------------------

def test_slow_reader_holds_its_own_thread_only(serve):
    server = serve("threaded:application", "--threads", 2, "--write-buffer", "64K")
    with server.connect(timeout=40, receive_buffer=4096) as reader, server.connect(timeout=20) as other:
        reader.send(request("/big?n=200"))
        for _ in range(50):
            assert other.get("/hello").status == 200
        assert other.get("/sleep").text == "slept"
        assert len(reader.response().body) == 200 * 65536


def test_more_slow_readers_than_threads(serve):
    server = serve("threaded:application", "--threads", 2, "--write-buffer", "64K", "--live-path", "/-/live")
    readers = [server.connect(timeout=60, receive_buffer=4096) for _ in range(5)]
    for reader in readers:
        reader.send(request("/big?n=50"))
    assert server.get("/-/live").text == "alive\n", "though both threads wait for their readers"
    for reader in readers:
        assert len(reader.response().body) == 50 * 65536
        reader.close()


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_streamed_request_bodies(serve, threads):
    server = serve("threaded:application", "--threads", threads, "--request-buffering", "off")
    conns = [server.connect(timeout=30) for _ in range(threads)]
    body = bytes(range(256)) * 300
    for conn in conns:
        conn.send(request("/echo", "POST", [f"Content-Length: {len(body)}"]) + body[:1000])
    for at in range(1000, len(body), 20_000):
        for conn in conns:
            conn.send(body[at:at + 20_000])
    for conn in conns:
        assert conn.response().body == body
        conn.close()


def test_lines_of_a_body_that_comes_in_pieces(serve):
    server = serve("threaded:application", "--threads", 4, "--request-buffering", "off")
    line = b"x" * 999 + b"\n"
    with server.connect(timeout=30) as conn:
        conn.send(request("/lines", "POST", ["Transfer-Encoding: chunked"]))
        for size in (1, 700, 5000, 65536, 3, 100_000):
            piece = (line * 200)[:size]
            conn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        conn.send(b"0\r\n\r\n")
        assert conn.response().text == str(1 + 700 + 5000 + 65536 + 3 + 100_000)


def test_clients_that_leave(serve):
    server = serve("threaded:application", "--threads", 4, "--request-buffering", "off")
    for number in range(60):
        conn = server.connect()
        if number % 3 == 0:
            conn.send(request("/big?n=100"))
        elif number % 3 == 1:
            conn.send(request("/echo", "POST", ["Content-Length: 100000"]) + b"part")
        else:
            conn.send(request("/sleep?s=0.05"))
        time.sleep(0.002 * (number % 5))
        conn.close()
    until(lambda: server.get("/running").text.split()[0] == "1", 10, "all requests to end")
    assert [answer.status for answer in in_parallel(server, ["/hello"] * 8)] == [200] * 8


# ---- all threads are busy ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("threads", [1, 4])
def test_alive_while_the_interpreter_is_held(serve, threads):
    """A C call keeps the GIL for a second, on one thread of one or of four, while others queue for it."""
    server = serve("threaded:application", "--threads", threads, "--live-path", "/-/live")
    with server.connect(timeout=30) as live, server.connect(timeout=30) as hog, server.connect(timeout=30) as third:
        assert live.get("/-/live").text == "alive\n"
        hog.send(request("/hog?s=1"))
        time.sleep(0.05)
        third.send(request("/hello"))
        spent, until_then = [], time.monotonic() + 0.7
        while time.monotonic() < until_then:
            started = time.monotonic()
            assert live.get("/-/live").status == 200
            spent.append(time.monotonic() - started)
            time.sleep(0.01)
        assert sorted(spent)[len(spent) * 9 // 10] < 0.02 * SLOW, f"of {len(spent)}: worst {max(spent):.3f} s"
        assert hog.response().text == "held" and third.response().status == 200


def test_live_path_is_only_that(serve):
    server = serve("threaded:application", "--live-path", "/-/live")
    assert server.get("/-/live", "HEAD").body == b""
    assert server.get("/-/live?x=1").text == "alive\n"
    assert server.get("/-/lively").text == "Hello, World!"
    assert server.get("/-/live", "POST", body=b"x").text == "Hello, World!"
    with server.connect() as conn:
        assert [conn.get("/-/live").status for _ in range(3)] == [200] * 3, "on one connection"
    assert serve("threaded:application").get("/-/live").text == "Hello, World!", "nobody asked for it"


@pytest.mark.parametrize("threads", [1, 2])
def test_finished_bytes_go_out_while_all_are_busy(serve, threads):
    """A large answer is committed, its reader is slow, and then every thread is busy for two seconds."""
    server = serve("threaded:application", "--threads", threads)
    with server.connect(timeout=40) as reader:
        conns = [server.connect(timeout=40) for _ in range(threads)]
        reader.send(request("/lent?n=40000000"))
        time.sleep(0.3)
        for conn in conns:
            conn.send(request("/sleep?s=2"))
        time.sleep(0.1)
        started = time.monotonic()
        left = 40_000_000
        while left > 0 and (data := reader.sock.recv(1 << 20)):
            left -= len(data)
        assert left <= 0
        assert time.monotonic() - started < 1.5 * SLOW, "not after the others are done"
        for conn in conns:
            assert conn.response().text == "slept"
            conn.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_timeouts_fire_while_all_are_busy(serve, threads):
    server = serve("threaded:application", "--threads", threads, "--header-timeout", "0.5")
    conns = [server.connect(timeout=40) for _ in range(threads)]
    for conn in conns:
        conn.send(request("/sleep?s=3"))
    with server.connect(timeout=10) as dribbler:
        dribbler.send(b"GET / HT")
        started = time.monotonic()
        assert dribbler.recv_all()[:13] in (b"", b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 2 * SLOW
    for conn in conns:
        assert conn.response().text == "slept"
        conn.close()


def test_requests_wait_for_a_thread(serve):
    server = serve("threaded:application", "--threads", 2)
    conns = [server.connect(timeout=30) for _ in range(6)]
    for conn in conns:
        conn.send(request("/sleep?s=0.3"))
    assert [conn.response().text for conn in conns] == ["slept"] * 6
    for conn in conns:
        conn.close()


# ---- too many ----------------------------------------------------------------------------------------------------

def test_a_full_queue_says_so(serve):
    server = serve("threaded:application", "--threads", 1, "--backlog-queue", 2)
    with server.connect(timeout=30) as first:
        first.send(request("/sleep?s=1.5"))
        time.sleep(0.2)
        conns = [server.connect(timeout=30) for _ in range(5)]
        for conn in conns:
            conn.send(request("/hello"))
            time.sleep(0.05)
        refused = [conn.response() for conn in conns[2:]]
        assert [answer.status for answer in refused] == [503] * 3
        assert refused[0].get("Retry-After") == "1"
        assert first.response().text == "slept"
        assert [conn.response().status for conn in conns[:2]] == [200] * 2, "they had a place"
        for conn in conns:
            conn.close()
    server.wait_log(r"\[queue-full\]")
    assert server.get("/hello").status == 200


def test_nobody_waits_longer_than_said(serve):
    server = serve("threaded:application", "--threads", 1, "--queue-timeout", "0.5")
    with server.connect(timeout=30) as first, server.connect(timeout=30) as second:
        first.send(request("/sleep?s=2"))
        time.sleep(0.1)
        started = time.monotonic()
        second.send(request("/hello"))
        answer = second.response()
        assert answer.status == 503 and answer.get("Retry-After") == "1"
        assert time.monotonic() - started < 1.7 * SLOW
        assert first.response().text == "slept"


def test_the_application_never_hears_of_clients_that_left(serve):
    server = serve("threaded:application", "--threads", 1)
    with server.connect(timeout=30) as first:
        first.send(request("/sleep?s=0.5"))
        time.sleep(0.1)
        for _ in range(10):
            conn = server.connect()
            conn.send(request("/sleep?s=5"))
            conn.reset()
        assert first.response().text == "slept"
    started = time.monotonic()
    assert server.get("/hello", timeout=20).status == 200
    assert time.monotonic() - started < 4 * SLOW


# ---- the end -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("threads", [1, 4])
def test_graceful_stop_with_busy_threads(serve, threads):
    server = serve("threaded:application", "--threads", threads)
    conns = [server.connect(timeout=30) for _ in range(threads)]
    for conn in conns:
        conn.send(request("/sleep?s=1"))
    time.sleep(0.2)
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    assert [conn.response().text for conn in conns] == ["slept"] * threads
    stopper.join()
    assert server.exit_code == 0
    for conn in conns:
        conn.close()


def test_busy_worker_of_several_gets_no_new_connection(serve):
    """Also though its watcher waits for events: the other worker has a free thread."""
    server = serve("threaded:application", "--threads", 2, workers=2)
    conns = [server.connect(timeout=30) for _ in range(2)]
    for conn in conns:
        conn.send(request("/sleep?s=1.5"))
        time.sleep(0.3)
    started = time.monotonic()
    for _ in range(40):
        assert server.get("/hello").status == 200
    assert time.monotonic() - started < 1.2 * SLOW
    for conn in conns:
        assert conn.response().text == "slept"
        conn.close()


def test_idle_threads_sleep(serve):
    server = serve("threaded:application", "--threads", 8)
    in_parallel(server, ["/sleep"] * 16)
    pid = server.worker()
    time.sleep(6.5)  # the memo forgets connections after five
    before, started = switches(pid), time.monotonic()
    time.sleep(2)
    spent = time.monotonic() - started
    assert (switches(pid) - before) / spent <= 4, "wake-ups a second of an idle worker"


def switches(pid):
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total
