"""__main__.py and command.py: the command becomes the native master, or stays here when a tracer is at work."""
import json
import os
import subprocess
import sys

import pytest

# Stands for the native program: shows what it was started with, or answers --print-config.
NATIVE = f"""#!/bin/sh
exec {sys.executable} -S "$0.py" "$(grep SigIgn /proc/self/status)" "$@"
"""
NATIVE_PY = """
import sys
ignored = int(sys.argv.pop(1).split()[1], 16)
if "--print-config" in sys.argv:
    if "--wrong" in sys.argv:
        print("barkeep: error: no option '--wrong' [option-unknown]", file=sys.stderr)
        sys.exit(2)
    print('# barkeep 0.1.0\\napp = "app:application"      # command line\\n')
    print('# Addresses\\nbind = ["127.0.0.1:0", "unix:a\\\\"b"]   # command line\\nsendfile = false   # x\\nkeep_alive = 5    # y')
    print('chdir = "below"   # z\\npythonpath = ["lib"]  # z\\nenv = ["A=..."]  # z\\nworkers = 4  # z')
    sys.exit(0)
print([*sys.argv[1:], "SIGPIPE ignored" if ignored & 1 << 12 else ""])
"""


@pytest.fixture
def native(package):
    path = package / "barkeep/_bin/barkeep"
    path.parent.mkdir(exist_ok=True)
    path.write_text(NATIVE)
    path.chmod(0o755)
    path.with_name("barkeep.py").write_text(NATIVE_PY)
    return path


@pytest.fixture
def command(package, native, tmp_path):
    """Runs `python FLAGS -m barkeep ARGUMENTS` with the fake native program."""
    def do(*arguments, flags=(), env=None, start=("-m", "barkeep")):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package), **(env or {})}
        return subprocess.run([sys.executable, *flags, *start, *arguments], capture_output=True, text=True, env=env, cwd=tmp_path)
    return do


def words(result):
    assert result.returncode == 0, result.stderr
    *found, ignored = eval(result.stdout)
    assert ignored == ""  # signals are as they were before Python
    return found


def test_becomes_the_native_program(command):
    assert words(command("app:application", "--workers", "2")) == ["--invoker-python", sys.executable, "app:application", "--workers", "2"]


@pytest.mark.parametrize("flags, repeated", [
    (["-O"], ["-O"]), (["-OO"], ["-O", "-O"]), (["-B"], ["-B"]), (["-s"], ["-s"]), (["-b"], ["-b"]),
    (["-X", "dev"], ["-X", "dev"]), (["-X", "utf8=1"], ["-X", "utf8=1"]),
    (["-W", "error::UserWarning"], ["-W", "error::UserWarning"]),
    (["-W", "error", "-X", "dev", "-X", "faulthandler"], ["-W", "error", "-X", "dev", "-X", "faulthandler"]),
])
def test_interpreter_flags_are_repeated(command, flags, repeated):
    pairs = [word for flag in repeated for word in ("--invoker-flag", flag)]
    assert words(command("app", flags=flags))[2:-1] == pairs


def test_flags_are_those_subprocess_would_repeat(monkeypatch):
    from barkeep.__main__ import interpreter_flags
    assert sorted(interpreter_flags()) == sorted(subprocess._args_from_interpreter_flags())


def test_path_of_a_bootstrap_is_handed_on(command, package, write, tmp_path):
    start = write("start.py", f"""
import sys
sys.path[1:1] = [{str(package)!r}, {str(tmp_path / 'deps')!r}]
from barkeep.__main__ import main
sys.exit(main())
""")
    found = words(command("app", start=[str(start)], env={"PYTHONPATH": ""}))
    assert [found[i + 1] for i, word in enumerate(found) if word == "--invoker-path"][:2] == [str(package), str(tmp_path / "deps")]
    assert "--invoker-path" not in words(command("app"))


def test_native_program_that_is_not_there(command, native):
    native.unlink()
    result = command("app")
    assert (result.returncode, result.stderr) == (1, f"barkeep: error: cannot run {native}: No such file or directory [internal]\n")


# ---- tracers -------------------------------------------------------------------------------------------------------

TRACED = """
import json, sys
sys.settrace(lambda *_: None)
sys.argv = ["barkeep", *sys.argv[1:]]
from barkeep import __main__, _engine
_engine.on_serve.append(lambda worker, app: print(json.dumps([worker.told["settings"], app.__module__, sys.argv, __import__("os").getcwd()])))
sys.exit(__main__.main())
"""


@pytest.fixture
def traced(command, write):
    write("below/app.py", "import lib_of_app, os\ndef application(environ, start_response): pass\nassert os.environ['A'] == '1'\n")
    write("below/lib/lib_of_app.py")
    start = write("traced.py", TRACED)
    return lambda *arguments: command(*arguments, start=[str(start)])


def test_a_tracer_keeps_it_in_this_process(traced, tmp_path):
    result = traced("app:application", "--workers", "4", "-e", "A=1")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [{"bind": ["127.0.0.1:0", 'unix:a"b'], "sendfile": False, "keep_alive": 5}, "app",
                                         ["barkeep", "app:application", "--workers", "4", "-e", "A=1"], str(tmp_path / "below")]
    assert result.stderr.splitlines()[0] == "barkeep: info: a tracer is at work, so one worker serves in this process, without a master"


def test_mistakes_are_the_native_programs(traced):
    result = traced("app", "--wrong")
    assert (result.returncode, result.stderr) == (2, "barkeep: error: no option '--wrong' [option-unknown]\n")


def test_application_that_fails_under_a_tracer(traced, write):
    write("below/app.py", "raise ValueError('a')\n")
    result = traced("app:application")
    assert result.returncode == 4
    assert result.stderr.splitlines()[1:3] == ["barkeep: error: 'app' raised ValueError while being imported [app-import]",
                                               '  File "app.py", line 1, in <module>']


@pytest.mark.parametrize("asked", ["--help", "--version", "--print-config", "--check-config"])
def test_questions_are_answered_by_the_native_program(traced, asked):
    result = traced(asked)
    assert result.returncode == 0 and "is at work" not in result.stderr


@pytest.mark.parametrize("setup, name", [
    ("", ""),
    ("import types; sys.modules['debugpy'] = types.ModuleType('debugpy')", "debugpy"),
    ("sys.setprofile(lambda *_: None)", "a profiler"),
    ("import cProfile; p = cProfile.Profile(); p.enable()", "cProfile"),
    ("import mytracer; sys.settrace(mytracer.Tracer().trace)", "mytracer"),
])
def test_active_tracers(command, setup, name, write):
    write("mytracer.py", "class Tracer:\n    def trace(self, *_): pass\n")
    result = command(start=["-c", f"import sys\n{setup}\nfrom barkeep.__main__ import active_tracer\nprint(active_tracer())"])
    assert result.stdout.strip() == name, result.stderr


def test_coverage_that_follows_processes_by_itself_does_not_count(command, write):
    write("coverage.py", "def trace(*_): pass\n")
    code = "import sys, coverage\nsys.settrace(coverage.trace)\nfrom barkeep.__main__ import active_tracer\nprint(active_tracer())"
    assert command(start=["-c", code]).stdout.strip() == "coverage"
    assert command(start=["-c", code], env={"COVERAGE_PROCESS_START": "x"}).stdout.strip() == ""
