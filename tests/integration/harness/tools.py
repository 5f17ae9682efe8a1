"""Those who look at a running server from outside: --stats clients and barkeepctl."""
import json
import re
import socket
import subprocess
from pathlib import Path

from .procs import SLOW
from .server import PYTHON

BARKEEPCTL = Path(PYTHON).parent / "barkeepctl"


def stats_address(server):
    """Where the server's --stats is: (host, port), or a path."""
    where = server.wait_log(r"statistics on (\S+)")[1]
    if where.startswith("unix:"):
        return "\0" + where[6:] if where.startswith("unix:@") else str(server.cwd / where[5:])
    host, _, port = where.split("://")[1].rpartition(":")
    return host.strip("[]"), int(port)


def connect(address, seconds=10):
    sock = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    sock.settimeout(seconds * SLOW)
    sock.connect(address)
    return sock


def read_all(address, send=b""):
    """Everything the other side says until it closes."""
    with connect(address) as sock:
        if send:
            sock.sendall(send)
        data = b""
        while more := sock.recv(65536):
            data += more
        return data


def fetch(address, path="/", method="GET"):
    """(status, headers, body) of one HTTP request."""
    data = read_all(address, f"{method} {path} HTTP/1.1\r\nHost: stats\r\n\r\n".encode())
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(re.match(r"HTTP/1\.1 (\d+)", lines[0])[1]), fields, body


def stats(server):
    """The server's statistics as it gives them to barkeepctl."""
    done = ctl(server, "status", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ctl(server, *words, pid=True, seconds=30, env=None):
    """barkeepctl about this very server; others may run on the machine."""
    chosen = ["--pid", str(server.pid)] if pid else []
    return subprocess.run([str(BARKEEPCTL), *chosen, *map(str, words)], capture_output=True, text=True,
                          timeout=seconds * SLOW, env=env or server.env)
