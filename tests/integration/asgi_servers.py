"""The servers that the ASGI tests are run against: Barkeep on both loops, and uvicorn for comparison (slow)."""
import os
import re
import subprocess
import threading

import pytest
from harness import Conn, get, until
from harness.server import APPS, PYTHON


def has(module):
    return subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


HAS_UVLOOP, HAS_UVICORN = has("uvloop"), has("uvicorn")
LOOPS = [pytest.param("asyncio"), pytest.param("uvloop", marks=pytest.mark.skipif(not HAS_UVLOOP, reason="no uvloop here"))]
SERVERS = [*LOOPS, pytest.param("uvicorn", marks=[pytest.mark.slow, pytest.mark.skipif(not HAS_UVICORN, reason="no uvicorn here")])]


class Uvicorn:
    """As much of harness.Server as the tests of statements use."""
    name = "uvicorn"

    def __init__(self, app, *options):
        self.log = ""
        self.process = subprocess.Popen([PYTHON, "-m", "uvicorn", "--port", "0", *options, app], cwd=APPS, stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, env=dict(os.environ, PYTHONUNBUFFERED="1"))
        threading.Thread(target=self.collect, daemon=True).start()
        found = until(lambda: re.search(r"running on http://127.0.0.1:(\d+)", self.log), 30, f"uvicorn to start\n{self.log}")
        self.address = ("127.0.0.1", int(found[1]))

    def collect(self):
        while data := os.read(self.process.stderr.fileno(), 65536):
            self.log += data.decode("utf-8", "replace")
        self.process.stderr.close()

    def connect(self, timeout=10.0, receive_buffer=None):
        return Conn(self.address, timeout, receive_buffer)

    def get(self, target="/", method="GET", fields=(), body=None, timeout=10.0):
        return get(self.address, target, method, fields, body, timeout)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def settled(server):
    """uvloop opens sockets of its own when it begins to run: they are no leak."""
    if not hasattr(server, "settled"):
        server.settled = server.get("/seen/nothing").status
        server.note_baseline()
    return server


def seen(server, name, seconds=10):
    """What the application noted under this name, once it is there and no longer 'waiting'."""
    return until(lambda: (value := server.get(f"/seen/{name}").json()) not in (None, "waiting") and (value,), seconds,
                 f"the application to note {name}")[0]
