"""What a user reads when a command line is wrong: transcripts, word for word (see "The first five minutes" in the docs).

Needs only the native program: no server is started here. BARKEEP_TEST_BINARY names another one than the test venv's.
"""
import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from harness.procs import ROOT_IS_MEANT
from harness.server import PRELOAD, PYTHON

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BARKEEP = os.environ.get("BARKEEP_TEST_BINARY") or str(Path(PYTHON).parent / "barkeep")

WSGI = "def application(environ, start_response):\n    pass\n"
FILES = {
    "app.py": WSGI,
    "api.py": "from fastapi import FastAPI\napp = FastAPI()\n",
}


@pytest.fixture
def here(tmp_path):
    """An empty directory that holds just the files of the transcript."""
    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if name.endswith("bin/python"):
                path.chmod(0o755)
        return tmp_path
    return make


def environment(extra=()):
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env.update(ROOT_IS_MEANT)
    if PRELOAD:
        env.update(LD_PRELOAD=PRELOAD, ASAN_OPTIONS="detect_leaks=0")
    return dict(env, **dict(extra))


def barkeep(line, cwd, check=False):
    """Runs `NAME=VALUE ... barkeep words ...` and returns its result."""
    words = shlex.split(line)
    extra = []
    while "=" in words[0]:
        extra.append(words.pop(0).split("=", 1))
    assert words.pop(0) == "barkeep"
    return subprocess.run([BARKEEP, *words], cwd=cwd, env=environment(extra), capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=check)


def stamps_out(text):
    return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z barkeep\[\d+\]", "<time> barkeep[<pid>]", text, flags=re.M)


def on_terminal(line, cwd, columns=80):
    """What a terminal of that width gets to see, and the exit code."""
    words = shlex.split(line)
    extra = []
    while "=" in words[0]:
        extra.append(words.pop(0).split("=", 1))
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([BARKEEP, *words[1:]], cwd=cwd, env=environment(extra), stdin=other, stdout=other,
                          stderr=other) as process:
        os.close(other)
        text = b""
        while True:
            try:
                chunk = os.read(main, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not chunk:
                break
            text += chunk
        code = process.wait(60)
    os.close(main)
    return text.decode().replace("\r\n", "\n"), code


def transcripts(text):
    """(command, lines) for each block: "$ command", then what it says on standard error."""
    for block in text.strip().split("\n\n"):
        command, _, rest = block.partition("\n")
        assert command.startswith("$ "), block
        yield pytest.param(command[2:], rest, id=command[2:])


# Every block exits 2: nothing was bound, no Python was started.
UNKNOWN = """
$ barkeep --worker 4 app:application
barkeep: error: no option '--worker' [option-unknown]
  near: --workers, --worker-class, --worker-connections, --workers-min

$ barkeep --accesslog - app
barkeep: error: no option '--accesslog' [option-unknown]
  near: --access-logfile

$ barkeep --xyzzy app
barkeep: error: no option '--xyzzy' [option-unknown]
  try: barkeep --help

$ barkeep -x app
barkeep: error: no option '-x' [option-unknown]
  try: barkeep --help

$ barkeep --no-bind app
barkeep: error: no option '--no-bind' [option-unknown]
  try: barkeep --help

$ barkeep --harakiri 30 app:application
barkeep: error: '--harakiri' is uWSGI's name; Barkeep calls it --timeout [option-foreign]

$ barkeep --processes=4 --http :8000 --master app
barkeep: error: '--processes' is uWSGI's name; Barkeep calls it --workers [option-foreign]
barkeep: error: '--http' is uWSGI's name; Barkeep calls it --bind [option-foreign]
barkeep: error: '--master' is uWSGI's option; Barkeep always has a master [option-foreign]

$ barkeep --port 8000 app
barkeep: error: '--port' is uvicorn's name; Barkeep calls it --bind HOST:PORT [option-foreign]

$ barkeep --wsgi-file app.py
barkeep: error: '--wsgi-file' is uWSGI's option; Barkeep takes the application as its argument: \
barkeep path/to/file.py:callable [option-foreign]
barkeep: error: which application? [app-missing]
  try: barkeep module:callable

$ barkeep -c gunicorn.conf.py --preload --timeout=30 --static-map /a=b app
barkeep: error: --preload is not in this version yet [option-later]
barkeep: error: --static-map is not in this version yet [option-later]
barkeep: error: --config 'gunicorn.conf.py': no such file [config-file]

$ barkeep -D app
barkeep: error: -D: Barkeep stays in the foreground [option-daemon]
  a supervisor (systemd, runit, a container) starts it and sees how it ends
  try: nohup barkeep app:application &

$ barkeep --daemon app
barkeep: error: --daemon: Barkeep stays in the foreground [option-daemon]
  a supervisor (systemd, runit, a container) starts it and sees how it ends
  try: nohup barkeep app:application &

$ barkeep -k gevemt app
barkeep: error: no worker class 'gevemt'; did you mean gevent? (sync, gthread, gevent, asgi, tornado) [class-unknown]

$ barkeep -k sinc app
barkeep: error: no worker class 'sinc'; did you mean sync? (sync, gthread, gevent, asgi, tornado) [class-unknown]

$ barkeep -k eventlet app:application
barkeep: error: no worker class 'eventlet' (sync, gthread, gevent, asgi, tornado) [class-unknown]
"""

VALUES = """
$ WEB_CONCURRENCY=two barkeep --keep-alive 30x --bind 127.0.0.1:80000 app:application
barkeep: error: --keep-alive '30x': not a duration; 30, 0.5, 30s, 5m, 1h are [option-value]
barkeep: error: --bind '127.0.0.1:80000': a port is 0 to 65535 [option-value]
barkeep: error: WEB_CONCURRENCY 'two' (environment, sets --workers): a number from 1 to 1024, or auto [option-value]

$ BARKEEP_WORKERS=0 PORT=http barkeep app
barkeep: error: BARKEEP_WORKERS '0' (environment, sets --workers): a number from 1 to 1024, or auto [option-value]
barkeep: error: PORT 'http' (environment, sets --bind): a port is 0 to 65535 [option-value]

$ barkeep -w two --backlog=-1 --limit-request-body 1X --sendfile=maybe --log-level loud app
barkeep: error: -w 'two': a number from 1 to 1024, or auto [option-value]
barkeep: error: --backlog '-1': a number from 1 to 65535 [option-value]
barkeep: error: --limit-request-body '1X': not a size; 8192, 64K, 10M, 1G are [option-value]
barkeep: error: --sendfile 'maybe': on or off (also true/false, yes/no, 1/0) [option-value]
barkeep: error: --log-level 'loud': one of debug, info, warning, error, critical [option-value]

$ barkeep --workers --bind :8000 app
barkeep: error: --workers needs a value: --workers N [option-value]

$ barkeep app --bind
barkeep: error: --bind needs a value: --bind ADDR [option-value]

$ barkeep --no-sendfile=1 app
barkeep: error: --no-sendfile takes no value [option-value]

$ barkeep --bind '' --bind [::1:80 --bind 'unix:' --bind fd://3x app
barkeep: error: --bind '': an address is missing [option-value]
barkeep: error: --bind '[::1:80': the ']' after the IPv6 address is missing [option-value]
barkeep: error: --bind 'unix:': a path is missing after unix: [option-value]
barkeep: error: --bind 'fd://3x': after fd:// comes a number, as in fd://3, or a socket's name from systemd [option-value]

$ barkeep --bind scgi://127.0.0.1:8443 --bind uwsgi://:3031 app
barkeep: error: --bind 'scgi://127.0.0.1:8443': SCGI is not in this version yet, only http and https \
[scheme-unsupported]
barkeep: error: --bind 'uwsgi://:3031': the uwsgi protocol is not in this version yet, only http and https \
[scheme-unsupported]

$ barkeep --bind :8000 -b :8000 app
barkeep: error: --bind ':8000' is given twice [option-conflict]

$ FORWARDED_ALLOW_IPS=10.0.0.0/33 barkeep app
barkeep: error: FORWARDED_ALLOW_IPS '10.0.0.0/33' (environment, sets --forwarded-allow-ips): \
not an address or network; 10.0.0.1, 10.0.0.0/8, fd00::/8 and * are [option-value]

$ barkeep -e SECRET --env =x --access-logformat '%(h)d' app
barkeep: error: -e 'SECRET': not NAME=VALUE [option-value]
barkeep: error: --env '': not NAME=VALUE [option-value]
barkeep: error: --access-logformat '%(h)d': an atom is written %(name)s, a percent sign %% [option-value]

$ barkeep --limit-request-head 4K --limit-request-field_size 8K app
barkeep: error: --limit-request-field_size 8K (command line) is above --limit-request-head 4K (command line) [option-conflict]

$ barkeep --chdir nowhere app
barkeep: error: --chdir 'nowhere': no such directory [chdir-missing]

$ barkeep --python nopython app
barkeep: error: --python 'nopython': no such program in PATH [python-missing]

$ barkeep --venv env app
barkeep: error: --venv 'env': no such directory [venv-missing]
  try: python3 -m venv .venv && .venv/bin/pip install barkeep

$ barkeep app:application shop.wsgi
barkeep: error: more than one application: 'app:application' and 'shop.wsgi' [app-several]

$ barkeep
barkeep: error: which application? [app-missing]
  try: barkeep module:callable

$ BARKEEP_WOKERS=4 BARKEEP_PRINT_CONFIG=1 BARKEEP_SERVICE_HOST=10.0.0.1 BARKEEP_PORT=tcp://10.0.0.1:80 barkeep
<time> barkeep[<pid>] warning: the environment variable BARKEEP_WOKERS belongs to no setting; \
near: BARKEEP_WORKERS [environment-unknown]
<time> barkeep[<pid>] warning: the environment variable BARKEEP_PRINT_CONFIG belongs to no setting [environment-unknown]
barkeep: error: which application? [app-missing]
  try: barkeep module:callable
"""


@pytest.mark.parametrize("command, said", [*transcripts(UNKNOWN), *transcripts(VALUES)])
def test_transcript(command, said, here):
    result = barkeep(command, here({}))
    assert stamps_out(result.stderr) == said.rstrip("\n") + "\n"
    assert (result.returncode, result.stdout) == (2, "")


FOUND = [
    (FILES, "app.py has 'application' (WSGI), api.py has 'app' (FastAPI)", "app:application"),
    ({"shop/wsgi.py": "application = get_wsgi_application()\n", "shop/settings.py": "app = 1\n", "manage.py": ""},
     "shop/wsgi.py has 'application' (Django)", "shop.wsgi:application"),
    ({"site.py": "from flask import Flask\n\napp: Flask = Flask(__name__)\n"}, "site.py has 'app' (Flask)", "site:app"),
    ({"make.py": "def create_app():\n    app = 1\n"}, "make.py has 'create_app' (factory)", "'make:create_app()'"),
    ({"odd.py": "application = wrap(something)\n"}, "odd.py has 'application'", "odd:application"),
    ({"shop/__init__.py": WSGI}, "shop.py has 'application' (WSGI)", "shop:application"),
    ({"api.py": "async def app(scope, receive, send):\n    pass\n"}, "api.py has 'app' (ASGI)", "module:callable"),
    # Neither environments nor tests nor names that cannot be imported are looked at.
    ({"venv/pyvenv.cfg": "", "venv/app.py": WSGI, "test_app.py": WSGI, "my-app.py": WSGI, "tests/app.py": WSGI,
      ".git/app.py": WSGI, "other.py": "  app = 1\napps = 2\napplication == 3\n"}, None, "module:callable"),
]


@pytest.mark.parametrize("files, found, proposed", FOUND)
def test_applications_are_found_by_reading(files, found, proposed, here):
    result = barkeep("barkeep", here(files))
    seen = f"  found here: {found}\n" if found else ""
    assert result.stderr == f"barkeep: error: which application? [app-missing]\n{seen}  try: barkeep {proposed}\n"
    assert result.returncode == 2


def test_applications_are_looked_for_where_chdir_leads(here):
    here({"below/app.py": WSGI})
    assert "found here: app.py has 'application'" in barkeep("barkeep --chdir below", here({})).stderr


def test_a_wrong_venv_names_the_one_that_is_there(here):
    files = {".venv/pyvenv.cfg": "home = /usr/bin\nversion = 3.13.1\n", ".venv/bin/python": "", "docs/x": ""}
    result = barkeep("barkeep --venv env app:application", here(files))
    assert result.stderr == ("barkeep: error: --venv 'env': no such directory [venv-missing]\n"
                             "  found here: .venv (python 3.13.1)\n"
                             "  try: barkeep --venv .venv app:application\n")
    result = barkeep("barkeep --venv docs app:application", here({}))
    assert result.stderr.startswith("barkeep: error: --venv 'docs': not a virtual environment, it has no bin/python [venv-missing]")


def test_values_of_variables_are_never_shown(here):
    result = barkeep("barkeep -e PASSWORD=hunter2 --env '=hunter3' app", here({}))
    assert "hunter" not in result.stderr and result.returncode == 2
    result = barkeep("barkeep -e PASSWORD=hunter2 --print-config", here({}))
    assert 'env = ["PASSWORD=..."]' in result.stdout and "hunter" not in result.stdout


def test_control_bytes_are_escaped(here):
    result = barkeep("barkeep $'' app".replace("$''", "'--\x1b[31m'"), here({}))
    assert result.stderr.startswith("barkeep: error: no option '--\\x1b[31m' [option-unknown]")


def test_many_mistakes_are_said_up_to_a_limit(here):
    result = barkeep("barkeep app " + "-w x " * 100, here({}))
    lines = result.stderr.splitlines()
    assert len(lines) == 41 and lines[-1] == "barkeep: error: and 60 more"


def test_json_says_everything_in_json(here):
    result = barkeep("barkeep --log-format json --worker 4", here({}))
    said = [json.loads(line) for line in result.stderr.splitlines()]
    assert [(one["level"], one["key"], one["message"]) for one in said] == [
        ("error", "option-unknown", "no option '--worker'")]
    assert said[0]["detail"] == "near: --workers, --worker-class, --worker-connections, --workers-min"


def test_shapes_of_lines(here):
    line, cwd = "BARKEEP_X=1 barkeep --worker 4", here({})
    error = "error: no option '--worker' [option-unknown]\n  near: --workers, --worker-class, --worker-connections, --workers-min\n"
    warning = "warning: the environment variable BARKEEP_X belongs to no setting [environment-unknown]\n"
    assert on_terminal(line, cwd) == (f"barkeep: {error}{warning}", 2)
    assert stamps_out(barkeep(line, cwd).stderr) == f"barkeep: {error}<time> barkeep[<pid>] {warning}"
    assert barkeep(line + " --log-format journald", cwd).stderr == (
        "<3>no option '--worker' [option-unknown]\n<3>  near: --workers, --worker-class, --worker-connections, --workers-min\n"
        "<4>the environment variable BARKEEP_X belongs to no setting [environment-unknown]\n")


def test_under_systemd_lines_have_priorities(here):
    read, write = os.pipe()
    facts = os.fstat(write)
    with subprocess.Popen([BARKEEP, "-w", "x", "app"], cwd=here({}), stderr=write,
                          env=environment({"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}.items())) as process:
        os.close(write)
        with os.fdopen(read) as said:
            assert said.read() == "<3>-w 'x': a number from 1 to 1024, or auto [option-value]\n"
        assert process.wait(60) == 2


# ---- --print-config ------------------------------------------------------------------------------------------------

def printed(line, cwd):
    """{key: (value, origin)} of --print-config, read as TOML where this Python can."""
    result = barkeep(line, cwd)
    assert (result.returncode, result.stderr) == (0, "")
    values = tomllib.loads(result.stdout)
    origins = {}
    for found in re.finditer(r"^(\w+) = (.*?) +# (.*)$", result.stdout, re.M):
        origins[found[1]] = found[3]
        values.setdefault(found[1], found[2])
    assert list(origins) == [key for key in values]
    return {key: (values[key], origins[key]) for key in origins}


def test_print_config_is_toml_with_origins(here):
    settings = printed("WEB_CONCURRENCY=auto BARKEEP_KEEP_ALIVE=250ms barkeep --print-config app -b :80 -b unix:a "
                       "--no-sendfile --limit-request-body 2G --name 'a \"b\"\\'", here({}))
    assert settings["app"] == ("app", "command line")
    assert settings["bind"] == ([":80", "unix:a"], "command line")
    assert settings["workers"] == ("auto", "environment WEB_CONCURRENCY")
    assert settings["keep_alive"] == (0.25, "environment BARKEEP_KEEP_ALIVE")
    assert settings["sendfile"] == (False, "command line")
    assert settings["limit_request_body"] == ("2G", "command line")
    assert settings["name"] == ('a "b"\\', "command line")
    assert settings["header_timeout"] == (10, "default")
    assert settings["chdir"] == ("", "default")
    assert "print_config" not in settings


def test_the_command_line_is_stronger_than_the_environment(here):
    settings = printed("WEB_CONCURRENCY=9 BARKEEP_WORKERS=8 PORT=1 barkeep --print-config -w 2 -b :5", here({}))
    assert settings["workers"] == (2, "command line") and settings["bind"] == ([":5"], "command line")
    settings = printed("WEB_CONCURRENCY=9 BARKEEP_WORKERS=8 PORT=1 barkeep --print-config", here({}))
    assert settings["workers"] == (8, "environment BARKEEP_WORKERS")
    assert settings["bind"] == (["0.0.0.0:1"], "environment PORT")
    # What is not used is not looked at; an empty variable is not set.
    assert printed("WEB_CONCURRENCY=x barkeep --print-config -w 2", here({}))["workers"] == (2, "command line")
    assert printed("WEB_CONCURRENCY= PORT= BARKEEP_WORKERS= barkeep --print-config", here({}))["workers"] == (1, "default")
    assert printed("barkeep --print-config", here({}))["bind"] == (["127.0.0.1:8000"], "default")
    assert printed("FORWARDED_ALLOW_IPS= barkeep --print-config", here({}))["forwarded_allow_ips"] == (
        [], "environment FORWARDED_ALLOW_IPS")


def test_forms_of_options(here):
    for line in ("-w4", "-w 4", "-w=4", "--workers 4", "--workers=4", "--workers 3 -w 4"):
        assert printed(f"barkeep --print-config {line}", here({}))["workers"] == (4, "command line")
    for line in ("--no-sendfile", "--sendfile off", "--sendfile=off", "--sendfile=0", "--no_sendfile"):
        assert printed(f"barkeep --print-config {line} app", here({}))["sendfile"] == (False, "command line")
    for line in ("--limit-request-field_size 9K", "--limit-request-field-size 9K", "--limit_request_field_size=9K"):
        assert printed(f"barkeep --print-config {line}", here({}))["limit_request_field_size"] == ("9K", "command line")
    for line in ("--log-file -", "--error-logfile -", "--error-logfile=-"):
        assert printed(f"barkeep --print-config {line}", here({}))["error_logfile"] == ("-", "command line")
    assert printed("barkeep --print-config --reuse-port app", here({}))["reuse_port"] == (True, "command line")
    assert printed("barkeep --print-config -- -app", here({}))["app"] == ("-app", "command line")


def test_trusting_everybody_is_a_warning_unless_port_is_set(here):
    warning = ("<time> barkeep[<pid>] warning: --forwarded-allow-ips is * (environment FORWARDED_ALLOW_IPS): every client can claim any "
               "address [forwarded-all]\n")
    result = barkeep("FORWARDED_ALLOW_IPS='*' barkeep --print-config", here({}))
    assert (stamps_out(result.stderr), result.returncode) == (warning, 0)
    assert barkeep("PORT=80 FORWARDED_ALLOW_IPS='*' barkeep --print-config", here({})).stderr == ""
    assert barkeep("FORWARDED_ALLOW_IPS='*' barkeep --print-config --log-level error", here({})).stderr == ""


# ---- --help and --version --------------------------------------------------------------------------------------------

def test_help_lists_every_option_and_fits(here):
    cwd = here({})
    for columns in (60, 80, 100):
        result = barkeep(f"COLUMNS={columns} barkeep --workers x --help", cwd)
        assert (result.returncode, result.stderr) == (0, "")
        assert all(len(line) <= columns or " " not in line.strip() for line in result.stdout.splitlines())
    table = (Path(__file__).parents[2] / "src/config/options.def").read_text()
    names = re.findall(r'^X\(\w+, \w+, "([^"]+)"', table, re.M)
    assert len(names) > 30
    for name in names:
        assert re.search(rf"--(\[no-\])?{re.escape(name)}\b", result.stdout), name
    for group in re.findall(r'^GROUP\("([^"]+)"\)', table, re.M):
        assert f"\n{group}\n" in result.stdout
    assert "invoker" not in result.stdout


def test_help_takes_the_width_of_the_terminal(here):
    text, code = on_terminal("barkeep -h", here({}), columns=70)
    longest = max(len(line) for line in text.splitlines() if " " in line.strip())
    assert code == 0 and 60 < longest <= 70


def test_version(here):
    version = (Path(__file__).parents[2] / "VERSION").read_text().strip()
    for option in ("--version", "-v"):
        result = barkeep(f"barkeep {option} --nonsense", here({}))
        lines = result.stdout.splitlines()
        assert (result.returncode, result.stderr) == (0, "")
        assert lines[0] == f"barkeep {version}"
        assert [line.split(":")[0].strip() for line in lines[1:]] == [
            "compiler", "libc", "kernel", "protocols", "interfaces", "libraries"]


def test_a_full_disk_is_not_success(here):
    with open("/dev/full", "w") as full:
        assert subprocess.run([BARKEEP, "--help"], cwd=here({}), env=environment(), stdout=full).returncode == 1


# ---- speed and manners -------------------------------------------------------------------------------------------------

def native():
    """The native program itself, when `barkeep` is the console script of a virtualenv."""
    with open(BARKEEP, "rb") as file:
        if file.read(4) == b"\x7fELF":
            return BARKEEP
    for path in Path(BARKEEP).parents[1].glob("lib/python*/site-packages/barkeep/**/barkeep"):
        if path.is_file():
            return str(path)
    return None


@pytest.mark.skipif(native() is None, reason="the native program was not found beside the console script")
@pytest.mark.skipif(bool(PRELOAD), reason="a sanitizer build starts slowly")
def test_mistakes_are_found_at_once(here):
    cwd, best = here({"app.py": WSGI, **{f"module{n}.py": "x = 1\n" * 1000 for n in range(150)}}), 1.0
    for _ in range(10):  # the best of some, and in processor time: the machine may be busy
        child = subprocess.Popen([native(), "--workers", "x"], cwd=cwd, env=environment(), stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 2
        best = min(best, used.ru_utime + used.ru_stime)
    assert best < 0.05
