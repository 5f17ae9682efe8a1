"""`barkeep migrate`: the account of every line and the barkeep.toml that results. The table is options.def; the native program is
asked for it in tests/integration/test_uwsgi_files.py."""
import sys
from pathlib import Path

import pytest
from test_uwsgi_ini import table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def migrate(monkeypatch, capsys):
    """migrate("uwsgi.ini") -> exit code, standard output, standard error"""
    from barkeep import migrate as module
    monkeypatch.setattr(module, "native_table", full_table)

    def do(*words):
        capsys.readouterr()
        code = module.main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err
    return do


def full_table():
    from barkeep.config.table import Other
    made = table()
    made.aliases = {}
    made.other_names = {name: Other(kind, name, letter, server, text) for kind, name, letter, server, text in [
        ("daemon", "daemon", "D", "", ""), ("foreign", "host", "", "uvicorn", "bind HOST:PORT"), ("later", "certfile", "", "", ""),
        ("foreign", "timeout-keep-alive", "", "uvicorn", "keep-alive"), ("needless", "worker-tmp-dir", "", "Gunicorn", "has no heartbeat file"),
        ("needless", "proxy-headers", "", "uvicorn", "always reads them")]}
    return made


INI = """[uwsgi]
base = /srv/shop
chdir = %(base)
module = shop.wsgi:application
master = true
processes = 4
http = :8000
env = SECRET_KEY=hush "now"
env = MODE=production
harakiri = 30
reload-on-rss = 256 # megabytes
idle = 60
static-map = /static=%(base)/static
vaccum = true
"""


def test_an_ini_file(migrate):
    Path("uwsgi.ini").write_text(INI)
    code, out, err = migrate("uwsgi.ini")
    assert code == 2 and err == ""
    made = tomllib.loads(out)
    assert made == {"app": "shop.wsgi:application", "chdir": "/srv/shop", "workers": 4, "threads": 1, "bind": ":8000", "timeout": 30,
                    "max_worker_memory": "256M", "access_logfile": "-", "env": {"SECRET_KEY": 'hush "now"', "MODE": "production"}}
    lines = out.split("\n")
    assert lines[0] == "# barkeep.toml, made by: barkeep migrate uwsgi.ini"
    for start, says in [("#    2  base = /srv/shop", "a placeholder"), ("#    3  chdir = /srv/shop", "chdir"), ("#    5  master = true", "already so: Barkeep"),
                        ("#    6  processes = 4", "workers"), ("#    8  env = SECRET_KEY=...", "env"), ("#   12  idle = 60", "CHANGED: idle is not taken"),
                        ("#   14  vaccum = true", "UNKNOWN: uWSGI has no option 'vaccum'")]:
        assert any(line.startswith(start) and says in line for line in lines), (start, says)
    assert "REFUSED: uWSGI's static-map" in out and "near: vacuum" in out and "hush" not in out.partition("[env]")[0]
    assert "# 1 line is refused; 1 line changes its meaning; 1 line is unknown to the other server too" in lines


def test_nothing_to_say(migrate):
    Path("uwsgi.ini").write_text("[uwsgi]\nmodule = a\nhttp-socket = :80\nthreads = 2\nharakiri = 5\ndisable-logging = true\n")
    code, out, _ = migrate("uwsgi.ini")
    assert code == 0 and "# every line is taken, or true already" in out
    assert tomllib.loads(out) == {"app": "a", "bind": ":80", "threads": 2, "timeout": 5, "access_logfile": "off"}


def test_an_application_that_imports_uwsgi(migrate):
    Path("uwsgi.ini").write_text("[uwsgi]\nmodule = a\nfoo = bar\n")
    Path("a.py").write_text("import os\nimport uwsgi\n")
    assert tomllib.loads(migrate("uwsgi.ini")[1])["uwsgi_opt"] == ["module=a", "foo=bar"]


def test_a_section(migrate):
    Path("uwsgi.ini").write_text("[uwsgi]\nmodule = a\n[prod]\nmodule = b\n")
    assert tomllib.loads(migrate("uwsgi.ini:prod")[1])["app"] == "b"


@pytest.mark.parametrize("line, made", [
    ("gunicorn -w 4 -b :8000 shop.wsgi", {"app": "shop.wsgi", "workers": 4, "bind": ":8000"}),
    ("web: FOO=1 exec /venv/bin/gunicorn shop.wsgi:application --keep-alive=5 --reload -e A=b -D",
     {"app": "shop.wsgi:application", "keep_alive": 5, "reload": True, "env": {"FOO": "1", "A": "b"}}),
    ("python -m gunicorn --worker-tmp-dir /dev/shm --proxy-protocol app", {"app": "app"}),
    ("uvicorn api:app --host 0.0.0.0 --port 80 --workers 2 --timeout-keep-alive 5 --proxy-headers",
     {"app": "api:app", "bind": "0.0.0.0:80", "workers": 2, "keep_alive": 5}),
    ("uvicorn api:app --uds /run/x.sock --no-access-log", {"app": "api:app", "bind": "unix:/run/x.sock", "access_logfile": "off"}),
    ("uwsgi --http-socket :9090 -w shop:app -p 2 --master",
     {"app": "shop:app", "bind": ":9090", "workers": 2, "threads": 1, "timeout": 0, "access_logfile": "-"}),
])
def test_command_lines(migrate, line, made):
    code, out, err = migrate(line)
    assert (code, err, tomllib.loads(out)) == (0, "", made)


@pytest.mark.parametrize("word, says", [
    ("nope.ini", "no file 'nope.ini' [config-file]"), ("waitress-serve app:app", "no gunicorn, uwsgi or uvicorn in the command line"),
    ("gunicorn 'x", "cannot be taken apart"), ("uwsgi --proceses 4", "uWSGI has no option '--proceses'"), ("x.toml", "is TOML: Barkeep's own"),
])
def test_what_cannot_be_migrated(migrate, word, says):
    Path("x.toml").write_text("")
    code, out, err = migrate(word)
    assert code == 2 and out == "" and says in err


def test_usage(migrate):
    assert migrate()[0] == 2 and migrate("--help")[0] == 0


@pytest.mark.parametrize("text", ["plain", 'quote " backslash \\', "tab\tnul\x01del\x7f", "umlaut ä", "\udc80"])
def test_any_text_is_valid_toml(text):
    from barkeep.toml_text import text_of
    assert tomllib.loads(f"a = {text_of(text)}")["a"] == text.replace("\udc80", "?")
