"""Experiment: what the master execs. A worker, or with `template 1` the process that forks workers."""
LAYOUT = 1  # replaced by the Makefile for each version

import ctypes, gc, os, select, socket, struct, sys, threading, time

heritage = int(sys.argv[1])
facts = dict(line.split(" ", 1) for line in os.pread(heritage, 4096, 0).decode().splitlines())
os.close(heritage)
layout = int(facts["layout"])
channel = socket.socket(fileno=int(facts["channel"]))
listener = socket.socket(fileno=int(facts["listener"]))
scoreboard = int(facts["scoreboard"])
for fd in (channel.fileno(), listener.fileno(), scoreboard):
    os.set_inheritable(fd, False)
master = int(facts["master"])

if layout not in (LAYOUT, LAYOUT - 1):
    channel.send(b"failed version-skew: master has %d, package %d" % (layout, LAYOUT))
    sys.exit(78)


def abandon():
    """A child the app forks keeps nothing of ours."""
    for fd in (channel.fileno(), listener.fileno(), scoreboard):
        try:
            os.close(fd)
        except OSError:
            pass


def orders(stop):
    """Stands for the native helper thread: channel, EOF."""
    while True:
        try:
            text = channel.recv(1000)
        except OSError:
            text = b""
        if not text or text == b"drain":
            stop.set()
            listener.close()
            time.sleep(0.05)
            os._exit(0)


def serve(slot):
    os.register_at_fork(after_in_child=abandon)
    stop = threading.Event()
    channel.send(b"hello %d" % os.getpid())
    threading.Thread(target=orders, args=(stop,), daemon=True).start()
    channel.send(b"ready layout=%d ppid=%d uid=%d" % (LAYOUT, os.getppid(), os.getuid()))
    while not stop.is_set():
        try:
            if not select.select([listener], [], [], 0.5)[0]:
                continue
            peer, _ = listener.accept()
        except (BlockingIOError, OSError, ValueError):
            continue
        with peer:
            peer.setblocking(True)
            order = peer.recv(10)
            if order == b"fork" and os.fork() == 0:
                # an app's child: starts after abandon(), outlives its worker, keeps its stdio only
                for fd in range(3, 64):
                    try:
                        where = os.readlink(f"/proc/self/fd/{fd}")
                    except OSError:
                        continue
                    if "/proc/" not in where:
                        os.write(2, f"forked child keeps {where}\n".encode()) if fd != peer.fileno() else None
                peer.close()
                time.sleep(2)
                os._exit(0)
            peer.send(b"%d %d %d" % (os.getpid(), slot, LAYOUT))
    time.sleep(1)  # the orders thread exits the process


def template():
    """Imports the app once, then double-forks a worker for each order."""
    global channel
    import json, http.client, decimal  # the app
    gc.collect()
    gc.freeze()
    shim = ctypes.PyDLL(os.path.join(os.path.dirname(os.path.abspath(__file__)), "double_fork.so"))
    control = channel
    while True:
        text, fds, _, _ = socket.recv_fds(control, 1000, 1)
        if not text:
            os._exit(0)
        api = ctypes.pythonapi
        api.PyOS_BeforeFork()
        child = shim.double_fork()
        if child:
            api.PyOS_AfterFork_Parent()
            os.close(fds[0])
            continue
        api.PyOS_AfterFork_Child()
        control.close()
        channel = socket.socket(fileno=fds[0])
        since = time.monotonic()
        tries = 0
        while os.getppid() != master:
            tries += 1
            if select.select([channel], [], [], 0.0005)[0] and not channel.recv(1, socket.MSG_PEEK):
                os._exit(0)  # the master went away meanwhile
        waited = (time.monotonic() - since) * 1e6
        channel.send(b"reparented after %d us, %d looks" % (waited, tries))
        return serve(int(text.split()[1]))


template() if facts["template"] == "1" else serve(int(facts["slot"]))
