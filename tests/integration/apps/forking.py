"""An application that makes processes, in every way applications do."""
import json
import multiprocessing
import os
import signal
import subprocess


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    body = json.dumps(globals()[f"on_{name}"]()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def open_targets(pid="self"):
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return found


def on_pid():
    return os.getpid()


def on_fork():
    """A plain os.fork(): what the child sees of our descriptors, sent back through a pipe."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.write(write, json.dumps(open_targets()).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)  # before the read: gevent's os.close() takes effect later, so there may be no end of file
    seen = json.loads(os.read(read, 65536))
    os.close(read)
    os.close(write)
    return seen


def on_subprocess():
    shown = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False)
    return [line.rpartition("-> ")[2] for line in shown.stdout.splitlines() if "->" in line]


def square(number):
    return number * number


def on_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, range(10))


def on_spawn():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(square, range(5))


def on_signals():
    """Dispositions in a child after exec; Python's own change to SIGPIPE is kept out."""
    shown = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, restore_signals=True)
    ignored = int(shown.stdout.split()[1], 16)
    names = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "HUP": signal.SIGHUP, "QUIT": signal.SIGQUIT, "PIPE": signal.SIGPIPE}
    return {name: "ignored" if ignored >> (number - 1) & 1 else "default" for name, number in names.items()}


def on_orphan():
    """A grandchild whose parent is gone: somebody must reap it."""
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
    return {"started": True}


def on_leave_child():
    """A child that outlives the request and holds on to whatever it inherited."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        signal.pause()
        os._exit(0)
    return pid


def on_exec_child():
    return subprocess.Popen(["sleep", "60"], close_fds=False).pid
