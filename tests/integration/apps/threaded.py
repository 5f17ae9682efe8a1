"""Pages for test_threads.py: what blocks, what holds the interpreter, who runs what."""
import contextvars
import ctypes
import os
import threading
import time
from urllib.parse import parse_qsl

HOLD = getattr(ctypes, "PyDLL", ctypes.CDLL)(None)  # calls through it keep the GIL; PyPy always lets go of it
LOCAL = threading.local()
VARIABLE = contextvars.ContextVar("variable", default="unset")
GATE = threading.Event()
STATE = {"running": 0, "most": 0, "counts": {}}
LOCK = threading.Lock()


def application(environ, start_response):
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    page = PAGES.get(environ["PATH_INFO"], on_hello)
    with LOCK:
        STATE["running"] += 1
        STATE["most"] = max(STATE["most"], STATE["running"])
    try:
        body = page(environ, query)
    finally:
        with LOCK:
            STATE["running"] -= 1
    if not isinstance(body, str):
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return body
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]


def on_hello(environ, query):
    return "Hello, World!"


def on_sleep(environ, query):
    time.sleep(float(query.get("s", 0.01)))
    return "slept"


def on_hog(environ, query):
    """A C call that does not let the interpreter go."""
    HOLD.usleep(int(float(query["s"]) * 1e6))
    return "held"


def on_wait(environ, query):
    """Until /open is asked for."""
    GATE.wait(30)
    return "opened"


def on_open(environ, query):
    GATE.set()
    return "open"


def on_running(environ, query):
    """How many requests run now, this one included, and the most so far."""
    return f"{STATE['running']} {STATE['most']}"


def on_thread(environ, query):
    current = threading.current_thread()
    names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("barkeep-"))
    return f"{current.name} {current is threading.main_thread()} {environ['wsgi.multithread']} {','.join(names)}"


def on_local(environ, query):
    """The same request sees its own thread's values; another thread's never."""
    mine = f"{threading.get_ident()} {query['id']}"
    LOCAL.value = mine
    token = VARIABLE.set(mine)
    time.sleep(0.002)
    fine = LOCAL.value == mine and VARIABLE.get() == mine
    VARIABLE.reset(token)
    return f"{query['id']} {fine}"


def on_big(environ, query):
    """?n= pieces of 64 KiB."""
    piece = b"b" * 65536
    return (piece for _ in range(int(query["n"])))


def on_lent(environ, query):
    return [b"l" * int(query["n"])]


def on_echo(environ, query):
    """Piece by piece while it comes in."""
    def pieces():
        while piece := environ["wsgi.input"].read(4096):
            yield piece
    return pieces()


def on_lines(environ, query):
    return str(sum(len(line) for line in environ["wsgi.input"]))


def on_fork(environ, query):
    pid = os.fork()
    if pid == 0:
        os._exit(5)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def on_return(environ, query):
    """The child of fork() comes back into the server."""
    pid = os.fork()
    if pid == 0:
        return "of the child"
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def on_raise(environ, query):
    raise ValueError("asked to fail")


def on_exit(environ, query):
    raise SystemExit(3)


PAGES = {f"/{name[3:]}": page for name, page in list(globals().items()) if name.startswith("on_")}
