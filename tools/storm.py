#!/usr/bin/env python3
"""Badly behaved clients (bk-storm) against the engine's threads without Python (bk-null), under ThreadSanitizer.

  tools/storm.py [--exchanges N]     N exchanges in each setting, 50000 unless given; BARKEEP_TEST_STORM sets it too

Every answer must belong to its request, the server must end when told to, and no data race may be reported. Prints a line for
each setting and ends with 'N passed, N failed'.
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import build

SETTINGS = (
    ("threads=8", "GIL=on"),
    ("threads=8", "GIL=on", "request_buffering=off", "write_buffer=16K"),
    ("threads=64", "request_buffering=off"),
    ("threads=1", "GIL=on", "request_buffering=off"),
)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--exchanges", type=int, default=int(os.environ.get("BARKEEP_TEST_STORM", "50000")))
    given = arguments.parse_args()
    directory = build.storm(sys.executable)
    failed = sum(not storm(directory, settings, given.exchanges) for settings in SETTINGS)
    print(f"{len(SETTINGS) - failed} passed, {failed} failed")
    return 1 if failed else 0


def storm(directory, settings, exchanges):
    null = Path(directory) / "hosts/null"
    environment = dict(os.environ, TSAN_OPTIONS="halt_on_error=0 second_deadlock_stack=1 exitcode=66")
    command = [null / "bk-null", "bind=127.0.0.1:0", "live_path=/-/live", *settings]
    with open(build.BUILD / "storm.log", "w+") as log:
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            port = server.stdout.readline().strip().rpartition(":")[2]
            client = subprocess.run([null / "bk-storm", port, str(exchanges)], env=environment, capture_output=True, text=True)
            server.terminate()
            status = server.wait(60)
        except subprocess.TimeoutExpired:
            status = "no end"
        finally:
            server.kill()
            server.wait()
        log.seek(0)
        text = log.read()
    races = text.count("WARNING: ThreadSanitizer")
    print(f"{' '.join(settings)}: {client.stdout.strip() or client.stderr.strip()}; races {races}, status {status}", flush=True)
    if races or status:
        print("\n".join(re.findall(r"^(?!barkeep: error: Failure|  here).*", text, re.M)[:120]))
    return client.returncode == 0 and status == 0 and races == 0


if __name__ == "__main__":
    sys.exit(main())
