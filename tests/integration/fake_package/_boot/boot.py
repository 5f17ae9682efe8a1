"""Plays a worker for the tests of the master: reads the heritage, obeys the channel, and behaves as the file named by
FAKE_SCRIPT says at that moment (JSON; keys of one worker number, or "*" for all). No engine, no application.

    ready_after   seconds until READY (0)
    fail          text of a FAILED message instead of READY, with code and key
    exit, kill    exit code or signal to die of, before READY, or after_ready seconds after it
    drain         "at once" (default), "slow" (takes seconds), "never"
    close         send CLOSED when told to drain
    spawn         a shell command left running as an orphan
"""
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

READY, FAILED, DRAINED, BOOTING, CLOSED = 1, 2, 3, 4, 5
DRAIN, QUIT = 64, 65
SETTING, LISTENER, CHANNEL, WORKER, ARGUMENT = 2, 3, 4, 7, 9


def read_heritage(fd):
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    magic, layout, length = struct.unpack_from("=QII", data)
    assert magic == 0x70656B6B72616221 and layout == 1 and length == len(data)
    records, at = {}, 16
    while at < len(data):
        tag, size = struct.unpack_from("=II", data, at)
        records.setdefault(tag, []).append(data[at + 8:at + 8 + size])
        at += 8 + (size + 3) // 4 * 4
    return records


def say(channel, kind, text=""):
    channel.send(struct.pack("=I", kind) + text.encode())


def note(event, **more):
    """One line a test can read: who, when, what."""
    line = json.dumps({"event": event, "pid": os.getpid(), "worker": number, "time": time.monotonic(), **more})
    with open(os.environ["FAKE_NOTES"], "a") as file:
        file.write(line + "\n")


def die(how):
    if "exit" in how:
        os._exit(how["exit"])
    os.kill(os.getpid(), how["kill"])


def main():
    for name in ("TERM", "INT", "HUP", "QUIT"):
        signal.signal(getattr(signal, "SIG" + name), lambda *_: None)
    channel = socket.socket(fileno=int(heritage[CHANNEL][0]))
    how = {**script.get("*", {}), **script.get(str(number), {})}
    note("boot", cwd=os.getcwd(), pwd=os.environ.get("PWD"), env=dict(os.environ), argv=sys.argv,
         arguments=[item.decode() for item in heritage.get(ARGUMENT, [])],
         settings={item.split(b"\0")[0].decode(): item.split(b"\0")[1].decode() for item in heritage[SETTING]},
         listeners=[item.decode() for item in heritage.get(LISTENER, [])],
         fds=sorted(os.listdir("/proc/self/fd"), key=int), targets=targets(), stdin=os.readlink("/proc/self/fd/0"),
         blocked=signal_mask(), group=os.getpgrp())
    if "spawn" in how:
        subprocess.run(["sh", "-c", f"({how['spawn']}) & exit 0"])
    time.sleep(how.get("ready_after", 0))
    if "fail" in how:
        say(channel, FAILED, f"code={how.get('code', 4)}\nkey={how.get('key', 'app-import')}\ntext={how['fail']}")
        os._exit(how.get("code", 4))
    if ("exit" in how or "kill" in how) and "after_ready" not in how:
        die(how)
    say(channel, READY, f"app=fake:{sys.argv[0].rsplit('/', 1)[-1]}\nkind=WSGI\npython=3.11.7\nready_ms=1800")
    note("ready")
    obey(channel, how)


def obey(channel, how):
    until = time.monotonic() + how["after_ready"] if "after_ready" in how else None
    while True:
        left = None if until is None else max(0, until - time.monotonic())
        if not select.select([channel], [], [], left)[0]:
            die(how)
        message = channel.recv(65536)
        if not message:
            note("eof")
            os._exit(0)
        kind, text = struct.unpack_from("=I", message)[0], message[4:].decode()
        note("order", kind=kind, text=text)
        if kind == QUIT and how.get("drain") != "never":
            os._exit(0)
        if kind == DRAIN and how.get("close"):
            for item in heritage[LISTENER]:
                os.close(int(item.split()[0]))
            say(channel, CLOSED)
        if kind == DRAIN and how.get("drain", "at once") != "never":
            time.sleep(how.get("seconds", 0.5) if how.get("drain") == "slow" else 0)
            say(channel, DRAINED)
            note("drained")
            os._exit(0)


def targets():
    """What each descriptor is."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass
    return found


def signal_mask():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
    return [lines["SigBlk"], lines["SigIgn"]]


heritage = read_heritage(int(sys.argv[1]))
os.close(int(sys.argv[1]))
number = int(heritage[WORKER][0])
with open(os.environ["FAKE_SCRIPT"]) as file:
    script = json.load(file)
main()
