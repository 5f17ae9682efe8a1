#!/usr/bin/env python3
"""CPU microseconds per request of Barkeep beside the kernel's floor and bjoern, and what a connection and a server weigh.

  bench/scorecard.py [--barkeep PATH] [--rounds 7] [--seconds 3] [--json FILE] [--no-bjoern]

One core for the server, one for wrk. The three servers take turns within each round, so that a round sees one mood of the
machine; what is judged is the median over the rounds of (server - floor), never requests per second. CPU time is the
scheduler's own account (schedstat) of every thread of the server's process tree. Scenarios: keep-alive, a new connection
for each request, access log on; then bytes per idle connection and PSS. bjoern is installed into a cache directory.
"""
import argparse
import json
import os
import platform
import re
import resource
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

PORT = 8190
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "barkeep-scorecard"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def main():
    given = parse_arguments()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    commands = servers(given)
    result = {"machine": machine(), "commands": {name: " ".join(words) for name, words in commands.items()}, "rounds": given.rounds}
    result["keep-alive"] = rounds(commands, given)
    result["new connection"] = rounds(commands, given, "-H", "Connection: close")
    logging = {"floor": commands["floor"], "barkeep": commands["barkeep"],
               "barkeep log": [*commands["barkeep"], "--access-logfile", str(CACHE / "access.log")]}
    result["access log"] = rounds(logging, given)
    result["weights"] = {name: weigh(words) for name, words in commands.items() if name != "floor"}
    show(result)
    if given.json:
        Path(given.json).write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--barkeep", type=lambda text: Path(text).absolute(), default=HERE.parent / ".venv/bin/barkeep")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--json")
    arguments.add_argument("--no-bjoern", action="store_true")
    return arguments.parse_args()


def servers(given):
    CACHE.mkdir(parents=True, exist_ok=True)
    floor = CACHE / "floor"
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", HERE / "floor.c", "-o", floor], check=True)
    found = {"floor": [str(floor), str(PORT)],
             "barkeep": [str(given.barkeep), "--bind", f"127.0.0.1:{PORT}", "--log-level", "error", "--access-logfile", "off", "hello:application"]}
    if not given.no_bjoern:
        found["bjoern"] = [str(bjoern_python(Path(given.barkeep).parent / "python")), "hello.py", str(PORT)]
    return found


def bjoern_python(base):
    """A virtualenv with bjoern on the same interpreter as Barkeep's, made once; the lab's one is used where it exists."""
    lab = Path.home() / ".cache/barkeep-lab/bin/python"
    version = subprocess.run([base, "-c", "import sys; print(sys.version, sys._base_executable)"], capture_output=True, text=True, check=True).stdout
    for candidate in (lab, CACHE / "venv/bin/python"):
        probe = "import bjoern, sys; print(sys.version, sys._base_executable)"
        if candidate.exists() and subprocess.run([candidate, "-c", probe], capture_output=True, text=True).stdout == version:
            return candidate
    subprocess.run([base, "-m", "venv", "--clear", CACHE / "venv"], check=True)
    subprocess.run([CACHE / "venv/bin/python", "-m", "pip", "install", "-q", "bjoern"], check=True)
    return CACHE / "venv/bin/python"


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"cpu": cpu[1] if cpu else "?", "cores": os.cpu_count(), "kernel": platform.release()}


# ---- CPU per request -------------------------------------------------------------------------------------------------

def rounds(commands, given, *wrk_options):
    """name -> list of microseconds per request, one per round."""
    times, rates, errors = ({name: [] for name in commands} for _ in range(3))
    for number in range(given.rounds):
        for name, words in commands.items():
            with Running(words) as server:
                wrk(1, *wrk_options)
                before = procs.cpu_seconds(procs.tree(server.pid))
                count, rate, trouble = wrk(given.seconds, *wrk_options)
                spent = procs.cpu_seconds(procs.tree(server.pid)) - before
            times[name].append(1e6 * spent / max(count, 1))
            rates[name].append(rate)
            errors[name] += trouble
        print(f"round {number + 1}: " + ", ".join(f"{name} {times[name][-1]:.2f}" for name in commands), file=sys.stderr, flush=True)
    return {"us": times, "rate": rates, "errors": errors}


def wrk(seconds, *options):
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s", *options, f"http://127.0.0.1:{PORT}/"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count = int(re.search(r"(\d+) requests in", shown)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", shown)[1])
    return count, rate, re.findall(r"Socket errors.*|Non-2xx.*", shown)


class Running:
    """A server on core 0, from its first answer to its end."""

    def __init__(self, words):
        self.process = subprocess.Popen(["taskset", "-c", "0", *words], cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        self.pid = self.process.pid

    def __enter__(self):
        try:
            procs.until(self.answers, 20, f"an answer of {self.process.args}")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", PORT), 1) as conn:
                conn.sendall(REQUEST)
                return conn.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def __exit__(self, *_):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, sig)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


# ---- memory ----------------------------------------------------------------------------------------------------------

def weigh(words, connections=2000):
    """PSS of the whole server in KiB after a warm-up, and bytes per idle kept-alive connection that was answered once."""
    with Running(words) as server:
        wrk(1)
        total = lambda: sum(procs.pss_kb(pid) for pid in procs.tree(server.pid))
        rest = total()
        conns = [answered_connection() for _ in range(connections)]
        grown = total() - rest
        for conn in conns:
            conn.close()
    return {"pss_kb": rest, "bare_interpreter_kb": bare_interpreter(Path(words[0]).parent / "python"),
            "bytes_per_idle_connection": grown * 1024 / connections}


def bare_interpreter(python):
    """PSS of the same interpreter that has started and waits for input."""
    process = subprocess.Popen([python, "-c", "print(1, flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    found = procs.pss_kb(process.pid)
    process.communicate(b"\n")
    return found


def answered_connection():
    conn = socket.create_connection(("127.0.0.1", PORT), 5)
    conn.sendall(REQUEST)
    received = b""
    while b"World!" not in received:
        received += conn.recv(4096)
    return conn


# ---- the table -------------------------------------------------------------------------------------------------------

def show(result):
    print(f"{result['machine']['cpu']}, kernel {result['machine']['kernel']}; medians of {result['rounds']} rounds, CPU microseconds per request")
    for name, command in result["commands"].items():
        print(f"  {name:12} {command}")
    for scenario in ("keep-alive", "new connection", "access log"):
        table = result[scenario]
        print(f"\n{scenario:14} {'us':>7} {'over floor':>11} {'spread':>15} {'requests/s':>11}")
        for name, times in table["us"].items():
            over = statistics.median(a - b for a, b in zip(times, table["us"]["floor"]))
            spread = f"{min(times):.2f}..{max(times):.2f}"
            rate = statistics.median(table["rate"][name])
            print(f"  {name:12} {statistics.median(times):7.2f} {over:11.2f} {spread:>15} {rate:11.0f} {' '.join(sorted(set(table['errors'][name])))}")
    print(f"\n{'weights':14} {'PSS KiB':>8} {'bare python':>12} {'bytes per idle connection':>26}")
    for name, row in result["weights"].items():
        print(f"  {name:12} {row['pss_kb']:8} {row['bare_interpreter_kb']:12} {row['bytes_per_idle_connection']:26.0f}")


if __name__ == "__main__":
    main()
