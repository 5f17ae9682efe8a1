"""Tests of the package's Python part without an engine: a copy of the package gets a small fake `_engine` that records what
it is told. What needs the real engine is in tests/integration."""
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """Directory with a `barkeep` package whose engine is the fake."""
    home = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "python/barkeep", home / "barkeep", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.build"))
    shutil.copy(ROOT / "tests/python/fake_engine.py", home / "barkeep/_engine.py")
    shutil.copy(ROOT / "src/config/messages.def", home / "barkeep/messages.def")
    return home


@pytest.fixture(autouse=True)
def in_directory(package, tmp_path, monkeypatch):
    """Each test has an empty current directory, and imports `barkeep` from the package with the fake engine."""
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not getattr(sys.modules[name], "__file__", None) or str(tmp_path) in str(sys.modules[name].__file__):
            sys.modules.pop(name, None)


@pytest.fixture
def write(tmp_path):
    """write("shop/wsgi.py", text): a file of the application."""
    def do(name, text=""):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path
    return do


class Booted:
    """What a worker process said to its fake engine, and how it ended."""

    def __init__(self, process, log):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr
        self.calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def said(self, name):
        return [call[1:] for call in self.calls if call[0] == name]

    @property
    def failure(self):
        [failure] = self.said("failed")
        return failure

    @property
    def facts(self):
        [[facts]] = self.said("ready")
        return facts


@pytest.fixture
def boot(package, tmp_path):
    """boot("app:application", ...): runs the exec'ed worker's first file as the master does; its served answer is `run`."""
    def do(app, *arguments, flags=(), env=None, stdin=subprocess.DEVNULL, cwd=None, serve=None, **settings):
        log = tmp_path / "engine.log"
        log.unlink(missing_ok=True)
        told = {"arguments": ["barkeep", app, *arguments], "settings": {"app": app, "graceful_timeout": "5", **settings},
                "log": str(log), "serve": serve}
        reader, writer = os.pipe()
        os.write(writer, json.dumps(told).encode())
        os.close(writer)
        process = subprocess.run([sys.executable, *flags, str(package / "barkeep/_boot/boot.py"), str(reader)],
                                 pass_fds=[reader], stdin=stdin, capture_output=True, text=True, cwd=cwd or tmp_path,
                                 env={"PATH": os.environ["PATH"], "FAKE_ENGINE_DIR": str(tmp_path), **(env or {})}, timeout=60)
        os.close(reader)
        return Booted(process, log)
    return do
