#!/usr/bin/env python3
"""CPU microseconds per request on PyPy: Barkeep beside waitress and Gunicorn, warm, one worker, 64 keep-alive connections.

  bench/pypy.py --venv DIRECTORY [--rounds 3] [--seconds 3] [--warm 15] [--json FILE]

DIRECTORY is a PyPy virtualenv with barkeep, waitress, gunicorn and flask. All servers run at once and take turns within each
round, so that a round sees one mood of the machine: what counts is the ratio. Needs wrk. CPU time is the scheduler's own
account of every thread of the server's process tree. The applications: hello (one list of one item) and Flask.
"""
import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/integration"))
from harness import procs  # noqa: E402  (the same /proc reading as the tests)

APPS = ("hello", "flask_hello")


def main():
    given = parse_arguments()
    result = {}
    for app in APPS:
        result[app] = compare(given, app)
        print(f"{app}, {given.rounds} rounds of {given.seconds} s, median CPU us per request (requests/s)")
        for name, row in sorted(result[app].items(), key=lambda item: item[1]["us"]):
            print(f"  {name:16} {row['us']:8.1f}   ({row['rate']:.0f}/s)", flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--venv", type=Path, required=True)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--warm", type=int, default=15, help="seconds of load before the first round")
    arguments.add_argument("--json")
    return arguments.parse_args()


def commands(venv, app):
    scripts = venv.absolute() / "bin"
    return {
        "barkeep sync": lambda port: [scripts / "barkeep", "-k", "sync", "--bind", f"127.0.0.1:{port}", f"{app}:application"],
        "barkeep threads": lambda port: [scripts / "barkeep", "--bind", f"127.0.0.1:{port}", f"{app}:application"],
        "waitress": lambda port: [scripts / "waitress-serve", "--listen", f"127.0.0.1:{port}", f"{app}:application"],
        "gunicorn sync": lambda port: [scripts / "gunicorn", "-b", f"127.0.0.1:{port}", f"{app}:application"],
        "gunicorn gthread": lambda port: [scripts / "gunicorn", "-k", "gthread", "--threads", "4", "-b", f"127.0.0.1:{port}",
                                          f"{app}:application"],
    }


def compare(given, app):
    started, samples = {}, {}
    try:
        for name, command in commands(given.venv, app).items():
            port = free_port()
            words = [str(word) for word in command(port)]
            process = subprocess.Popen(words, cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
            started[name] = (process, port)
            samples[name] = []
        for name, (process, port) in started.items():
            wait_for(port)
            load(port, given.warm)
        for _ in range(given.rounds):
            for name, (process, port) in started.items():
                before = cpu(process.pid)
                count, seconds = load(port, given.seconds)
                samples[name].append(((cpu(process.pid) - before) / max(count, 1) * 1e6, count / seconds))
    finally:
        for process, _ in started.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process, _ in started.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
    return {name: {"us": statistics.median(us for us, _ in rows), "rate": statistics.median(rate for _, rate in rows)}
            for name, rows in samples.items()}


def load(port, seconds):
    """(requests, seconds) of one run of wrk."""
    shown = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True)
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", shown.stdout)
    return int(found[1]), float(found[2]) * (0.001 if found[3] == "ms" else 1)


def cpu(pid):
    """Seconds of CPU of a process tree so far, all threads."""
    total = 0
    for one in procs.tree(pid):
        for task in Path(f"/proc/{one}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (OSError, IndexError):
                pass
    return total / 1e9


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
