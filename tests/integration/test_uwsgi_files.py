"""uwsgi.ini as people have it: directories after the patterns found in the field, served as they are. Where a uWSGI is installed
(BARKEEP_TEST_UWSGI, or `uwsgi` in PATH) it serves the same directory and the application has to see the same; its --show-config is
what the reader is compared with. Differences are listed in docs/coming-from.md."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from harness import Conn, get, procs, until
from harness.procs import SLOW
from harness.server import PRELOAD, PYTHON, with_greenlets
from harness.tls import OPENSSL, Authority

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BARKEEP = Path(PYTHON).parent / "barkeep"
UWSGI = next((path for path in (os.environ.get("BARKEEP_TEST_UWSGI"), shutil.which("uwsgi"),
                                Path.home() / ".cache/barkeep-lab/bin/uwsgi") if path and os.path.exists(path)), None)
needs_uwsgi = pytest.mark.skipif(not UWSGI, reason="no uWSGI")

# An application that says what it sees.
SEES = '''
import json, os, sys
try:
    import uwsgi
except ImportError:
    uwsgi = None

def text(value):
    return value.decode() if isinstance(value, bytes) else value

def what():
    seen = {"mode": os.environ.get("APP_MODE"), "cwd": os.path.basename(os.getcwd()), "argv": sys.argv[1:],
            "extra": [os.path.basename(p.rstrip("/")) for p in sys.path if p.rstrip("/").endswith("extra")], "uwsgi": uwsgi is not None}
    if uwsgi is not None:
        seen["opt"] = {name: text(value) for name, value in uwsgi.opt.items() if name not in NOT_COMPARED}
        seen["numproc"], seen["worker"] = uwsgi.numproc, uwsgi.worker_id()
        seen["has"] = [hasattr(uwsgi, name) for name in ("log", "set_logvar", "reload")]
        seen["spooler"] = uwsgi.i_am_the_spooler()
    return seen

NOT_COMPARED = ("env", "http-socket", "socket", "http", "logto", "home", "virtualenv", "chdir", "pidfile", "ini")
VARIABLES = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL", "wsgi.url_scheme", "CONTENT_TYPE",
             "CONTENT_LENGTH", "wsgi.multithread", "wsgi.run_once", "HTTP_X_A")

def application(environ, start_response):
    seen = what()
    seen["environ"] = {name: environ.get(name) for name in VARIABLES if environ.get(name) not in (None, "")}
    seen["body"] = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    seen["pid"] = os.getpid()
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
'''

PROJECTS = {
    # cookiecutter and Django's how-to: chdir, module, home-less, env, harakiri, max-requests, vacuum
    "django": ({
        "config/__init__.py": "", "config/wsgi.py": SEES,
        "uwsgi.ini": """
            [uwsgi]
            # the usual Django file
            project = config
            chdir = %d
            module = %(project).wsgi:application
            env = DJANGO_SETTINGS_MODULE=%(project).settings
            env = APP_MODE=production
            master = true
            processes = 2
            http-socket = ADDRESS
            harakiri = 20
            max-requests = 5000
            vacuum = true
            enable-threads = true
            die-on-term = true
            buffer-size = 32768
        """}, {}),
    # the Flask and nginx tutorial: wsgi-file, callable, a unix socket by the directory
    "flask": ({
        "myproject.py": SEES.replace("def application", "def app_").replace("\napplication", "\napp") + "\napp = app_\n",
        "uwsgi.ini": """
            [uwsgi]
            wsgi-file = myproject.py
            callable = app
            master = true
            processes = 3
            http-socket = ADDRESS
            chmod-socket = 660
            vacuum = true
            die-on-term = true
        """}, {}),
    # Superset and NetBox: production values from the environment, logs, threads, a list of python paths
    "superset": ({
        "superset.py": SEES + "\ndef create_app(config=None):\n    return application\n", "extra/x.py": "",
        "uwsgi.ini": """
            [uwsgi]
            strict = true
            need-app = true
            single-interpreter = true
            set-placeholder = base=%d
            module = superset:create_app()
            pythonpath = %(base)extra
            if-env = WORKERS
            processes = %(_)
            endif =
            if-not-env = WORKERS
            processes = 1
            endif =
            threads = %(1 + 1)
            master = true
            http-socket = ADDRESS
            pyargv = --config prod
            disable-logging = true
            log-5xx = true
            lazy-apps = true
            env = APP_MODE=$(STAGE)
        """}, {"WORKERS": "2", "STAGE": "staging"}),
    # Heroku and Docker images: the address by the environment, includes, a section of its own
    "heroku": ({
        "main.py": SEES, "common.ini": "[uwsgi]\nmaster = true\nprocesses = 2\ndie-on-term = true\nmemory-report = true\n",
        "uwsgi.ini": """
            [uwsgi]
            ini = :web
            ini = common.ini
            ignore-sigpipe = true
            ignore-write-errors = true
            disable-write-exception = true
            [web]
            http-socket = :$(PORT)
            module = main
            thunder-lock = true
            for = a b
            env = X_%(_)=1
            endfor =
        """}, {"PORT": "PORT"}),
}


@pytest.fixture
def project(tmp_path):
    """project("django", address) -> its directory and its variables."""
    def make(name, address):
        files, env = PROJECTS[name]
        directory = tmp_path / name
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(textwrap.dedent(text).replace("ADDRESS", address).lstrip("\n"))
        return directory, {key: value.replace("PORT", address.rpartition(":")[2]) for key, value in env.items()}
    return make


def ask(address):
    answer = get(address, "/a%20b?c=d", "POST", ["X-A: 1", "Content-Type: text/plain"], b"abc")
    assert answer.status == 200
    return json.loads(answer.body)


def start(serve, directory, env=None, workers=2, command=("--ini", "uwsgi.ini")):
    server = serve(None, command=[BARKEEP, *command], bind=None, workers=None, cwd=directory, env=env or {}, wait=False)
    server.workers_wanted = workers
    server.await_ready()
    if "gevent" in server.log:  # its loop's descriptors are opened after the ready line
        until(lambda: all("anon_inode:[timerfd]" in procs.fd_kinds(pid) for pid in server.workers()), 30, "gevent's loop")
        server.note_baseline()
    return server


# ---- the same directory under both --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, workers", [("django", 2), ("flask", 3), ("superset", 2), ("heroku", 2)])
def test_served_as_it_is(serve, project, name, workers):
    directory, env = project(name, "127.0.0.1:0")
    server = start(serve, directory, env, workers)
    seen = ask(server.address)
    assert seen["uwsgi"] and seen["numproc"] == workers and 1 <= seen["worker"] <= workers
    assert seen["body"] == "abc" and seen["environ"]["PATH_INFO"] == "/a b" and seen["cwd"] == name
    assert not [line for line in server.log.split("\n") if "warning" in line and "root-user" not in line]


@needs_uwsgi
@pytest.mark.parametrize("name, workers", [("django", 2), ("flask", 3), ("superset", 2), ("heroku", 2)])
def test_the_application_sees_the_same(serve, project, name, workers):
    directory, env = project(name, "127.0.0.1:0")
    server = start(serve, directory, env, workers)
    ours = ask(server.address)
    server.stop()
    theirs = under_uwsgi(directory, env)
    for seen in (ours, theirs):
        seen.pop("pid")
        seen.pop("worker")
    assert ours == theirs


def under_uwsgi(directory, env):
    """What the application sees under uWSGI, whose port is found in its log."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([UWSGI, "--ini", "uwsgi.ini"], cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                   env={"PATH": os.environ["PATH"], **env}, start_new_session=True)
        try:
            port = until(lambda: port_in(log) or process.poll(), 30, "uWSGI's port")
            until(lambda: accepts(log), 30, "uWSGI's worker")
            return ask(("127.0.0.1", port))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def port_in(log):
    log.seek(0)
    found = re.search(r"bound to TCP address \S*?:(\d+) \(port auto-assigned\)", log.read())
    return int(found[1]) if found else None


def accepts(log):
    log.seek(0)
    return "spawned uWSGI worker" in log.read()


# ---- the reader against --show-config ------------------------------------------------------------------------------------------------

READ = """
    [uwsgi]
      ; comment
    base = /srv/%n
    x1 = %s|%p|%d|%D|%e|%c|%v|%h|%o|%k|%u|%U|%g|%G|%i|%j|%0|%1|%%|%(base)
    env = A=$(HOME)/$(NOPE)x
    f1 = @(f.txt)
    set = foo=bar
    set-ph = n=3
    p2 = %(n * 2 + 1) %(2 + 3 * 4) %(%k + 2) %(n ++) %(foo n)
    p7 = %(missing) %(missing + 1) %(10 / 3) %(n - 5) %(5 / 0) %() %(7 - 2 ++) %(3 --)
    key:colon = z
    noeq
    spaced key = v
    UPPER = x
    if-env = HOME
    h1 = %(_)
    endif =
    if-env = NOPE
    h3 = x
    endif =
    if-not-env = NOPE
    h4 = x
    end =
    for = a b c
    f = x%(_)y
    endfor =
    for-times = 2
    t = %(_)
    endfor =
    if-exists = f.txt
    g1 = %(_)
    endif =
    if-opt = foo=bar
    o1 = 1
    endif =
    if-not-dir = /nope
    o3 = %(_)
    endif =
    ini = :other
    later = 1
    ini = sub/b.ini:s2
    ini = ./sub/c.ini
    inherit = sub/c.ini
    dup = 1
    dup = 2
    dd = %(dup) %(later)
    [other]
    ot = %(base)-%x
    [third]
    nope = 1
"""

SHOW = """
import sys
from barkeep.config.uwsgi_ini import Reader
reader = Reader()
reader.read_file("a.ini")
reader.finish()
for line in reader.settings:
    print(line.name, "=", line.value)
"""


@needs_uwsgi
def test_reads_what_uwsgi_reads(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.ini").write_text(textwrap.dedent(READ))
    (tmp_path / "f.txt").write_text("filetext\n")
    (tmp_path / "sub/b.ini").write_text("[s2]\nin-b = %d %n %s %N\n[uwsgi]\nz=1\n")
    (tmp_path / "sub/c.ini").write_bytes(b"[uwsgi]\r\nin-c = %d %n\r\n")
    env = {"PATH": os.environ["PATH"], "HOME": "/home"}
    theirs = subprocess.run([UWSGI, "--ini", "a.ini", "--show-config", "--http-socket", "127.0.0.1:0", "--need-app"], cwd=tmp_path, env=env,
                            capture_output=True, text=True, timeout=60)
    shown = (theirs.stdout + theirs.stderr).partition(";uWSGI instance configuration\n[uwsgi]\n")[2].partition("\n;end of")[0]
    theirs = [line.rstrip() for line in shown.split("\n")]
    for line in ("ini = a.ini", "show-config = true", "http-socket = 127.0.0.1:0", "need-app = true"):
        theirs.remove(line)
    ours = subprocess.run([PYTHON, "-c", SHOW], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
    ours = [line.rstrip() for line in ours.stdout.rstrip("\n").split("\n")]
    assert ours == theirs


# ---- ways in ---------------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def directory(tmp_path):
    (tmp_path / "app.py").write_text(SEES)
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:0\nenv = APP_MODE=main\n"
                                        "[other]\nmodule = app\nhttp-socket = 127.0.0.1:0\nenv = APP_MODE=other\n")
    return tmp_path


@pytest.mark.parametrize("command, env, mode, workers", [
    (["uwsgi.ini"], {}, "main", 1),
    (["uwsgi.ini:other"], {}, "other", 1),
    (["-c", "uwsgi.ini"], {}, "main", 1),
    (["--ini", "uwsgi.ini:other"], {"UWSGI_PROCESSES": "2"}, "other", 2),
    (["--ini", "uwsgi.ini", "--workers", "2", "-e", "APP_MODE=mine"], {}, "mine", 2),
    ([], {"UWSGI_INI": "uwsgi.ini"}, "main", 1),
    ([], {"UWSGI_MODULE": "app", "UWSGI_HTTP_SOCKET": "127.0.0.1:0", "UWSGI_ENV": "APP_MODE=var", "UWSGI_THREADS": "2"}, "var", 1),
    (["--uwsgi", "--ini", "uwsgi.ini", "-p", "2"], {}, "main", 2),
    (["--log-level", "debug", "--uwsgi", "-w", "app", "--http-socket=127.0.0.1:0", "--env", "APP_MODE=words", "-M"], {}, "words", 1),
])
def test_ways_in(serve, directory, command, env, mode, workers):
    server = start(serve, directory, env, workers, command)
    seen = ask(server.address)
    assert seen["mode"] == mode and seen["uwsgi"]


def test_variables_of_others_mean_nothing_beside_an_application(serve, directory):
    server = serve("app", cwd=directory, env={"UWSGI_INI": "nope.ini", "UWSGI_PROCESSES": "7"})
    assert ask(server.address)["uwsgi"] is False


def test_without_uwsgi_there_is_no_such_module(serve, directory):
    server = serve("app", cwd=directory)
    assert ask(server.address)["uwsgi"] is False


SANITIZER = {"LD_PRELOAD": PRELOAD, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"} if PRELOAD else {}


def run(directory, *words, env=None):
    return subprocess.run([BARKEEP, *words], cwd=directory, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                          env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **SANITIZER, **(env or {})})


def test_everything_wrong_in_one_go(directory):
    (directory / "uwsgi.ini").write_text("[uwsgi]\nmodule = app\nsocket = /tmp/x.sock\nprocesses = 9999\nvaccum = 1\nidle = 60\nstatic-map = /s=/s\n")
    said = run(directory, "--ini", "uwsgi.ini")
    assert said.returncode == 2
    for text in ("uwsgi.ini line 3: socket = /tmp/x.sock speaks the uwsgi protocol, which Barkeep does not have yet [uwsgi-refused]",
                 "try: http-socket = /tmp/x.sock", "proxy_pass http://unix:/tmp/x.sock:;", "processes '9999'", "a number from 1 to 1024",
                 "uwsgi.ini line 5: uWSGI has no option 'vaccum', and ignores it [uwsgi-unknown]", "near: vacuum",
                 "uwsgi.ini line 6: idle is not taken", "uwsgi.ini line 7: uWSGI's static-map has no counterpart [uwsgi-refused]"):
        assert text in said.stderr, text
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("text, says", [
    ("[app]\n", "uwsgi.ini has no section [uwsgi]; it has [app] [config-file]"), ("[uwsgi]\ninclude = x.ini\n", "cannot read 'x.ini'"),
    (None, "cannot read 'uwsgi.ini': No such file or directory [config-file]"),
])
def test_files_that_cannot_be_read(directory, text, says):
    (directory / "uwsgi.ini").unlink()
    if text is not None:
        (directory / "uwsgi.ini").write_text(text)
    said = run(directory, "--ini", "uwsgi.ini")
    assert said.returncode == 2 and says in said.stderr and "app-missing" not in said.stderr


# ---- the module ------------------------------------------------------------------------------------------------------------------------

SHIM = '''
import uwsgi, uwsgidecorators
ran = []

@uwsgidecorators.postfork
def one():
    ran.append(uwsgi.worker_id())

@uwsgidecorators.postfork(2)
def two():
    ran.append("second")

def application(environ, start_response):
    uwsgi.set_logvar("user_id", environ["QUERY_STRING"])
    uwsgi.log(b"a line of the application")
    try:
        uwsgi.cache_get("x")
    except AttributeError as error:
        said = str(error)
    if environ["PATH_INFO"] == "/reload":
        uwsgi.reload()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Ran", repr(ran)), ("X-Var", uwsgi.get_logvar("user_id").decode()),
                              ("X-Said", said), ("X-Uwsgi", environ["uwsgi.version"].decode())])
    return [b"ok"]
'''


@pytest.mark.parametrize("more", ["", "threads = 3\n", pytest.param("gevent = 10\n", marks=with_greenlets)],
                         ids=["one thread", "threads", "gevent"])
def test_the_module(serve, tmp_path, more):
    (tmp_path / "uwsgi").mkdir()  # a directory of that name is no module
    (tmp_path / "shim.py").write_text(SHIM)
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = shim\nhttp-socket = 127.0.0.1:0\nprocesses = 1\n" + more +
                                        "log-format = %(method) %(uri) %(status) user=%(user_id)\n")
    server = start(serve, tmp_path, workers=1)
    answer = get(server.address, "/x?u=42")
    assert answer.get("X-Ran") == "[1]" and answer.get("X-Var") == "u=42" and answer.get("X-Uwsgi") == "2.0.31"
    assert answer.get("X-Said") == "uwsgi.cache_get is not there under Barkeep: use Redis, memcached or a cache of the framework"
    until(lambda: "GET /x?u=42 200 user=u=42" in server.lines["out"], 10, "the access log's line")
    assert "a line of the application" in server.log


def test_reload_from_the_module(serve, tmp_path):
    (tmp_path / "shim.py").write_text(SHIM)
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = shim\nhttp-socket = 127.0.0.1:0\n")
    server = start(serve, tmp_path, workers=1)
    [before] = server.workers()
    assert get(server.address, "/reload").status == 200
    until(lambda: server.workers() and before not in server.workers(), 30, "another worker")
    assert get(server.address, "/").status == 200


# ---- sockets, migrate, init ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line, mode", [("chmod-socket = 666", 0o666), ("chmod-socket = 600", 0o600), ("", 0o660)])
def test_mode_of_a_unix_socket(serve, directory, line, mode):
    (directory / "uwsgi.ini").write_text(f"[uwsgi]\nmodule = app\nhttp-socket = web.sock\n{line}\n")
    server = start(serve, directory, workers=1)
    assert (directory / "web.sock").stat().st_mode & 0o777 == mode
    assert ask(server.address)["body"] == "abc"


@pytest.mark.skipif(not OPENSSL, reason="no openssl program here")
def test_https(serve, directory):
    authority = Authority()
    certificate, key = authority.pair("main")
    (directory / "uwsgi.ini").write_text(f"[uwsgi]\nmodule = app\nhttp = 127.0.0.1:0\nhttps = 127.0.0.1:0,{certificate},{key}\n")
    server = start(serve, directory, workers=1)
    assert "on http://" in server.log and "https://" in server.log
    by_kind = {"https" if "https" in text else "http": int(text.rpartition(":")[2].strip("/")) for text in re.findall(r"https?://[^\s,]+", server.ready_line)}
    assert ask(("127.0.0.1", by_kind["http"]))["environ"]["wsgi.url_scheme"] == "http"
    with Conn(("127.0.0.1", by_kind["https"]), tls=authority.client()) as conn:
        assert conn.get("/").json()["environ"]["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("name", sorted(PROJECTS))
def test_migrated_settings_serve_the_same(serve, project, name):
    directory, env = project(name, "127.0.0.1:0")
    said = run(directory, "migrate", "uwsgi.ini", env=env)
    assert said.returncode == 0 and said.stderr == "", said.stderr
    assert tomllib.loads(said.stdout)["uwsgi_opt"]
    first = start(serve, directory, env, 3 if name == "flask" else 2)
    before = ask(first.address)
    first.stop()
    (directory / "barkeep.toml").write_text(said.stdout)
    second = start(serve, directory, env, 3 if name == "flask" else 2, [])
    after = ask(second.address)
    for seen in (before, after):
        seen.pop("pid")
        seen.pop("worker")
    assert before == after


def test_migrate_and_init_are_words_of_the_native_program(directory):
    assert "[uwsgi]" not in run(directory, "migrate", "uwsgi.ini").stdout
    assert run(directory, "init", "procfile").stdout == "web: barkeep app:application\n"
    assert "[option-value]" in run(directory, "init", "systend").stderr
    (directory / "migrate.py").write_text(SEES)  # then it is an application
    assert "ok: migrate" in run(directory, "migrate", "--check-config").stdout


@pytest.mark.parametrize("line, made", [
    ("gunicorn -w 3 -k gthread --threads 2 --bind 127.0.0.1:0 app:application",
     {"app": "app:application", "workers": 3, "worker_class": "gthread", "threads": 2, "bind": "127.0.0.1:0"}),
])
def test_migrate_a_command_line(directory, line, made):
    said = run(directory, "migrate", line)
    assert said.returncode == 0 and tomllib.loads(said.stdout) == made


def test_migrate_gunicorns_file(directory):
    (directory / "gunicorn.conf.py").write_text("import os\nworkers = 1 + 1\nbind = '127.0.0.1:0'\nwsgi_app = 'app'\nraw_env = ['A=b']\n")
    said = run(directory, "migrate", "gunicorn.conf.py")
    made = tomllib.loads(said.stdout)
    assert said.returncode == 0 and made["workers"] == 2 and made["app"] == "app" and made["env"] == {"A": "b"}
    assert "workers = 1 + 1" in said.stdout
