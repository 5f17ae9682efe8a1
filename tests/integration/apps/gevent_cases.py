"""What applications do under gevent. Nothing here imports gevent's own versions of things: the standard library is patched."""
import contextvars
import gc
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs

import gevent
import gevent.monkey
import greenlet
from gevent.event import Event
from gevent.local import local

PATCHED = {name: gevent.monkey.is_module_patched(name) for name in ("socket", "ssl", "threading", "time", "subprocess", "select", "os")}
LOCK_AT_IMPORT = type(threading.Lock()).__module__

variable = contextvars.ContextVar("variable", default="unset")
variable.set("from import")
here = local()
thread_here = threading.local()
gates = {}
running = {"now": 0, "most": 0}


def application(environ, start_response):
    given = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    found = globals()["view_" + environ["PATH_INFO"].strip("/")](environ, start_response, given)
    if found is None or isinstance(found, (str, int, float, dict, list, bool)):
        body = json.dumps(found).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]
    return found


def view_facts(environ, start_response, given):
    me = gevent.getcurrent()
    return {"patched": PATCHED, "lock": LOCK_AT_IMPORT, "greenlet": type(me).__name__, "under hub": me.parent is gevent.get_hub(),
            "multithread": environ["wsgi.multithread"]}


def view_isolated(environ, start_response, given):
    found = [variable.get(), hasattr(here, "mine"), hasattr(thread_here, "mine")]
    variable.set(given["name"])
    here.mine = thread_here.mine = given["name"]
    meet(int(given["count"]))
    return found + [variable.get() == here.mine == thread_here.mine == given["name"]]


def meet(count, name="all", seconds=20):
    """Returns when `count` requests are here at once."""
    arrived, gate = gates.setdefault(name, ([], Event()))
    arrived.append(1)
    if len(arrived) == count:
        gates.pop(name)
        gate.set()
    if not gate.wait(seconds):
        raise TimeoutError(f"{len(arrived)} of {count} came")


def view_meet(environ, start_response, given):
    meet(int(given["count"]))
    return "met"


def view_upstream(environ, start_response, given):
    """Asks another server within the request; the other answers when all are there."""
    upstream = http.client.HTTPConnection("127.0.0.1", int(given["port"]), timeout=30)
    upstream.request("GET", f"/meet?count={given['count']}")
    return json.load(upstream.getresponse())


def view_hold(environ, start_response, given):
    """Until a file is there: how many waited with it at most."""
    print("begun", flush=True)
    running["now"] += 1
    running["most"] = max(running.values())
    while not os.path.exists(given["file"]):
        time.sleep(0.01)
    running["now"] -= 1
    return running["most"]


def view_sleep(environ, start_response, given):
    print("begun", flush=True)
    try:
        time.sleep(float(given["seconds"]))
    except BaseException as error:
        print(f"woken by {type(error).__name__}", flush=True)
        raise
    finally:
        print("cleaned up", flush=True)
    return "slept"


def view_fail(environ, start_response, given):
    if given["how"] == "Timeout":
        gevent.Timeout(0.01).start()
        time.sleep(20)
    if given["how"] == "SystemExit":
        sys.exit(3)
    if given["how"] == "late":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100")])
        return failing()
    raise {"ValueError": ValueError, "GreenletExit": gevent.GreenletExit, "KeyboardInterrupt": KeyboardInterrupt}[given["how"]]("on purpose")


def failing():
    yield b"first"
    time.sleep(0.01)
    raise ValueError("on purpose")


def view_spawn_exit(environ, start_response, given):
    gevent.spawn(sys.exit, 4)
    gevent.spawn(raise_value_error)
    time.sleep(0.02)
    return "still here"


def raise_value_error():
    raise ValueError("in a greenlet")


def view_read(environ, start_response, given):
    print("reading", flush=True)
    total = 0
    try:
        while data := environ["wsgi.input"].read(4096):
            total += len(data)
    except OSError as error:
        print(f"read raised {type(error).__name__}", flush=True)
        raise
    return total


def view_lines(environ, start_response, given):
    return [line.decode() for line in environ["wsgi.input"]]


def view_forsaken(environ, start_response, given):
    """Another greenlet reads the body and the request ends before it is done."""
    gevent.spawn(forsaken, environ["wsgi.input"])
    time.sleep(0.05)
    return "left"


def forsaken(stream):
    try:
        stream.read()
    except Exception as error:
        print(f"forsaken reader: {type(error).__name__}: {error}", flush=True)


def view_stream(environ, start_response, given):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return stream(int(given["pieces"]), int(given["size"]), float(given.get("pause", "0")))


def stream(pieces, size, pause):
    for number in range(pieces):
        if pause:
            time.sleep(pause)
        yield b"x" * size
        if number % 50 == 0:
            print(f"piece {number}", flush=True)


def view_write(environ, start_response, given):
    write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(int(given["pieces"])):
        write(b"x" * int(given["size"]))
        time.sleep(0)
    return iter([b"end"])


def view_greenlets(environ, start_response, given):
    gc.collect()
    return sum(isinstance(each, greenlet.greenlet) for each in gc.get_objects())


def view_subprocess(environ, start_response, given):
    return subprocess.check_output(["sh", "-c", "sleep 0.05; echo done"], text=True).strip()


def view_thread(environ, start_response, given):
    """A thread of the application is a greenlet, one of gevent's pool is not."""
    found = []
    thread = threading.Thread(target=lambda: found.append(threading.get_ident()))
    thread.start()
    thread.join()
    native = gevent.get_hub().threadpool.apply(gevent.monkey.get_original("threading", "get_ident"))
    return [found != [], native != gevent.monkey.get_original("threading", "get_ident")()]


def view_fork(environ, start_response, given):
    """The child may come back into the server: there it finds nothing of its parent's."""
    pid = os.fork()
    if pid == 0:
        if "exit" in given:
            os._exit(7)
        return "child"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def view_resolve(environ, start_response, given):
    return socket.gethostbyname("localhost")
