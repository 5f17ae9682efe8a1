"""The master alone, with a fake worker: stopping, the other signals, logs that are rotated or not read, terminals."""
import fcntl
import os
import pty
import re
import select
import signal
import socket
import termios
import time

import pytest
from harness import procs
from harness.master import DRAIN, QUIT, master  # noqa: F401
from harness.procs import SLOW, until


def test_term_drains(master):
    master.script(all={"drain": "slow", "seconds": 0.5})
    master.start("--graceful-timeout", "10", workers=2)
    assert master.stop(signal.SIGTERM) == 0
    told = master.orders(DRAIN)
    assert [event["text"] for event in told] == ["timeout_ms=9500"] * 2
    assert len(master.events("drained")) == 2
    assert "error" not in master.err.replace("0 errors", "")


def test_graceful_timeout_kills(master):
    master.script(w1={"drain": "never"})
    master.start("--graceful-timeout", "1", workers=2)
    started = time.monotonic()
    assert master.stop(signal.SIGTERM) == 0
    assert 0.9 < time.monotonic() - started < 5 * SLOW
    assert len(re.findall(r"warning: worker 1 did not finish within --graceful-timeout 1.0 s: killed \[worker-stuck\]", master.err)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_quick_stop(master, number):
    master.script(w1={"drain": "never"})
    master.start(workers=2)
    started = time.monotonic()
    assert master.stop(number) == 0
    assert 1.5 < time.monotonic() - started < 2 + 3 * (SLOW - 1) + 0.5
    assert len(master.orders(QUIT)) == 2 and not master.orders(DRAIN)


def test_second_signal_is_now(master):
    master.script(all={"drain": "never"})
    master.start(workers=2)
    master.send(signal.SIGTERM)
    until(lambda: len(master.orders(DRAIN)) == 2, 10, "both to be told")
    time.sleep(0.1)
    started = time.monotonic()
    assert master.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started < 1.5 * SLOW


def test_the_same_wish_twice_is_one(master):
    """`timeout` signals its child and then the group."""
    master.script(all={"drain": "slow", "seconds": 1})
    master.start()
    os.kill(master.pid, signal.SIGTERM)
    os.killpg(master.pid, signal.SIGTERM)
    assert master.ended() == 0
    assert len(master.events("drained")) == 1


def test_stop_while_booting(master):
    master.script(w2={"ready_after": 600})
    master.start(workers=1)
    master.script(w2={"ready_after": 600})
    master.send(signal.SIGTTIN)
    master.await_event("boot", 2)
    started = time.monotonic()
    assert master.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started < 4 * SLOW


def test_listeners_close_when_all_workers_have_closed_theirs(master):
    master.script(all={"close": True, "drain": "slow", "seconds": 3})
    master.start()
    port = master.port()
    socket.create_connection(("127.0.0.1", port)).close()
    master.send(signal.SIGTERM)

    def refused():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False
    until(refused, 2.5, "new clients to be refused")
    assert master.process.poll() is None
    assert master.ended() == 0


def test_master_killed_workers_see_the_end(master):
    master.start(workers=2)
    pids = master.workers()
    master.process.kill()
    master.await_event("eof", 2)
    until(lambda: not [pid for pid in pids if procs.alive(pid)], 10, "the workers to go")


def test_one_more_one_fewer(master):
    master.start()
    master.send(signal.SIGTTIN)
    master.await_log(r"info: SIGTTIN: 2 workers instead of 1")
    master.await_event("ready", 2)
    master.send(signal.SIGTTOU)
    master.await_log(r"info: SIGTTOU: 1 worker instead of 2")
    until(lambda: len(master.workers()) == 1, 10, "one worker to leave")
    assert [event["worker"] for event in master.orders(DRAIN)] == [2]
    master.send(signal.SIGTTOU)
    master.await_log(r"warning: SIGTTOU: there is 1 worker, and fewer are not possible")
    assert "died" not in master.err
    assert master.stop() == 0


def test_a_seat_is_filled_again_while_its_member_still_drains(master):
    master.script(w2={"drain": "slow", "seconds": 2})
    master.start(workers=2)
    master.send(signal.SIGTTOU)
    until(lambda: master.orders(DRAIN), 10, "worker 2 to be told")
    master.send(signal.SIGTTIN)
    master.await_event("ready", 3)
    assert not master.events("drained")
    assert [event["worker"] for event in master.events("ready")] == [1, 2, 2]
    master.script()
    assert master.stop() == 0


def test_usr2_and_winch_change_nothing(master):
    master.start()
    master.send(signal.SIGUSR2)
    master.await_log(r"warning: SIGUSR2: .* \[reload-later\]")
    master.send(signal.SIGWINCH)
    master.await_log(r"warning: SIGWINCH: .* \[reload-later\]")
    assert len(master.events("boot")) == 1
    assert master.stop() == 0


def test_usr1_reopens_and_renames_are_followed(master):
    log = master.directory / "error.log"
    master.start("--error-logfile", log)
    until(lambda: log.exists() and "serving" in log.read_text(), 10, "the start line in the file")
    log.rename(master.directory / "error.log.1")
    master.send(signal.SIGUSR1)
    until(lambda: log.exists() and "SIGUSR1: log files reopened" in log.read_text(), 10, "the new file")
    log.rename(master.directory / "error.log.2")  # nobody says anything
    time.sleep(1.1)
    master.send(signal.SIGHUP)
    until(lambda: log.exists() and "SIGHUP" in log.read_text(), 10, "the newer file")
    assert master.stop() == 0
    assert log.read_text().endswith("stopped: 0 requests, 0 errors\n")
    assert master.err == ""


def test_fatal_errors_reach_standard_error_too(master):
    """A supervisor shows that, not the file."""
    log = master.directory / "error.log"
    master.script(all={"fail": "it broke"})
    master.launch("--error-logfile", log)
    assert master.ended() == 4
    assert master.err == "barkeep: error: it broke [app-import]\n"
    assert re.search(r"barkeep\[\d+\] error: it broke \[app-import\]\n", log.read_text())


def test_a_log_that_cannot_be_opened(master):
    master.launch("--error-logfile", "missing/error.log")
    assert master.ended() == 1
    assert master.err == "barkeep: error: cannot open the log 'missing/error.log': no such file or directory [log-file]\n"


def test_a_reader_that_does_not_read_stops_nothing(master):
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    master.launch("--workers", "1", stderr=writer)
    master.await_event("ready")
    assert fcntl.fcntl(writer, fcntl.F_GETFL) == flags  # nobody made it non-blocking
    for _ in range(2 * size // 80 + 50):
        master.send(signal.SIGHUP)
        time.sleep(0.002)
    for number in range(3):
        os.kill(master.workers()[0], signal.SIGKILL)
        master.await_event("ready", 2 + number)
    assert master.stop() == 0
    os.close(writer)
    text = b""
    while piece := os.read(reader, 65536):
        text += piece
    os.close(reader)
    for line in text.decode().splitlines()[:-1]:
        assert re.match(r"\d{4}-\d\d-\d\dT\S+Z barkeep\[\d+\] \w+: ", line), line


def on_terminal(master, *options):
    ours, theirs = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # ignored when the tests run in the background
            signal.signal(number, signal.SIG_DFL)
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(theirs, fd)
        os.closerange(3, 100)
        os.chdir(master.cwd)
        command = [str(master.package / "_bin" / "barkeep"), "--bind", "127.0.0.1:0", *options, "fake:application"]
        os.execve(command[0], command, master.environment())
    os.close(theirs)
    return pid, ours


def read_terminal(fd, pattern, seconds=15):
    text, deadline = "", time.monotonic() + seconds * SLOW
    while not re.search(pattern, text):
        assert time.monotonic() < deadline, text
        if select.select([fd], [], [], 0.2)[0]:
            try:
                text += os.read(fd, 4096).decode()
            except OSError:
                break
    return text


def test_terminal_lines_and_stdin(master):
    master.notes_file.write_text("")
    pid, fd = on_terminal(master)
    text = read_terminal(fd, "Ctrl-C stops\r\n")
    assert re.search(r"^barkeep \S+ serving fake:boot.py \(WSGI\) on http://127.0.0.1:\d+\r\n"
                     r"  python 3.11.7 (in|at) \S+, 1 worker, ready in [\d.]+ m?s; Ctrl-C stops\r\n", text)
    [boot] = master.await_event("boot")
    assert boot["stdin"].startswith("/dev/pts/") and boot["settings"]["access_logfile"] == "-"
    assert boot["settings"]["access_logformat"] == "short"
    os.write(fd, b"\x03")
    text = read_terminal(fd, "stopped: 0 requests, 0 errors")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)


def test_two_workers_do_not_share_a_terminal(master):
    master.notes_file.write_text("")
    pid, fd = on_terminal(master, "--workers", "2")
    assert [event["stdin"] for event in master.await_event("boot", 2)] == ["/dev/null"] * 2
    os.kill(pid, signal.SIGTERM)
    read_terminal(fd, "stopped")
    os.waitpid(pid, 0)
    os.close(fd)


def test_a_terminal_that_goes_away_stops_the_server(master):
    master.notes_file.write_text("")
    pid, fd = on_terminal(master)
    read_terminal(fd, "Ctrl-C stops")
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
