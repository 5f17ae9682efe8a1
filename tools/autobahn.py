#!/usr/bin/env python3
"""Runs the Autobahn WebSocket test suite against bk-null: tools/autobahn.py [--full] [CASES...]

The suite is written for Python 2: it is installed by pip into build/autobahn for a CPython 2.7 (pyenv's, or python2.7 on
PATH). Without one, nothing can be run: that is said, and the exit status is 0 with 'skipped' in the last line.
The usual set is sections 1 to 7 and 10; --full (or BARKEEP_AUTOBAHN=full) adds 9 (big messages), 12 and 13 (compression), which
take about half an hour. --sanitize runs the sanitizer build. CASES are patterns of case numbers such as 6.* or 12.1.3.
A case may end OK, NON-STRICT or INFORMATIONAL; NON-STRICT ones are listed. Reports stay in build/autobahn/reports.
Ends with 'N passed, N failed'.
"""
import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import build

HOME = build.BUILD / "autobahn"
REPORTS = HOME / "reports"
USUAL = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
# A report is written at the end of a run, so the long sections are run in groups.
LONG = (*(f"9.{n}.*" for n in range(1, 9)), *(f"12.{n}.*" for n in range(1, 6)), *(f"13.{n}.*" for n in range(1, 8)))
GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--full", action="store_true", default=os.environ.get("BARKEEP_AUTOBAHN") == "full")
    arguments.add_argument("--sanitize", action="store_true")
    arguments.add_argument("cases", nargs="*")
    given = arguments.parse_args()
    wstest = install()
    if wstest is None:
        print("no CPython 2.7 here, which the Autobahn suite needs\n0 passed, 0 failed, 1 skipped")
        return 0
    program = build.unit(sys.executable, given.sanitize, False) / "hosts/null/bk-null"
    groups = [given.cases] if given.cases else [USUAL, *([case] for case in LONG if given.full)]
    results = {}
    for group in groups:
        results.update(run(wstest, program, group, REPORTS / ("usual" if group is USUAL else " ".join(group).replace("*", "all"))))
    return report(results)


def install():
    """Path of wstest, None without a Python for it."""
    wstest = HOME / "venv/bin/wstest"
    if wstest.exists():
        return wstest
    python = find_python()
    if python is None:
        return None
    build.say("installing the Autobahn suite")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    # The last virtualenv that runs under Python 2.
    build.run(python, "-m", "pip", "install", "-q", "--target", HOME / "virtualenv", "virtualenv==20.15.1")
    build.run(python, "-m", "virtualenv", HOME / "venv", env=dict(os.environ, PYTHONPATH=str(HOME / "virtualenv")))
    build.run(HOME / "venv/bin/pip", "install", "-q", "autobahntestsuite==25.10.1")
    return wstest


def find_python():
    candidates = [Path(folder) / "python2.7" for folder in os.environ.get("PATH", "").split(":") if "shims" not in folder]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(root.glob("versions/2.7.*/bin/python2.7"))
    for candidate in candidates:
        if candidate.exists() and subprocess.run([candidate, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            return candidate
    return None


def run(wstest, program, cases, directory):
    """{case: behaviour} of one run against a fresh server."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with open(directory / "server.log", "w+") as log:
        server = subprocess.Popen([program, "bind=127.0.0.1:0", "LOOP=on"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            port = re.search(r":(\d+)", server.stdout.readline())[1]
            spec = {"outdir": str(directory), "servers": [{"agent": "barkeep", "url": f"ws://127.0.0.1:{port}/"}], "cases": list(cases),
                    "exclude-cases": [], "exclude-agent-cases": {}}
            (directory / "spec.json").write_text(json.dumps(spec))
            build.run(wstest, "-m", "fuzzingclient", "-s", directory / "spec.json", cwd=directory)
        finally:
            server.terminate()
            status = server.wait(60)
        log.seek(0)
        said = log.read()
    found = json.loads((directory / "index.json").read_text())["barkeep"]
    results = {case: (row["behavior"], row["behaviorClose"]) for case, row in found.items()}
    if status or "Sanitizer" in said or "runtime error" in said:
        print(said[-3000:])
        results[f"server of {' '.join(cases)}"] = (f"exit status {status}", "OK")
    print(f"{' '.join(cases)}: {summary(results)}", flush=True)
    return results


def summary(results):
    counts = collections.Counter(behaviour for behaviour, _ in results.values())
    return ", ".join(f"{count} {behaviour}" for behaviour, count in counts.most_common())


def report(results):
    def order(item):
        return [int(number) for number in re.findall(r"\d+", item[0])]

    failed = 0
    for case, (behaviour, closing) in sorted(results.items(), key=order):
        bad = behaviour not in GOOD or closing not in GOOD
        failed += bad
        if bad or behaviour == "NON-STRICT":
            print(f"{case}: {behaviour}, close {closing}")
    print(f"{len(results)} cases: {summary(results)}")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
