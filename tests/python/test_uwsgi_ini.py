"""How uwsgi.ini files are read, and what their lines become. The first half was compared with uWSGI's own --show-config, which
tests/integration/test_uwsgi_files.py does again where a uWSGI is installed."""
import os
import re
import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def reader(environ=None, **files):
    from barkeep.config.uwsgi_ini import Reader
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".ini")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    read = Reader({} if environ is None else environ)
    read.read_environment()
    read.read_file("a.ini")
    read.finish()
    return read


def pairs(text, environ=None, **files):
    return [(line.name, line.value) for line in reader(environ, a="[uwsgi]\n" + text, **files).settings
            if not line.used or line.name in ("inherit",)]


def trouble(text, environ=None, **files):
    from barkeep.config.uwsgi_ini import Trouble
    with pytest.raises(Trouble) as caught:
        reader(environ, a=text, **files)
    return caught.value


# ---- lines ----------------------------------------------------------------------------------------------------------------------

def test_lines():
    assert pairs("  a = 1 \r\n\tb=2\n; c = 3\n# d\n\nflag\n= 4\nk = x=y\nUPPER = U\nspaced key = v\n") == [
        ("a", "1"), ("b", "2"), ("flag", ""), ("", "4"), ("k", "x=y"), ("UPPER", "U"), ("spaced key", "v")]


def test_other_sections_are_left_alone():
    assert pairs("a = 1\n[other]\nb = 2\n[uwsgi]\nc = 3\n") == [("a", "1"), ("c", "3")]


def test_places():
    assert [line.place for line in reader(a="\n[uwsgi]\n\na = 1\ninclude = b.ini\n", b="[uwsgi]\nb = 2\n").settings] == [
        "a.ini line 4", "a.ini line 5", "b.ini line 2"]


def test_a_section_of_its_own():
    assert pairs("ini = :x\na = 1\n[x]\nini = :y\nb = 2\n[y]\nc = 3\n") == [("c", "3"), ("b", "2"), ("a", "1")]
    assert pairs("ini = b.ini:prod\n", b="[uwsgi]\na = 1\n[prod]\nb = %x %n\n") == [("b", "prod b")]


def test_inherited_lines_come_last():
    assert pairs("inherit = b.ini\na = 1\n", b="[uwsgi]\nb = 2\n") == [("inherit", "b.ini"), ("a", "1"), ("b", "2")]


@pytest.mark.parametrize("text, said", [
    ("[ uwsgi ]\na = 1\n", "a.ini: '[ uwsgi ]' is not [uwsgi]: nothing may stand behind it, nor spaces inside"),
    ("[uwsgi] ; main\na = 1\n", "a.ini: '[uwsgi] ; main' is not [uwsgi]: nothing may stand behind it, nor spaces inside"),
    ("[app]\na = 1\n[more]\n", "a.ini has no section [uwsgi]; it has [app], [more]"),
    ("a = 1\n", "a.ini has no section [uwsgi]"),
    ("[uwsgi]\nini = exec://date\n", "'exec://date' is not read: settings come from files only"),
    ("[uwsgi]\nxml = x.xml\n", "xml = x.xml: of uWSGI's formats ini, and simple YAML and JSON are read"),
    ("[uwsgi]\ninclude = nope.ini\n", "cannot read 'nope.ini': No such file or directory"),
    ("[uwsgi]\nini = a.ini\n", "'a.ini': files include each other more than 20 deep"),
    ("[uwsgi]\nif-env = A\nif-env = B\n", "if-env inside if-env: uWSGI does not nest them"),
    ("[uwsgi]\nset-ph = processes=2\n", "set-ph = processes=2: processes is an option, so it is no placeholder"),
    ("[uwsgi]\na = @(exec://date)\n", "@(exec://date): only files are read"),
    ("[uwsgi]\na = @(nope)\n", "cannot read 'nope': No such file or directory"),
])
def test_what_cannot_be_read(text, said):
    found = trouble(text, {"A": "1"})
    assert found.text == said


def test_troubles_have_places():
    for text in ("for-readline = nope\nx = 1\nend\n", "x = @(nope)\n", "ini = nope.ini\n"):
        assert trouble("[uwsgi]\n\n" + text).place in ("a.ini line 3", "a.ini line 4")


def test_limits():
    assert trouble("[uwsgi]\nfor-times = 99999\nx = 1\nendfor\n").text == "more than 10000 settings"
    assert trouble("[uwsgi]\na = " + "x" * 70000 + "\n").text == "the value of a has more than 65536 characters"
    assert trouble("[uwsgi]\na = " + "x" * 60000 + "\nb = %(a)%(a)\n").text == "the value of b has more than 65536 characters"
    assert trouble("#" * 1100000).text == "'a.ini' has more than 1024 KiB"


def test_a_fifo_is_not_waited_for():
    os.mkfifo("b.ini")
    assert reader({}, a="[uwsgi]\ninclude = b.ini\n").notes == [("a.ini line 2", "b.ini has no section [uwsgi]")]


# ---- what stands for something else ------------------------------------------------------------------------------------------------

def test_magic(tmp_path):
    here = str(tmp_path)
    assert pairs("a = %n %s %e %c %%d 100%%\nb = %d|%p|%v\nc = %h %k\nd = %(a)\n") == [
        ("a", f"a a.ini ini {tmp_path.name} %d 100%"), ("b", f"{here}/|{here}/a.ini|{here}"),
        ("c", f"{socket.gethostname()} {os.cpu_count()}"), ("d", f"a a.ini ini {tmp_path.name} %d 100%")]


def test_magic_of_an_included_file():
    assert pairs("include = sub/b.ini\n", sub__b="[uwsgi]\na = %n %c %N\n") == [("a", "b sub a")]


def test_magic_that_is_none():
    read = reader(a="[uwsgi]\nlog-date = %Y-%m\nx = 50%\n")
    assert [line.value for line in read.settings] == ["-", "50%"]
    assert [place for place, _ in read.notes] == ["a.ini line 2", "a.ini line 2", "a.ini line 3"]
    assert "%%Y" in read.notes[0][1]


def test_environment_files_and_placeholders():
    Path("f.txt").write_text("from a file\n")
    assert pairs("base = /srv\na = %(base)/x %(base)\nb = $(HOME)/$(NOPE)\nc = @(f.txt)\nd = %(nope)\ne = %(b)\n", {"HOME": "/h"}) == [
        ("base", "/srv"), ("a", "/srv/x /srv"), ("b", "/h/$(NOPE)"), ("c", "from a file"), ("d", "%(nope)"), ("e", "/h/$(NOPE)")]


def test_one_pass_from_top_to_bottom():
    assert pairs("a = %(b)\nb = %(c)\nc = 1\nd = %(d)\n") == [("a", "%(c)"), ("b", "1"), ("c", "1"), ("d", "%(d)")]


def test_the_first_of_several_counts():
    assert pairs("dup = 1\ndup = 2\nx = %(dup)\n")[-1] == ("x", "1")


@pytest.mark.parametrize("text, value", [
    ("%(n * 2 + 1)", "7"), ("%(2 + 3 * 4)", "20"), ("%(n ++)", "4"), ("%(3 --)", "2"), ("%(7 - 2 ++)", "6"), ("%(10 / 3)", "3"),
    ("%(5 / 0)", "0"), ("%(n - 5)", "-2"), ("%(foo n)", "bar3"), ("%(1 2)", "12"), ("%(missing + 1)", "1"), ("%(foo)-%(foo)", "bar-bar"),
    ("%()", "%()"), ("%(foo)b)", "barb)"), ("%(n", "%(n"),
])
def test_arithmetic(text, value):
    assert pairs(f"set-ph = n=3\nset-ph = foo=bar\nx = {text}\n") == [("x", value)]


def test_arithmetic_with_magic():
    assert pairs("x = %(%k * 2 + 2)\n") == [("x", str(os.cpu_count() * 2 + 2))]


def test_set_makes_options_too():
    assert pairs("set = processes=3\nset = foo=bar\nx = %(foo)\n") == [("processes", "3"), ("foo", "bar"), ("x", "bar")]


@pytest.mark.parametrize("text, lines", [
    ("if-env = HOME\na = %(_)\nb = 1\nendif =\nc = 1", ["a = /h", "b = 1", "c = 1"]),
    ("if-env = NOPE\na = 1\nendif\nc = 1", ["c = 1"]),
    ("if-env = HOME=/h\na = %(_)\nend =", ["a = /h"]),
    ("if-env = HOME=/x\na = 1\nend =", []),
    ("if-not-env = NOPE\na = 1\nendif", ["a = 1"]),
    ("x = 1\nif-opt = x\na = %(_)\nendif", ["x = 1", "a = 1"]),
    ("x = 1\nif-opt = x=2\na = 1\nendif", ["x = 1"]),
    ("x = 1\nif-not-opt = x=2\na = 1\nendif", ["x = 1", "a = 1"]),
    ("if-exists = a.ini\na = %(_)\nendif", ["a = a.ini"]),
    ("if-not-exists = a.ini\na = 1\nendif", []),
    ("if-file = a.ini\na = 1\nendif\nif-dir = .\nb = 1\nendif\nif-dir = a.ini\nc = 1\nendif", ["a = 1", "b = 1"]),
    ("if-reload =\na = 1\nendif\nif-not-reload =\nb = 1\nendif", ["b = 1"]),
    ("for = x y\nf = %(_)/z\nendfor =\n", ["f = x/z", "f = y/z"]),
    ("for = x y\nf = %(_)\ng = %(_)\nendfor =\n", ["f = x", "f = y", "g = x", "g = y"]),
    ("for-times = 2\nf = %(_)\nendfor =\n", ["f = 1", "f = 2"]),
    ("for-glob = *.ini\nf = %(_)\nendfor =\n", ["f = a.ini"]),
    ("for-readline = a.ini\nf = %(_)\nendfor =\n", None),
])
def test_logic(text, lines):
    found = [f"{name} = {value}" for name, value in pairs(text + "\n", {"HOME": "/h"})]
    assert found == lines if lines is not None else found[0] == "f = [uwsgi]"


def test_an_if_without_end_is_told():
    assert reader({}, a="[uwsgi]\nif-env = X\na = 1\n").notes == [("a.ini line 2", "if-env has no end")]


def test_environment_comes_first():
    assert [(line.name, line.value, line.place) for line in reader({"UWSGI_MAX_REQUESTS": "5", "UWSGI_RELOADS": "1"}, a="[uwsgi]\na = 1\n").settings] \
        == [("max-requests", "5", "environment UWSGI_MAX_REQUESTS"), ("a", "1", "a.ini line 2")]


def test_comments_behind_values():
    read = reader({}, a="[uwsgi]\na = 512 # megabytes\nb = true ; yes\nc = x#y;z\nd = # nothing\nenv = A=1 # 2\nflag ; on\n")
    assert [(line.name, line.value, line.comment) for line in read.settings] == [
        ("a", "512", "# megabytes"), ("b", "true", "; yes"), ("c", "x#y;z", ""), ("d", "", "# nothing"), ("env", "A=1 # 2", ""),
        ("flag", "", "")]
    assert [place for place, _ in read.notes] == ["a.ini line 6"]


def test_any_text_is_read_or_refused():
    """Random lines of what files are made of, and raw bytes."""
    import random
    from barkeep.config.uwsgi_ini import Reader, Trouble
    from barkeep.config.uwsgi_options import Settings
    parts = ["%", "(", ")", "$(", "@(", "%(", "%(a", "%d", "[uwsgi]", "[x]", "\n", "\n", "\n", " = ", "=", ";", "#", " # c", "if-env", "for", "endif", "a", "b",
             "ini", "include", ":x", "a.ini", "processes", "http", "mount", "/", ":", "1", "99999999999999999999", "set", "log-format", "env", "A=1", "env = ",
             "\t", "\r", "\\", "'", '"', "\xff", "\u2028", "module = ", "chdir = ", "socket = ", "home", "for-times = 3", "inherit = ", "true", "+ 1", "*"]
    options = table()
    for seed in range(120):
        dice = random.Random(seed)
        Path("a.ini").write_bytes(b"[uwsgi]\n" + "".join(dice.choice(parts) for _ in range(60)).encode()
                                  + bytes(dice.randrange(seed % 2, 256) for _ in range(dice.choice((0, 20)))))
        read = Reader({"A": "x"})
        try:
            read.read_file("a.ini")
            read.finish()
        except Trouble as trouble:
            assert trouble.text
            continue
        Settings(read.settings, options, read.referred)


def test_a_variable_of_several_lines():
    made = settings("env = KEY=$(KEY)", environ={"KEY": "a\nb"})
    assert made.meanings[0][1].kind == "changed" and "several lines" in made.meanings[0][1].text and not made.values


# ---- YAML and JSON -----------------------------------------------------------------------------------------------------------------

def read_other(name, text):
    from barkeep.config.uwsgi_ini import Reader
    Path(name).write_text(text)
    read = Reader({})
    read.read_file(name)
    read.finish()
    return [(line.name, line.value) for line in read.settings]


def test_yaml():
    assert read_other("a.yml", "# c\nother:\n  z: 1\nuwsgi:\n  processes: 4  # c\n  module: 'a:b'\n  env:\n    - A=1\n    - \"B=%n\"\n") == [
        ("processes", "4"), ("module", "a:b"), ("env", "A=1"), ("env", "B=a")]


def test_json():
    assert read_other("a.json", '{"uwsgi": {"processes": 4, "master": true, "env": ["A=1", "B=%n"]}}') == [
        ("processes", "4"), ("master", "true"), ("env", "A=1"), ("env", "B=a")]


@pytest.mark.parametrize("name, text", [("a.yml", "uwsgi:\n  env: [a, b]\n"), ("a.json", "{"), ("a.json", '{"x": {}}'), ("a.xml", "<uwsgi/>"),
                                        ("a.json", '{"uwsgi": {"env": {"A": 1}}}')])
def test_other_formats_refused(name, text):
    from barkeep.config.uwsgi_ini import Trouble
    with pytest.raises(Trouble):
        read_other(name, text)


# ---- a command line ------------------------------------------------------------------------------------------------------------------

def words(*given):
    from barkeep.config.uwsgi import split_words
    from barkeep.config.uwsgi_ini import Reader
    read = Reader({})
    read.read_words(list(given), split_words)
    read.finish()
    return [(line.name, line.value) for line in read.settings]


def test_words():
    Path("x.ini").write_text("[uwsgi]\na = 1\n")
    assert words("--module", "app", "-p4", "-M", "--http=:80", "-H", "venv", "--lazy-apps", "x.ini", "threads=2", "-TL", "--chmod-socket=664") == [
        ("module", "app"), ("processes", "4"), ("master", None), ("http", ":80"), ("home", "venv"), ("lazy-apps", None), ("a", "1"),
        ("enable-threads", None), ("disable-logging", None), ("chmod-socket", "664"), ("threads", "2")]


@pytest.mark.parametrize("given, said, detail", [
    (["--proceses", "4"], "uWSGI has no option '--proceses'", "near: --processes"),
    (["-Z"], "uWSGI has no option '-Z'", ""),
    (["--module"], "--module needs a value", ""),
])
def test_wrong_words(given, said, detail):
    from barkeep.config.uwsgi_ini import Trouble
    with pytest.raises(Trouble) as caught:
        words(*given)
    assert caught.value.text == said and caught.value.detail.startswith(detail)


# ---- what the lines become -------------------------------------------------------------------------------------------------------------

ROW = re.compile(r'^X\((\w+), (\w+), "([^"]*)", (?:\'(.)\'|0), "([^"]*)", "([^"]*)", (\w+), "([^"]*)", "([^"]*)"', re.M)


def table():
    """options.def, and what other issues bring soon."""
    from barkeep.config.table import Option, Table
    made = Table([])
    rows = [Option(key, name, letter or "", kind, default, limits, gunicorn, uwsgi)
            for kind, key, name, letter, default, limits, scope, gunicorn, uwsgi in ROW.findall((ROOT / "src/config/options.def").read_text())
            if scope != "ACTION"]
    there = {row.key for row in rows}
    rows += [Option(*fields) for fields in [("stats", "stats", "", "TEXT", "", "", "", "stats stats-server"),
                                            ("stats_format", "stats-format", "", "WORD", "json", "json|uwsgi|prometheus", "", ""),
                                            ("timeout", "timeout", "t", "TIME", "60", "0..86400", "timeout", "harakiri"),
                                            ("uwsgi_opt", "uwsgi-opt", "", "LIST", "", "", "", ""),
                                            ("max_worker_memory", "max-worker-memory", "", "SIZE", "", "0..1024G", "", "reload-on-rss"),
                                            ("max_requests", "max-requests", "", "INT", "0", "0..1000000", "max_requests", "max-requests")]
             if fields[0] not in there]
    made.options = rows
    made.by_key = {row.key: row for row in rows}
    made.by_name = {row.name: row for row in rows}
    made.by_uwsgi = {name: row for row in rows for name in row.uwsgi}
    return made


def settings(text, environ=None, is_root=False):
    from barkeep.config.uwsgi_options import Settings
    read = reader(environ, a="[uwsgi]\n" + text)
    return Settings(read.settings, table(), read.referred, is_root=is_root, environ={})


def become(text, **more):
    """{key: value or values}, the application."""
    made = settings(text, **more)
    values = {key: [value for value, _ in found] for key, found in made.values.items()}
    return {key: found if made.table.by_key[key].type == "LIST" else found[0] for key, found in values.items()}, made.app and made.app[0]


def kinds(text, **more):
    return [meaning.kind for line, meaning in settings(text, **more).meanings]


@pytest.mark.parametrize("text, app", [
    ("module = shop.wsgi", "shop.wsgi"), ("module = shop.wsgi:application", "shop.wsgi:application"),
    ("wsgi = shop\ncallable = app", "shop:app"), ("callable = app\nmodule = shop:other", "shop:other"),
    ("module = shop:create_app()", "shop:create_app()"), ("wsgi-file = app.py", "app.py"), ("wsgi-file = site/app.wsgi", "site/app.wsgi"),
    ("wsgi-file = app.wsgi\ncallable = x", "./app.wsgi:x"), ("file = wsgi.py\ncallable = app", "wsgi.py:app"),
    ("wsgi-file = a.py\nmodule = b", "b"), ("module = a\nmodule = b", "b"), ("mount = /=shop:app", "shop:app"),
    ("mount = /=shop.py\ncallable = app", "shop.py:app"), ("processes = 2", None),
])
def test_the_application(text, app):
    assert become(text)[1] == app


def test_one_mount_below_a_path():
    assert become("mount = /shop=shop:app\nmanage-script-name = true") == ({"env": ["SCRIPT_NAME=/shop"]}, "shop:app")
    assert kinds("mount = /a=a:app\nmount = /b=b:app") == ["refused", "refused"]


@pytest.mark.parametrize("text, bind", [
    ("http-socket = :8000", [":8000"]), ("http = 0.0.0.0:80", ["0.0.0.0:80"]), ("http-socket = run/web.sock", ["unix:run/web.sock"]),
    ("http-socket = /tmp/web.sock", ["unix:/tmp/web.sock"]), ("http-socket = @web", ["unix:@web"]), ("http-socket = fd://3", ["fd://3"]),
    ("http-socket = [::1]:80\nhttp = *:81", ["[::1]:80", ":81"]), ("socket = :80\nprotocol = http", [":80"]),
    ("protocol = http\nsocket = a.sock", ["unix:a.sock"]),
])
def test_addresses(text, bind):
    assert become(text)[0]["bind"] == bind


@pytest.mark.parametrize("text", ["http-socket = 8000", "http-socket =", "http = :http", "http = :99999", "http-socket = =0"])
def test_wrong_addresses(text):
    assert kinds(text) == ["refused"]


def test_the_uwsgi_protocol_is_refused_with_the_way_out():
    [(_, meaning)] = settings("socket = /run/app.sock").meanings
    assert meaning.kind == "refused" and "http-socket = /run/app.sock" in meaning.detail and "proxy_pass http://unix:/run/app.sock:;" in meaning.detail


@pytest.mark.parametrize("text, key, value", [
    ("processes = 4", "workers", "4"), ("workers = 2 ; c", "workers", "2"), ("p = 1\nprocesses = %(p)", "workers", "1"),
    ("processes = auto", "workers", "auto"), ("threads = 3", "threads", "3"), ("harakiri = 30", "timeout", "30"), ("cheaper = 2", "workers_min", "2"), ("max-requests-delta = 5", "max_requests_jitter", "5"),
    ("evil-reload-on-rss = 9", "max_worker_memory_hard", "9M"), ("max-worker-lifetime = 60", "max_worker_lifetime", "60"), ("max-requests = 500", "max_requests", "500"),
    ("reload-on-rss = 512 # MB", "max_worker_memory", "512M"), ("listen = 1024", "backlog", "1024"), ("chdir = /srv/app", "chdir", "/srv/app"),
    ("home = .venv", "venv", ".venv"), ("virtualenv = .venv", "venv", ".venv"), ("pythonpath = a\npp = b", "pythonpath", ["a", "b"]),
    ("env = A=1\nenv = B=2", "env", ["A=1", "B=2"]), ("worker-reload-mercy = 40", "graceful_timeout", "40"),
    ("limit-post = 1000", "limit_request_body", "1000"), ("limit-post = 0", "limit_request_body", "off"),
    ("buffer-size = 131072", "limit_request_head", "131072"), ("post-buffering = 8192", "request_memory", "8192"),
    ("log-slow = 250", "slow_request", "250ms"), ("http-keepalive = 75", "keep_alive", "75"), ("touch-reload = %d/r", "touch_reload", None),
    ("py-autoreload = 2", "reload", "on"), ("gevent = 100", "worker_connections", "100"), ("gevent = 100", "worker_class", "gevent"),
    ("disable-logging = true", "access_logfile", "off"), ("logto = /var/log/app.log", "access_logfile", "/var/log/app.log"),
    ("daemonize = a.log", "error_logfile", "a.log"), ("logto = a.log\ndisable-logging = 1", "error_logfile", "a.log"),
    ("req-logger = file:r.log", "access_logfile", "r.log"), ("logger = syslog:web", "error_logfile", "syslog"),
    ("logger = rsyslog:10.0.0.1,web", "log_syslog_to", "udp://10.0.0.1:514"), ("optimize = 2", "env", ["PYTHONOPTIMIZE=2"]),
    ("limit-as = 512", "rlimit", ["as=512M"]), ("stats = /tmp/s.sock", "stats", "unix:/tmp/s.sock"), ("stats-server = :1", "stats_format", "uwsgi"),
    ("prio = 5", "nice", "5"), ("chown-socket = www:www", "socket_owner", "www:www"),
    ("pidfile = /run/x.pid", "pid", "/run/x.pid"), ("safe-pidfile2 = /run/x.pid", "pid", "/run/x.pid"), ("chmod-socket = 664", "socket_mode", "664"), ("chmod-socket", "socket_mode", "666"), ("max-vars = 200", "limit_request_fields", "200"), ("procname-prefix = shop", "name", "shop"),
    ("log-format = %(addr) %(method) %(uri) %(status) %(msecs)", "access_logformat", "%(h)s %(m)s %(R)s %(s)s %(M)s"),
    ('log-format = [%(ltime)] "%(uri)" [%(pid)]', "access_logformat", '%(t)s "%(R)s" [%(p)s]'),
    ("log-x-forwarded-for = 1\nlog-format = %(addr)", "access_logformat", "%({x-forwarded-for}i)s"),
    ("log-x-forwarded-for = 1", "access_logformat", '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'),
    ('log-format = {"t": "%(var.HTTP_X_TRACE)", "u": "%(uid)"} 5%%', "access_logformat", '{"t": "%({x-trace}i)s", "u": "%({uid}e)s"} 5%%'),
])
def test_becomes(text, key, value):
    found = become(text)[0][key]
    assert found == value if value is not None else found


ALREADY = """master = true\nvacuum = true\nenable-threads = true\nsingle-interpreter = true\nneed-app\ndie-on-term = true\nno-orphans = 1
thunder-lock = true\nlazy-apps = true\nauto-procname = true\nplugins = python3\nhttp-chunked-input = 1\noffload-threads = 4
py-call-osafterfork = true\nignore-sigpipe = true\nignore-write-errors = true\ndisable-write-exception = true\nlog-master = true
memory-report = true\nbuffer-size = 32768\nstrict = true\nlog-5xx = true\nharakiri-verbose = true\nuid = www\ngid = www
http-keepalive = 1\nadd-header = Connection: Keep-Alive\nhook-master-start = unix_signal:15 gracefully_kill_them_all
post-buffering = true\nno-defer-accept = true\nsocket-timeout = 30\n"""


def test_true_already():
    assert set(kinds(ALREADY)) <= {"already", "note"}


@pytest.mark.parametrize("text, kind", [
    ("static-map = /static=/srv/static", "refused"), ("spooler = /tmp/s", "refused"), ("mule = m.py", "refused"), ("cron = 1 2 3 4 5 x", "refused"),
    ("emperor = /etc/v", "refused"), ("route = ^/x redirect:/y", "refused"), ("cache2 = name=x", "refused"), ("chroot = /x", "refused"),
    ("attach-daemon = celery", "refused"), ("asyncio = 10", "refused"), ("add-header = X-A: b", "refused"), ("import = tasks", "refused"),
    ("paste = config:x.ini", "refused"), ("php-docroot = /x", "refused"), ("subscribe-to = x", "refused"), ("hook-post-app = print:x", "refused"),
    ("https = :443,a.crt", "refused"), ("fastcgi-socket = :1", "refused"),
    ("idle = 60", "changed"), ("cheaper-step = 2", "note"), ("reload-mercy = 8", "changed"), ("lazy = true", "changed"), ("die-on-term = false", "changed"),
    ("need-app = false", "changed"), ("log-maxsize = 100", "changed"), ("threads = true", "changed"),
    ("master = false", "changed"), ("log-4xx = true\ndisable-logging = true", "changed"), ("alarm-cheap = true", "changed"),
    ("log-format = %(rss)", "changed"), ("http-timeout = 60", "changed"), ("wsgi-file = a.py\nmodule = b", "changed"),
    ("vaccum = true", "unknown"), ("processes = 0", "already"), ("spooler = 0", "already"),
])
def test_classes(text, kind):
    assert kinds(text)[0] == kind


def test_users():
    assert become("uid = www-data\ngid = 33", is_root=True)[0] == {"user": "www-data", "group": "33"}
    assert become("uid = www-data\ngid = 33", is_root=False)[0] == {}


@pytest.mark.parametrize("name, near", [
    ("vaccum", "vacuum"), ("process", "processes"), ("thread", "threads"), ("max-request", "max-requests"), ("no-orphan", "no-orphans"),
    ("log-to", "logto"), ("python_path", "python-path"), ("disable-write-exceptions", "disable-write-exception"), ("http-time", "http-timeout"),
])
def test_misspelt(name, near):
    [(_, meaning)] = settings(f"{name} = x").meanings
    assert meaning.kind == "unknown" and near in meaning.detail


def test_placeholders_are_no_mistakes():
    assert kinds("project = shop\nchdir = /srv/%(project)") == ["placeholder", "same"]


def test_defaults_of_uwsgi():
    assert dict(settings("module = a").defaults) == {"threads": "1", "timeout": "0", "access_logfile": "-"}
    assert dict(settings("threads = 2\nharakiri = 5\ndisable-logging = 1").defaults) == {}
    from barkeep.config.uwsgi_options import Settings
    assert dict(Settings([], table(), environ={"BARKEEP_THREADS": "8"}).defaults) == {"timeout": "0", "access_logfile": "-"}


# ---- what is told to the master ----------------------------------------------------------------------------------------------------------

class Collected:
    def __init__(self):
        self.table, self.settings, self.files, self.told, self.app = table(), [], [], [], None

    def set(self, key, value, origin, typed=None):
        self.settings.append((key, value, origin))

    def set_app(self, text, origin):
        self.app = (text, origin)

    def add_file(self, path):
        self.files.append(path)

    def warn(self, text, word, detail=""):
        self.told.append(("warning", text, word, detail))

    def error(self, text, word, detail=""):
        self.told.append(("error", text, word, detail))


def told(text, monkeypatch, *arguments, environ=()):
    from barkeep.config import uwsgi
    for name in [name for name in os.environ if name.startswith("UWSGI_")]:
        monkeypatch.delenv(name)
    for name, value in dict(environ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["barkeep", *arguments])
    if text is not None:
        Path("uwsgi.ini").write_text(text)
    found = Collected()
    uwsgi.read("uwsgi.ini" if text is not None else "", found)
    return found


def test_all_of_a_file(monkeypatch):
    found = told("[uwsgi]\nmodule = shop.wsgi\nprocesses = 4\nenv = A=1\nenv = B=2\nvaccum = 1\nmaster = true\nidle = 2\n", monkeypatch)
    assert found.app == ("shop.wsgi", "uwsgi.ini line 2") and found.files == ["uwsgi.ini"]
    assert ("workers", "4", "uwsgi.ini line 3") in found.settings and ("env", "A=1\nB=2", "uwsgi.ini line 4") in found.settings
    assert ("threads", "1", "default of uWSGI") in found.settings
    options = dict(text.partition("=")[::2] for key, value, _ in found.settings if key == "uwsgi_opt" for text in value.split("\n"))
    assert options == {"module": "shop.wsgi", "processes": "4", "vaccum": "1", "master": "true", "idle": "2"}
    assert [(kind, word) for kind, _, word, _ in found.told] == [("warning", "uwsgi-unknown"), ("warning", "uwsgi-changed")]
    assert found.told[0][1:] == ("uwsgi.ini line 6: uWSGI has no option 'vaccum', and ignores it", "uwsgi-unknown", "near: vacuum")


def test_strict(monkeypatch):
    found = told("[uwsgi]\nmodule = a\nstrict = true\nvaccum = 1\n", monkeypatch)
    assert [(kind, word) for kind, _, word, _ in found.told] == [("error", "option-unknown")]


def test_comments_are_told_where_they_change_something(monkeypatch):
    found = told("[uwsgi]\nlazy-apps = false ; no\nprocesses = 4 # four\nvacuum = true # yes\nmodule = app ; mine\n", monkeypatch)
    assert [text for _, text, _, _ in found.told] == [
        "uwsgi.ini line 2: lazy-apps is off here; with the comment behind it uWSGI reads it as on",
        "uwsgi.ini line 5: '; mine' is taken for a comment; for uWSGI it belongs to the value of module"]


def test_words_and_environment(monkeypatch):
    found = told(None, monkeypatch, "--log-level", "debug", "--uwsgi", "--module", "app", "-p", "3", environ={"UWSGI_THREADS": "2", "UWSGI_FOO": "x"})
    assert found.app == ("app", "command line")
    assert {("workers", "3", "command line"), ("threads", "2", "environment UWSGI_THREADS")} <= set(found.settings) and not found.told


def test_a_file_that_cannot_be_read(monkeypatch):
    from barkeep.config.problem import Problem
    with pytest.raises(Problem) as caught:
        told("[app]\n", monkeypatch)
    assert caught.value.text == "uwsgi.ini has no section [uwsgi]; it has [app]" and caught.value.word == "config-file"
