#!/usr/bin/env python3
"""Runs named sets of suites, prints each runner's own closing lines, a time for each suite and one total line.

  tools/check.py SET...     checks | quick | full | classes | over-tls | sanitize | matrix | interpreter (what
                            matrix does, on this one);
                            each suite runs once even if two sets name it

Exit status 0 only when every suite passed. `make quick`, `make test` and .ci/run call it.
"""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import build

ROOT = build.ROOT
LOGS = ROOT / "build/logs"
QUICK = ("http_conformance", "http_framing", "smuggling", "wsgi", "environ", "bodies", "keepalive_pipelining", "proxy_headers",
         "file_wrapper", "cli_golden", "apps", "fork")
# What depends on the interpreter; the rest of the suite is about the C parts and runs on one.
PER_INTERPRETER = (*QUICK, "interpreter", "first_minutes", "logs", "signals_lifecycle")
# What depends on who runs the application.
CLASSES = ("sync", "gthread", "gevent", "tornado")
# With an ASGI face of the test applications (tests/integration/apps/as_asgi.py): what is not about WSGI.
UNDER_ASGI = ("http_conformance", "http_framing", "smuggling", "bodies", "keepalive_pipelining", "timeouts", "limits")
# Of the classes' own tests what depends on the interpreter: tasks, contexts, exceptions, greenlets, threads.
THIN = ("contexts or begins_at_once or task_factory or receive_and_send or cancelled or after_the_answer or trailers or startup or finish_before "
        "or handler_sees or waiting_handlers or tornados or exceptions or client_leaves or websocket or wsgi_beside "
        "or patched or kinds_of_greenlets or share_no_locals or failures_end or children_and_threads or comes_back "
        "or side_by_side or pythons_own or values_of_one_thread or failing_request or fork_in_a_request")
PER_CLASS = ("http_conformance", "smuggling", "wsgi", "environ", "bodies", "keepalive_pipelining", "timeouts", "limits", "apps", "logs")
# What depends on the stream below HTTP.
OVER_TLS = ("http_framing", "bodies", "keepalive_pipelining", "wsgi")
# What depends on the host for PyPy, hosts/pypy and barkeep/pypy. pytest itself runs on this interpreter, which is faster.
PER_PYPY = ("http_conformance", "wsgi", "environ", "bodies", "file_wrapper", "apps", "fork", "interpreter", "threads", "asgi_http",
            "asgi_life", "asgi_websocket")
MATRIX = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")


def main():
    sets = {"checks": checks, "quick": quick, "full": full, "classes": classes, "over-tls": over_tls, "sanitize": sanitize,
            "matrix": matrix,
            "interpreter": one_interpreter}
    if not sys.argv[1:] or any(name not in sets for name in sys.argv[1:]):
        sys.exit(__doc__)
    LOGS.mkdir(parents=True, exist_ok=True)
    report = Report()
    for name in sys.argv[1:]:
        sets[name](report)
    sys.exit(report.close())


# ---- the sets ----------------------------------------------------------------------------------------------------

def checks(report):
    for name in ("layers", "sizes", "form"):
        report.suite(name, [sys.executable, f"tools/{name}.py"])
    report.suite("reference", [sys.executable, "tools/reference.py", "--check"])
    report.suite("header hash", [sys.executable, "tools/header_hash.py", "--check"])


def quick(report):
    checks(report)
    unit(report, "unit")
    package(report, "package", sys.executable)
    integration(report, "integration quick", sys.executable, "-m", "not slow", files=QUICK)


def full(report):
    checks(report)
    unit(report, "unit")
    if any((Path(folder) / "clang").exists() for folder in os.environ["PATH"].split(":")):
        report.suite("build clang", lambda: str(build.unit(sys.executable, False, True)))
    report.suite("autobahn", [sys.executable, "tools/autobahn.py"])
    package(report, "package", sys.executable)
    integration(report, "integration", sys.executable)
    over_tls(report)


def classes(report):
    """The suites about requests, once under each class that can serve a WSGI application."""
    for name in CLASSES:
        integration(report, f"integration -k {name}", sys.executable, "-m", "not slow", files=PER_CLASS, worker_class=name)
    integration(report, "integration -k asgi", sys.executable, "-m", "not slow", files=UNDER_ASGI, worker_class="asgi")


def over_tls(report):
    """Suites about HTTP with TLS in between."""
    integration(report, "integration over tls", sys.executable, "-m", "not slow", files=OVER_TLS, over_tls=True)


def sanitize(report):
    unit(report, "unit asan", sanitize=True)
    report.suite("storm tsan", [sys.executable, "tools/storm.py"])
    integration(report, "integration asan", sys.executable, sanitize=True)


def matrix(report):
    own = build.tag(sys.executable)
    for version in MATRIX:
        if version == own:
            continue  # has the whole suite
        python = interpreter(version)
        if python is None:
            report.skip(f"integration {version}", f"no python{version} on this machine")
        else:
            package(report, f"package {version}", python)
            integration(report, f"integration {version}", python, "-m", "not slow", files=PER_INTERPRETER)
            classes_thin(report, version, python)


    if build.pypy():
        integration(report, "integration pypy", build.pypy(), "-m", "not slow", files=PER_PYPY, runner=sys.executable)
    else:
        report.skip("integration pypy", "no pypy3 with cffi and venv on this machine")


def one_interpreter(report):
    version = build.tag(sys.executable)
    package(report, f"package {version}", sys.executable)
    integration(report, f"integration {version}", sys.executable, "-m", "not slow", files=PER_INTERPRETER)
    classes_thin(report, version, sys.executable)


def classes_thin(report, version, python):
    integration(report, f"classes {version}", python, "-m", "not slow", "-k", THIN, files=("asgi_http", "asgi_life", "gevent", "tornado", "threads"))


# ---- the suites --------------------------------------------------------------------------------------------------

def unit(report, name, sanitize=False):
    def run():
        directory = build.unit(sys.executable, sanitize, False)
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=1", UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
        meson = build.tools_venv(sys.executable) / "bin/meson"
        return [str(meson), "test", "-C", str(directory), "--no-rebuild", "--print-errorlogs", "--num-processes", "2"], environment
    report.suite(name, run)


def package(report, name, python):
    """The Python part without an engine."""
    report.suite(name, lambda: ([str(build.test_venv(python, False) / "bin/python"), "-m", "pytest", "-q", "-n", "2", "tests/python"], dict(os.environ)))


def integration(report, name, python, *options, sanitize=False, files=(), worker_class=None, over_tls=False, runner=None):
    def run():
        venv = build.test_venv(python, sanitize)
        runs = build.test_venv(runner, False) if runner else venv
        environment = dict(os.environ, BARKEEP_TEST_PYTHON=str(venv / "bin/python"))
        if worker_class:
            environment["BARKEEP_TEST_CLASS"] = worker_class
        if over_tls:
            environment["BARKEEP_TEST_TLS"] = "1"
        environment.setdefault("BARKEEP_TEST_SOAK", "20000" if sanitize else "200000" if os.environ.get("CI") else "60000")
        if sanitize:
            found = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
            environment.update(BARKEEP_TEST_PRELOAD=os.path.realpath(found.stdout.strip()), BARKEEP_TEST_SLOW="4")
        return [str(runs / "bin/python"), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *options,
                *([f"tests/integration/test_{name}.py" for name in files] or ["tests/integration"])], environment
    report.suite(name, run)


def interpreter(version):
    """A CPython of that version: on PATH (not a pyenv shim, which may refuse), or one of pyenv's."""
    for folder in os.environ.get("PATH", "").split(":"):
        candidate = Path(folder) / f"python{version}"
        if candidate.exists() and "shims" not in candidate.parts:
            return str(candidate)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{version}.*/bin/python"))
    return str(found[-1]) if found else None


class Report:
    """Runs commands, keeps their whole output in build/logs, shows the end of it and the closing line."""

    CLOSING = (r"=* ?(\d+ (?:passed|failed|skipped|error).*? in [\d.]+s.*?) ?=*$",       # pytest
               r"((?:Ok|Fail|Expected Fail|Unexpected Pass|Skipped|Timeout):\s+\d+)\s*$",  # meson test
               r"(\d+ passed, \d+ failed.*)$")

    def __init__(self):
        self.rows, self.passed, self.failed, self.skipped = [], 0, 0, 0
        self.seen = set()

    def suite(self, name, command):
        """`command` is an argument list, or a function that prepares things and returns (list, environment) or a word."""
        if name in self.seen:
            return
        self.seen.add(name)
        print(f"== {name}", flush=True)
        started = time.monotonic()
        status, lines = self.execute(name, command)
        spent = time.monotonic() - started
        closing = [line for line in lines if any(re.search(pattern, line) for pattern in self.CLOSING)]
        if status != 0:
            print("\n".join(lines[-200:]))
        print("\n".join(closing), flush=True)
        self.count(status, closing)
        self.rows.append((name, spent, "ok" if status == 0 else f"FAILED ({status})"))
        print(f"-- {name}: {self.rows[-1][2]}, {spent:.0f} s", flush=True)

    def execute(self, name, command):
        log = LOGS / (re.sub(r"\W+", "-", name) + ".log")
        environment = dict(os.environ)
        try:
            if callable(command):
                prepared = command()
                if isinstance(prepared, str):
                    return 0, [prepared]
                command, environment = prepared
        except SystemExit as stop:  # build.run has shown what went wrong
            return 1, [str(stop.code)]
        with open(log, "w+", errors="replace") as file:
            status = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file,
                                    stderr=subprocess.STDOUT).returncode
            file.seek(0)
            return status, file.read().splitlines()

    def count(self, status, closing):
        text = "\n".join(closing)
        passed = sum(int(n) for n in re.findall(r"(\d+) passed|Ok:\s+(\d+)", text) for n in n if n)
        failed = sum(int(n) for n in re.findall(r"(\d+) (?:failed|errors?)\b|(?:Fail|Timeout):\s+(\d+)", text) for n in n if n)
        self.skipped += sum(int(n) for n in re.findall(r"(\d+) skipped|Skipped:\s+(\d+)", text) for n in n if n)
        self.passed += passed if closing else (status == 0)
        self.failed += max(failed, int(status != 0))

    def skip(self, name, why):
        self.rows.append((name, 0.0, f"skipped: {why}"))
        self.skipped += 1

    def close(self):
        print("\n== times")
        for name, spent, outcome in self.rows:
            print(f"{spent:7.0f} s  {name:24} {outcome}")
        print(f"{sum(row[1] for row in self.rows):7.0f} s  total")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


if __name__ == "__main__":
    main()
