#!/usr/bin/env python3
"""Makes the things that `make` promises, each only when something it is made of has changed.

  tools/build.py run-venv                 .venv with barkeep installed in it, as a user would have it; where there is a pypy3
                                          also .venv-pypy
  tools/build.py test-venv [--sanitize]   a virtualenv with barkeep, pytest and the example apps' packages
  tools/build.py unit [--sanitize|--clang]  a Meson build directory with unit tests, fuzz replayers and the null host

The last line printed by each is the path that was made. --python PATH chooses the interpreter (default: the one that
runs this file). Called by the Makefile and by tools/check.py; everything made lives in build/ and .venv.
"""
import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
SOURCES = ("src", "hosts", "python")
SINGLE_SOURCES = ("meson.build", "meson_options.txt", "pyproject.toml", "VERSION", "README.md", "LICENSE")
SANITIZE = ("-Db_sanitize=address,undefined", "-Db_lto=false", "-Db_lundef=false", "-Dbuildtype=debugoptimized")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=("run-venv", "test-venv", "unit"))
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--sanitize", action="store_true")
    arguments.add_argument("--clang", action="store_true")
    given = arguments.parse_args()
    if given.what == "run-venv":
        print(run_venv(given.python))
    elif given.what == "test-venv":
        print(test_venv(given.python, given.sanitize))
    else:
        print(unit(given.python, given.sanitize, given.clang))


def run_venv(python):
    venv = ROOT / ".venv"
    install(venv, python, wheel(python, False))
    other = pypy()
    if other and not tag(python).startswith("pypy"):
        install(ROOT / ".venv-pypy", other, wheel(other, False))
        say("for PyPy: .venv-pypy")
    return venv


def pypy():
    """A PyPy that can be built for: 3.9 or newer, with cffi and what virtualenvs need. None when there is none."""
    found = shutil.which("pypy3")
    code = "import sys, cffi, ensurepip, venv; sys.exit(sys.version_info < (3, 9))"
    return found if found and subprocess.run([found, "-c", code], capture_output=True).returncode == 0 else None


def test_venv(python, sanitize):
    venv = BUILD / f"test-{tag(python)}{'-asan' if sanitize else ''}"
    made = wheel(python, sanitize)
    requirements = ROOT / "tests/requirements.txt"
    with Stamp(BUILD / f"{venv.name}.packages", digest([requirements]), venv / "bin/python") as stamp:
        if stamp.stale:
            say(f"installing the test tools for python {tag(python)}")
            new_venv(venv, python)
            run(venv / "bin/python", "-m", "pip", "install", "-q", "-r", requirements)
    install(venv, python, made)
    return venv


def unit(python, sanitize, clang):
    directory = BUILD / ("unit" + ("-asan" if sanitize else "") + ("-clang" if clang else ""))
    # With the sanitizers gcc warns about its own instrumentation, so warnings are errors in the plain builds only.
    options = ["-Dtests=true", *(SANITIZE if sanitize else ("-Dwerror=true",))]
    environment = dict(os.environ, CC="clang") if clang else None
    tools = tools_venv(python)
    if not (directory / "build.ninja").exists():
        run(tools / "bin/meson", "setup", directory, *options, env=path_first(tools, environment), cwd=ROOT)
    say(f"compiling {directory.name}")
    run(tools / "bin/ninja", "-C", directory, env=path_first(tools, environment))
    return directory


def storm(python):
    """The null host and its client with ThreadSanitizer, see tools/storm.py."""
    directory, tools = BUILD / "unit-tsan", tools_venv(python)
    options = ("-Dpython=false", "-Dtests=true", "-Db_sanitize=thread", "-Db_lundef=false", "-Dbuildtype=debugoptimized")
    if not (directory / "build.ninja").exists():
        run(tools / "bin/meson", "setup", directory, *options, env=path_first(tools), cwd=ROOT)
    run(tools / "bin/ninja", "-C", directory, "hosts/null/bk-null", "hosts/null/bk-storm", env=path_first(tools))
    return directory


def wheel(python, sanitize):
    """The wheel for this interpreter, built in a directory that is kept, so only what changed is compiled."""
    name = tag(python) + ("-asan" if sanitize else "")
    target = BUILD / f"wheel-{name}"
    with Stamp(BUILD / f"wheel-{name}.stamp", digest(sources()), target) as stamp:
        if stamp.stale:
            tools = tools_venv(python)
            say(f"compiling barkeep for python {name}")
            shutil.rmtree(target, ignore_errors=True)
            settings = [f"--config-settings=build-dir={BUILD / ('meson-' + name)}"]
            if sanitize:
                settings += [f"--config-settings=setup-args={option}" for option in SANITIZE]
            run(tools / "bin/python", "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target,
                *settings, ROOT, env=path_first(tools))
    return next(target.glob("*.whl"))


def install(venv, python, wheel_file):
    with Stamp(BUILD / f"{venv.name.lstrip('.')}.installed", digest([wheel_file]), venv / "bin/python") as stamp:
        if stamp.stale:
            if not (venv / "bin/python").exists():
                new_venv(venv, python)
            run(venv / "bin/python", "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", wheel_file)


def tools_venv(python):
    """Meson, ninja and meson-python for this interpreter, as pyproject.toml names them."""
    wanted = build_requirements() + ["meson>=1.0", "ninja", "pip>=24"]  # older pips keep one --config-settings of a name
    venv = BUILD / f"tools-{tag(python)}"
    with Stamp(BUILD / f"tools-{tag(python)}.stamp", "\n".join(wanted), venv / "bin/python") as stamp:
        if stamp.stale:
            say(f"installing the build tools for python {tag(python)}")
            new_venv(venv, python)
            run(venv / "bin/python", "-m", "pip", "install", "-q", *wanted)
    return venv


def build_requirements():
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^requires\s*=\s*\[(.*?)\]", text, re.S | re.M)
    return re.findall(r"[\"']([^\"']+)[\"']", found[1]) if found else ["meson-python"]


def new_venv(venv, python):
    shutil.rmtree(venv, ignore_errors=True)
    run(python, "-m", "venv", venv)


def tag(python):
    """3.11 for that interpreter's version, pypy3.9 for a PyPy."""
    code = "import sys; print(sys.implementation.name.replace('cpython', '') + '%d.%d' % sys.version_info[:2])"
    shown = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return shown.stdout.strip()


def sources():
    files = [ROOT / name for name in SINGLE_SOURCES]
    for folder in SOURCES:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in sorted(files) if path.exists()]


def digest(files):
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path}\0".encode() + path.read_bytes())
    return total.hexdigest()


class Stamp:
    """Remembers in `file` what `product` was made of; written only when the with-block ends without an exception."""

    def __init__(self, file, text, product):
        self.file, self.text = file, text
        self.stale = not (product.exists() and file.exists() and file.read_text() == text)

    def __enter__(self):
        if self.stale:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.unlink(missing_ok=True)
        return self

    def __exit__(self, kind, value, traceback):
        if kind is None and self.stale:
            self.file.write_text(self.text)


def path_first(venv, environment=None):
    environment = dict(environment or os.environ)
    environment["PATH"] = f"{venv / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    return environment


def run(*command, **more):
    """Quiet when all is well; the whole output when not."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)
    if done.returncode:
        print(done.stdout)
        sys.exit(f"build: {' '.join(command)} ended with {done.returncode}")


def say(text):
    print(f"build: {text}", flush=True)


if __name__ == "__main__":
    main()
