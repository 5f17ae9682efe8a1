#!/usr/bin/env python3
"""Runs every libFuzzer target for a bounded time, from its checked-in corpus: tools/fuzz.py [--seconds 60] [NAME...]

Needs clang. New inputs go to build/fuzz-corpus; a crash is left in build/fuzz-crashes and makes the exit status 1: add the
input to tests/fuzz/corpus/NAME and fix it. Ends with 'N passed, N failed'.
"""
import argparse
import os
import subprocess
import sys

import build

CORPUS = build.ROOT / "tests/fuzz/corpus"
DIRECTORY = build.BUILD / "fuzz"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("names", nargs="*")
    given = arguments.parse_args()
    compile_targets()
    targets = [path for path in sorted(DIRECTORY.glob("tests/fuzz/fuzz_*")) if path.is_file() and os.access(path, os.X_OK)]
    if given.names:
        targets = [path for path in targets if path.name.removeprefix("fuzz_") in given.names]
    failed = [path.name for path in targets if not run(path, given.seconds)]
    print(f"{len(targets) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not targets else 0


def compile_targets():
    tools = build.tools_venv(sys.executable)
    environment = build.path_first(tools, dict(os.environ, CC="clang"))
    if not (DIRECTORY / "build.ninja").exists():
        build.run(tools / "bin/meson", "setup", DIRECTORY, "-Dtests=true", "-Dfuzz=true", "-Dpython=false", *build.SANITIZE,
                  env=environment, cwd=build.ROOT)
    build.run(tools / "bin/ninja", "-C", DIRECTORY, env=environment)


def run(target, seconds):
    name = target.name.removeprefix("fuzz_")
    found, crashes = build.BUILD / "fuzz-corpus" / name, build.BUILD / "fuzz-crashes"
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    command = [target, f"-max_total_time={seconds}", "-max_len=16384", "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-", found]
    if (CORPUS / name).is_dir():
        command.append(CORPUS / name)
    print(f"== {name}", flush=True)
    return subprocess.run(command, env=dict(os.environ, ASAN_OPTIONS="abort_on_error=1", UBSAN_OPTIONS="halt_on_error=1")).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
