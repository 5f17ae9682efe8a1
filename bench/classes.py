#!/usr/bin/env python3
"""The worker classes beside the servers people use for the same job, on this machine, in the same run.

  bench/classes.py [--barkeep PATH] [--peers VENV] [--rounds 5] [--seconds 2] [--only hello,bodies,broadcast,mixed,waiting,workers]
                   [--json FILE]

hello    CPU microseconds per request of a hello page, 64 keep-alive connections, one worker of each class
bodies   ASGI: a POST of 1 KiB that comes back, an answer of 20 chunks, 20 events of text/event-stream
broadcast  ASGI: 1,000 WebSockets of which one sends what all get: CPU microseconds per message delivered
mixed    32 connections on the hello page beside 2 on a page that sleeps 200 ms, one worker with 4 threads: rate and p99 of the hello page
waiting  a page that waits 10 ms, 512 connections (64 for threads): requests per second and CPU per request
workers  1 to 6 workers on a page that computes and on one that waits: requests per second and CPU per request

Servers run on core 0 (workers: on all), wrk on core 1; servers take turns within a round; medians are shown. Peers come from a
virtualenv (by default the lab's, or one made once in the cache); what is not installed in it is left out. Who does not answer says so in its
row: uWSGI 2.0's gevent loop aborts under load with gevent 26 (libev finds a closed descriptor in its set).
"""
import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import scorecard  # noqa: E402
from scorecard import PORT, Running, machine, procs  # noqa: E402

ADDRESS = f"127.0.0.1:{PORT}"
PEERS = ["gunicorn", "gevent", "tornado", "uwsgi", "waitress", "granian", "uvicorn", "uvloop", "httptools", "wsproto"]


def main():
    given = parse_arguments()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.chdir(HERE)
    peers = Peers(given)
    result = {"machine": machine(), "rounds": given.rounds}
    for name in given.only.split(","):
        result[name] = {"hello": hello, "bodies": bodies, "broadcast": broadcast, "mixed": mixed, "waiting": waiting, "workers": workers}[name](given, peers)
    if given.json:
        Path(given.json).write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--barkeep", type=lambda text: Path(text).absolute(), default=HERE.parent / ".venv/bin/barkeep")
    arguments.add_argument("--peers", type=Path)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--only", default="hello,bodies,broadcast,mixed,waiting,workers")
    arguments.add_argument("--json")
    return arguments.parse_args()


class Peers:
    """Commands by name; None for what is not there."""

    def __init__(self, given):
        self.barkeep_path, self.venv = given.barkeep, given.peers or self.find()

    @staticmethod
    def find():
        lab = Path.home() / ".cache/barkeep-lab"
        if (lab / "bin/granian").exists():
            return lab
        venv = scorecard.CACHE / "peers"
        if not (venv / "bin/granian").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
            subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", *PEERS], check=True)
        return venv

    def barkeep(self, app, *options):
        return [str(self.barkeep_path), "--bind", ADDRESS, "--log-level", "error", "--access-logfile", "off", *options, f"pages:{app}"]

    def peer(self, program, *words):
        path = self.venv / "bin" / program
        return [str(path), *words] if path.exists() else None

    def gunicorn(self, app, *options):
        return self.peer("gunicorn", "-b", ADDRESS, "-w", "1", "--backlog", "2048", "--log-level", "critical", *options, f"pages:{app}")

    def granian(self, interface, app, *options):
        return self.peer("granian", "--interface", interface, "--host", "127.0.0.1", "--port", str(PORT), "--http", "1", "--no-log",
                         "--backlog", "2048", *options, f"pages:{app}")

    def uvicorn(self, loop):
        return self.peer("uvicorn", "--host", "127.0.0.1", "--port", str(PORT), "--loop", loop, "--http", "httptools", "--no-access-log",
                         "--log-level", "critical", "pages:asgi")

    def uwsgi(self, *options):
        return self.peer("uwsgi", "--http11-socket", ADDRESS, "--master", "-p", "1", "-L", "-l", "1000", "--module", "pages", *options)


def measured(commands, given, load):
    """name -> the medians of what load() returns per round: (requests, requests/s, p99 ms, errors), with CPU us per request in front; or
    a sentence about one that does not serve."""
    rows, unserved = {name: [] for name, words in commands.items() if words}, {}
    for _ in range(given.rounds):
        for name in list(rows):
            try:
                with Running(commands[name]) as server:
                    load(1)
                    before = procs.cpu_seconds(procs.tree(server.pid))
                    count, rate, p99, errors = load(given.seconds)
                    spent = procs.cpu_seconds(procs.tree(server.pid)) - before
                    assert spent > 0 and count > errors, f"{count} answers, {errors} errors"
            except AssertionError as error:  # say so once, go on with the others
                unserved[name] = f"did not serve: {str(error)[:120]}"
                del rows[name]
                continue
            rows[name].append((1e6 * spent / max(count, 1), rate, p99, errors))
    return {name: [statistics.median(column) for column in zip(*values)] for name, values in rows.items()} | unserved


def wrk(seconds, path="/", connections=64, cores="1", *options):
    shown = subprocess.run(["taskset", "-c", cores, "wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s", *options, f"http://{ADDRESS}{path}"],
                           capture_output=True, text=True, check=True).stdout
    return parse(shown)


def parse(shown):
    count = int(re.search(r"(\d+) requests in", shown)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", shown)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", shown).groups()
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", shown)))
    return count, rate, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit], errors


def show(title, rows):
    print(f"\n{title:44} {'us/request':>11} {'requests/s':>11} {'p99 ms':>8} {'errors':>7}")
    for name, row in rows.items():
        if isinstance(row, str):
            print(f"  {name:42} {row}", flush=True)
            continue
        us, rate, p99, errors = row
        print(f"  {name:42} {us:11.1f} {rate:11.0f} {p99:8.2f} {errors:7.0f}", flush=True)
    return rows


# ---- the tables ------------------------------------------------------------------------------------------------------

def hello(given, peers):
    commands = {
        "barkeep sync": peers.barkeep("application", "-k", "sync"),
        "barkeep threads 8": peers.barkeep("application", "--threads", "8"),
        "gunicorn gthread 8": peers.gunicorn("application", "--threads", "8"),
        "granian wsgi": peers.granian("wsgi", "application"),
        "barkeep gevent": peers.barkeep("application", "-k", "gevent"),
        "gunicorn gevent": peers.gunicorn("application", "-k", "gevent", "--worker-connections", "2000"),
        "uwsgi gevent": peers.uwsgi("--gevent", "2000"),
        "barkeep asgi": peers.barkeep("asgi", "--asgi-loop", "asyncio"),
        "barkeep asgi, uvloop": peers.barkeep("asgi", "--asgi-loop", "uvloop"),
        "granian asgi": peers.granian("asgi", "asgi", "--loop", "uvloop"),
        "uvicorn": peers.uvicorn("uvloop"),
        "gunicorn asgi": peers.gunicorn("asgi", "-k", "asgi"),
        "barkeep tornado": peers.barkeep("tornado_app"),
        "tornado's own server": peers.peer("python", "-c", f"import asyncio, pages\nasync def main():\n pages.tornado_app.listen({PORT}, '127.0.0.1')\n"
                                                           " await asyncio.Event().wait()\nasyncio.run(main())"),
        "barkeep tornado, WSGI": peers.barkeep("application", "-k", "tornado"),
        "gunicorn tornado, WSGI": peers.gunicorn("application", "-k", "tornado"),
    }
    return show("hello, 64 connections", measured(commands, given, wrk))


def asgi_peers(peers):
    return {
        "barkeep asgi": peers.barkeep("asgi"),
        "barkeep asgi, uvloop": peers.barkeep("asgi", "--asgi-loop", "uvloop"),
        "granian asgi": peers.granian("asgi", "asgi", "--loop", "uvloop"),
        "uvicorn": peers.uvicorn("uvloop"),
    }


def bodies(given, peers):
    result = {}
    for title, path, options in (("echo of a POST of 1 KiB", "/echo", ("-s", str(HERE / "post.lua"))), ("an answer of 20 chunks", "/chunks20", ()),
                                 ("20 events of text/event-stream", "/events20", ())):
        result[title] = show(f"{title}, 64 connections",
                       measured(asgi_peers(peers), given, lambda seconds, path=path, options=options: wrk(seconds, path, 64, "1", *options)))
    return result


def broadcast(given, peers):
    def load(seconds):
        shown = subprocess.run(["taskset", "-c", "1", sys.executable, HERE / "broadcast.py", str(PORT), "1000", str(seconds)],
                               capture_output=True, text=True).stdout.split()
        assert len(shown) == 2, "the sockets did not all get the message"
        return int(shown[0]), float(shown[1]), 0.0, 0
    return show("broadcast to 1,000 WebSockets, per message delivered", measured(asgi_peers(peers), given, load))


def mixed(given, peers):
    def load(seconds):
        slow = subprocess.Popen(["taskset", "-c", "1", "wrk", "-t1", "-c2", f"-d{seconds}s", f"http://{ADDRESS}/sleep200"], stdout=subprocess.DEVNULL)
        try:
            return wrk(seconds, "/", 32)
        finally:
            slow.wait()
    commands = {
        "barkeep, 4 threads": peers.barkeep("application", "--threads", "4"),
        "granian, 4 blocking threads": peers.granian("wsgi", "application", "--blocking-threads", "4"),
        "uwsgi http11, 4 threads": peers.uwsgi("--threads", "4"),
        "waitress, 4 threads": peers.peer("waitress-serve", "--listen", ADDRESS, "--threads", "4", "--backlog", "1000", "pages:application"),
        "gunicorn gthread, 4 threads": peers.gunicorn("application", "--threads", "4"),
    }
    return show("hello beside 2 slow clients", measured(commands, given, load))


def waiting(given, peers):
    def load_of(connections):
        return lambda seconds: wrk(seconds, "/sleep10", connections)
    threads = {
        "barkeep, 64 threads, c=64": peers.barkeep("application", "--threads", "64"),
        "gunicorn gthread, 64 threads, c=64": peers.gunicorn("application", "--threads", "64"),
        "granian, 64 blocking threads, c=64": peers.granian("wsgi", "application", "--blocking-threads", "64", "--backpressure", "64"),
    }
    many = {
        "barkeep gevent, c=512": peers.barkeep("application", "-k", "gevent"),
        "gunicorn gevent, c=512": peers.gunicorn("application", "-k", "gevent", "--worker-connections", "2000"),
        "uwsgi gevent, c=512": peers.uwsgi("--gevent", "2000"),
        "barkeep asgi, c=512": peers.barkeep("asgi"),
        "granian asgi, c=512": peers.granian("asgi", "asgi", "--loop", "uvloop"),
        "uvicorn, c=512": peers.uvicorn("uvloop"),
    }
    rows = measured(threads, given, load_of(64)) | measured(many, given, load_of(512))
    return show("a page that waits 10 ms", rows)


def workers(given, peers):
    rows = {}
    for path, name, options in (("/cpu2", "computes 2 ms", ["-k", "sync"]), ("/sleep10", "waits 10 ms, sync", ["-k", "sync"]),
                                ("/sleep10", "waits 10 ms, 16 threads", ["--threads", "16"]), ("/cpu2", "computes 2 ms, 16 threads", ["--threads", "16"])):
        for count in range(1, 7):
            words = ["taskset", "-c", f"0-{os.cpu_count() - 1}", *peers.barkeep("application", "--workers", str(count), *options)]
            rows |= measured({f"{name}, {count} workers": words}, given, lambda seconds, path=path: wrk(seconds, path, 64, f"0-{os.cpu_count() - 1}"))
    return show("workers on all cores, 64 connections", rows)


if __name__ == "__main__":
    main()
